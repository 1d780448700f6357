"""Words of a log's vocabulary are compared in one plain form, however they are spelt."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stillhouse.spelling import word


@pytest.mark.parametrize(
    ("spelt", "plain"),
    [
        ("accept", "accept"),
        (" Request-Changes\n", "request_changes"),
        ("build red  reverted", "build_red_reverted"),
        ("build__red", "build_red"),
        ("_accept-", "_accept_"),
        ("2nd try", "2nd_try"),
        ("", ""),
        (" ", ""),
        (None, ""),
        (True, ""),
    ],
)
def test_a_word_has_one_plain_form(spelt: object, plain: str) -> None:
    """Case, blanks around and the kind of gap do not matter; what is no text is no word."""
    assert word(spelt) == plain


@given(st.text(st.sampled_from("aZ_- \t\u2003é\u212a1"), max_size=8))
@example("a\u2003b")
def test_the_short_way_is_the_long_way(text: str) -> None:
    """A word that looks plain already reads as the full substitution would have it."""
    assert word(text) == re.sub(r"[\s_-]+", "_", text.strip().casefold())
