"""Takes secrets out of text before it leaves the lake (SPEC S10).

API keys, tokens, private keys and passwords become ``[REDACTED:kind]``.

    text → filter → runs → marks, shapes, names → judgement → replacement

`formats` holds the tables of what is looked for; `search` finds it, with `issued` for tokens
with a mark, and `urls`, `blocks` and `logins` for what has a place of its own; `judge` tells a
secret from an example, a name or a number.

Speed comes from a filter that most text does not pass: a URL with an ``@``, the words beside the
passwords of commands and settings (`logins`), or a *dense run*. That is letters and digits, of
which at least eleven remain once the commonest letters, ``T`` and the signs inside names and paths
are dropped, so that words, names and timestamps do not count. One `bytes.translate` drops them and
one search finds the run; only what stands around such runs is looked at closely. The price is
measured: the filter misses fewer than 1 in 5,000 random tokens of 20 characters and 1 in 200 of 16.
A secret known only by its name is missed 1 time in 50 at 16 characters, 1 in 250 at 20, and hardly
ever at 32.

It never reads a clock, a file or the environment, never logs what it finds, and asks nobody whether
a secret is valid. It does not know secrets shorter than 16 characters (but for passwords in URLs,
and those that a command or a setting names), in natural language without a name, or split over
several strings.
"""

from __future__ import annotations

from typing import Any

import msgspec

from stillhouse.redaction.formats import KINDS, Kind
from stillhouse.redaction.search import find, is_secret_name, suspicious
from stillhouse.redaction.spans import Span

__all__ = ["KINDS", "Kind", "redact", "redact_line", "redact_value", "suspicious"]


# A replacement can uncover what stood too close to be seen: a token glued to one behind it.
_PASSES = 8


def redact(text: str, counts: dict[str, int]) -> str:
    """The text with its secrets replaced by ``[REDACTED:kind]``, each counted by its kind.

    The same object when there is none. What is redacted already stays as it is.
    """
    for _ in range(_PASSES):
        data = text.encode("utf-8", "surrogatepass")
        spans = find(data)
        if not spans:
            break
        text = _replaced(data, spans, counts)
    return text


def redact_value(value: Any, counts: dict[str, int]) -> Any:
    """A JSON-like value with every string in it redacted, keys of objects among them.

    A key counts as the name of the string it holds. The same object (also for each part)
    when nothing was found. Two keys that become alike are told apart by a number.
    """
    if isinstance(value, str):
        return redact(value, counts)
    if isinstance(value, dict):
        return _redact_dict(value, counts)
    if not isinstance(value, list | tuple):
        return value
    clean: list[Any] = []
    changed = False
    for item in value:
        new = redact_value(item, counts)
        changed = changed or new is not item
        clean.append(new)
    if not changed:
        return value
    return clean if isinstance(value, list) else tuple(clean)


def redact_line(line: bytes) -> bytes:
    """A JSON line with the secrets taken out of its strings; the same bytes when it has none."""
    try:
        value = msgspec.json.decode(line)
        clean = redact_value(value, {})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return redact(line.decode(errors="replace"), {}).encode()
    return line if clean is value else msgspec.json.encode(clean)


def _redact_dict(value: dict[Any, Any], counts: dict[str, int]) -> dict[Any, Any]:
    clean: dict[Any, Any] = {}
    changed = False
    for key, item in value.items():
        new_key = redact(key, counts) if isinstance(key, str) else key
        if isinstance(key, str) and isinstance(item, str):
            new: Any = _redact_named(key, item, counts)
        else:
            new = redact_value(item, counts)
        changed = changed or new is not item or new_key is not key
        unique, number = new_key, 2
        while new_key is not key and (unique in clean or unique in value):
            unique, number = f"{new_key} {number}", number + 1
        clean[unique] = new
    return clean if changed else value


def _redact_named(key: str, text: str, counts: dict[str, int]) -> str:
    """The string under a key, which counts as its name."""
    name = key.encode("utf-8", "surrogatepass")
    if not is_secret_name(name):
        return redact(text, counts)
    before = name + b'="'
    data = text.encode("utf-8", "surrogatepass")
    shift = len(before)
    spans = [
        span._replace(start=max(0, span.start - shift), end=min(span.end - shift, len(data)))
        for span in find(before + data + b'"')
        if span.end > shift
    ]
    return redact(_replaced(data, spans, counts), counts) if spans else redact(text, counts)


def _replaced(data: bytes, spans: list[Span], counts: dict[str, int]) -> str:
    parts: list[bytes] = []
    done = 0
    for span in spans:
        parts += (data[done : span.start], f"[REDACTED:{span.kind}]".encode())
        counts[span.kind] = counts.get(span.kind, 0) + 1
        done = span.end
    parts.append(data[done:])
    return b"".join(parts).decode("utf-8", "surrogatepass")
