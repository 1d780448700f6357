"""A lake's state when ``state.json`` is lost or damaged: what the receipts tell of it.

Receipts name every file that was written and, for each raw log, how far it had been read
and when. That is not enough to leave anything as it is, so all is made anew from raw; but
it is enough to give each row the time of its first reading again (SPEC L2), to let go of
files that are no longer made, and to count on where the receipts ended. This module never
writes.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import msgspec

from stillhouse.errors import ReceiptError
from stillhouse.index import iter_lines
from stillhouse.interfaces import Store
from stillhouse.lake import EVIDENCE, QUARANTINE, RAW, SCORED, partition_of, partition_path, stem_of
from stillhouse.planning import epochs_after
from stillhouse.receipts import FileDigest, Receipt, decode_receipt, list_receipts
from stillhouse.records import QuarantineRow
from stillhouse.refusals import torn_name
from stillhouse.state import Epoch, ExportState, FileState, PartitionState, RawState, State

_STAGES = frozenset({"evidence", "score"})


def recall(store: Store) -> State:
    """The state that the lake's receipts tell of; a fresh one when there are none.

    A receipt that cannot be read tells nothing: `verify` names it.
    """
    receipts: list[Receipt] = []
    for path in list_receipts(store):
        with suppress(ReceiptError):
            receipts.append(decode_receipt(store.read(path), path))
    receipts.sort(key=lambda receipt: receipt.sequence)
    state = State(generation=receipts[-1].sequence if receipts else 0)
    live: dict[str, FileDigest] = {}
    readings: dict[str, list[tuple[FileDigest, Receipt]]] = {}
    for receipt in receipts:
        for gone in receipt.run.removed:
            live.pop(gone, None)
            readings.pop(gone, None)
        live.update((file.path, file) for file in receipt.outputs)
        stage = receipt.parameters.stage
        if stage == "evidence":
            for file in receipt.inputs:
                if file.path.startswith(f"{RAW}/"):
                    readings.setdefault(file.path, []).append((file, receipt))
        elif stage not in _STAGES:
            files = {file.path: _file(file) for file in receipt.outputs}
            state.exports[stage] = ExportState("", "", files, {}, {})
    for path, found in readings.items():
        state.raw[stem_of(path)] = _raw(path, found)
    _derived(state, live)
    for stem, raw in state.raw.items():
        if store.stat(raw.path) is None:
            # It is not read anew, so nothing else will count its rows.
            state.raw[stem] = msgspec.structs.replace(raw, counts=_counts(store, state, stem))
    return state


def _counts(store: Store, state: State, stem: str) -> dict[str, int]:
    """A log's rows by outcome, from what was made of it."""
    parts = [part for part in state.partitions.values() if part.stem == stem]
    counts = Counter(evidence=sum(part.evidence.rows for part in parts))
    lines = state.raw[stem].lines
    for name in (stem, torn_name(stem)):
        file = state.quarantine.get(name)
        if file is None or store.stat(file.path) is None:
            continue
        for _, line in iter_lines(store, file.path):
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                counts[msgspec.json.decode(line, type=QuarantineRow).reason] += 1
        # An unfinished last line is refused, but is no line yet.
        lines += file.rows if name != stem else 0
    return dict(+(counts + Counter(blank=max(0, lines - counts.total()))))


def _derived(state: State, live: dict[str, FileDigest]) -> None:
    for path, file in live.items():
        place = partition_of(path)
        if place is not None and path.startswith(f"{EVIDENCE}/"):
            scored = live.get(partition_path(SCORED, *place))
            state.partitions[path] = PartitionState(
                *place, _file(file), _file(scored) if scored else None
            )
        for folder, name in (("evidence", ""), ("torn", "torn/")):
            if path.startswith(f"{QUARANTINE}/{folder}/"):
                state.quarantine[name + stem_of(path)] = _file(file)


def _file(file: FileDigest) -> FileState:
    return FileState(file.path, file.bytes, file.rows or 0, file.sha256)


def _raw(path: str, readings: list[tuple[FileDigest, Receipt]]) -> RawState:
    """How far a raw log was read, and when which part of it. That its bytes still are those is
    for the next reading to find out, which may be when a log that is away comes back."""
    epochs: list[Epoch] = []
    for file, receipt in readings:
        told = receipt.parameters.options.get("read_before")
        standing = told.get(path) if isinstance(told, dict) else None
        if not isinstance(standing, int):
            standing = 0
        epochs = epochs_after(epochs, standing, file.bytes, receipt.parameters.recorded_at)
    last = readings[-1][0]
    return RawState(
        path=path,
        fingerprint="",
        end=last.bytes,
        lines=last.rows or 0,
        sha256=last.sha256,
        made_by="",
        epochs=epochs,
        counts={},
    )
