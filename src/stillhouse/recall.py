"""State and receipts tell the same story, and each is made anew from the other when it is lost.

When ``state.json`` is lost or damaged, the receipts tell of it (`recall`).

Receipts name every file that was written and, for each raw log, how far it had been read
and when. That is not enough to leave anything as it is, so all is made anew from raw; but
it is enough to give each row the time of its first reading again (SPEC L2), to let go of
files that are no longer made, and to count on where the receipts ended.

When receipts are lost or damaged, the state tells which files they named (`reissue`). New
receipts then name all that the stage has standing: what ran since hangs on them. They also
say what is gone: a lost receipt may have been the one that let go of files which older
ones still tell of.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import suppress
from typing import Final

import msgspec

from stillhouse.errors import ReceiptError
from stillhouse.index import iter_lines
from stillhouse.interfaces import Store
from stillhouse.lake import EVIDENCE, QUARANTINE, RAW, SCORED, partition_of, partition_path, stem_of
from stillhouse.planning import epochs_after
from stillhouse.receipts import (
    RECEIPTS,
    BlockHasher,
    FileDigest,
    Receipt,
    claimed_files,
    decode_receipt,
    is_sound,
    list_receipts,
)
from stillhouse.records import SCORER_VERSION, QuarantineRow
from stillhouse.refusals import torn_name
from stillhouse.state import Epoch, ExportState, FileState, PartitionState, RawState, State
from stillhouse.work import Work, is_intact

_STAGES: Final = frozenset({"evidence", "score"})

_NAMED: Final = 10
"""Lost receipts that are named in notes."""


class Reading(msgspec.Struct):
    """What an evidence receipt says of the logs' past: up to which byte each had been read
    before, or, in a receipt that stands for others, what was read when."""

    read_before: dict[str, int] = {}
    epochs: dict[str, list[Epoch]] = {}


def reading_of(receipt: Receipt) -> Reading:
    """What an evidence receipt says so; nothing where it says it in other words."""
    with suppress(msgspec.ValidationError):
        return msgspec.convert(receipt.parameters.options, Reading)
    return Reading()


# --------------------------------------------------------------------- receipts → state


def recall(store: Store) -> State:
    """The state that the lake's receipts tell of; a fresh one when there are none.

    A receipt that cannot be read tells nothing: `verify` names it.
    """
    receipts: list[Receipt] = []
    state = State()
    for path in list_receipts(store):
        data = store.read(path)
        # The hash of nothing that could be read: `reissue` puts it aside.
        state.receipts[path] = FileState(path, len(data), 0, "")
        with suppress(ReceiptError):
            receipt = decode_receipt(data, path)
            receipts.append(receipt)
            if is_sound(data, receipt):
                found = hashlib.sha256(data).hexdigest()
                state.receipts[path] = FileState(path, len(data), 0, found)
    tell(state, receipts)
    for stem, raw in state.raw.items():
        if store.stat(raw.path) is None:
            # It is not read anew, so nothing else will count its rows.
            state.raw[stem] = msgspec.structs.replace(raw, counts=_counts(store, state, stem))
    return state


def tell(state: State, receipts: list[Receipt]) -> None:
    """Put into a fresh state what these receipts tell of: files, and for each raw log how far
    it was read and when. The generation is that of the last one."""
    receipts = sorted(receipts, key=lambda receipt: receipt.sequence)
    state.generation = receipts[-1].sequence if receipts else 0
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
    for path, past in readings.items():
        state.raw[stem_of(path)] = _raw(path, past)
    _derived(state, live)


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
        options = reading_of(receipt)
        if path in options.epochs:
            epochs = options.epochs[path]
        else:
            standing = options.read_before.get(path, 0)
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


# --------------------------------------------------------------------- state → receipts


def reissue(work: Work) -> None:
    """Make up for receipts that are gone or are not as they were written, and commit.

    A damaged one is kept beside, under another name. Exports are written anew by the next
    export: only they know what they were made of. After a recall all receipts of evidence and
    scores are made up for, since nobody can tell which are missing.
    """
    lost = _lost(work)
    stages = {path.split("/")[1] for path in lost}
    if work.recalled:
        stages |= _STAGES
    if stages:
        work.gone |= _let_go(work, lost)
    if stages & _STAGES:
        # What a later receipt hangs on must be older than it.
        stages |= {*_STAGES, *work.state.exports}
        _evidence_again(work)
        _scores_again(work)
    elif work.gone:
        # Whichever stage let them go: an export may not be written by this command.
        _evidence_again(work)
    for kind in stages & work.state.exports.keys():
        work.state.exports[kind] = msgspec.structs.replace(work.state.exports[kind], inputs="")
    work.recalled = False
    work.commit()


def _lost(work: Work) -> list[str]:
    """The receipts that are gone or damaged; the damaged ones are put aside."""
    there = {entry.path: entry for entry in work.store.list(RECEIPTS)}
    lost: list[str] = []
    notes: list[str] = []
    for path, file in list(work.state.receipts.items()):
        entry = there.get(path)
        if entry is not None and entry.fingerprint == file.fingerprint:
            continue
        if entry is not None and is_intact(work.store, file):
            work.state.receipts[path] = msgspec.structs.replace(file, fingerprint=entry.fingerprint)
            work.receipts_moved = True
            continue
        lost.append(path)
        del work.state.receipts[path]
        how = "is gone"
        if entry is not None:
            work.write(f"{path}.damaged", [work.store.read(path)])
            work.remove(path)
            how = f"is not as it was written; kept as {path}.damaged"
        notes.append(f"{path}: {how}; a new receipt names its files")
    work.notes += notes[:_NAMED]
    if len(notes) > _NAMED:
        work.notes.append(f"and {len(notes) - _NAMED:,} more receipts")
    return lost


def _let_go(work: Work, lost: list[str]) -> set[str]:
    """What the other receipts say is there, though the state does not know it and it is not
    there: whichever receipt said that it is rightly gone is among the ``lost``."""
    state = work.state
    known = {raw.path for raw in state.raw.values()}
    known |= {file.path for file in state.quarantine.values()}
    for part in state.partitions.values():
        # Scored runs, known or not: they wait beside evidence that has grown.
        known |= {part.evidence.path, partition_path(SCORED, part.day, part.stem)}
    for export in state.exports.values():
        known |= export.files.keys()
    claimed = claimed_files(work.store, lost) - known
    return {path for path in claimed if work.store.stat(path) is None}


def _evidence_again(work: Work) -> None:
    files = [part.evidence for part in work.state.partitions.values()]
    outputs = _measured(work, [*files, *work.state.quarantine.values()])
    if not outputs:
        return
    logs = sorted(work.state.raw.values(), key=lambda raw: raw.path)
    counts: Counter[str] = Counter()
    for raw in logs:
        counts.update(raw.counts)
    work.receipt(
        "evidence",
        outputs=outputs,
        inputs=_measured(work, [FileState(r.path, r.end, r.lines, r.sha256) for r in logs]),
        parameters={"epochs": {raw.path: raw.epochs for raw in logs}},
        counts=dict(counts),
    )


def _scores_again(work: Work) -> None:
    parts = [part for part in work.state.partitions.values() if part.scored is not None]
    outputs = _measured(work, [part.scored for part in parts if part.scored is not None])
    if not outputs:
        return
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part.counts)
    work.receipt(
        "score",
        outputs=outputs,
        inputs=_measured(work, [part.evidence for part in parts]),
        parameters={"scorer_version": SCORER_VERSION},
        counts=dict(counts),
    )


def _measured(work: Work, files: list[FileState]) -> list[FileDigest]:
    """The files as the state has them, with the marks that tell where one parts."""
    return list(work.map("hashing", measure, [MeasureTask(work.store, file) for file in files]))


class MeasureTask(msgspec.Struct, frozen=True):
    """One file to hash, and what the state says of it."""

    store: Store
    file: FileState


def measure(task: MeasureTask) -> FileDigest:
    """The digest of a file that should be as the state says; without marks when it is not."""
    store, file = task.store, task.file
    if store.stat(file.path) is not None:
        hasher = BlockHasher()
        with store.open(file.path) as handle:
            while block := handle.read(min(1 << 20, file.bytes - hasher.bytes)):
                hasher.update(block)
        digest = hasher.digest(file.path, file.rows)
        if digest.sha256 == file.sha256:
            return digest
    return FileDigest(file.path, file.bytes, file.rows, file.sha256)
