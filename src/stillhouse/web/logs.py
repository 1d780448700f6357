"""The service's log: one line an event on stderr, JSON for programs or words for a terminal.

A line names a route by its template and never holds a vector, a key, an id or a body.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any, Final, TextIO, cast

import msgspec
import structlog

Log = structlog.typing.FilteringBoundLogger
_UNWANTED: Final = ("Started server process", "Finished server process", "Uvicorn running")


def make_log(stream: TextIO | None = None, *, console: bool | None = None) -> Log:
    """A log that writes to a stream (stderr); by default in words where that is a terminal."""
    stream = stream or sys.stderr
    words = stream.isatty() if console is None else console
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=stream.isatty())]
        if words
        else [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_json),
        ]
    )
    logger: Log = structlog.wrap_logger(
        structlog.PrintLogger(cast(TextIO, _Lossy(stream))),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    ).bind()
    return logger


class _Lossy:
    """A stream that drops what it cannot write: a full disk, or a reader of stderr that is gone,
    must not keep a request from its answer."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or drop it."""
        with suppress(OSError, ValueError):  # ValueError: it is closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or leave it."""
        with suppress(OSError, ValueError):
            self._stream.flush()


def _json(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


class Forward(logging.Handler):
    """What uvicorn says, as events of our log."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage().strip()
        if not message.startswith(_UNWANTED):
            self._log.log(record.levelno, "server", message=message, exc_info=record.exc_info)
