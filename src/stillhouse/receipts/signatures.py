"""Signatures beside receipts: where they are, and what is wrong with them.

A receipt stays the plain statement that it is. Its signatures are in a file beside it, a DSSE
envelope whose payload is the receipt's very bytes: ``receipts/<stage>/<name>.intoto.jsonl``, the
name that in-toto's bundles have. The file is one line as `dsse.encode_envelope` writes it and
nothing else, so that every one of its bytes answers for something.

What needs no key is looked at always; who signed, only with keys. This module never writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from stillhouse.errors import SignatureError, StorageError
from stillhouse.interfaces import Store
from stillhouse.receipts.codec import RECEIPTS
from stillhouse.receipts.dsse import (
    PAYLOAD_TYPE,
    Envelope,
    decode_envelope,
    encode_envelope,
    is_signed_by,
    keyid_of,
)
from stillhouse.receipts.findings import Finding, Kind

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SUFFIX: Final = ".intoto.jsonl"

Keys = Mapping[str, "Ed25519PublicKey"]
"""Public keys by their ids."""


def keyring(keys: Sequence[Ed25519PublicKey]) -> Keys:
    """Public keys by their ids; one that is given twice counts once."""
    return {keyid_of(key): key for key in keys}


def signature_path(receipt: str) -> str:
    """Where the signatures of a receipt are."""
    return f"{receipt.removesuffix('.json')}{SUFFIX}"


def _receipt_of(path: str) -> str:
    return f"{path.removesuffix(SUFFIX)}.json"


def read_envelope(store: Store, path: str) -> Envelope:
    """The envelope of a signature file. Raises `SignatureError` when it is not as we write it."""
    data = store.read(path)
    envelope = decode_envelope(data, path)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise SignatureError("its payload is no in-toto statement by its type", where=path)
    if encode_envelope(envelope) != data:
        raise SignatureError("is not written as `stillhouse sign` writes it", where=path)
    return envelope


def check_signatures(
    store: Store, receipts: Mapping[str, str | None], keys: Keys
) -> tuple[list[Finding], int]:
    """What is wrong with the signatures of all receipts, and how many receipts are signed.

    ``receipts`` has the SHA-256 of each one's bytes by its path, None where they cannot be
    read. Signed is what one of the keys has signed; without keys, what has a signature.
    """
    there = {entry.path for entry in store.list(RECEIPTS) if entry.path.endswith(SUFFIX)}
    homes = {signature_path(receipt): receipt for receipt in receipts}
    found = [
        _about("orphan_signature", path, _receipt_of(path), "its receipt is not beside it")
        for path in there - homes.keys()
    ]
    signed = 0
    for path, receipt in homes.items():
        if path in there:
            problem = _problem(store, path, receipt, receipts[receipt], keys)
        else:
            problem = _about("unsigned", receipt, receipt, "has no signature") if keys else None
        found += [problem] if problem else []
        signed += path in there and not problem
    return sorted(found, key=lambda one: one.path), signed


def _about(kind: Kind, path: str, receipt: str, detail: str) -> Finding:
    return Finding(kind=kind, path=path, receipt=receipt, detail=detail)


def _problem(
    store: Store, path: str, receipt: str, digest: str | None, keys: Keys
) -> Finding | None:
    """What is wrong with one signature file, if anything is."""
    try:
        envelope = read_envelope(store, path)
    except (SignatureError, StorageError) as error:
        detail = error.what if isinstance(error, SignatureError) else str(error)
        return _about("unreadable_signature", path, receipt, detail)
    if digest is not None and hashlib.sha256(envelope.payload).hexdigest() != digest:
        return _about("wrong_payload", path, receipt, "signs other bytes than its receipt has")
    if not keys:
        return None
    if forged := next(_forged(envelope, keys), ""):
        return _about("bad_signature", path, receipt, forged)
    if not any(one.keyid in keys for one in envelope.signatures):
        by = ", ".join(one.keyid[:16] or "a key without id" for one in envelope.signatures[:4])
        return _about("wrong_key", path, receipt, f"none of the given keys signed it, but {by}")
    return None


def _forged(envelope: Envelope, keys: Keys) -> Iterator[str]:
    """Signatures that are not what they say: a given key's id and not its signature, or the
    other way round. Ids alone prove nothing, and so no id is taken for a signature."""
    for one in envelope.signatures:
        named = keys.get(one.keyid)
        if named is not None:
            if not is_signed_by(envelope, one, named):
                yield f"the signature in the name of key {one.keyid[:16]} is not of that key"
        elif any(is_signed_by(envelope, one, key) for key in keys.values()):
            yield f"a given key's signature stands under another id, {one.keyid[:16]!r}"
