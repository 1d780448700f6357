"""From an exported row back to its raw line, checking every hash on the way.

    export file → scored run → evidence line → raw line

Only files are consulted, never the state: a trace proves the chain, not our bookkeeping. That
the files of the chain are as they were written, their receipts say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
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
    check_lake,
)
from stillhouse.lineage import evidence_line, raw_line, scored_line
from stillhouse.receipts import check_claim, newest_claim
from stillhouse.records import (
    PreferenceSample,
    Provenance,
    QuarantineRow,
    RagChunk,
    Record,
    ScoredRun,
    SftSample,
    UnpairedSample,
    decode,
)
from stillhouse.redaction import redact_line

KINDS: dict[str, type[Record]] = {
    "sft": SftSample,
    "preference": PreferenceSample,
    "unpaired": UnpairedSample,
    "rag": RagChunk,
}


_MOST: Final = 5
"""Ids that an error names, and raw lines of one run id that are walked to."""

FileCheck = Callable[[str, str], str]
"""What speaks against a file that a stage has written; empty when its receipt confirms it."""


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


class _Side(NamedTuple):
    """One answer of an exported row, or a run that is in none (``found`` is None)."""

    name: str
    run_id: str
    provenance: Provenance
    category: str
    found: _Found | None


class Step(msgspec.Struct):
    """One link of the chain: what was looked at, where, the SHA-256 of that line, and whether
    it holds."""

    what: str
    where: str
    sig_hash: str
    holds: bool
    detail: str = ""


class Chain(msgspec.Struct):
    """The way back of one side of a row (a pair has two), or of all exported lines of a run.

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


class ExportedRow(msgspec.Struct):
    """A line of an export: its id, file and number (from 1)."""

    id: str
    export: str
    line: int
    row: msgspec.Raw


class Refused(msgspec.Struct):
    """Why one export kept out the run of a raw line (``where``); ``other`` is the row it
    clashes with."""

    where: str
    export: str
    reason: str
    detail: list[str]
    other: str | None = None


class Trace(msgspec.Struct):
    """Exported rows and their chains. ``id`` is that of the row, or of the run that was asked for
    when it gave several rows, or none: ``refused`` then says why, and nothing ``holds``."""

    id: str
    rows: list[ExportedRow]
    refused: list[Refused]
    chains: list[Chain]
    holds: bool


def trace(store: Store, wanted: str, *, raw: bool = False) -> Trace:
    """Walk one exported row, or all rows of one run, back to the raw line.

    ``wanted`` is the row's id, a beginning of it that no other row shares, or the id of a run.
    Raises `UsageError` when no row and no run has it, or too many have. Secrets are taken out of
    the lines before the export, unless they are to be shown ``raw``.
    """
    check_lake(store)
    found = _find(store, wanted)
    rows = [_row(one) for one in found]
    sides = [side for one in found for side in _sides(one)]
    name = rows[0].id if len(rows) == 1 else wanted
    refused: list[Refused] = []
    if len(rows) > 1:
        sides = [side._replace(name="run") for side in sides if side.run_id == wanted]
    elif not rows:
        sides = list(_runs(store, wanted))
        refused = list(_refusals(store, sides))
    ways: dict[tuple[str, str, str], list[_Side]] = {}
    for side in sides:
        ways.setdefault((side.name, _place(side.provenance), side.provenance.sig_hash), []).append(
            side
        )
    if not ways or len(ways) > _MOST:
        raise _none_or_many(store, wanted, [], [row.id for row in rows], len(ways))

    @cache
    def check(stage: str, path: str) -> str:
        return _doubt(store, stage, path)

    chains = [_chain(store, way, check) for way in ways.values()]
    for chain in () if raw else chains:
        _take_secrets_out(chain)
    holds = bool(rows) and all(chain.holds for chain in chains)
    return Trace(name, rows, refused, chains, holds)


def _place(provenance: Provenance) -> str:
    return f"{provenance.source_file}:{provenance.line_offset + 1}"


def _row(found: _Found) -> ExportedRow:
    where = f"{found.path}:{found.number + 1}"
    return ExportedRow(
        _ids(found.line, where).id, found.path, found.number + 1, msgspec.Raw(found.line)
    )


def _sides(found: _Found) -> list[_Side]:
    record: Any = decode(found.line, KINDS[found.kind], where=f"{found.path}:{found.number + 1}")
    if isinstance(record, PreferenceSample):
        chosen, rejected = record.chosen_category, record.rejected_category
        return [
            _Side("chosen", record.chosen_run_id, record.provenance, chosen, found),
            _Side("rejected", record.rejected_run_id, record.rejected_provenance, rejected, found),
        ]
    return [_Side("row", record.source_run_id, record.provenance, record.category, found)]


def _doubt(store: Store, stage: str, path: str) -> str:
    """What speaks against a file; empty when it is the one that its receipt tells of."""
    claim = newest_claim(store, stage, path)
    if claim is None:
        return "no receipt names the file; run `stillhouse verify`"
    if check_claim(store, claim) is not None:
        return "the file is not as its receipt says; run `stillhouse verify`"
    return ""


# ------------------------------------------------------------------- runs without a row


def _runs(store: Store, wanted: str) -> Iterator[_Side]:
    """The scored runs of a run id: it may repeat."""
    needle = msgspec.json.encode(wanted.encode(errors="replace").decode())
    for entry in store.list(SCORED):
        for number, (_, line) in enumerate(iter_lines(store, entry.path)):
            if needle in line:
                run = decode(line, ScoredRun, where=f"{entry.path}:{number + 1}")
                if run.evidence_run_id == wanted:
                    yield _Side("run", wanted, run.provenance, run.category, None)


def _refusals(store: Store, sides: Iterable[_Side]) -> Iterator[Refused]:
    """Why each export kept these runs out, by the hashes of their raw lines."""
    wanted = {side.provenance.sig_hash for side in sides}
    needles = [sig.encode() for sig in wanted]
    for stage, sections in FILES.items():
        path = sections["refused"]
        for number, (_, line) in enumerate(iter_lines(store, path) if store.stat(path) else ()):
            if not any(needle in line for needle in needles):
                continue
            row = decode(line, QuarantineRow, where=f"{path}:{number + 1}")
            if row.sig_hash in wanted:
                where = f"{row.source_file}:{row.line_offset + 1}"
                yield Refused(where, stage, row.reason, row.detail, row.other)


# ---------------------------------------------------------------------------- the chain


def _take_secrets_out(chain: Chain) -> None:
    lines = [bytes(chain.evidence), bytes(chain.scored), chain.raw.encode()]
    clean = [redact_line(line) for line in lines]
    chain.redacted = clean != lines
    chain.evidence, chain.scored = msgspec.Raw(clean[0]), msgspec.Raw(clean[1])
    chain.raw = clean[2].decode()


def _find(store: Store, wanted: str) -> list[_Found]:
    """The row of an id or of its beginning, or else all rows of a run."""
    found: dict[str, _Found] = {}
    of_run: list[_Found] = []
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
                return [here]
            if ids.id.startswith(wanted):
                found[ids.id] = here
            elif wanted in (ids.source_run_id, ids.chosen_run_id, ids.rejected_run_id):
                of_run.append(here)
    if len(found) > 1:
        raise _none_or_many(store, wanted, list(found), [], 0)
    return list(found.values()) or of_run


def _none_or_many(
    store: Store, wanted: str, found: list[str], of_run: list[str], lines: int
) -> UsageError:
    if found:
        return UsageError(
            f"{len(found)} exported rows begin with {wanted!r}",
            way_out=f"Give more of the id, for example {min(found)}.",
        )
    if of_run:
        more = ", …" if len(of_run) > _MOST else ""
        return UsageError(
            f"the run id {wanted!r} stands in {lines} raw lines, of which {len(of_run)} exported "
            "rows came",
            way_out=f"Give the id of one: {', '.join(of_run[:_MOST])}{more}",
        )
    if lines:
        return UsageError(
            f"the run id {wanted!r} stands in {lines} raw lines, and none was exported",
            way_out="`stillhouse inspect` says why rows are kept out.",
        )
    return UsageError(
        f"no exported row and no run has the id {wanted!r}",
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


def _chain(store: Store, sides: list[_Side], check: FileCheck) -> Chain:
    """The way back of exported lines that came of one raw line."""
    chain = Chain(sides[0].name, [_export_step(side.found, check) for side in sides if side.found])
    provenance = sides[0].provenance
    raw = raw_line(store, provenance)
    digest = sha256(raw).hexdigest() if raw is not None else ""
    evidence = evidence_line(store, provenance)
    if evidence is None:
        chain.steps.append(Step("evidence", EVIDENCE, "", False, "no evidence of that raw line"))
    else:
        path, number, line = evidence
        sig = sha256(line).hexdigest()
        chain.evidence = msgspec.Raw(line)
        scored = scored_line(store, path, sig)
        if scored is None:
            detail = "no scored run names this evidence line by its hash"
            chain.steps.append(Step("scored run", SCORED, "", False, detail))
        else:
            chain.scored = msgspec.Raw(scored[2])
            chain.steps.append(_scored_step(scored, sides, check))
        doubt = check("evidence", path)
        holds = scored is not None and not doubt
        chain.steps.append(Step("evidence", f"{path}:{number + 1}", sig, holds, doubt))
    same = digest == provenance.sig_hash
    detail = "" if same else "the raw line is not the one that was read"
    chain.steps.append(Step("raw line", _place(provenance), digest, same, detail))
    chain.raw = raw.decode(errors="replace") if raw is not None else ""
    return chain


def _export_step(found: _Found, check: FileCheck) -> Step:
    doubt = check(found.stage, found.path)
    digest = sha256(found.line).hexdigest()
    return Step("export", f"{found.path}:{found.number + 1}", digest, not doubt, doubt)


def _scored_step(scored: tuple[str, int, bytes], sides: list[_Side], check: FileCheck) -> Step:
    """Whether the verdict is the one that was written, and the one that left."""
    path, number, line = scored
    category = msgspec.json.decode(line, type=ScoredRun).category
    others = sorted({side.category for side in sides} - {category})
    doubt = check("score", path)
    if others:
        doubt = "; ".join(filter(None, [f"the exported row is {', '.join(others)}", doubt]))
    detail = f"{category}: {doubt}" if doubt else category
    digest = sha256(line).hexdigest()
    return Step("scored run", f"{path}:{number + 1}", digest, not doubt, detail)
