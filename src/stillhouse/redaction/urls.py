"""Finds passwords in URLs, and tokens that stand where a user's name would.

A URL may be plain, with escaped slashes (``:\\/\\/``, as some encoders of JSON write) or
percent-encoded as part of another one. Only what is secret is found; host and user stay.
"""

from __future__ import annotations

import re
from typing import Final

from stillhouse.redaction.formats import KINDS
from stillhouse.redaction.judge import is_hex, is_url_placeholder, looks_random
from stillhouse.redaction.spans import Span

_START: Final = re.compile(rb":(?://|\\++/\\++/)")
_LOGIN: Final = re.compile(KINDS["url-password"].pattern.encode())
_HOST: Final = rb"@(?!sha256:)[A-Za-z0-9\[_%$-]"
_USER: Final = re.compile(
    rb"([A-Za-z0-9._~!+=-]{20,512})(?::[^\x00-\x20/@\"'`<>\\]{0,64})?" + _HOST
)
# Of an encoded URL the colon, the slashes and the @ are encoded too, and every odd sign.
_SAFE: Final = rb"(?:[A-Za-z0-9._~!*()+-]|%(?!(?:25)?(?:3[Aa]|2[Ff]|40)))"
_ENCODED: Final = re.compile(
    rb"%(?:25)?3[Aa](?:%(?:25)?2[Ff]){2}(?P<user>" + _SAFE + rb"{0,128})"
    rb"(?:%(?:25)?3[Aa](?P<password>(?:[A-Za-z0-9._~!*()+-]|%(?!(?:25)?40)){1,256}))?(?:%(?:25)?40|@)"
)
_BYTE: Final = re.compile(rb"%(?:25)?([0-9A-Fa-f]{2})")
_SCHEME: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-"
# A URL that stands between these ends where they close.
_CLOSING: Final = {ord("'"): b"'", ord("<"): b">", ord(">"): b"<", ord("("): b")", ord("["): b"]"}
_LONGEST: Final = 700
_AT: Final = ord("@")
_PERCENT: Final = ord("%")
_ESCAPE: Final = ord("\\")


def has_login(data: bytes) -> bool:
    """Whether there is a URL at all, and an ``@``: the cheapest answer that is never wrong."""
    return _AT in data and (
        data.find(b"://") >= 0 or (_ESCAPE in data and data.find(rb"\/" b"\\") >= 0)
    )


def url_spans(data: bytes) -> list[Span]:
    """Passwords and tokens in the URLs of a text, or of JSON made of texts."""
    spans: list[Span] = []
    if has_login(data):
        done = 0
        for start in _START.finditer(data):
            if start.start() >= done and (span := _login(data, start)):
                spans.append(span)
                done = span.end
    if _PERCENT in data:
        spans += _encoded_spans(data)
    return spans


def _login(data: bytes, start: re.Match[bytes]) -> Span | None:
    at = start.end()
    before = data[max(0, start.start() - 24) : start.start()].rstrip(_SCHEME)
    closing = _CLOSING.get(before[-1]) if before else None
    end = data.find(closing, at, at + _LONGEST) if closing else -1
    if end < 0:
        end = len(data)
    found = _LOGIN.match(data, start.start(), end)
    if found and not is_url_placeholder(_unescaped(found[1])):
        return Span(*found.span(1), 2, "url-password")
    found = _USER.match(data, at, end)
    if found and _is_token(found[1]):
        return Span(*found.span(1), 2, "url-password")
    return None


def _is_token(user: bytes) -> bool:
    # A short hexadecimal number is the id of a job or an object.
    return len(user) >= (32 if is_hex(user) else 20) and looks_random(user)


def _unescaped(password: bytes) -> bytes:
    return password.replace(b"\\", b"")


def _encoded_spans(data: bytes) -> list[Span]:
    spans: list[Span] = []
    for found in _ENCODED.finditer(data):
        password = _decoded(found["password"]) if found["password"] else b""
        if password and not is_url_placeholder(password):
            spans.append(Span(*found.span("password"), 2, "url-password"))
        elif _is_token(_decoded(found["user"])):
            spans.append(Span(*found.span("user"), 2, "url-password"))
    return spans


def _decoded(text: bytes) -> bytes:
    return _BYTE.sub(lambda found: bytes.fromhex(found[1].decode()), text)
