"""Reading a time as logs spell it, and writing it as this project does.

Accepted are ISO 8601 with any offset (without one it is taken as UTC) and Unix time in
seconds or milliseconds, as a number or as a numeric string. Seconds and milliseconds are
told apart by magnitude: within the accepted years the two ranges do not meet.

This module never asks what time it is now.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

FIRST_YEAR: Final = 1990
END_YEAR: Final = 2100
"""Times from the start of 1990 up to, not including, 2100 are believed. What lies
outside (year 0, 99999, a negative number, 1e300) is a fault of the log, not a time."""

TIME_FORMS: Final = (
    f"a time from {FIRST_YEAR} to {END_YEAR - 1} in ISO 8601, or Unix seconds or milliseconds"
)

_OTHER_NAMES: Final = frozenset(
    {"created", "createdat", "date", "datetime", "time", "timestamp", "timestampms", "when"}
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NAIVE: Final = datetime(1970, 1, 1)
_FIRST_SECOND: Final = int(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp())
_END_SECOND: Final = int(datetime(END_YEAR, 1, 1, tzinfo=UTC).timestamp())
_NUMERIC: Final = re.compile(r"[0-9]{9,18}(\.[0-9]{1,9})?\Z")


def read_time(value: str | float | None) -> str | None:
    """The time as ISO 8601 UTC text ending in ``Z``, or ``None`` when it cannot be read."""
    if isinstance(value, str):
        return _from_text(value)
    if value is None or isinstance(value, bool):
        return None
    return _from_unix(value)


def unread_time(row: Mapping[str, Any]) -> str | None:
    """The field of a row without a time that seems to hold one under a name that is not read."""
    for name, value in row.items():
        plain = name.casefold().replace("_", "").replace("-", "")
        if plain in _OTHER_NAMES and isinstance(value, str | int | float) and read_time(value):
            return name
    return None


def _from_text(text: str) -> str | None:
    if text[4:5] != "-" and _NUMERIC.match(text):
        # Before anything else: 13 digits are a compact date with any sign for the T, too.
        return _from_unix(float(text) if "." in text else int(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _from_odd_text(text)
    if not FIRST_YEAR <= moment.year < END_YEAR:
        return None
    zone = moment.tzinfo
    # The hour 24, which newer Pythons read, is the next day's 0.
    plain = text[4:19:3] == "--T::" and text[17:19].isdigit() and text[11:13] != "24"
    if plain and (zone is UTC or zone is None):
        # In UTC and spelt nearly as we write it: cutting is far cheaper than formatting.
        if text[19:] == "Z":
            return text
        return _with_micros(text[:19], moment.microsecond)
    span = moment - (_EPOCH if zone else _EPOCH_NAIVE)
    return _written(span.days * 86_400 + span.seconds, span.microseconds)


def _from_odd_text(text: str) -> str | None:
    """Blanks around, a small ``z``: what `fromisoformat` will not take."""
    trimmed = text.strip().upper()
    return _from_text(trimmed) if trimmed != text else None


def _from_unix(number: float) -> str | None:
    if _FIRST_SECOND <= number < _END_SECOND:
        parts = 1
    elif _FIRST_SECOND * 1000 <= number < _END_SECOND * 1000:
        parts = 1000
    else:
        return None
    if isinstance(number, int):
        second, rest = divmod(number, parts)
        return _written(second, rest * 1000)
    # The standard library's rounding to microseconds, which may end in the next second.
    span = timedelta(seconds=number) if parts == 1 else timedelta(milliseconds=number)
    return _written(span.days * 86_400 + span.seconds, span.microseconds)


def _written(second: int, micros: int) -> str | None:
    """A Unix time as text. An offset can carry a time of New Year's Eve over the edge."""
    if not _FIRST_SECOND <= second < _END_SECOND:
        return None
    hour, second = divmod(second, 3600)
    minute, second = divmod(second, 60)
    return _with_micros(f"{_hour_text(hour)}:{minute:02}:{second:02}", micros)


@lru_cache(maxsize=4096)
def _hour_text(hour: int) -> str:
    """``2026-01-31T12`` for an hour since 1970. Rows of a log share few of them, and the
    standard library takes longer over formatting one than a row's JSON takes to parse."""
    return (_EPOCH_NAIVE + timedelta(hours=hour)).isoformat()[:13]


def _with_micros(text: str, micros: int) -> str:
    return f"{text}.{micros:06}Z" if micros else f"{text}Z"
