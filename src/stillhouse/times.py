"""Reading a time as logs spell it, and writing it as this project does.

Accepted are ISO 8601 with any offset (without one it is taken as UTC) and Unix time in
seconds or milliseconds, as a number or as a numeric string. Seconds and milliseconds are
told apart by magnitude: within the accepted years the two ranges do not meet.

This module never asks what time it is now.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from stillhouse.records import utc_text

FIRST_YEAR: Final = 1990
END_YEAR: Final = 2100
"""Times from the start of 1990 up to, not including, 2100 are believed. What lies
outside (year 0, 99999, a negative number, 1e300) is a fault of the log, not a time."""

TIME_FORMS: Final = (
    f"a time from {FIRST_YEAR} to {END_YEAR - 1} in ISO 8601, or Unix seconds or milliseconds"
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND: Final = int(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp())
_END_SECOND: Final = int(datetime(END_YEAR, 1, 1, tzinfo=UTC).timestamp())
_NUMERIC: Final = re.compile(r"[0-9]{9,13}(\.[0-9]{1,9})?\Z")


def read_time(value: str | float | None) -> str | None:
    """The time as ISO 8601 UTC text ending in ``Z``, or ``None`` when it cannot be read."""
    if isinstance(value, str):
        return _from_text(value)
    if value is None or isinstance(value, bool):
        return None
    return _from_unix(value)


def _from_text(text: str) -> str | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _from_odd_text(text)
    if not FIRST_YEAR <= moment.year < END_YEAR:
        return _from_odd_text(text)
    if text[4::3] == "--T::Z":
        return text  # already as we write it
    if moment.tzinfo is None:
        return moment.isoformat() + "Z"
    return _bounded(moment)


def _from_odd_text(text: str) -> str | None:
    """Numbers in quotes, blanks around, a small ``z``: what `fromisoformat` will not take.

    Ten or thirteen digits can also be read as a compact date of a distant year, so a text
    comes here too when its year is out of bounds.
    """
    trimmed = text.strip().upper()
    if _NUMERIC.match(trimmed):
        return _from_unix(float(trimmed) if "." in trimmed else int(trimmed))
    return _from_text(trimmed) if trimmed != text else None


def _from_unix(number: float) -> str | None:
    if _FIRST_SECOND <= number < _END_SECOND:
        moment = _EPOCH + timedelta(seconds=number)
    elif _FIRST_SECOND * 1000 <= number < _END_SECOND * 1000:
        moment = _EPOCH + timedelta(milliseconds=number)
    else:
        return None
    return _bounded(moment)


def _bounded(moment: datetime) -> str | None:
    # An offset can carry a time of New Year's Eve over the edge.
    moment = moment.astimezone(UTC)
    return utc_text(moment) if FIRST_YEAR <= moment.year < END_YEAR else None
