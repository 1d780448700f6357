"""Finds secrets in the bytes of a text, or of JSON made of texts.

A *run* is made of letters, digits and signs such as ``_``, ``-`` and ``/``; it is *dense*
when enough of it remains once the commonest letters are dropped (see the package). The
search goes from dense run to dense run and looks closely around each: for a mark, a shape,
a name. Private key blocks and passwords in URLs are found by themselves.

A *word* is what stands between blanks, quotes and escapes; no secret is in a short one.

The search is strict or lenient. The lenient one is for JSON: escapes make gaps wider there,
so it looks further back, takes a candidate without judging it, and stops at the first.
Whatever the strict search finds in a text, the lenient one finds in its JSON, because no
token and no value holds a character that JSON escapes, and what stands around them is read
with its escapes. Time is linear: unbounded repeats come last in a pattern or are possessive,
and a failed attempt costs a bounded number of steps.
"""

from __future__ import annotations

import re
from typing import Final

from stillhouse.redaction.blocks import block_spans
from stillhouse.redaction.formats import NAMED, SHAPED, expand
from stillhouse.redaction.issued import add_issued, first_mark, glued_end
from stillhouse.redaction.judge import (
    WORDS,
    is_basic,
    is_hex,
    looks_issued,
    looks_random,
    looks_secret,
)
from stillhouse.redaction.logins import has_setting, login_spans
from stillhouse.redaction.spans import Span, merged
from stillhouse.redaction.urls import has_login, url_spans

_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ALNUM: Final = b"0123456789" + _LETTERS
_DROPPED: Final = b"etaoinT_-+/!#$%^*~@"
_LOWER: Final = b"abcdefghijklmnopqrstuvwxyz"
_DENSE: Final = 11
_NEEDLE: Final = b"a" * _DENSE
# With bytes to drop, `translate` takes its fast path: half the time of the plain one.
_THIN: Final = bytes(97 if byte in _ALNUM else 32 for byte in range(256))
# The filter also closes the gaps that punctuation makes in a random value.
_GATE_DROPPED: Final = _DROPPED + b"&)"
# Words are parted by blanks, quotes and escapes, which no token and no value holds.
_SHORTEST: Final = 16
_LONG_WORD: Final = b"a" * _SHORTEST
_WORDS: Final = bytes(
    97 if 32 < byte < 127 and byte not in b"\"'`\\" else 32 for byte in range(256)
)
_RUNS: Final = bytes(97 if byte in _ALNUM + b"_-+/!#$%^*~@" else 32 for byte in range(256))


def find(data: bytes) -> list[Span]:
    """The secrets in order; overlapping ones are one, named by the more telling of them."""
    window = _dense_window(data)
    if window is None and not has_login(data) and not has_setting(data):
        return []
    spans = merged(_spans_in(data, window, lenient=False))
    return [span._replace(start=span.start - 1, end=span.end - 1) for span in spans]


def suspicious(data: bytes) -> bool:
    """Whether there may be a secret in a text's UTF-8 bytes, or in JSON made of such texts.

    Never wrong when it says no: where `redact` (or `redact_value`) would change a leaf, this
    is true for the leaf and for the JSON that holds it, as `msgspec.json.encode` writes it.
    About 3 µs for 2 kB of plain prose, 5 of code; up to 30 µs a kB where long random
    identifiers abound.
    """
    window = _dense_window(data)
    if window is None and not has_login(data) and not has_setting(data):
        return False
    return bool(_spans_in(data, window, lenient=True))


def _dense_window(data: bytes) -> tuple[int, int] | None:
    """Where dense runs can be: none begins before the first place or ends after the second."""
    thin = data.translate(_THIN, _GATE_DROPPED)
    # `find` costs less than `in`, which first tries its operand as a number.
    first = thin.find(_NEEDLE)
    if first < 0:
        return None
    # Bytes are dropped, never added: what is kept before and after bounds the place.
    return first, len(data) - (len(thin) - thin.rfind(_NEEDLE) - _DENSE)


def _spans_in(data: bytes, window: tuple[int, int] | None, *, lenient: bool) -> list[Span]:
    """What is found, unsorted, in positions of ``b" " + data``; when lenient, the first is all."""
    data = b" " + data + b" "
    spans = url_spans(data)
    # A rare letter is looked for first: that is ten times cheaper than the words it stands in.
    if _K in data and (data.find(b"PRIVATE KEY") >= 0 or data.find(b"PuTTY-User-Key-File") >= 0):
        spans += [Span(0, 0, 0, "private-key")] if lenient else block_spans(data)
    spans += login_spans(data, lenient)
    if window:
        _search_runs(spans, data, window[0], window[1] + 2, lenient)
    if not lenient and (ids := [span for span in spans if span.kind == "aws-key-id"]):
        spans += _aws_secrets(data, ids)
    return spans


def _search_runs(spans: list[Span], data: bytes, left: int, right: int, lenient: bool) -> None:
    """Look around each dense run between two places."""
    words = data[left:right].translate(_WORDS)
    at = words.find(_LONG_WORD)
    while at >= 0 and not (lenient and spans):
        # A word that goes on behind the last place may begin with a run that does not.
        stop = words.find(b" ", at + _SHORTEST)
        end = left + stop if stop >= 0 else len(data)
        if data[left + at : end].translate(_THIN, _GATE_DROPPED).find(_NEEDLE) >= 0:
            _search_word(spans, data, left + at, end, lenient)
        at = words.find(_LONG_WORD, stop) if stop >= 0 else -1


def _search_word(spans: list[Span], data: bytes, left: int, right: int, lenient: bool) -> None:
    """Look around each dense run of a word, as far as it goes."""
    runs = data[left:right].translate(_RUNS) + b" "
    at = runs.find(_NEEDLE)
    while at >= 0 and not (lenient and spans):
        end = runs.find(b" ", at + _DENSE)
        if _is_dense(data[left + at : left + end]):
            _look_around(spans, data, left + at, left + end, lenient)
        at = runs.find(_NEEDLE, end)


# A path or name in lower case with a number behind it: ``src/letters/part_2529``.
_NUMBERED: Final = re.compile(rb"(?:[a-z]+[/_-])+[0-9]{1,6}")


def _is_dense(run: bytes) -> bool:
    """Whether a run is dense, and no plain number, all in lower case, or a numbered name."""
    kept = run.translate(None, _DROPPED)
    return (
        len(kept) >= _DENSE
        and not kept.isdigit()
        and bool(kept.translate(None, _LOWER))
        and not _NUMBERED.fullmatch(run)
    )


# The rest of an escape belongs to what stands before a run, in a text as in its JSON.
_ESCAPE: Final = re.compile(rb"[nrtbf]|u[0-9A-Fa-f]{4}")
_BACKSLASH: Final = ord("\\")
_K: Final = ord("K")
_COLON: Final = ord(":")


def _look_around(spans: list[Span], data: bytes, at: int, end: int, lenient: bool) -> None:
    """Add to ``spans`` what is found around the run from ``at`` to ``end``."""
    first = begin = at
    before = data[at - 1]
    if before == _BACKSLASH and (escape := _ESCAPE.match(data, at)):
        at = begin = escape.end()
        if not _is_dense(data[at:end]):
            return
    elif before in _TOKEN_SIGNS:
        head = data[max(0, at - 80) : at]
        begin = first = at - len(head) + len(head.rstrip(_TOKEN_SIGNS))
    if found := first_mark(data, max(0, first - 1), end):
        add_issued(spans, found, data, at, end, lenient)
    _add_shaped(spans, data, at, end, lenient)
    _add_named(spans, data, begin, at, lenient)


_AWS_SECRET: Final = re.compile(
    rb"(?:(?<![A-Za-z0-9+/=])|(?<=\\[nrt]))[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=])"
)


def _aws_secrets(data: bytes, ids: list[Span]) -> list[Span]:
    """What stands within 200 bytes of an access key id and has a secret key's form."""
    spans = []
    done = 0
    for one in sorted(ids):
        for match in _AWS_SECRET.finditer(data, max(done, one.start - 200), one.end + 200):
            done = match.end()
            if looks_random(match[0]) and not is_hex(match[0]):
                spans.append(Span(*match.span(), 1, "aws-secret-key"))
        done = max(done, one.end + 160)
    return spans


_SHAPES: Final = {kind: re.compile(expand(shape).encode()) for kind, shape, _, _ in SHAPED}


def _add_shaped(spans: list[Span], data: bytes, at: int, end: int, lenient: bool) -> None:
    """Tokens known by their build: each is tried only where one character says it may be."""
    tries: list[tuple[str, int]] = []
    if data[end : end + 8 : 7] == b"..":
        tries = [("discord-token", place) for place in range(max(at, end - 27), end - 19)]
    elif data[at - 1] == _COLON:
        tries = [("telegram", at)]
    if (tilde := data.find(b"Q~", max(4, at - 36), end)) >= 0:
        tries.append(("azure-client-secret", tilde - 4))
    if end - at >= 84 and (sign := data.find(b"AZDO", at, end)) >= 76:
        tries.append(("azure-devops", sign - 76))
    for kind, place in tries:
        match = _SHAPES[kind].match(data, place)
        if match and match.end() > at and (lenient or looks_issued(match[0])):
            right = max(match.end(), glued_end(data, place, match.end()))
            spans.append(Span(place, right, 1, kind))


# ---------------------------------------------------------- secrets known by their name

_TOKEN_SIGNS: Final = _ALNUM + b"_-+/.~!@#$%^*?=:&"
_VALUE_SIGNS: Final = _ALNUM + b"_-+/.~!@#$%^*?"
_BARE: Final = re.compile(rb"[!#-%*+\-./0-9:=?@A-Z^_a-z~]+")
_QUOTED: Final = re.compile(rb"[!#-&(-\[\]-_a-~]+")
# Judged by so much of it: a value that goes on for megabytes is not read at every run in it.
_LONGEST: Final = 4096
_CREDENTIAL: Final = re.compile(rb"[A-Za-z0-9._~+/-]{12,}=*")
_NAME: Final = (
    rb"(?:key|secrets?|token|pass(?:word|wd|phrase|code)?|pwd|credentials?)(?:[_-]?[0-9]{1,2})?"
)
_NAME_END: Final = re.compile(_NAME + rb"\Z", re.IGNORECASE)
_GAP: Final = rb"(?:[ \t\r\n\"'`\\\])*]|(?<=\\)[nrt])*+"
_ASSIGNED: Final = re.compile(
    _NAME + _GAP + rb"(?:," + _GAP + rb"value" + _GAP + rb")?"
    rb"(?::[ ]?[&a-z.\[\]|]{1,16}[ ]*)?(?P<sign>:=|=>|==?|:|>|is|was)?" + _GAP + rb"\Z"
)
# The name of a kind is not the name of what follows its mark.
_MARKED: Final = re.compile(rb"\[redacted:[a-z0-9-]*\](?:[^a-z0-9]|(?<=\\)[nrt])*\Z")
_KEY_OF: Final = (
    *(b"api app application auth access account admin client consumer deploy encryption".split()),
    *(b"license master private secret secure security service session shared signing".split()),
    *(b"storage subscription webhook openai azure anthropic claude cohere mistral gemini".split()),
    *(b"google groq together datadog stripe aws supabase twilio wandb deepseek hf".split()),
)
_TOKEN_NOT: Final = (
    *(b"page next continuation cursor sync eos bos pad unk mask sep cls start stop max".split()),
    *(b"min num count per special client_request idempotency publickey public_key".split()),
)


def is_secret_name(name: bytes) -> bool:
    """Whether a name ends like the name of a secret: ``api_key``, ``PASSWORD``, ``token2``."""
    return _NAME_END.search(name) is not None


def _add_named(spans: list[Span], data: bytes, begin: int, at: int, lenient: bool) -> None:
    """A value that holds the run, and before it a name that says it is secret."""
    if spans and spans[-1].rank == 4 and spans[-1].start <= at < spans[-1].end:
        return
    value_at = begin
    if begin < at:
        value_at += len(data[begin:at].rstrip(_VALUE_SIGNS))
    before = data[max(0, value_at - (120 if lenient else 48)) : value_at].lower()
    if before.rstrip(_BEFORE_VALUE).endswith(_SCHEMES):
        _add_credential(spans, data, value_at, at, before, lenient)
    words = [word for word in WORDS if before.find(word) >= 0 and _names_secret(before, word)]
    if not words or (not lenient and _MARKED.search(before)):
        return
    quoted = before[-1:] in b"\"'`"
    pattern = _QUOTED if quoted else _BARE
    match = pattern.match(data, value_at, value_at + _LONGEST)
    if match is None or match.end() <= at or match.end() - value_at < 16:
        return
    if lenient:
        spans.append(Span(*match.span(), 4, "secret"))
        return
    value = match[0] if quoted else match[0].rstrip(b".:?!*")
    called = not quoted and data[match.end()] in b"([{"
    for word in words:
        name = before[: before.rfind(word)]
        ordinary = word == b"token" and name.rstrip(b"_- ").endswith(_TOKEN_NOT)
        if not (called or ordinary) and looks_secret(value, word):
            end = value_at + len(value)
            if len(value) == _LONGEST and (rest := pattern.match(data, end)):
                end = rest.end()
            spans.append(Span(value_at, end, 4, _kind_of(name + word, value)))


def _names_secret(before: bytes, word: bytes) -> bool:
    """Whether the text before a value ends in a name with this word and a sign that assigns."""
    place = before.rfind(word)
    tail = _ASSIGNED.match(before, place)
    if tail is None:
        return False
    name = before[:place]
    if not tail["sign"] and b"--" not in (name.split() or [b""])[-1]:
        return False
    return word != b"key" or name.rstrip(b"_- .").endswith(_KEY_OF)


_CALLED: Final = [
    (kind, re.compile(f"(?:{name})[^=]*={expand(value)}".encode()))
    for kind, name, value, _, _ in NAMED
]
_OWN_NAME: Final = re.compile(rb"[a-z0-9_. -]{0,40}\Z")


def _kind_of(before: bytes, value: bytes) -> str:
    name = _OWN_NAME.search(before)
    line = (name[0] if name else b"") + b"=" + value
    return next((kind for kind, called in _CALLED if called.search(line)), "secret")


_BEFORE_VALUE: Final = b" :\"'\\"
_SCHEMES: Final = (b"bearer", b"basic", b"token", b"apikey", b"auth")
_AUTH: Final = re.compile(rb"[\\]*+[\"'][ ]?:[ ]?[\\]*+[\"']")


def _add_credential(
    spans: list[Span], data: bytes, value_at: int, at: int, before: bytes, lenient: bool
) -> None:
    """``Bearer``, ``Token`` and ``Basic`` credentials, and those in Docker's configuration."""
    match = _CREDENTIAL.match(data, value_at)
    if match is None or match.end() <= at:
        return
    scheme = before.rstrip(b" ")
    if scheme.endswith((b"token", b"apikey")) and before.find(b"authorization") < 0:
        return
    basic = scheme.endswith(b"basic")
    if not scheme.endswith(_SCHEMES[:-1]) or not before.endswith(b" "):
        basic = _AUTH.fullmatch(before, before.rfind(b"auth") + 4) is not None
        if not basic:
            return
    if lenient or (is_basic(match[0]) if basic else looks_secret(match[0], b"key")):
        spans.append(Span(*match.span(), 3, "basic-auth" if basic else "bearer-token"))
