"""Text from outside, made safe to look at: what cannot be seen is named.

A control character, a mark that turns the direction of writing, a tag that carries hidden letters:
in a log they are noise at best and deceit at worst, and a browser hides them. Escaping of HTML is
not done here; the templates escape everything.
"""

from __future__ import annotations

import re
from typing import Final

_NAMED: Final = re.compile(
    "["
    "\u007f-\u009f"  # C1 controls
    "\u061c\u200b\u2028\u2029\u2060-\u2064\ufeff"  # separators and marks without a width
    "\u202a-\u202e\u2066-\u2069"  # embeddings, overrides and isolates of direction
    "\ufff9-\ufffb"  # interlinear annotation
    "\U000e0000-\U000e0fff"  # tags and variation selectors
    "\ud800-\udfff"  # half a pair
    "]"
)
_CONTROL: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f]")
_LINE_END: Final = re.compile("\r\n?")


def visible(text: str) -> str:
    """The text with line ends as ``\\n``, control characters as their pictures (U+2400 …), and
    other characters that cannot be seen as ``⟦U+202E⟧``."""
    text = _LINE_END.sub("\n", text)
    text = _CONTROL.sub(lambda found: chr(0x2400 + ord(found[0])), text)
    return _NAMED.sub(lambda found: f"⟦U+{ord(found[0]):04X}⟧", text)
