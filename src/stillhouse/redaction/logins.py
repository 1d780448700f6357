"""Finds passwords that commands and settings give away, even those of few characters.

``--password X``, ``PGPASSWORD=X``, ``curl -u user:X``, a line of netrc, a URL's
``?user=a&password=X``, and the secret key of a Django project with its punctuation. What is
found is what the command would read.

These secrets may be too short for the filter for dense runs. So `has_setting` lets a text pass for
the words beside them, and what else stands in the text does not matter.
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
# Also of a connection string with semicolons, and with the & as JSON or HTML may escape it.
_QUERY: Final = re.compile(
    rb"(?:[?&;]|\\u0026)[A-Za-z_]{0,24}[Pp]assword=(?P<bare>[^\x00-\x20\"'`\\;|&<>()\[\]]{6,256})"
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
    """Whether a setting is named whose value the filter for dense runs may not see.

    A rare letter is looked for first: that is twenty times cheaper than the words it stands in.
    """
    return (
        (data.find(b"assword") >= 0 and _names_password(data))
        or (_W in data and data.find(b"PASSWORD") >= 0)
        or (_DASH in data and _COLON_SIGN in data and _calls_curl(data))
        or (_UNDERSCORE in data and _names_key(data))
    )


def _names_password(data: bytes) -> bool:
    return data.find(b"--") >= 0 or data.find(b"login") >= 0 or data.find(b"assword=") >= 0


def _calls_curl(data: bytes) -> bool:
    return data.find(b"curl ") >= 0 and (b" -u" in data or b" -U" in data or b"-user" in data)


def _names_key(data: bytes) -> bool:
    return (_K in data and data.find(b"SECRET_KEY") >= 0) or data.find(b"secret_key") >= 0


_COLON_SIGN: Final = ord(":")
_DASH: Final = ord("-")
_K: Final = ord("K")
_UNDERSCORE: Final = ord("_")
_W: Final = ord("W")


def login_spans(data: bytes, lenient: bool) -> list[Span]:
    """Passwords of commands and settings; when lenient, a candidate is enough."""
    spans: list[Span] = []
    if data.find(b"assword") >= 0:
        if data.find(b"--") >= 0:
            _add(spans, _OPTION, data, "password", looks_password)
        if data.find(b"login") >= 0:
            _add(spans, _NETRC, data, "password", looks_password)
        if data.find(b"assword=") >= 0:
            _add(spans, _QUERY, data, "url-password", looks_password)
    if _W in data and data.find(b"PASSWORD") >= 0:
        _add(spans, _SETTING, data, "password", looks_password)
    if _DASH in data and _COLON_SIGN in data and _calls_curl(data):
        if lenient:
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
            rank = 2 if kind == "url-password" else 4
            spans.append(Span(start, start + len(value), rank, kind))
        # What was no secret may itself hold a name and a secret.
        found = pattern.search(data, found.end() if taken else found.start() + 1)
