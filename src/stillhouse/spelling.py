"""What logs mean by the strings they hold: blanks say nothing, and words vary in spelling.

A text that passes through is never changed here, only looked at.
"""

from __future__ import annotations

import re
from typing import Final

Words = str | list[str] | None
"""A list of strings, or one string for a list of one."""

_GAPS: Final = re.compile(r"[\s_-]+")


def word(text: object) -> str:
    """A vocabulary word in its plain form: `` Request-Changes`` reads ``request_changes``."""
    if not isinstance(text, str):
        return ""
    plain = text.strip().casefold()
    # Most words are plain already, and looking is far cheaper than substituting.
    if plain.isidentifier() and "__" not in plain:
        return plain
    return _GAPS.sub("_", plain)


def said(text: str | None) -> str | None:
    """The text, or ``None`` where it is blank."""
    return text if text and not text.isspace() else None


def words(value: Words) -> list[str]:
    """The strings of a list that say something; one string is a list of one."""
    if not value:
        return []
    return [text for text in ([value] if isinstance(value, str) else value) if said(text)]
