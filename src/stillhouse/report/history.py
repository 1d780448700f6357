"""What happened to a lake: its receipts, newest first, and what the last run changed.

Receipts are read for people here; whether they hold is for `stillhouse verify`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from stillhouse.errors import ReceiptError
from stillhouse.interfaces import Store
from stillhouse.receipts import (
    RECEIPTS,
    Receipt,
    decode_receipt,
    list_receipts,
    signature_path,
)
from stillhouse.report.facts import Change, Changes, ReceiptRow

SHOWN: Final = 40
"""Receipts that are read and shown; older ones are counted."""

_LARGEST: Final = 32 << 20
_EXPORTS: Final = ("sft", "preference", "rag")
_FIGURES: Final = {
    "sft": "SFT samples",
    "preference": "preference pairs",
    "unpaired": "unpaired answers",
    "rag": "RAG chunks",
}


def receipt_rows(store: Store) -> tuple[list[ReceiptRow], int]:
    """The newest receipts (by time, then by sequence), and how many there are in all."""
    paths = list_receipts(store)
    beside = {entry.path for entry in store.list(RECEIPTS)}
    newest = paths[: -SHOWN - 1 : -1]
    return [_row(store, path, beside) for path in newest], len(paths)


def _row(store: Store, path: str, beside: set[str]) -> ReceiptRow:
    entry = store.stat(path)
    if entry is None or entry.size > _LARGEST:
        return ReceiptRow(path=path, problem="is too large to be a receipt")
    try:
        receipt = decode_receipt(store.read(path), path)
    except ReceiptError as error:
        return ReceiptRow(path=path, problem=error.what[:400])
    outputs = receipt.outputs
    builder = receipt.predicate.run_details.builder.version
    return ReceiptRow(
        path=path,
        stage=receipt.parameters.stage,
        recorded_at=receipt.parameters.recorded_at,
        files=len(outputs),
        rows=sum(file.rows or 0 for file in outputs),
        bytes=sum(file.bytes for file in outputs),
        run_hash=receipt.run_hash,
        signed=signature_path(path) in beside,
        options=receipt.parameters.options,
        version=builder.get("stillhouse", ""),
        commit=builder.get("commit", ""),
        counts=_flat(receipt),
    )


def _flat(receipt: Receipt) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, count in receipt.run.counts.items():
        if isinstance(count, int):
            counts[name] = count
        else:
            counts.update({f"{name}/{part}": number for part, number in count.items()})
    return counts


# ------------------------------------------------------------------------------ changes


def changes_by_receipts(receipts: list[ReceiptRow]) -> Changes:
    """Rows of each export by its newest two receipts."""
    rows: list[Change] = []
    since = now = ""
    for stage in _EXPORTS:
        newest = [one for one in receipts if one.stage == stage and not one.problem][:2]
        if not newest:
            continue
        now = max(now, newest[0].recorded_at)
        if len(newest) == 2:
            since = max(since, newest[1].recorded_at)
        rows += _compare(newest[0].counts, newest[1].counts if len(newest) == 2 else None)
    if not rows:
        words = "Nothing has been exported yet, so there is nothing to compare."
        return Changes(source="nothing", words=words)
    if not since:
        words = "This is the first run, so there is nothing to compare with."
        return Changes(source="receipts", words=words, now=now, rows=rows)
    return Changes(source="receipts", words=_sentence(rows), since=since, now=now, rows=rows)


def _compare(now: Mapping[str, int], before: Mapping[str, int] | None) -> Iterator[Change]:
    for name, words in _FIGURES.items():
        if name not in now:
            continue
        if before is None:
            yield Change(what=words, before=None, now=now[name], percent=None, flag="first_run")
            continue
        old, new = before.get(name, 0), now[name]
        percent = 100 * (new - old) / old if old else None
        yield Change(what=words, before=old, now=new, percent=percent, flag="ok")


def _sentence(rows: list[Change]) -> str:
    parts = []
    for row in rows:
        if row.before is None or row.now is None or row.before == row.now:
            continue
        step = row.now - row.before
        parts.append(f"{abs(step):,.0f} {'more' if step > 0 else 'fewer'} {row.what}")
    if not parts:
        return "The last export has as many rows of each kind as the one before it."
    return f"Since the export before the last: {', '.join(parts)}."
