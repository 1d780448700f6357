"""Windows of time, as a person writes them: ``2026-01-01..2026-01-31``.

A date stands for its whole day in UTC, at either end: the window above has all of January. A
time stands for its instant: as a start it is in the window, as an end it is not, so that
windows which meet share no row. Either end may be left open. A row is placed by its own
``timestamp``. This module never asks what time it is now.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import msgspec

from stillhouse.errors import UsageError

_WAY_OUT = (
    "Write START..END with dates (2026-01-01..2026-01-31, whole days, UTC) or times "
    "(2026-01-01T12:00:00Z..2026-01-02T00:00:00Z, the end not in it); either may be left out."
)
_DATE = len("2026-01-31")


class Window(msgspec.Struct, frozen=True):
    """From ``start``, which is in it, to ``end``, which is not; None is an open end.

    ``text`` is the window as it was asked for.
    """

    text: str
    start: datetime | None = None
    end: datetime | None = None

    def holds(self, moment: datetime) -> bool:
        """Whether a time is in the window."""
        return (self.start is None or self.start <= moment) and (
            self.end is None or moment < self.end
        )

    def may_hold(self, day: str) -> bool:
        """Whether some time of a day (``2026-01-31``) is in the window."""
        try:
            first = datetime.fromisoformat(day).replace(tzinfo=UTC)
        except ValueError:
            # A folder that no stage made; what is in it speaks for itself.
            return True
        return (self.start is None or self.start < _after(first, 1)) and (
            self.end is None or first < self.end
        )

    def overlaps(self, other: Window) -> bool:
        """Whether a time can be in both."""
        return _is_before(self.start, other.end) and _is_before(other.start, self.end)


def read_window(text: str, option: str) -> Window:
    """The window that a text stands for; ``option`` names it in errors.

    Raises `UsageError` for what is no window, and for one that ends before it starts.
    """
    first, dots, last = text.strip().partition("..")
    if not dots:
        raise UsageError(f"{option} {text!r} is no window of time", way_out=_WAY_OUT)
    start = _moment(first.strip(), text, option)
    end = _moment(last.strip(), text, option, is_end=True)
    if start is not None and end is not None and end <= start:
        raise UsageError(
            f"{option} {text!r} ends before it starts",
            way_out=f"Write the earlier time first: {last.strip()}..{first.strip()}.",
        )
    return Window(text.strip(), start, end)


def _moment(word: str, text: str, option: str, *, is_end: bool = False) -> datetime | None:
    """One end of a window; the end of a whole day is the start of the next."""
    if not word:
        return None
    try:
        if len(word) <= _DATE:
            day = date.fromisoformat(word)
            moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
            return _after(moment, 1) if is_end else moment
        moment = datetime.fromisoformat(word)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {text!r}: {word!r} is neither a date nor a time", way_out=_WAY_OUT
        ) from None


def _after(moment: datetime, days: int) -> datetime:
    """So many days later, or the last moment that can be written."""
    try:
        return moment + timedelta(days=days)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _is_before(start: datetime | None, end: datetime | None) -> bool:
    return start is None or end is None or start < end
