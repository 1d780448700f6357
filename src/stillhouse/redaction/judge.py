"""Whether what was found is a secret or only looks like one.

An example, a placeholder, a name, a path or a number is not. These functions see single
values, never a text, and know nothing about where a value was found.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from typing import Final

WORDS: Final = (b"key", b"secret", b"token", b"pass", b"pwd", b"credential")
"""What the names of secrets have in them."""

_HEX: Final = re.compile(rb"[0-9a-fA-F]+")
_UUID: Final = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SIGN_BYTES: Final = b"-_./:!*#$%?@=+~^&"
_SIGNS: Final = re.compile(rb"[-_./:!*#$%?@=+~^&]+")
_PART: Final = re.compile(rb"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_PAIRS: Final = frozenset(
    b"ac ad ai al am an ar as at ca ce ch ck cl co ct da de di ea ec ed ee ef el em en ep er es et "
    b"ex fi fo ge ha he ho ic il im in io is it ke la le lf li ll lo ls ma me mo mp na nc nd ne ng "
    b"no ns nt oc od om on op or os ot ou pa pe pl po pr pt ra re rg ri rn ro rr rs rt se si ss st "
    b"ta te th ti to tr ts tu ty ue ul un ur us ut va ve".split()
)
_SAMPLE: Final = re.compile(rb"xxxx|XXXX|EXAMPLE|example|(?:your|YOUR|Your)[_-]|\.\.\.|\*\*\*")
_WORDED: Final = re.compile(rb"(?i:xxxx|example|your[_-]|change[_-]?me|placeholder|redacted)")
_PLACEHOLDER: Final = re.compile(
    rb"xxxx|example|your[_-]?|placeholder|changeme|change[_-]me|redacted|dummy|insert|<|>|\$\{|\{\{|"
    rb"\.\.\.|\*\*\*|://|%\(",
    re.IGNORECASE,
)
_URL_PLACEHOLDER: Final = re.compile(
    rb"p|pw|pwd|pass|passwd|password|passw0rd|token|key|apikey|api_key|credentials?|"
    rb"(?:your|my|the|db|user)?[_-]?(?:pass|passwd|password|pwd|token)|"
    rb"(?:your|my|the|db|user)[_-]?secret|"
    rb"changeme|x-oauth-basic|example|redacted|x+|\*+|\.+|_+|-+|%[sdv]",
    re.IGNORECASE,
)
# A name as templates and shells have them: letters, at most two digits at a part's end.
_NAME: Final = rb"[A-Za-z_]+[0-9]{0,2}(?:[._-]+[A-Za-z_]+[0-9]{0,2}){0,8}"
_VARIABLE: Final = re.compile(
    rb"\$(?P<shell>[A-Za-z_:]+[0-9]{0,2}(?:_[A-Za-z0-9]+)*)|\$[0-9]|\$\([^()]*\)|"
    rb"[#$%@]?\{+[ ]?(?:(?P<braced>" + _NAME + rb")(?:\(.*\)|\[.*\]|!.|:[-?+=]?.*)?|[0-9]?)[ ]?\}+|"
    rb"%(?:\((?P<printf>" + _NAME + rb")\)s|(?P<dos>[A-Za-z_]+[0-9]{0,2})%)|"
    rb"(?:[A-Za-z_]+:)?:(?P<symbol>" + _NAME + rb")|<[^<>]*>|\[(?P<bracket>" + _NAME + rb")\]"
)
_PORT: Final = re.compile(rb":?[0-9]{1,5}[/?#,;&)'<>\]}|].*", re.DOTALL)
_URL_PARTS: Final = re.compile(rb"[/?#]")


def is_hex(value: bytes) -> bool:
    """Whether it is a hexadecimal number, such as a commit's hash."""
    return _HEX.fullmatch(value) is not None


def is_url_placeholder(password: bytes) -> bool:
    """Whether a URL's password stands for one: ``password``, ``${PW}``, a row of ``*``.

    Or whether it is none: a port and what follows it, a path behind a host's name.
    """
    if b"[REDACTED:" in password or b"://" in password or _PORT.fullmatch(password):
        return True
    head = _URL_PARTS.split(password, maxsplit=1)[0]
    if b"/" in password:
        bare = password.translate(None, _SIGN_BYTES)
        return is_variable(head) or not (looks_random(password) or looks_random(bare))
    return _URL_PLACEHOLDER.fullmatch(password) is not None or is_variable(password)


def is_variable(value: bytes) -> bool:
    """Whether it is a variable or a gap to fill in: ``$NAME``, ``{name}``, ``%(pw)s``, ``<pw>``.

    A random password can look like one in its signs, but not in its letters.
    """
    found = _VARIABLE.fullmatch(value)
    if found is None:
        return False
    name = found[found.lastgroup] if found.lastgroup else b""
    return not looks_random(name)


def looks_password(value: bytes) -> bool:
    """Whether the value of an option or a setting that takes a password is one, not a word.

    Shorter ones count here than elsewhere: from six characters, with a digit or a sign
    among letters, or letters in random case.
    """
    if len(value) < 6 or is_variable(value) or _PLACEHOLDER.search(value):
        return False
    if value[:1] in (b"$", b"/", b"-", b"<", b"@") or value[:2] in (b"./", b"~/"):
        return False
    if value.translate(None, b"_-.=").isalpha():
        return len(value) >= 12 and looks_random(value)
    # A word with digits behind it is a password people choose; one with signs inside is a name.
    named = value.translate(None, b"_-.") != value
    return not value.isdigit() and _wordiness(value) < (0.5 if named else 0.7)


def looks_key(value: bytes) -> bool:
    """Whether it is a long random value with punctuation, as Django makes its secret key."""
    if len(set(value)) < 12 or _WORDED.search(value) or is_variable(value):
        return False
    return _wordiness(value) < 0.3 and not value.translate(None, b"_-.").isalpha()


def looks_issued(token: bytes) -> bool:
    """Whether what follows a mark is random, not a name, a row of ``x`` or an example."""
    letters = token.translate(None, b"_-.")
    if len(set(token)) < 6 or (letters.isalpha() and letters.islower()):
        return False
    return _SAMPLE.search(token) is None and _wordiness(token) < 0.5


def looks_secret(value: bytes, word: bytes) -> bool:
    """Whether the value of a field with a secret's name is one."""
    if _PLACEHOLDER.search(value) or value[:1] in (b"$", b"%", b"."):
        return False
    # A path; but one in 64 of AWS's secret keys begins with a slash.
    if value[:1] == b"/" and len(value) != 40:
        return False
    # A plain token is often a request's or a session's id; a key or a password is not.
    if _UUID.fullmatch(value):
        return word != b"token"
    return looks_random(value)


def looks_random(value: bytes) -> bool:
    """Mixed letters and digits (or both cases) that do not read as words, a path or a number."""
    if len(set(value)) < 6 or _wordiness(value) >= 0.4 or value.lower().endswith(WORDS):
        return False
    segments = _SIGNS.split(value.strip(_SIGN_BYTES))
    if len(segments) > 2 and all(part.isalpha() or part.isdigit() for part in segments):
        return False
    parts: list[bytes] = _PART.findall(value)
    letters = sum(part.isalpha() for part in parts)
    if letters < len(parts):
        return letters > 1
    return letters * 5 >= len(value) and not value.isupper() and not value.islower()


def _wordiness(value: bytes) -> float:
    """The share of neighbouring bytes that are among the commonest pairs of English letters.

    At 0.4 it tells four names in five; of random letters and digits it takes 3 in 1,000 for
    words at length 20 and 1 in 20,000 at 36; at 0.5 none of 20,000.
    """
    low = value[:256].lower()
    pairs = sum(low[place : place + 2] in _PAIRS for place in range(len(low) - 1))
    return pairs / max(1, len(low) - 1)


def is_basic(value: bytes) -> bool:
    """Whether it decodes to ``user:password`` (RFC 7617)."""
    try:
        plain = b64decode(value, validate=True)
    except (Base64Error, ValueError):
        return False
    return b":" in plain[:-1] and plain.isascii() and plain.decode().isprintable()
