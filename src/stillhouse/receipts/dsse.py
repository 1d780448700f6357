"""DSSE envelopes: signatures over bytes, as the in-toto attestation framework wants them.

The format is DSSE 1.0 (github.com/secure-systems-lab/dsse: protocol.md, envelope.md), the
algorithm Ed25519 (RFC 8032). What is signed is the payload's very bytes together with their
type (`pae`), never a re-encoding of them. A key's id is the SHA-256, in hex, of its
SubjectPublicKeyInfo in DER; DSSE makes it a hint, so no signature is believed for its id.

Pure: bytes in, bytes out. `cryptography` is imported where it is used, since most commands
sign nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from stillhouse.errors import SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"

_URL_SAFE: Final = str.maketrans("-_", "+/")


class Signature(msgspec.Struct, frozen=True):
    """One signature, its 64 bytes, and the id of the key that is said to have made it."""

    keyid: str
    sig: bytes


class Envelope(msgspec.Struct, frozen=True):
    """A payload, its type, and who signed the two."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]


class _WireSignature(msgspec.Struct, frozen=True):
    sig: str
    keyid: str = ""


class _WireEnvelope(msgspec.Struct, frozen=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_WireSignature]


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed.

    ``DSSEv1 <length of type> <type> <length of payload> <payload>``, lengths in bytes.
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def keyid_of(key: Ed25519PublicKey) -> str:
    """The id of a public key: SHA-256 of its SubjectPublicKeyInfo (DER), 64 hex digits."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def sign(payload: bytes, key: Ed25519PrivateKey, payload_type: str = PAYLOAD_TYPE) -> Signature:
    """The key's signature over a payload. Ed25519 has no chance in it: always the same one."""
    return Signature(keyid_of(key.public_key()), key.sign(pae(payload_type, payload)))


def is_signed_by(envelope: Envelope, signature: Signature, key: Ed25519PublicKey) -> bool:
    """Whether the key made this signature over this envelope's payload and type."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature.sig, pae(envelope.payload_type, envelope.payload))
    except InvalidSignature:
        return False
    return True


def encode_envelope(envelope: Envelope) -> bytes:
    """The envelope as one line of JSON with a line end: an in-toto bundle of one attestation."""
    wire = {
        "payload": base64.b64encode(envelope.payload).decode(),
        "payloadType": envelope.payload_type,
        "signatures": [
            {"keyid": one.keyid, "sig": base64.b64encode(one.sig).decode()}
            for one in envelope.signatures
        ],
    }
    return msgspec.json.encode(wire) + b"\n"


def decode_envelope(data: bytes, where: str) -> Envelope:
    """Read an envelope, whoever wrote it: base64 in either alphabet, unknown fields ignored.

    Raises `SignatureError` for what is none. Nothing is verified here.
    """
    try:
        wire = msgspec.json.decode(data, type=_WireEnvelope)
        return Envelope(
            _decoded(wire.payload),
            wire.payload_type,
            tuple(Signature(one.keyid, _decoded(one.sig)) for one in _some(wire.signatures)),
        )
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise SignatureError(f"is no DSSE envelope: {error}", where=where) from error


def _some(signatures: Sequence[_WireSignature]) -> Sequence[_WireSignature]:
    if not signatures:
        raise ValueError("signatures: is empty")
    return signatures


def _decoded(text: str) -> bytes:
    return base64.b64decode(text.translate(_URL_SAFE), validate=True)
