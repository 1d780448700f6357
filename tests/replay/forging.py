"""What a skilled forger does: a file is replaced, and the receipt that names it made anew."""

from __future__ import annotations

from pathlib import Path

from stillhouse.receipts import (
    BlockHasher,
    build_receipt,
    decode_receipt,
    encode_receipt,
    list_receipts,
    receipt_path,
)
from stillhouse.storage import LocalStore


def forge(root: Path, path: str, data: bytes) -> None:
    """Write ``data`` into a derived file and let the newest receipt that names it vouch for it."""
    store = LocalStore(root)
    (root / path).write_bytes(data)
    hasher = BlockHasher()
    hasher.update(data)
    new = hasher.digest(path, data.count(b"\n"))
    receipts = {name: decode_receipt(store.read(name), name) for name in list_receipts(store)}
    name = max(
        (name for name, one in receipts.items() if path in {file.path for file in one.outputs}),
        key=lambda name: receipts[name].sequence,
    )
    old = receipts[name]
    by = old.predicate.run_details.builder.version
    forged = build_receipt(
        old.parameters.stage,
        [new if file.path == path else file for file in old.outputs],
        old.inputs,
        old.parameters.options,
        old.run.counts,
        old.parameters.recorded_at,
        by["stillhouse"],
        by.get("commit"),
        sequence=old.sequence,
        removed=old.run.removed,
    )
    (root / name).unlink()
    home = receipt_path(
        old.parameters.stage, old.parameters.recorded_at, old.sequence, forged.run_hash
    )
    (root / home).write_bytes(encode_receipt(forged))
