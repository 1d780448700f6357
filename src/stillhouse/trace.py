"""From an exported row back to its raw line, checking every hash on the way.

    export line → scored run → evidence line → raw line

Only files are consulted, never the state: a trace proves the chain, not our bookkeeping.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import msgspec

from stillhouse.errors import LakeError, UsageError
from stillhouse.exports import FILES
from stillhouse.index import iter_lines
from stillhouse.interfaces import Store
from stillhouse.lake import (
    EVIDENCE,
    SCORED,
    evidence_path_for,
    partition_of,
    raw_path,
    stem_of,
)
from stillhouse.records import (
    EvidenceRecord,
    PreferenceSample,
    Provenance,
    RagChunk,
    Record,
    ScoredRun,
    SftSample,
    UnpairedSample,
    decode,
)

KINDS: dict[str, type[Record]] = {
    "sft": SftSample,
    "preference": PreferenceSample,
    "unpaired": UnpairedSample,
    "rag": RagChunk,
}


class _Id(msgspec.Struct):
    id: str


class Step(msgspec.Struct):
    """One link of the chain: what was looked at, where, its hash, and whether it holds."""

    what: str
    where: str
    sig_hash: str
    holds: bool
    detail: str = ""


class Chain(msgspec.Struct):
    """The way back of one side of a row (a pair has two)."""

    side: str
    steps: list[Step]
    evidence: msgspec.Raw = msgspec.Raw(b"null")
    scored: msgspec.Raw = msgspec.Raw(b"null")
    raw: str = ""

    @property
    def holds(self) -> bool:
        """True when every link holds."""
        return all(step.holds for step in self.steps)


class Trace(msgspec.Struct):
    """An exported row and its chains."""

    id: str
    export: str
    line: int
    row: msgspec.Raw
    chains: list[Chain]
    holds: bool


def trace(store: Store, wanted: str) -> Trace:
    """Walk one exported row back to its raw line.

    ``wanted`` is the row's id, or a beginning of it that no other row shares. Raises
    `UsageError` when no row, or more than one, has it.
    """
    store.check_readable()
    path, number, line, kind = _find(store, wanted)
    record: Any = decode(line, KINDS[kind], where=f"{path}:{number + 1}")
    sides = [("row", record.provenance)]
    if isinstance(record, PreferenceSample):
        sides = [("chosen", record.provenance), ("rejected", record.rejected_provenance)]
    chains = [_chain(store, side, provenance) for side, provenance in sides]
    return Trace(
        record.id,
        path,
        number + 1,
        msgspec.Raw(line),
        chains,
        all(chain.holds for chain in chains),
    )


def _find(store: Store, wanted: str) -> tuple[str, int, bytes, str]:
    found: dict[str, tuple[str, int, bytes, str]] = {}
    # What is no text (a byte of another encoding on the command line) is no id either.
    needle = msgspec.json.encode(wanted.encode(errors="replace").decode())[:-1]
    for kind, path in _export_files():
        if store.stat(path) is None:
            continue
        for number, (_, line) in enumerate(iter_lines(store, path)):
            if needle not in line:
                continue
            name = _id(line, f"{path}:{number + 1}")
            if name == wanted:
                return path, number, line.rstrip(b"\n"), kind
            if name.startswith(wanted):
                found[name] = (path, number, line.rstrip(b"\n"), kind)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise UsageError(
            f"{len(found)} exported rows begin with {wanted!r}",
            way_out=f"Give more of the id, for example {min(found)}.",
        )
    raise UsageError(
        f"no exported row has the id {wanted!r}",
        where=store.url,
        way_out="Ids are the `id` of the lines under distilled/ and in the dataset's lineage.",
    )


def _id(line: bytes, where: str) -> str:
    try:
        return msgspec.json.decode(line, type=_Id).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise LakeError(
            "is no exported row, so the file is not as it was written",
            where=where,
            way_out="`stillhouse run` writes it anew.",
        ) from None


def _export_files() -> Iterator[tuple[str, str]]:
    for sections in FILES.values():
        for section, path in sections.items():
            if section in KINDS:
                yield section, path


def _chain(store: Store, side: str, provenance: Provenance) -> Chain:
    chain = Chain(side, [])
    raw = _raw_line(store, provenance)
    digest = sha256(raw).hexdigest() if raw is not None else ""
    where = f"{provenance.source_file}:{provenance.line_offset + 1}"
    evidence = _evidence_line(store, provenance)
    if evidence is None:
        chain.steps.append(Step("evidence", EVIDENCE, "", False, "no evidence of that raw line"))
    else:
        path, number, line = evidence
        sig = sha256(line).hexdigest()
        chain.evidence = msgspec.Raw(line)
        scored = _scored_line(store, path, sig)
        if scored is None:
            detail = "no scored run names this evidence line by its hash"
            chain.steps.append(Step("scored run", SCORED, "", False, detail))
        else:
            chain.scored = msgspec.Raw(scored[2])
            run = msgspec.json.decode(scored[2], type=ScoredRun)
            chain.steps.append(
                Step("scored run", f"{scored[0]}:{scored[1] + 1}", run.sig_hash, True, run.category)
            )
        chain.steps.append(Step("evidence", f"{path}:{number + 1}", sig, scored is not None))
    same = digest == provenance.sig_hash
    detail = "" if same else "the raw line is not the one that was read"
    chain.steps.append(Step("raw line", where, digest, same, detail))
    chain.raw = raw.decode(errors="replace") if raw is not None else ""
    return chain


def _raw_line(store: Store, provenance: Provenance) -> bytes | None:
    path = raw_path(stem_of(provenance.source_file))
    if store.stat(path) is None:
        return None
    with store.open(path) as handle:
        for number, line in enumerate(handle):
            if number == provenance.line_offset:
                return line.removesuffix(b"\n").removesuffix(b"\r")
    return None


def _evidence_line(store: Store, provenance: Provenance) -> tuple[str, int, bytes] | None:
    """The evidence made of a raw line, in whichever partition of its stem it lies."""
    stem = stem_of(provenance.source_file)
    needle = provenance.sig_hash.encode()
    for entry in store.list(EVIDENCE):
        place = partition_of(entry.path)
        if place is None or place[1] != stem:
            continue
        for number, (_, line) in enumerate(iter_lines(store, entry.path)):
            if needle in line:
                record = decode(line, EvidenceRecord, where=f"{entry.path}:{number + 1}")
                if record.provenance.sig_hash == provenance.sig_hash:
                    return entry.path, number, line.rstrip(b"\n")
    return None


def _scored_line(store: Store, path: str, sig: str) -> tuple[str, int, bytes] | None:
    scored = SCORED + path[len(EVIDENCE) :]
    if evidence_path_for(scored) != path:
        raise LakeError("is not an evidence file", where=path)
    if store.stat(scored) is None:
        return None
    needle = sig.encode()
    for number, (_, line) in enumerate(iter_lines(store, scored)):
        if needle in line and decode(line, ScoredRun, where=scored).sig_hash == sig:
            return scored, number, line.rstrip(b"\n")
    return None
