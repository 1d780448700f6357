"""A lake's state when ``state.json`` is lost or damaged: what the receipts tell of it.

Receipts name every file that was written and, for each raw log, how far it had been read
and when. That is not enough to leave anything as it is, so all is made anew from raw; but
it is enough to give each row the time of its first reading again (SPEC L2), to let go of
files that are no longer made, and to count on where the receipts ended. This module never
writes.
"""

from __future__ import annotations

from contextlib import suppress

from stillhouse.errors import ReceiptError
from stillhouse.interfaces import Store
from stillhouse.lake import EVIDENCE, QUARANTINE, RAW, SCORED, partition_of, partition_path, stem_of
from stillhouse.rawscan import RawScan, past_line_end
from stillhouse.receipts import FileDigest, Receipt, decode_receipt, list_receipts
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
    readings: dict[str, list[tuple[FileDigest, str]]] = {}
    for receipt in receipts:
        for gone in receipt.run.removed:
            live.pop(gone, None)
        live.update((file.path, file) for file in receipt.outputs)
        stage = receipt.parameters.stage
        if stage == "evidence":
            for file in receipt.inputs:
                if file.path.startswith(f"{RAW}/"):
                    reading = (file, receipt.parameters.recorded_at)
                    readings.setdefault(file.path, []).append(reading)
        elif stage not in _STAGES:
            files = {file.path: _file(file) for file in receipt.outputs}
            state.exports[stage] = ExportState("", "", files, {}, {})
    for path, found in readings.items():
        state.raw[stem_of(path)] = _raw(store, path, found)
    _derived(state, live)
    return state


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


def _raw(store: Store, path: str, readings: list[tuple[FileDigest, str]]) -> RawState:
    last = readings[-1][0]
    return RawState(
        path=path,
        fingerprint="",
        end=last.bytes,
        lines=last.rows or 0,
        sha256=last.sha256,
        made_by="",
        epochs=_epochs(store, path, readings),
        counts={},
    )


def _epochs(store: Store, path: str, readings: list[tuple[FileDigest, str]]) -> list[Epoch]:
    """When each part of a raw file was first read, as far as it still is what was read."""
    entry = store.stat(path)
    if entry is None:
        return []
    hashes: dict[int, str] = {0: ""}
    scan = RawScan(store, path, entry.size)
    for size in sorted({file.bytes for file, _ in readings if file.bytes <= entry.size}):
        scan.pass_over(size)
        hashes[size] = scan.sha256
    epochs: list[Epoch] = []
    for file, recorded_at in readings:
        if hashes.get(file.bytes) != file.sha256:
            # Other bytes stood there: the run after this one read the file anew.
            epochs = []
        elif not epochs or epochs[-1].end < file.bytes:
            end = file.bytes
            if end and store.read(path, end - 1, end) != b"\n":
                # Read before its line end was written.
                end = past_line_end(store, path, end) or end
            epochs.append(Epoch(end, recorded_at))
    return epochs
