"""Id sets that somebody pages through: one snapshot each, held in memory for a while.

A cursor is a token that cannot be guessed and the place where its page begins, so a page can be
asked for again. What is not used expires; beyond the bounds the one unused longest goes first.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from itertools import accumulate, pairwise
from threading import Lock
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stillhouse.errors import VectorNotFoundError
from stillhouse.web.wire import IdPage

_CURSOR: Final = re.compile(r"([A-Za-z0-9_-]{16,64})\.([0-9]{1,15})", re.ASCII)


class _Kept(NamedTuple):
    """Ids end to end as UTF-8, and where each ends: a fraction of what a list takes."""

    of: str
    text: bytes
    ends: npt.NDArray[np.uint64]
    expires: float

    @property
    def size(self) -> int:
        return len(self.text) + self.ends.nbytes

    def page(self, begin: int, end: int) -> list[str]:
        places = [int(self.ends[begin - 1]) if begin else 0, *map(int, self.ends[begin:end])]
        return [self.text[start:stop].decode() for start, stop in pairwise(places)]


class Cursors:
    """See the module. Used from any thread."""

    def __init__(
        self, *, seconds: float, memory: int, most: int, clock: Callable[[], float]
    ) -> None:
        self._seconds = seconds
        self._memory = memory
        self._most = most
        self._clock = clock
        self._lock = Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        """By token; the one unused longest comes first."""
        self._held = 0

    def first(self, index: str, ids: list[str], limit: int) -> IdPage:
        """The first page of an id set; the set is kept where there is more."""
        if len(ids) <= limit:
            return IdPage(ids, len(ids), None)
        encoded = [id_.encode() for id_ in ids]
        ends = np.fromiter(accumulate(map(len, encoded)), np.uint64, len(ids))
        token = secrets.token_urlsafe(16)
        kept = _Kept(index, b"".join(encoded), ends, self._clock() + self._seconds)
        with self._lock:
            self._kept[token] = kept
            self._held += kept.size
            self._sweep()
        return IdPage(ids[:limit], len(ids), f"{token}.{limit}")

    def next(self, index: str, cursor: str, limit: int) -> IdPage:
        """The page at a cursor. Raises `VectorNotFoundError` (``cursor_expired``)."""
        found = _CURSOR.fullmatch(cursor)
        with self._lock:
            self._sweep()
            kept = self._kept.get(found[1]) if found else None
            if found is None or kept is None or kept.of != index:
                raise VectorNotFoundError(
                    "the cursor has expired, or is none of this index; begin again without one",
                    code="cursor_expired",
                )
            self._kept[found[1]] = kept._replace(expires=self._clock() + self._seconds)
            self._kept.move_to_end(found[1])
        begin, total = int(found[2]), len(kept.ends)
        end = min(begin + limit, total)
        following = f"{found[1]}.{end}" if begin < end < total else None
        return IdPage(kept.page(min(begin, total), end), total, following)

    def _sweep(self) -> None:
        """Drop what expired, and what is too much: the unused first, the newest never."""
        now = self._clock()
        while self._kept:
            token, oldest = next(iter(self._kept.items()))
            too_much = self._held > self._memory or len(self._kept) > self._most
            if oldest.expires > now and not (too_much and len(self._kept) > 1):
                return
            del self._kept[token]
            self._held -= oldest.size
