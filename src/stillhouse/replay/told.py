"""What receipts tell of a lake: its state, the newest word on every file, what raw logs were read.

This module runs nothing and compares nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from stillhouse.errors import ReceiptError
from stillhouse.exports import KINDS, ExportOptions
from stillhouse.interfaces import Store
from stillhouse.lake import EVIDENCE, RAW, SCORED
from stillhouse.recall import reading_of, tell
from stillhouse.receipts import Claim, Receipt, decode_receipt, is_sound, list_receipts
from stillhouse.state import State

_LINE_END: Final = 2
"""Bytes that what stands of a log may reach past what was read of it: `planning.epochs_after`."""


class Told(NamedTuple):
    """What the receipts say: the state they tell of, the newest word on every file and on every
    raw log, the files that were made of what has been made anew since (``stale``), and the logs
    of which the receipts of earlier readings are gone (``gaps``), up to which byte."""

    receipts: dict[str, Receipt]
    replayed: str | None
    state: State
    claims: dict[str, Claim]
    raw: dict[str, Claim]
    stale: frozenset[str]
    gaps: dict[str, int]

    @property
    def first(self) -> str:
        """The time of the earliest run that is told of: of rows that no receipt tells of."""
        first = min(self.receipts.values(), key=lambda receipt: receipt.sequence)
        return first.parameters.recorded_at

    def notes(self) -> list[str]:
        """What is not compared, and why."""
        if not self.stale:
            return []
        said = "were made before what they are made of was read anew; not compared"
        first = min(self.stale)
        return [f"{first} ({len(self.stale):,} such files): {said}. `stillhouse run` renews them"]


def read_told(store: Store, wanted: str | None) -> Told:
    receipts = dict(_receipts(store))
    if not receipts:
        raise ReceiptError(
            "has no receipts, so nothing says what to run again",
            where=store.url,
            way_out="Run `stillhouse run` first.",
        )
    replayed = None if wanted is None else _find(receipts, wanted, store)
    if replayed is not None:
        last = receipts[replayed].sequence
        receipts = {path: one for path, one in receipts.items() if one.sequence <= last}
    state = State()
    tell(state, list(receipts.values()))
    claims: dict[str, Claim] = {}
    raw: dict[str, Claim] = {}
    for path, receipt in sorted(receipts.items(), key=lambda pair: pair[1].sequence):
        for gone in receipt.run.removed:
            claims.pop(gone, None)
            raw.pop(gone, None)
        for file in receipt.outputs:
            claims[file.path] = Claim(receipt.sequence, path, file, True)
        for file in receipt.inputs:
            if file.path.startswith(f"{RAW}/"):
                raw[file.path] = Claim(receipt.sequence, path, file, False)
    stale = frozenset(_stale(receipts, claims))
    return Told(receipts, replayed, state, claims, raw, stale, _gaps(receipts.values()))


def _receipts(store: Store) -> Iterator[tuple[str, Receipt]]:
    for path in list_receipts(store):
        data = store.read(path)
        receipt = decode_receipt(data, path)
        if not is_sound(data, receipt):
            raise ReceiptError(
                "is not as it was written",
                where=path,
                way_out="`stillhouse verify` says more; `stillhouse run` writes a new one.",
            )
        yield path, receipt


def _find(receipts: Iterable[str], wanted: str, store: Store) -> str:
    found = [path for path in receipts if path == wanted] or [
        path for path in receipts if wanted in path
    ]
    if len(found) == 1:
        return found[0]
    raise ReceiptError(
        f"has {'no receipt' if not found else f'{len(found)} receipts'} like {wanted!r}",
        where=store.url,
        way_out="Give its path, like receipts/sft/….json." if not found else f"Say {found[0]}.",
    )


def _stale(receipts: dict[str, Receipt], claims: dict[str, Claim]) -> Iterator[str]:
    """The files whose stage read what is no longer the newest word."""
    old = {
        path
        for path in {claim.receipt for claim in claims.values()}
        for file in receipts[path].inputs
        if not file.path.startswith(f"{RAW}/")
        and (file.path not in claims or claims[file.path].file.sha256 != file.sha256)
    }
    for path, claim in claims.items():
        if claim.receipt in old and not path.startswith(f"{SCORED}/"):
            yield path
        elif path.startswith(f"{SCORED}/"):
            evidence = claims.get(EVIDENCE + path[len(SCORED) :])
            if evidence is not None and evidence.sequence > claim.sequence:
                yield path


def _gaps(receipts: Iterable[Receipt]) -> dict[str, int]:
    """Up to which byte a log had been read by runs of which no receipt tells: nobody knows at
    what time those rows were first read."""
    ends: dict[str, int] = {}
    gaps: dict[str, int] = {}
    for receipt in sorted(receipts, key=lambda receipt: receipt.sequence):
        reading = reading_of(receipt)
        for file in receipt.inputs if receipt.parameters.stage == "evidence" else ():
            before = reading.read_before.get(file.path, 0)
            known = ends.get(file.path, 0)
            if file.path in reading.epochs:
                gaps.pop(file.path, None)
            elif before > (known + _LINE_END if known else 0):
                gaps[file.path] = before
            elif not before:
                gaps.pop(file.path, None)
            ends[file.path] = file.bytes
    return gaps


def unchained(told: Told) -> Iterator[tuple[str, str]]:
    """Files that a stage read and no receipt here has written so, each with the stage's receipt:
    what made them cannot be run again."""
    written = {(file.path, file.sha256) for one in told.receipts.values() for file in one.outputs}
    speaking = {claim.receipt for claim in told.claims.values()}
    for path in sorted(speaking if told.replayed is None else {told.replayed}):
        for file in told.receipts[path].inputs:
            if not file.path.startswith(f"{RAW}/") and (file.path, file.sha256) not in written:
                yield file.path, path


class Step(NamedTuple):
    """One run of exports: when, by which version, which, and how."""

    recorded_at: str
    version: str
    kinds: list[str]
    options: ExportOptions


def export_steps(told: Told, *, stale: bool = False) -> list[Step]:
    """The exports that still have the word on a file, in the order in which they were made; of
    a single receipt that is replayed, only that one. ``stale`` ones only when asked for."""
    speaking: dict[int, list[str]] = {}
    for path, claim in told.claims.items():
        is_export = told.receipts[claim.receipt].parameters.stage in KINDS
        if is_export and told.replayed in (None, claim.receipt):
            group = speaking.setdefault(claim.sequence, [])
            if claim.receipt not in group and (stale or path not in told.stale):
                group.append(claim.receipt)
    steps: list[Step] = []
    for _, paths in sorted(speaking.items()):
        receipts = [told.receipts[path] for path in paths]
        if receipts:
            kinds = [receipt.parameters.stage for receipt in receipts]
            options = _options(receipts[0], paths[0])
            recorded_at = receipts[0].parameters.recorded_at
            steps.append(Step(recorded_at, version_of(receipts[0]), kinds, options))
    return steps


def version_of(receipt: Receipt) -> str:
    """The version of Stillhouse that a receipt names."""
    return receipt.predicate.run_details.builder.version.get("stillhouse", "")


def _options(receipt: Receipt, path: str) -> ExportOptions:
    try:
        return msgspec.convert(receipt.parameters.options, ExportOptions)
    except msgspec.ValidationError as error:
        raise ReceiptError(
            f"its options are none of this version's: {error}",
            where=path,
            way_out="Replay it with the version that it names.",
        ) from None
