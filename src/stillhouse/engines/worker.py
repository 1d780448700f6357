"""The other side of the local engine: one process that works off what it is sent.

It answers each unit in the order it came, forwards every error, ignores Ctrl-C (its parent
decides), and ends at once when its parent is gone, whatever it is doing: a thread waits on
the pipe that only the parent holds open. It prints nothing of its own.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any, Final

from stillhouse.errors import EngineError, StillhouseError

DONE: Final = "done"
REFUSED: Final = "refused"
BROKE: Final = "broke"


def serve(handle: int) -> None:
    """Work until the parent closes its end of the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Every error is forwarded to the parent, which tells it once.
    sys.excepthook = lambda *_: None
    # One thread a worker: the engine already fills the cores. Unlike `os.environ`, this
    # reads nothing; the C libraries see it, since they are loaded after it.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.putenv(name, "1")
    pipe: Connection[bytes, bytes] = Connection(handle)
    units: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, units), daemon=True).start()
    while True:
        pipe.send_bytes(_work(pipe, units.get()))


def _receive(pipe: Connection[bytes, bytes], units: queue.SimpleQueue[bytes]) -> None:
    """Take units off the pipe at once, so that a parent which sends never waits for us."""
    while True:
        try:
            units.put(pipe.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)


def _work(pipe: Connection[bytes, bytes], unit: bytes) -> bytes:
    ticket = -1
    try:
        ticket, function, item = load(unit)
        return dump((ticket, DONE, function(item), ""))
    except StillhouseError as error:
        return dump((ticket, REFUSED, error, ""))
    except BaseException as error:
        # Not foreseen, so a bug: the parent shows it, and ends all workers.
        pipe.send_bytes(_broken(int.from_bytes(unit[:8], "little"), error))
        raise


def _broken(ticket: int, error: BaseException) -> bytes:
    trace = "".join(traceback.format_exception(error))
    try:
        told = dump((ticket, BROKE, error, trace))
        load(told)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, ImportError):
        plain = RuntimeError(f"{type(error).__name__}: {error}")
        return dump((ticket, BROKE, plain, trace))
    return told


def dump(message: tuple[Any, ...]) -> bytes:
    """A message with its ticket in front, readable even where the rest is not."""
    ticket: int = message[0]
    return ticket.to_bytes(8, "little", signed=True) + pickle.dumps(message[1:], protocol=5)


def load(data: bytes) -> tuple[Any, ...]:
    """A message as `dump` made it."""
    ticket = int.from_bytes(data[:8], "little", signed=True)
    try:
        return (ticket, *pickle.loads(memoryview(data)[8:]))
    except (ImportError, AttributeError) as error:
        raise EngineError(
            f"a worker cannot import what it should run: {error}",
            way_out="Run from an installed package, not from a function of the main script.",
        ) from error
