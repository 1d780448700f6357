"""How much JSON holds, counted before anything is made of it: an object of Python's takes many
times the bytes that its text does, and making millions of them holds up everybody.

Nothing here knows what the JSON means. It must have been found to be JSON.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
import numpy as np

_BLOCK: Final = 1 << 18
"""Bytes that are looked at in one piece: too much is told after few of them."""
_NO_BACKSLASH: Final = re.compile(rb"[^\\]")
_SIGNS: Final = b'"{}[],'
_OTHERS: Final = bytes(byte for byte in range(256) if byte not in _SIGNS)
_STEPS: Final = np.zeros(256, np.int8)
_STEPS[[ord("["), ord("{")]] = 1
_STEPS[[ord("]"), ord("}")]] = -1
_BEGINS: Final = np.zeros(256, np.bool_)
_BEGINS[[ord("["), ord("{"), ord(",")]] = True


def more_values(data: msgspec.Raw, most: int) -> bool:
    """Whether JSON holds more than so many values, however they are nested: each list, object
    and comma outside strings begins one."""
    return len(memoryview(data)) > most and _count(data, most, entries=False) > most


def more_entries(data: msgspec.Raw, most: int) -> bool:
    """Whether JSON is a list of more than so many entries."""
    view = memoryview(data)
    if len(view) // 2 <= most or bytes(view[:1]) != b"[":
        return False
    return _count(data, most, entries=True) + 1 > most


def _count(data: msgspec.Raw, most: int, *, entries: bool) -> int:
    """Commas of the outermost list, or beginnings of values; counted no further than ``most``."""
    view = memoryview(data)
    at = depth = within = count = 0
    while at < len(view) and count <= most:
        # A piece ends with no backslash, so that none is parted from what it escapes.
        found = _NO_BACKSLASH.search(view, min(at + _BLOCK, len(view)) - 1)
        end = found.end() if found else len(view)
        piece = bytes(view[at:end])
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        signs = np.frombuffer(piece.translate(None, _OTHERS), np.uint8)
        at = end
        quotes = np.cumsum(signs == ord('"'), dtype=np.uint32) + within
        within = int(quotes[-1]) & 1 if len(quotes) else within
        outside = signs[quotes & 1 == 0]
        if entries:
            depths = np.cumsum(_STEPS[outside], dtype=np.int64) + depth
            depth = int(depths[-1]) if len(depths) else depth
            count += int(np.count_nonzero((outside == ord(",")) & (depths == 1)))
        else:
            count += int(np.count_nonzero(_BEGINS[outside]))
    return count
