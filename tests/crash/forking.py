"""One process with everything imported, which forks a child for each thing to be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.runs import environment


def fork(work: Callable[[], int], broken: int, kill_after: float | None = None) -> int:
    """Do something in a child of its own, whose exit code is what it returns, or ``broken``; its
    wait status. The child is killed after so many seconds."""
    child = os.fork()
    if child == 0:
        code = broken
        try:
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def serve(run: Callable[..., int]) -> None:
    """Tasks in, wait statuses out, until stdin ends; ``run`` is given a task's fields."""
    print("ready", flush=True)
    for line in sys.stdin:
        print(run(**json.loads(line)), flush=True)


@contextmanager
def forking(module: str, **variables: str) -> Iterator[Callable[[Any], int]]:
    """Asks a process of its own, in which ``module.serve()`` runs, to do a task (a named tuple);
    gives the child's exit code."""
    server = subprocess.Popen(
        [sys.executable, "-c", f"from {module} import serve; serve()"],
        cwd=Path(__file__).parents[2],
        env={**environment(), "OPENBLAS_NUM_THREADS": "1", **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin
    assert server.stdout
    assert server.stdout.readline() == "ready\n"

    def ask(task: Any) -> int:
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps(task._asdict()) + "\n")
        server.stdin.flush()
        return os.waitstatus_to_exitcode(int(server.stdout.readline()))

    yield ask
    server.stdin.close()
    server.stdout.close()
    assert server.wait(30) == 0
