"""Signing the receipts of a lake that holds.

A signature says "this is what I have left". So nothing is signed before the whole lake was
verified, under the lock that keeps other writers out. Each signature file is written whole:
whatever ends the command, the receipts it had come to are signed and the others are not.

This module changes signature files only, never a receipt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stillhouse.errors import ReceiptError
from stillhouse.interfaces import Engine, Store
from stillhouse.lake import check_lake
from stillhouse.receipts.codec import decode_receipt, is_sound, list_receipts
from stillhouse.receipts.dsse import (
    PAYLOAD_TYPE,
    Envelope,
    Signature,
    encode_envelope,
    is_signed_by,
    sign,
)
from stillhouse.receipts.findings import Finding
from stillhouse.receipts.signatures import read_envelope, signature_path
from stillhouse.receipts.verify import verify_lake

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
    with store.lock(holder):
        report = verify_lake(store, engine)
        if not report.ok:
            raise _does_not_hold(store, report.problems)
        mine, signed, already, replaced = "", 0, 0, 0
        for path in list_receipts(store):
            data, others = _to_sign(store, path)
            envelope = Envelope(data, PAYLOAD_TYPE, others)
            new = sign(data, key)
            mine = new.keyid
            old = [one for one in others if one.keyid == mine]
            if old and all(is_signed_by(envelope, one, key.public_key()) for one in old):
                already += 1
                continue
            kept = tuple(one for one in others if one.keyid != mine)
            with store.writer(signature_path(path)) as sink:
                sink.write(encode_envelope(Envelope(data, PAYLOAD_TYPE, (*kept, new))))
            signed += 1
            replaced += bool(old)
    return SignReport(
        keyid=mine, receipts=signed + already, signed=signed, already=already, replaced=replaced
    )


def _to_sign(store: Store, path: str) -> tuple[bytes, tuple[Signature, ...]]:
    """A receipt's bytes and the signatures that it has. The lock binds only those who ask for
    it, so what is signed is looked at once more."""
    data = signed = store.read(path)
    others: tuple[Signature, ...] = ()
    if store.stat(signature_path(path)) is not None:
        signed, _, others = msgspec.structs.astuple(read_envelope(store, signature_path(path)))
    if signed != data or not is_sound(data, decode_receipt(data, path)):
        raise ReceiptError(
            "changed while the lake was being verified", where=path, way_out="Sign again."
        )
    return data, others


def _does_not_hold(store: Store, problems: list[Finding]) -> ReceiptError:
    first, more = problems[0], len(problems) - 1
    others = f" (and {more:,} more)" if more else ""
    return ReceiptError(
        f"does not hold, so nothing was signed: {first.path}: {first.detail}{others}",
        where=store.url,
        way_out=f"{first.way_out}; `stillhouse verify` shows all that is wrong.",
    )
