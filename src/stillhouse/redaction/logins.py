"""Finds passwords that commands and settings give away, even those of few characters.

``--password X``, ``PGPASSWORD=X``, ``curl -u user:X``, a line of netrc, and the secret key of
a Django project with its punctuation. What is found is what the command would read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from stillhouse.redaction.judge import looks_key, looks_password
from stillhouse.redaction.spans import Span

# Escapes in JSON are read as what they stand for, so that a text and its JSON are alike.
_GAP: Final = rb"(?:[ \t\r\n]|\\++[nrt])++"
_VALUE: Final = (
    rb"(?:\\*+[\"'](?P<quoted>[^\x00-\x20\"'\\]{6,256})|"
    rb"(?P<bare>[^\x00-\x20\"'`\\;|&<>()\[\]]{6,256}))"
)
# As an assignment, or as a key and its value in JSON: a name counts in both.
_COLON: Final = rb"\\*+[\"'](?:,|[ ]?:)?[ ]*+"
_OPTION: Final = re.compile(rb"--(?:[a-z]{1,20}-)?password(?:=|[ ]++|" + _COLON + rb")" + _VALUE)
_SETTING: Final = re.compile(rb"PASSWORD(?:=|" + _COLON + rb"(?=\\*+[\"']))" + _VALUE)
_NETRC: Final = re.compile(
    rb"login" + _GAP + rb"[^\x00-\x20\"'\\]{1,128}" + _GAP + rb"password" + _GAP + _VALUE
)
_CURL: Final = re.compile(
    rb"curl(?s:(?:(?!curl[ ]).){0,500}?)[ ](?:-u|-U|--user|--proxy-user)[ =]?[ ]*+"
    rb"(?:\\*+[\"'])?[^\x00-\x20:\"'\\]{1,128}:"
    rb"(?P<bare>[^\x00-\x20\"'`\\;|&<>()\[\]]{6,256})"
)
_KEY: Final = (
    rb"(?:\\*+[\"'])?(?:[ ]?\])?(?::[ ]?str)?[ ]*+[:=][ ]*+[rb]?"
    rb"\\*+[\"'](?P<quoted>[^\x00-\x20\"'\\]{24,256})(?=\\*+[\"'])"
)
_KEYS: Final = [(name, re.compile(name + _KEY)) for name in (b"SECRET_KEY", b"secret_key")]


def has_setting(data: bytes) -> bool:
    """Whether a setting is named whose value the filter for dense runs may not see."""
    return _UNDERSCORE in data and _K in data and data.find(b"SECRET_KEY") >= 0


_UNDERSCORE: Final = ord("_")
_DASH: Final = ord("-")
_K: Final = ord("K")
_W: Final = ord("W")


def login_spans(data: bytes, lenient: bool) -> list[Span]:
    """Passwords of commands and settings; when lenient, a candidate is enough."""
    spans: list[Span] = []
    if data.find(b"password") >= 0:
        if data.find(b"--") >= 0:
            _add(spans, _OPTION, data, "password", looks_password)
        if data.find(b"login") >= 0:
            _add(spans, _NETRC, data, "password", looks_password)
    if _W in data and data.find(b"PASSWORD") >= 0:
        _add(spans, _SETTING, data, "password", looks_password)
    if _DASH in data and data.find(b"curl ") >= 0:
        if lenient and (b" -u" in data or b" -U" in data or b"user" in data):
            return [Span(0, 0, 4, "password")]
        _add(spans, _CURL, data, "password", looks_password)
    if _UNDERSCORE in data:
        for name, pattern in _KEYS:
            if data.find(name) >= 0:
                _add(spans, pattern, data, "secret", looks_key)
    return spans


def _add(
    spans: list[Span],
    pattern: re.Pattern[bytes],
    data: bytes,
    kind: str,
    judge: Callable[[bytes], bool],
) -> None:
    found = pattern.search(data)
    while found:
        group = found.lastgroup or "bare"
        value = found[group]
        if group == "bare":
            value = value.rstrip(b".,:?!*")
        called = group == "bare" and data[found.end() : found.end() + 1] in (b"(", b"[")
        taken = not called and judge(value)
        if taken:
            start = found.start(group)
            spans.append(Span(start, start + len(value), 4, kind))
        # What was no secret may itself hold a name and a secret.
        found = pattern.search(data, found.end() if taken else found.start() + 1)
