"""Starts engines in processes of their own and asks them for figures.

An engine that is not installed, ends with an error, or takes too long is an `EngineFailedError`
with the reason, told in the report; the others go on. Only processes started here are ended.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from benchmarks.vectors.engines import THREADS, Contender

ENVIRONMENT: Final = {
    name: str(THREADS)
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "RAYON_NUM_THREADS",
        "TOKIO_WORKER_THREADS",
        "LANCE_CPU_THREADS",
    )
} | {"RUST_LOG": "error", "ANONYMIZED_TELEMETRY": "False"}


class EngineFailedError(RuntimeError):
    """An engine gave no figure, and why."""


class NotInstalledError(EngineFailedError):
    """An engine's package cannot be imported."""


class Child:
    """An engine's process over one folder and one set; ends with the context."""

    def __init__(self, contender: Contender, folder: Path, vectors: Path, python: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed by close()
        self._waiting = b""
        command = [python, "-m", "benchmarks.vectors.child", "--target", contender.target]
        self._process = subprocess.Popen(
            [*command, "--folder", str(folder), "--set", str(vectors)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **ENVIRONMENT},
        )
        try:
            hello = self._answer(120)
            if "missing" in hello:
                raise NotInstalledError(f"not installed: {hello['missing']}")
        except BaseException:
            self.close()
            raise
        self.settings: list[dict[str, Any]] = hello["settings"]

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, do: str, timeout: float, **arguments: Any) -> dict[str, Any]:
        """Have a command done. Raises `EngineFailedError`; the process is gone then."""
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            raise EngineFailedError("is gone")
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
            return self._answer(timeout)
        except BrokenPipeError:
            raise EngineFailedError(self._last_words()) from None
        except EngineFailedError:
            self.close()
            raise

    def _answer(self, timeout: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        until = time.monotonic() + timeout
        handle = self._process.stdout.fileno()
        while b"\n" not in self._waiting:
            left = until - time.monotonic()
            if left <= 0 or not select.select([handle], [], [], left)[0]:
                raise EngineFailedError(f"took longer than {timeout:.0f} s")
            more = os.read(handle, 1 << 16)
            if not more:
                self._process.wait()
                raise EngineFailedError(self._last_words())
            self._waiting += more
        line, _, self._waiting = self._waiting.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        if self._errors.closed:
            return "is gone"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        code = self._process.returncode
        return said[-1][:300] if said else f"ended with code {code} and said nothing"

    def close(self) -> None:
        """End the process: kindly, then by force. Calling it again does nothing."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


def python_for(contender: Contender, peer_python: str) -> str:
    """Which Python runs an engine: ours runs stillhouse and bare faiss, so that both have the same
    faiss; the peers may have one of their own."""
    ours = contender.package in ("stillhouse", "faiss-cpu")
    return sys.executable if ours else peer_python
