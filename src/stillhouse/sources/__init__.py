"""The table of sources: which log is read, scored and phrased by what.

A user's own sources come from installed packages through the entry-point group
`stillhouse.sources`: an entry point names a `Source` or a list of them. They stand beside
ours and never replace one. Scoring and phrasing are pure; only finding the installed
packages looks outside, once a process.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

import msgspec

from stillhouse.errors import SourceError, StillhouseError
from stillhouse.interfaces import Source, Verdict
from stillhouse.records import SCHEMA_VERSION, SCORER_VERSION, EvidenceRecord, ScoredRun
from stillhouse.rows import RawRow
from stillhouse.scoring import overridden
from stillhouse.sources import (
    audits,
    auto_apply,
    contract_analyses,
    extraction,
    mode_experiments,
    observer_reviews,
    outcomes,
    scrum_reviews,
)

PLUGIN_GROUP: Final = "stillhouse.sources"

# What decides what becomes of a raw row: its record, its score, its place in the index.
_RULES: Final = (
    "fields.py",
    "index.py",
    "ingest.py",
    "rawchat.py",
    "rawjson.py",
    "records.py",
    "redaction/*.py",
    "rows.py",
    "scoring.py",
    "sources/*.py",
    "spelling.py",
    "times.py",
    "words.py",
)

IMPORT_FAULTS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    SystemExit,
    TypeError,
    ValueError,
    msgspec.MsgspecError,
    StillhouseError,
)
"""What a stranger's module may raise while it is imported."""

SOURCES: Final[dict[str, Source]] = {
    source.stem: source
    for source in (
        scrum_reviews.SOURCE,
        observer_reviews.SOURCE,
        audits.SOURCE,
        contract_analyses.SOURCE,
        auto_apply.SOURCE,
        outcomes.SOURCE,
        mode_experiments.SOURCE,
        extraction.known("distilled_facts", "facts taken from documents and runs"),
        extraction.known("distilled_procedures", "procedures taken from documents and runs"),
        extraction.known("distilled_config_hints", "configuration hints taken from runs"),
        extraction.known("audit_facts", "facts taken from audits"),
        extraction.known("observer_escalations", "what observers passed on to people"),
    )
}
"""Our own sources, one line each. `all_sources` adds those of installed packages."""


def source_for(stem: str) -> Source:
    """The source of a stem; for a stem nobody has defined, one that says so.

    Raises `SourceError` when an installed package's sources cannot be used.
    """
    return all_sources().get(stem) or extraction.unknown(stem)


def undefined(stem: str) -> str:
    """What to tell of a stem that no source defines, with the nearest that one does; else empty."""
    known = all_sources()
    if stem in known:
        return ""
    said = f"{stem}: no source of that name, so nothing of it trains"
    near = get_close_matches(stem.casefold(), known, n=1, cutoff=0.75)
    return f"{said}; did you mean {near[0]}?" if near else said


@cache
def all_sources() -> dict[str, Source]:
    """Our sources and those of installed packages, by stem. Loaded once a process.

    Raises `SourceError`, naming the package, for a plugin that does not import, is no
    `Source`, or defines a stem that is already taken.
    """
    found = dict(SOURCES)
    for entry in sorted(entry_points(group=PLUGIN_GROUP), key=lambda e: (e.name, e.value)):
        for source in _load(entry):
            if source.stem in found:
                whose = "one of ours" if source.stem in SOURCES else "another package's"
                raise SourceError(
                    f"the source {source.stem!r} is {whose} and cannot be defined again",
                    where=_origin(entry),
                    way_out="Give the source another stem, or uninstall the package.",
                )
            found[source.stem] = source
    return found


@cache
def code_of(stem: str) -> str:
    """Names the code of a stem's source: when it changes, what that code made is stale.

    The text of the modules is hashed, a package's and our own: an edit counts before the
    version does, or rows of two rules would lie side by side under one version.
    """
    source = source_for(stem)
    parts: list[str] = [text_of(*_RULES), source.source_class]
    for function in (source.transform, source.score, source.template):
        name, module = function.__module__, sys.modules.get(function.__module__)
        parts.append(f"{name}.{function.__qualname__}")
        if module is not None and not name.startswith("stillhouse."):
            try:
                text = inspect.getsource(module)
            except OSError:
                continue
            parts.append(hashlib.sha256(text.encode()).hexdigest()[:16])
    return " ".join(parts)


@cache
def text_of(*modules: str) -> str:
    """Names the text of our own modules (glob patterns within the package): an edit of one
    gives another name. Of no text where the package has no sources with it."""
    root = Path(__file__).parents[1]
    hashed = hashlib.sha256()
    for path in sorted({path for pattern in modules for path in root.glob(pattern)}):
        hashed.update(path.relative_to(root).as_posix().encode() + b"\0")
        hashed.update(hashlib.sha256(path.read_bytes()).digest())
    return hashed.hexdigest()[:16]


def stem_from_source_file(source_file: str) -> str:
    """``_kb/audits.jsonl`` and ``data/_kb/audits.jsonl`` are of the stem ``audits`` (SPEC S3)."""
    return source_file.removeprefix("data/").removeprefix("_kb/").removesuffix(".jsonl")


def score_record(record: EvidenceRecord) -> Verdict:
    """The verdict on a record: its source's rule, and a person's override above it.

    Pure (SPEC C1): the same record gives the same verdict.
    """
    verdict = _source_of_file(record.provenance.source_file).score(record)
    override = record.human_override
    return verdict if override is None else overridden(override, verdict)


def build_scored_run(record: EvidenceRecord, evidence_sig_hash: str, scored_at: str) -> ScoredRun:
    """The scored run of a record; ``evidence_sig_hash`` is the SHA-256 of its evidence line."""
    category, reasons, sub_scores = score_record(record)
    return ScoredRun(
        schema_version=SCHEMA_VERSION,
        evidence_run_id=record.run_id,
        evidence_task_id=record.task_id,
        category=category,
        reasons=reasons,
        sub_scores=sub_scores,
        scored_at=scored_at,
        scorer_version=SCORER_VERSION,
        sig_hash=evidence_sig_hash,
        provenance=record.provenance,
    )


def build_instruction(record: EvidenceRecord) -> str:
    """The task in words, by the template of the record's source (SPEC S4 to S6)."""
    return _source_of_file(record.provenance.source_file).template(record)


@lru_cache(maxsize=1024)
def _source_of_file(source_file: str) -> Source:
    return source_for(stem_from_source_file(source_file))


def _load(entry: EntryPoint) -> list[Source]:
    """The sources an entry point names.

    Importing runs a stranger's code, which may fail in any way; the failure is told with
    the package's name, so that a person knows what to mend.
    """
    try:
        named = entry.load()
    except IMPORT_FAULTS as error:
        raise SourceError(
            f"does not import: {type(error).__name__}: {error}",
            where=_origin(entry),
            way_out="Mend or uninstall the package.",
        ) from error
    sources = list(named) if isinstance(named, Iterable) else [named]
    for source in sources:
        if not isinstance(source, Source) or not issubclass(source.raw, RawRow):
            raise SourceError(
                "does not name a Source, or a list of them, whose rows are a RawRow",
                where=_origin(entry),
                way_out="Mend or uninstall the package.",
            )
    return sources


def _origin(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist else "an unnamed package"
    return f"{package} (entry point {entry.name} = {entry.value})"
