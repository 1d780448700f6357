"""Text that cannot be seen, made visible."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.report.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, with ümlauts and 日本語", "plain, with ümlauts and 日本語"),
        ("a\tb\nc\r\nd\re", "a\tb\nc\nd\ne"),
        ("\0\x1b[31m", "␀␛[31m"),
        ("abc\u202edef", "abc⟦U+202E⟧def"),
        ("\x85\x7f", "⟦U+0085⟧⟦U+007F⟧"),
        ("zero\u200bwidth\ufeff", "zero⟦U+200B⟧width⟦U+FEFF⟧"),
        ("\U000e0041", "⟦U+E0041⟧"),
        ("\ud800", "⟦U+D800⟧"),
        ("family \U0001f468\u200d\U0001f469", "family \U0001f468\u200d\U0001f469"),
    ],
)
def test_what_cannot_be_seen_is_named(text: str, shown: str) -> None:
    """Controls have pictures, other invisible signs their numbers; what can be seen stays."""
    assert visible(text) == shown


@given(st.text())
def test_what_is_shown_can_be_written_and_shown_again(text: str) -> None:
    """The result is UTF-8, holds no control but tab and line feed, and is its own result."""
    shown = visible(text)
    shown.encode()
    assert not any(ord(sign) < 32 and sign not in "\t\n" for sign in shown)
    assert visible(shown) == shown
