"""Runs a command in a process of its own and says what it cost.

Wall seconds by a monotonic clock; CPU seconds of the process and all it waited for;
peak resident memory of the process and of each of its descendants. On Linux the peaks are
the kernel's own high-water marks (VmHWM), read every 50 ms; elsewhere only the largest
process is known. Memory that forked processes share counts in each of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

_EVERY: Final = 0.05
_PROC: Final = Path("/proc")
_LARGEST_UNIT: Final = 1 if sys.platform == "darwin" else 1024


class Cost(NamedTuple):
    """What a command took: seconds, bytes of peak memory, and its output."""

    wall: float
    cpu: float
    parent_peak: int
    worker_peaks: tuple[int, ...]
    output: str

    @property
    def peak(self) -> int:
        """The largest process, parent or worker."""
        return max(self.parent_peak, *self.worker_peaks, 0)


class CommandFailedError(RuntimeError):
    """A measured command ended with another code than 0."""


def measure(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    ok: Sequence[int] = (0,),
) -> Cost:
    """Run the command to its end; `CommandFailedError` with its last words when it fails."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env={**os.environ, **(environment or {})},
        )
        watch = _Watch(process.pid)
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.stop()
        output.seek(0)
        errors.seek(0)
        said = output.read().decode(errors="replace")
        if process.returncode not in ok:
            last = errors.read().decode(errors="replace")[-2000:]
            raise CommandFailedError(f"{' '.join(command)}: exit {process.returncode}\n{last}")
    peaks = watch.peaks
    parent = peaks.pop(process.pid, 0)
    largest = usage.ru_maxrss * _LARGEST_UNIT
    if not peaks:
        parent = max(parent, largest)
    workers = tuple(sorted(peaks.values(), reverse=True))
    return Cost(wall, usage.ru_utime + usage.ru_stime, parent, workers, said)


class _Watch(threading.Thread):
    """Reads the high-water marks of a process tree until told to stop."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.peaks: dict[int, int] = {}
        self._done = threading.Event()

    def run(self) -> None:
        if not _PROC.is_dir():
            return
        while not self._done.wait(_EVERY):
            for pid in _tree(self.root):
                peak = _high_water(pid)
                if peak:
                    self.peaks[pid] = peak

    def stop(self) -> None:
        self._done.set()
        self.join()


def _tree(root: int) -> set[int]:
    """The process and all its descendants that live now."""
    parents = {}
    for name in os.listdir(_PROC):
        if name.isdigit():
            try:
                stat = (_PROC / name / "stat").read_bytes()
            except OSError:
                continue
            # The name in brackets may hold anything; the fields after it are numbers.
            parents[int(name)] = int(stat[stat.rindex(b")") + 2 :].split()[1])
    tree = {root}
    found = True
    while found:
        found = False
        for pid, parent in parents.items():
            if parent in tree and pid not in tree:
                tree.add(pid)
                found = True
    return tree


def _high_water(pid: int) -> int:
    """Peak resident bytes of a living process; 0 when it is gone."""
    try:
        status = (_PROC / str(pid) / "status").read_bytes()
    except OSError:
        return 0
    at = status.find(b"VmHWM:")
    return int(status[at + 6 :].split(None, 1)[0]) * 1024 if at >= 0 else 0
