"""The receipt's shape on the wire, and all that can be wrong with it.

Two specifications give the names: in-toto Statement v1 and ResourceDescriptor
(github.com/in-toto/attestation, spec/v1), and SLSA provenance v1
(slsa.dev/spec/v1.0/provenance). What annotations, parameters and byproducts hold is ours
to say, and said here; fields that are not known are ignored, as both ask for.

This module never makes or reads a receipt; `stillhouse.receipts.codec` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from stillhouse.receipts.hashing import MARK_DIGITS, FileDigest
from stillhouse.records import Record, is_utc_time
from stillhouse.storage import paths

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:stillhouse:receipt:v1"
BUILDER_ID: Final = "urn:stillhouse:builder:local"
"""Whoever ran the command, on their own machine: no SLSA level is claimed."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")
_MARKS: Final = re.compile(rf"(?:[0-9a-f]{{{MARK_DIGITS}}})*\Z")
_STAGE: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")
_DRIVE: Final = re.compile(r"[A-Za-z]:")


# ----------------------------------------------------------------------------- on the wire


class Blocks(Record, frozen=True):
    """Where a file can be compared: each ``size`` bytes, 8 hex digits of the hash up to there."""

    size: int
    prefixes: str


class FileNotes(Record, frozen=True):
    """Annotations of a file."""

    bytes: int
    rows: int | None = None
    blocks: Blocks | None = None


class Resource(Record, frozen=True):
    """An in-toto ResourceDescriptor of a lake file; ``name`` is its path in the lake."""

    name: str
    digest: dict[str, str]
    annotations: FileNotes


class RunNotes(Record, frozen=True):
    """Annotations of the run: its counts, and lake files that are gone since it."""

    counts: dict[str, int | dict[str, int]] = msgspec.field(default_factory=dict)
    removed: list[str] = msgspec.field(default_factory=list)


class Byproduct(Record, frozen=True):
    """An in-toto ResourceDescriptor of what a run leaves beside its outputs."""

    name: str
    digest: dict[str, str]
    annotations: RunNotes = RunNotes()


class ExternalParameters(Record, frozen=True):
    """What the user asked for: enough, with the dependencies, to run it again."""

    stage: str
    recorded_at: str
    options: dict[str, Any]


class InternalParameters(Record, frozen=True):
    """What the lake itself added: the generation of its contents."""

    sequence: int


class BuildDefinition(Record, frozen=True, rename="camel"):
    """SLSA BuildDefinition."""

    build_type: str
    external_parameters: ExternalParameters
    internal_parameters: InternalParameters
    resolved_dependencies: list[Resource] = msgspec.field(default_factory=list)


class Builder(Record, frozen=True):
    """SLSA Builder; ``version`` has ``stillhouse`` and, when known, ``commit``."""

    id: str
    version: dict[str, str]


class BuildMetadata(Record, frozen=True, rename="camel"):
    """SLSA BuildMetadata: the only place for the clock."""

    invocation_id: str
    started_on: str | None = None
    finished_on: str | None = None


class RunDetails(Record, frozen=True):
    """SLSA RunDetails."""

    builder: Builder
    metadata: BuildMetadata
    byproducts: list[Byproduct]


class Predicate(Record, frozen=True, rename="camel"):
    """SLSA provenance v1."""

    build_definition: BuildDefinition
    run_details: RunDetails


class Receipt(Record, frozen=True, rename="camel"):
    """An in-toto Statement v1 with the SLSA provenance v1 predicate."""

    statement_type: str = msgspec.field(name="_type")
    subject: list[Resource]
    predicate_type: str
    predicate: Predicate

    @property
    def outputs(self) -> list[FileDigest]:
        """The files the run wrote."""
        return [to_file(resource) for resource in self.subject]

    @property
    def inputs(self) -> list[FileDigest]:
        """The files the run read."""
        return [to_file(res) for res in self.predicate.build_definition.resolved_dependencies]

    @property
    def parameters(self) -> ExternalParameters:
        """Stage, ``recorded_at`` and options."""
        return self.predicate.build_definition.external_parameters

    @property
    def sequence(self) -> int:
        """The generation: of two receipts that name a file the higher one counts."""
        return self.predicate.build_definition.internal_parameters.sequence

    @property
    def run(self) -> RunNotes:
        """Counts and removed files."""
        return byproduct(self, "run").annotations

    @property
    def run_hash(self) -> str:
        """The hash that the receipt states; `compute_run_hash` says what it should be."""
        return byproduct(self, "run").digest["sha256"]

    def problems(self) -> list[str]:
        definition = self.predicate.build_definition
        out = list(_list_problems("subject", self.subject))
        out += _list_problems("resolvedDependencies", definition.resolved_dependencies)
        out += _parameter_problems(self)
        out += _byproduct_problems(self)
        if not self.subject:
            out.append("subject: is empty")
        return out


def to_file(resource: Resource) -> FileDigest:
    """A resource of a valid receipt as a file digest."""
    notes = resource.annotations
    blocks = notes.blocks or Blocks(size=0, prefixes="")
    return FileDigest(
        resource.name,
        notes.bytes,
        notes.rows,
        resource.digest["sha256"],
        blocks.size,
        blocks.prefixes,
    )


def to_resource(file: FileDigest) -> Resource:
    """A file digest as it stands on the wire."""
    blocks = Blocks(size=file.block, prefixes=file.marks) if file.marks else None
    notes = FileNotes(bytes=file.bytes, rows=file.rows, blocks=blocks)
    return Resource(name=file.path, digest={"sha256": file.sha256}, annotations=notes)


def byproduct(receipt: Receipt, name: str) -> Byproduct:
    """``run`` or ``receipt``: both are in every valid receipt, once."""
    return next(part for part in receipt.predicate.run_details.byproducts if part.name == name)


# ------------------------------------------------------------------------ what can be wrong


def path_problem(path: str) -> str:
    """Why a path cannot name a file inside a lake, on any system; empty when it can."""
    return paths.path_problem(path) or ("names a drive" if _DRIVE.match(path) else "")


def _list_problems(field: str, resources: Sequence[Resource]) -> Iterator[str]:
    seen: dict[str, tuple[str, int, int | None]] = {}
    for resource in resources:
        where = f"{field} {clip(resource.name)}"
        digest = resource.digest.get("sha256", "")
        if why := path_problem(resource.name):
            yield f"{where}: {why}"
        if not _SHA256.match(digest):
            yield f"{where}: digest.sha256 is not 64 hex digits"
        yield from (f"{where}: {why}" for why in _note_problems(resource.annotations))
        state = (digest, resource.annotations.bytes, resource.annotations.rows)
        if seen.setdefault(resource.name, state) != state:
            yield f"{where}: is there twice, with different hashes, bytes or rows"


def _note_problems(notes: FileNotes) -> Iterator[str]:
    if not 0 <= notes.bytes < 1 << 63:
        yield "bytes is out of range"
    if notes.rows is not None and not 0 <= notes.rows < 1 << 63:
        yield "rows is out of range"
    if notes.blocks is not None:
        size, marks = notes.blocks.size, notes.blocks.prefixes
        whole = notes.bytes // size if size >= 1024 else -1
        if not _MARKS.match(marks) or len(marks) != whole * MARK_DIGITS:
            yield "blocks do not fit its bytes"


def _parameter_problems(receipt: Receipt) -> Iterator[str]:
    parameters = receipt.parameters
    if not _STAGE.match(parameters.stage):
        yield f"stage: {clip(parameters.stage)} is not a stage's name"
    if not is_utc_time(parameters.recorded_at):
        yield "recorded_at: is not an ISO 8601 UTC time"
    if not 0 <= receipt.sequence < 1 << 63:
        yield "sequence: is out of range"
    metadata = receipt.predicate.run_details.metadata
    for name in ("started_on", "finished_on"):
        moment = getattr(metadata, name)
        if moment is not None and not is_utc_time(moment):
            yield f"{name}: is not an ISO 8601 UTC time"


def _byproduct_problems(receipt: Receipt) -> Iterator[str]:
    byproducts = receipt.predicate.run_details.byproducts
    for name in ("run", "receipt"):
        digests = [part.digest.get("sha256", "") for part in byproducts if part.name == name]
        if len(digests) != 1 or not _SHA256.match(digests[0]):
            yield f"byproducts: need exactly one {name!r} with a sha256 of 64 hex digits"
    written = {resource.name for resource in receipt.subject}
    for path in [path for part in byproducts for path in part.annotations.removed]:
        why = "is a subject too" if path in written else path_problem(path)
        if why:
            yield f"removed {clip(path)}: {why}"


def clip(value: object) -> str:
    """A value for a message: quoted, and never longer than a line."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}…"
