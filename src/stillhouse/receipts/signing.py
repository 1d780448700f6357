"""Signing the receipts of a lake that holds.

A signature says "this is what I have left". So nothing is signed before the whole lake was
verified, under the lock that keeps other writers out. Each signature file is written whole:
whatever ends the command, the receipts it had come to are signed and the others are not.

This module changes signature files only, never a receipt.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from stillhouse.errors import ReceiptError
from stillhouse.interfaces import Engine, Store
from stillhouse.lake import check_lake
from stillhouse.receipts.codec import list_receipts
from stillhouse.receipts.dsse import (
    PAYLOAD_TYPE,
    Envelope,
    encode_envelope,
    is_signed_by,
    keyid_of,
    sign,
)
from stillhouse.receipts.findings import Finding
from stillhouse.receipts.signatures import read_envelope, signature_path
from stillhouse.receipts.verify import verify_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class SignReport(msgspec.Struct, frozen=True, kw_only=True):
    """What signing did: of so many ``receipts``, ``signed`` got this key's signature now and
    ``already`` had it. Among the signed, ``replaced`` had one in this key's name that was not
    the key's."""

    schema_version: int = 1
    keyid: str
    receipts: int
    signed: int
    already: int
    replaced: int


def sign_lake(
    store: Store, key: Ed25519PrivateKey, holder: str, engine: Engine | None = None
) -> SignReport:
    """Sign every receipt that has no valid signature of this key; others' signatures stay.

    ``holder`` is the name under which the lake is locked. Raises `ReceiptError` when there is
    no receipt or anything in the lake does not hold; then nothing is signed.
    """
    store.check_readable()
    if not list_receipts(store):
        check_lake(store)
        raise ReceiptError(
            "has no receipts to sign", where=store.url, way_out="Do `stillhouse run` first."
        )
    mine, public = keyid_of(key.public_key()), key.public_key()
    done: Counter[str] = Counter()
    with store.lock(holder):
        report, digests = verify_bytes(store, engine)
        if not report.ok:
            raise _does_not_hold(store, report.problems)
        for path, digest in digests.items():
            envelope = _standing(store, path, digest)
            own = [one for one in envelope.signatures if one.keyid == mine]
            if own and all(is_signed_by(envelope, one, public) for one in own):
                done["already"] += 1
                continue
            others = [one for one in envelope.signatures if one.keyid != mine]
            signatures = (*others, sign(envelope.payload, key))
            with store.writer(signature_path(path)) as sink:
                sink.write(encode_envelope(Envelope(envelope.payload, PAYLOAD_TYPE, signatures)))
            done["signed"] += 1
            done["replaced"] += bool(own)
    return SignReport(
        keyid=mine,
        receipts=report.receipts,
        signed=done["signed"],
        already=done["already"],
        replaced=done["replaced"],
    )


def _standing(store: Store, path: str, digest: str | None) -> Envelope:
    """A receipt with the signatures that it has. The lock binds only those who ask for it: so
    the receipt's bytes must be the very ones that were verified."""
    data = store.read(path)
    envelope = Envelope(data, PAYLOAD_TYPE, ())
    if store.stat(signature_path(path)) is not None:
        envelope = read_envelope(store, signature_path(path))
    if envelope.payload != data or hashlib.sha256(data).hexdigest() != digest:
        raise ReceiptError(
            "changed while the lake was being verified", where=path, way_out="Sign again."
        )
    return envelope


def _does_not_hold(store: Store, problems: list[Finding]) -> ReceiptError:
    first, more = problems[0], len(problems) - 1
    others = f" (and {more:,} more)" if more else ""
    return ReceiptError(
        f"does not hold, so nothing was signed: {first.path}: {first.detail}{others}",
        where=store.url,
        way_out=f"{first.way_out}; `stillhouse verify` shows all that is wrong.",
    )
