"""A process whose disk fails: does what it is told, one JSON operation a line on stdin, and answers
one JSON line each. Run with the shim of disk_shim.c, or under a limit of file sizes."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from stillhouse.errors import VectorError
from stillhouse.vectors.local import LocalBackend, LocalOptions
from stillhouse.vectors.writer import WriterLimits
from tests.crash.vector_life import apply


def answer(backend: LocalBackend, operation: list[Any]) -> Any:
    """What an operation gives, or the code of its refusal."""
    kind = operation[0]
    if kind == "health":
        health = backend.health()
        return [health.writable, health.reason]
    if kind == "ids":
        return backend.ids(operation[1])
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (operation[1], resource.RLIM_INFINITY))
        return None
    try:
        return ["done", apply(backend, operation)]
    except VectorError as error:
        return ["refused", error.code]


def main() -> None:
    """Operations until stdin ends; an acknowledgement goes to the shim's log as well."""
    fold = int(os.environ.get("FOLD_BYTES", str(32 << 20)))
    options = LocalOptions(writer=WriterLimits(fold_bytes=fold))
    backend = LocalBackend(sys.argv[1], options=options)
    log = Path(sys.argv[2])
    print("ready", flush=True)
    for line in sys.stdin:
        operation = json.loads(line)
        told = answer(backend, operation)
        with log.open("a") as file:
            file.write(f"told {operation[0]}\n")
        print(json.dumps(told), flush=True)
    backend.close()
