"""Key files: making a pair, and reading one back with every mistake told apart.

A private key is PKCS #8, a public one SubjectPublicKeyInfo, both in PEM: what OpenSSL and
every other tool reads. Key files belong to a person and not to a lake, so they are files of
this machine and go past the store. Nothing of a private key is ever printed.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stillhouse.errors import SignatureError
from stillhouse.lake import RAW
from stillhouse.receipts.dsse import keyid_of
from stillhouse.storage.disk import sync_folder
from stillhouse.storage.paths import TEMP_PREFIX, TEMP_SUFFIX, disk_error

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

PUBLIC_SUFFIX: Final = ".pub"

_MOST_BYTES: Final = 1 << 16
"""More than any key file has; whoever gives a log or a device gets an answer at once."""

_KEYGEN: Final = "Make a pair with `stillhouse keygen FILE`."


def make_key_pair(path: str) -> str:
    """Write a new Ed25519 pair into ``path`` (mode 0600) and ``path``.pub; returns the key's id.

    Each file appears whole or not at all, and none that is there is replaced. Raises
    `SignatureError` when one of the two is there, `StorageError` for what the disk refuses.
    """
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    _check_name(path)
    _check_place(path)
    public_path = f"{path}{PUBLIC_SUFFIX}"
    for name in (path, public_path):
        if os.path.lexists(name):
            raise _is_there(name)
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(
        form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
    )
    # The public one first: what a crash between the two leaves is no secret.
    _write_new(public_path, public, 0o666)
    try:
        _write_new(path, private, 0o600)
    except BaseException:
        with suppress(OSError):
            os.unlink(public_path)
        raise
    return keyid_of(key.public_key())


def _check_name(path: str) -> None:
    if path.endswith(PUBLIC_SUFFIX):
        raise SignatureError(
            f"a private key must not be called {PUBLIC_SUFFIX}",
            where=path,
            way_out="Leave the ending out; the public key gets it.",
        )
    if not path or "\0" in path or path != path.encode(errors="replace").decode():
        raise SignatureError(
            "is no name for a key", where=repr(path), way_out="Give a file's name, in UTF-8."
        )


def _check_place(path: str) -> None:
    folder = Path(os.path.abspath(path)).parent
    if not folder.is_dir():
        raise SignatureError(
            "cannot be made: its folder is not there", where=path, way_out=f"Make {folder} first."
        )
    for above in (folder, *folder.parents):
        if above.name == RAW or (above / RAW).is_dir():
            raise SignatureError(
                f"would lie in the lake {above if above.name != RAW else above.parent}, and go "
                "where the lake is copied to",
                where=path,
                way_out="Keep private keys outside of lakes.",
            )


def _is_there(path: str) -> SignatureError:
    return SignatureError(
        "is there already, and no key is ever replaced",
        where=path,
        way_out="Give another name, or move it away.",
    )


def _write_new(path: str, data: bytes, mode: int) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    temporary = f"{folder}/{TEMP_PREFIX}{os.getpid()}-{secrets.token_hex(8)}{TEMP_SUFFIX}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with open(os.open(temporary, flags, mode), "wb") as sink:
            sink.write(data)
            sink.flush()
            os.fsync(sink.fileno())
        # Unlike a rename, a link never replaces what is there.
        os.link(temporary, path)
        sync_folder(folder)
    except FileExistsError:
        raise _is_there(path) from None
    except OSError as error:
        raise disk_error(error, "write the key", path) from None
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def read_private_key(path: str) -> Ed25519PrivateKey:
    """The private key of a file. Raises `SignatureError` when it holds none that can be used."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(path)
    if b"PUBLIC KEY-----" in data:
        raise SignatureError(
            "is a public key, and only the private one can sign",
            where=path,
            way_out=f"Give the file without {PUBLIC_SUFFIX}.",
        )
    if b"OPENSSH" in data:
        raise SignatureError("is a key for SSH, not in PKCS #8", where=path, way_out=_KEYGEN)
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        raise SignatureError(
            "is encrypted with a passphrase, which is not supported",
            where=path,
            way_out="Decrypt it with `openssl pkey`, and keep it where only you can read.",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key("private", path) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _other_algorithm(key, path)
    return key


def read_public_key(path: str) -> Ed25519PublicKey:
    """The public key of a file. Raises `SignatureError` when it holds none that can be used."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _read(path)
    if b"PRIVATE KEY-----" in data:
        raise SignatureError(
            "is a private key, which nobody needs for checking",
            where=path,
            way_out=f"Give its public key, {path}{PUBLIC_SUFFIX}, and keep this one to yourself.",
        )
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key("public", path) from None
    if not isinstance(key, Ed25519PublicKey):
        raise _other_algorithm(key, path)
    return key


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as handle:
            return handle.read(_MOST_BYTES)
    except IsADirectoryError:
        raise SignatureError("is a folder, not a key", where=path, way_out=_KEYGEN) from None
    except ValueError:
        raise SignatureError("is no file's name", where=repr(path), way_out=_KEYGEN) from None
    except OSError as error:
        raise disk_error(error, "read the key", path) from None


def _no_key(kind: str, path: str) -> SignatureError:
    return SignatureError(f"holds no {kind} key in PEM", where=path, way_out=_KEYGEN)


def _other_algorithm(key: object, path: str) -> SignatureError:
    name = type(key).__name__.removesuffix("PrivateKey").removesuffix("PublicKey").lstrip("_")
    return SignatureError(f"is a key for {name}, not for Ed25519", where=path, way_out=_KEYGEN)
