"""Who may ask: API keys, and on loopback without keys the host name that a request names.

A key is compared by its hash, in constant time, with every key that is known; no key is ever
kept, logged or told. Without keys only loopback is listened on (see `stillhouse.web.server`), and
then a web page in the user's browser must not get in: a page reaches loopback only under a host
name of its own (DNS rebinding) or with an Origin of its own, and both are refused.
"""

from __future__ import annotations

import hmac
import os
import stat
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Protocol

from stillhouse.config import seconds
from stillhouse.errors import UsageError
from stillhouse.web.calls import Call
from stillhouse.web.problems import Denial

_LOOK_AGAIN: Final = 1.0
"""Seconds after which the file of keys is looked at again."""

Tell = Callable[[str, str], None]
"""Hears what happened to the file of keys: an event's name, and words."""


class Guard(Protocol):
    """Lets a request in, or raises `Denial`."""

    def admit(self, call: Call) -> None:
        """For every route that is not open."""
        ...

    def admit_open(self, call: Call) -> None:
        """For routes that need no key."""
        ...


class Keys:
    """Keys from a file, read again when it changes. A file that has become unusable leaves the
    old keys in force, and that is told."""

    def __init__(self, path: Path, tell: Tell) -> None:
        self._path = path
        self._tell = tell
        # Looked at before it is read: what changes in between is seen the next time.
        self._seen = _stamp(path)
        self._digests = _read(path)
        self._next = seconds() + _LOOK_AGAIN
        if problem := exposed(path):
            tell("keys_exposed", problem)

    def admit(self, call: Call) -> None:
        """Refuse who brings no key (401)."""
        if seconds() >= self._next:
            self._look()
        given = _given(call)
        digest = sha256(given).digest()
        known = False
        for one in self._digests:  # all of them, always: no early end tells which
            known |= hmac.compare_digest(digest, one)
        if not known:
            raise Denial(
                "unauthorized",
                "the key that came is none of the server's"
                if given
                else "give a key as 'Authorization: Bearer KEY' or 'api-key: KEY'",
                headers=((b"www-authenticate", b'Bearer realm="stillhouse"'),),
                close=True,
            )

    def admit_open(self, call: Call) -> None:
        """Everybody."""

    def _look(self) -> None:
        self._next = seconds() + _LOOK_AGAIN
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._digests = _read(self._path)
        except UsageError as error:
            self._tell("keys_unusable", f"{error}; the old keys stay in force")
            return
        self._tell("keys_read", f"{len(self._digests)} keys from {self._path}")
        if problem := exposed(self._path):
            self._tell("keys_exposed", problem)


class Loopback:
    """No keys: only what a program on this machine sends, by its address or as localhost."""

    def admit(self, call: Call) -> None:
        """Refuse other host names (421) and web pages of other origins (403)."""
        host = call.headers.get(b"host", b"")
        if not _is_loopback(host):
            raise Denial(
                "misdirected",
                "without keys this service answers only as localhost, 127.0.0.1 or [::1]; "
                "start it with --api-key-file to serve other names",
                close=True,
            )
        origin = call.headers.get(b"origin")
        if origin is not None and origin.partition(b"://")[2] != host:
            raise Denial("foreign_origin", "pages of other origins may not ask", close=True)

    admit_open = admit


@lru_cache(maxsize=256)
def _is_loopback(host: bytes) -> bool:
    """Whether a Host header names this machine: with or without a port."""
    try:
        text = host.decode("ascii").lower()
    except UnicodeDecodeError:
        return False
    name, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        name, port = text, "0"
    if not port.isdecimal():
        return False
    return is_loopback_name(name[1:-1] if name.startswith("[") and name.endswith("]") else name)


def is_loopback_name(name: str) -> bool:
    """Whether a name or address means this machine and nothing else."""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def exposed(path: Path) -> str:
    """Why the file of keys is no secret; empty when it is."""
    mode = path.stat().st_mode
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        return f"every user of this machine can read or write {path}: say chmod 600"
    return ""


def _given(call: Call) -> bytes:
    """The key that a request brings; empty (which no key is) when it brings none."""
    scheme, _, key = call.headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return key.strip()
    return call.headers.get(b"api-key", b"").strip()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: Path) -> tuple[bytes, ...]:
    """The hashes of a file's keys. Raises `UsageError`."""
    where = f"--api-key-file {path}"
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=where) from None
    digests = []
    for number, line in enumerate(lines, 1):
        key = line.strip()
        if not key or key.startswith(b"#"):
            continue
        if any(not 0x21 <= byte <= 0x7E for byte in key):
            raise UsageError(
                f"line {number} has a blank or a sign in it that no header can carry",
                where=where,
                way_out="Write one key a line.",
            )
        digests.append(sha256(key).digest())
    if not digests:
        raise UsageError("holds no key", where=where, way_out="Write one key a line.")
    return tuple(dict.fromkeys(digests))
