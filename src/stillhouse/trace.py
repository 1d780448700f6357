"""From an exported row back to its raw line, checking every hash on the way.

    export file → scored run → evidence line → raw line

Only files are consulted, never the state: a trace proves the chain, not our bookkeeping. That
the exported row is as it was written, its file's receipt says.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final, NamedTuple

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
from stillhouse.receipts import check_claim, newest_claim
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
from stillhouse.redaction import redact, redact_value

KINDS: dict[str, type[Record]] = {
    "sft": SftSample,
    "preference": PreferenceSample,
    "unpaired": UnpairedSample,
    "rag": RagChunk,
}


_MOST_IDS: Final = 5


class _Ids(msgspec.Struct):
    id: str
    source_run_id: str = ""
    chosen_run_id: str = ""
    rejected_run_id: str = ""


class _Found(NamedTuple):
    """An exported line: the stage that wrote it, its kind and place."""

    stage: str
    kind: str
    path: str
    number: int
    line: bytes


class Step(msgspec.Struct):
    """One link of the chain: what was looked at, where, its hash, and whether it holds."""

    what: str
    where: str
    sig_hash: str
    holds: bool
    detail: str = ""


class Chain(msgspec.Struct):
    """The way back of one side of a row (a pair has two).

    ``redacted`` says that secrets were taken out of the lines that are shown.
    """

    side: str
    steps: list[Step]
    evidence: msgspec.Raw = msgspec.Raw(b"null")
    scored: msgspec.Raw = msgspec.Raw(b"null")
    raw: str = ""
    redacted: bool = False

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


def trace(store: Store, wanted: str, *, raw: bool = False) -> Trace:
    """Walk one exported row back to its raw line.

    ``wanted`` is the row's id, a beginning of it that no other row shares, or the id of a run
    that gave one row. Raises `UsageError` when no row, or more than one, has it. Secrets are
    taken out of the lines before it, unless they are to be shown ``raw``.
    """
    store.check_readable()
    found = _find(store, wanted)
    place = f"{found.path}:{found.number + 1}"
    record: Any = decode(found.line, KINDS[found.kind], where=place)
    sides = [("row", record.provenance)]
    if isinstance(record, PreferenceSample):
        sides = [("chosen", record.provenance), ("rejected", record.rejected_provenance)]
    export = _export_step(store, found.stage, found.path, place)
    chains = [_chain(store, side, provenance, export) for side, provenance in sides]
    for chain in () if raw else chains:
        _take_secrets_out(chain)
    return Trace(
        record.id,
        found.path,
        found.number + 1,
        msgspec.Raw(found.line),
        chains,
        all(chain.holds for chain in chains),
    )


def _export_step(store: Store, stage: str, path: str, where: str) -> Step:
    """Whether the export file is the one that its receipt tells of."""
    claim = newest_claim(store, stage, path)
    if claim is None:
        detail = "no receipt names the file; run `stillhouse verify`"
        return Step("export", where, "", False, detail)
    if check_claim(store, claim) is None:
        return Step("export", where, claim.file.sha256, True)
    detail = "the file is not as its receipt says; run `stillhouse verify`"
    return Step("export", where, "", False, detail)


def _take_secrets_out(chain: Chain) -> None:
    lines = [bytes(chain.evidence), bytes(chain.scored), chain.raw.encode()]
    clean = [_clean(line) for line in lines]
    chain.redacted = clean != lines
    chain.evidence, chain.scored = msgspec.Raw(clean[0]), msgspec.Raw(clean[1])
    chain.raw = clean[2].decode()


def _clean(line: bytes) -> bytes:
    """A JSON line with the secrets taken out of its strings; the same bytes when it has none."""
    try:
        value = msgspec.json.decode(line)
        clean = redact_value(value, {})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return redact(line.decode(errors="replace"), {}).encode()
    return line if clean is value else msgspec.json.encode(clean)


def _find(store: Store, wanted: str) -> _Found:
    found: dict[str, _Found] = {}
    of_run: dict[str, _Found] = {}
    # What is no text (a byte of another encoding on the command line) is no id either.
    needle = msgspec.json.encode(wanted.encode(errors="replace").decode())[:-1]
    for stage, kind, path in _export_files():
        if store.stat(path) is None:
            continue
        for number, (_, line) in enumerate(iter_lines(store, path)):
            if needle not in line:
                continue
            ids = _ids(line, f"{path}:{number + 1}")
            here = _Found(stage, kind, path, number, line.rstrip(b"\n"))
            if ids.id == wanted:
                return here
            if ids.id.startswith(wanted):
                found[ids.id] = here
            elif wanted in (ids.source_run_id, ids.chosen_run_id, ids.rejected_run_id):
                of_run[ids.id] = here
    if len(found or of_run) == 1:
        return next(iter((found or of_run).values()))
    raise _none_or_many(store, wanted, list(found), list(of_run))


def _none_or_many(store: Store, wanted: str, found: list[str], of_run: list[str]) -> UsageError:
    if found:
        return UsageError(
            f"{len(found)} exported rows begin with {wanted!r}",
            way_out=f"Give more of the id, for example {min(found)}.",
        )
    if of_run:
        more = ", …" if len(of_run) > _MOST_IDS else ""
        return UsageError(
            f"the run {wanted!r} gave {len(of_run)} exported rows",
            way_out=f"Give the id of one: {', '.join(of_run[:_MOST_IDS])}{more}",
        )
    return UsageError(
        f"no exported row has the id {wanted!r}",
        where=store.url,
        way_out="Ids are the `id` of the lines under distilled/ and in the dataset's lineage.",
    )


def _ids(line: bytes, where: str) -> _Ids:
    try:
        return msgspec.json.decode(line, type=_Ids)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise LakeError(
            "is no exported row, so the file is not as it was written",
            where=where,
            way_out="`stillhouse run` writes it anew.",
        ) from None


def _export_files() -> Iterator[tuple[str, str, str]]:
    for stage, sections in FILES.items():
        for section, path in sections.items():
            if section in KINDS:
                yield stage, section, path


def _chain(store: Store, side: str, provenance: Provenance, export: Step) -> Chain:
    chain = Chain(side, [export])
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
