"""Making, writing and reading receipts.

Pure: bytes in, bytes out; only `list_receipts` and `last_sequence` look into a store. This
module never reads a clock or the environment: version, commit and times are arguments.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from stillhouse.errors import NewerReceiptError, ReceiptError
from stillhouse.fields import json_type
from stillhouse.interfaces import Store
from stillhouse.receipts.hashing import FileDigest
from stillhouse.receipts.statement import (
    BUILD_TYPE,
    BUILDER_ID,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    BuildDefinition,
    Builder,
    BuildMetadata,
    Byproduct,
    ExternalParameters,
    InternalParameters,
    Predicate,
    Receipt,
    RunDetails,
    RunNotes,
    byproduct,
    clip,
    to_resource,
)
from stillhouse.records import validate

RECEIPTS: Final = "receipts"

_UNSEALED: Final = "0" * 64
_OURS: Final = re.compile(r"urn:stillhouse:receipt:v[1-9][0-9]*\Z")
_RESTORE: Final = "Restore it from a copy; do not mend it by hand"

Counts = Mapping[str, int | Mapping[str, int]]
"""How many rows of what: a number by name, or numbers by category or reason."""


def build_receipt(
    stage: str,
    outputs: Iterable[FileDigest],
    inputs: Iterable[FileDigest],
    parameters: Mapping[str, object],
    counts: Counts,
    recorded_at: str,
    version: str,
    commit: str | None = None,
    *,
    sequence: int = 0,
    removed: Iterable[str] = (),
    started_on: str | None = None,
    finished_on: str | None = None,
) -> Receipt:
    """The receipt of one stage of one run, sealed.

    ``sequence`` is the lake's generation; ``removed`` names files, of the lake's outputs
    or inputs, that earlier receipts name and that are rightly gone. ``parameters`` are
    the options, JSON values. Raises `ReceiptError` with every problem of what is given;
    also without any output, as in-toto wants a subject (write an empty file instead).
    """
    builder = {"stillhouse": version, **({"commit": commit} if commit else {})}
    options = msgspec.json.decode(msgspec.json.encode(parameters))
    notes = RunNotes(counts=msgspec.to_builtins(counts), removed=sorted(set(removed)))
    definition = BuildDefinition(
        build_type=BUILD_TYPE,
        external_parameters=ExternalParameters(
            stage=stage, recorded_at=recorded_at, options=options
        ),
        internal_parameters=InternalParameters(sequence=sequence),
        resolved_dependencies=[to_resource(file) for file in _by_path(inputs)],
    )
    metadata = BuildMetadata(invocation_id="", started_on=started_on, finished_on=finished_on)
    draft = Receipt(
        statement_type=STATEMENT_TYPE,
        subject=[to_resource(file) for file in _by_path(outputs)],
        predicate_type=PREDICATE_TYPE,
        predicate=Predicate(
            build_definition=definition,
            run_details=RunDetails(
                builder=Builder(id=BUILDER_ID, version=builder), metadata=metadata, byproducts=[]
            ),
        ),
    )
    return _finish(draft, notes)


def _by_path(files: Iterable[FileDigest]) -> list[FileDigest]:
    return sorted(files, key=lambda file: file.path)


def _finish(draft: Receipt, notes: RunNotes) -> Receipt:
    """Fill in what is made from the rest: run hash, invocation id, seal."""

    def filled(run_hash: str, seal: str) -> Receipt:
        run = Byproduct(name="run", digest={"sha256": run_hash}, annotations=notes)
        details = msgspec.structs.replace(
            draft.predicate.run_details,
            metadata=msgspec.structs.replace(
                draft.predicate.run_details.metadata,
                invocation_id=f"{draft.parameters.stage}-{draft.sequence}-{run_hash[:12]}",
            ),
            byproducts=[run, Byproduct(name="receipt", digest={"sha256": seal})],
        )
        predicate = msgspec.structs.replace(draft.predicate, run_details=details)
        return msgspec.structs.replace(draft, predicate=predicate)

    unhashed = filled(_UNSEALED, _UNSEALED)
    if problems := unhashed.problems():
        raise ReceiptError(_line(problems), where=f"receipt of {clip(draft.parameters.stage)}")
    run_hash = compute_run_hash(unhashed)
    seal = hashlib.sha256(encode_receipt(filled(run_hash, _UNSEALED))).hexdigest()
    return filled(run_hash, seal)


def compute_run_hash(receipt: Receipt) -> str:
    """SHA-256 of the JSON (sorted keys, no blanks, UTF-8) of what is deterministic in a run:
    ``{builder, counts, dependencies, parameters, removed, subjects}``, files by path as
    ``[path, bytes, rows, sha256]``. The clock, the sequence and the blocks stay out."""

    def files(digests: list[FileDigest]) -> list[list[object]]:
        return sorted([file.path, file.bytes, file.rows, file.sha256] for file in digests)

    body = {
        "builder": receipt.predicate.run_details.builder.version,
        "counts": receipt.run.counts,
        "dependencies": files(receipt.inputs),
        "parameters": receipt.parameters,
        "removed": sorted(receipt.run.removed),
        "subjects": files(receipt.outputs),
    }
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()


def encode_receipt(receipt: Receipt) -> bytes:
    """The receipt as indented JSON, options and counts in sorted order, with a line end."""
    packed = msgspec.json.encode(receipt, order="deterministic")
    return msgspec.json.format(packed, indent=1) + b"\n"


def decode_receipt(data: bytes, where: str) -> Receipt:
    """Read a receipt and check its shape; `ReceiptError` names every problem in one line.

    That its hashes hold is for `verify_lake`.
    """
    try:
        row = json.loads(data.decode(), object_pairs_hook=_no_twins, parse_constant=_no_constant)
        # What Python's JSON admits and no other one must: lone surrogates.
        msgspec.json.encode(row)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ReceiptError(f"is not JSON: {why}", where=where, way_out=_RESTORE) from error
    if not isinstance(row, dict):
        raise ReceiptError(f"is not a JSON object but {json_type(row)}", where=where)
    _check_kind(row, where)
    if problems := validate(row, Receipt):
        raise ReceiptError(_line(problems), where=where, way_out=_RESTORE)
    return msgspec.convert(row, Receipt)


def _line(problems: list[str]) -> str:
    """The first problems; a hostile receipt may have one for each of a million files."""
    more = [f"and {len(problems) - 8:,} more problems"] if len(problems) > 8 else []
    return "; ".join([*problems[:8], *more])


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two readers may take different ones of a repeated key: so nobody may.
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("an object has a key twice")
    return row


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _check_kind(row: dict[str, Any], where: str) -> None:
    for key, wanted in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if key in row and row[key] != wanted:
            raise ReceiptError(f"its {key} is {clip(row[key])}, not {wanted!r}", where=where)
    kind: Any = row
    for key in ("predicate", "buildDefinition", "buildType"):
        kind = kind.get(key) if isinstance(kind, dict) else None
    if isinstance(kind, str) and kind != BUILD_TYPE:
        if _OURS.match(kind):
            raise NewerReceiptError(
                f"was written by a newer stillhouse ({clip(kind)}; this one reads {BUILD_TYPE})",
                where=where,
                way_out="Upgrade stillhouse",
            )
        raise ReceiptError(f"is no receipt of stillhouse (buildType {clip(kind)})", where=where)


def seal_holds(data: bytes, receipt: Receipt) -> bool:
    """True when ``data``, from which the receipt was read, is what was once sealed."""
    seal = byproduct(receipt, "receipt").digest["sha256"]
    unsealed = data.replace(seal.encode(), _UNSEALED.encode())
    return hashlib.sha256(unsealed).hexdigest() == seal


def is_sound(data: bytes, receipt: Receipt) -> bool:
    """True when a receipt's own hashes hold: `verify_lake` would find nothing wrong with it."""
    return compute_run_hash(receipt) == receipt.run_hash and seal_holds(data, receipt)


def receipt_path(stage: str, recorded_at: str, sequence: int, run_hash: str) -> str:
    """Where a receipt lives: names sort by time, then by sequence. The sequence is in it
    because a run may repeat an earlier one to its time and hash, and both have happened."""
    moment = datetime.fromisoformat(recorded_at).astimezone(UTC)
    return f"{RECEIPTS}/{stage}/{moment:%Y%m%dT%H%M%S.%fZ}-{sequence:06}-{run_hash[:12]}.json"


def list_receipts(store: Store, stage: str = "") -> list[str]:
    """The paths of all receipts, or of one stage's, oldest ``recorded_at`` first."""
    folder = f"{RECEIPTS}/{stage}" if stage else RECEIPTS
    paths = [entry.path for entry in store.list(folder) if entry.path.endswith(".json")]
    return sorted(paths, key=lambda path: (path.rpartition("/")[2], path))


def last_sequence(store: Store) -> int:
    """The highest sequence that any receipt has; 0 when there is none.

    A new run takes the next one. Raises `ReceiptError` for a receipt that cannot be read,
    since its sequence might be the highest.
    """
    paths = list_receipts(store)
    return max((decode_receipt(store.read(path), path).sequence for path in paths), default=0)
