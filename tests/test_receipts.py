"""Receipts: their bytes, what they refuse, and that verification finds what was damaged."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.errors import ReceiptError, StorageError
from stillhouse.interfaces import Entry, Sink, TailCheck
from stillhouse.receipts import (
    BlockHasher,
    FileDigest,
    Finding,
    Receipt,
    VerifyReport,
    build_receipt,
    compute_run_hash,
    decode_receipt,
    encode_receipt,
    last_sequence,
    list_receipts,
    receipt_path,
    verify_lake,
)
from stillhouse.receipts.findings import WAYS_OUT, Kind
from stillhouse.receipts.hashing import BLOCK, MOST_MARKS, hash_prefix
from stillhouse.receipts.statement import path_problem
from stillhouse.storage import LocalStore

GOLDEN = Path(__file__).parent / "golden" / "receipts" / "evidence.json"
AT = "2026-01-31T12:00:00Z"
SMALL = 1024
T = TypeVar("T")
U = TypeVar("U")


class Files:
    """A store of a few files in memory that lists them in whatever order it is told."""

    url = "memory:"

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = dict(files or {})
        self.order: Callable[[list[str]], list[str]] = sorted
        self.refused: set[str] = set()

    def list(self, prefix: str) -> Iterator[Entry]:
        for path in self.order(list(self.files)):
            if path.startswith(f"{prefix}/"):
                yield Entry(path, len(self.files[path]), "")

    def stat(self, path: str) -> Entry | None:
        return Entry(path, len(self.files[path]), "") if path in self.files else None

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        if path in self.refused:
            raise StorageError("permission denied", where=path)
        return self.files[path][start:end]

    def open(self, path: str, *, random: bool = False) -> BinaryIO:
        return io.BytesIO(self.read(path))

    def check_readable(self) -> None:
        return None

    def writer(self, path: str, *, durable: bool = True) -> AbstractContextManager[Sink]:
        raise AssertionError("verification never writes")

    def create(self, path: str, data: bytes) -> bool:
        raise AssertionError("verification never writes")

    def append_line(self, path: str, line: bytes, check_tail: TailCheck) -> None:
        raise AssertionError("verification never writes")

    def snapshot(self, path: str) -> tuple[Entry, bytes] | None:
        raise AssertionError("verification reads files as they are")

    def truncate(self, path: str, size: int, seen: Entry) -> bool:
        raise AssertionError("verification never writes")

    def persist(self, paths: Sequence[str]) -> None:
        raise AssertionError("verification never writes")

    def publish(self, staged: str, target: str, *, durable: bool = True) -> None:
        raise AssertionError("verification never writes")

    def delete(self, path: str) -> None:
        raise AssertionError("verification never writes")

    def lock(self, holder: str) -> AbstractContextManager[None]:
        raise AssertionError("verification never locks")

    def local_path(self, path: str) -> Path | None:
        return None


def digest_of(path: str, data: bytes, block: int = SMALL) -> FileDigest:
    hasher = BlockHasher(block)
    hasher.update(data)
    return hasher.digest(path, data.count(b"\n"))


def stage(
    lake: Files,
    name: str,
    outputs: dict[str, bytes],
    inputs: Iterable[str],
    *,
    sequence: int = 1,
    recorded_at: str = AT,
    removed: Iterable[str] = (),
) -> str:
    """Write outputs and their receipt into the lake as a stage does; the receipt's path."""
    read = [digest_of(path, lake.files[path]) for path in inputs]
    lake.files |= outputs
    for path in removed:
        lake.files.pop(path, None)
    receipt = build_receipt(
        name,
        [digest_of(path, data) for path, data in outputs.items()],
        read,
        {"strict": True},
        {"rows": 1},
        recorded_at,
        "0.1.0",
        sequence=sequence,
        removed=removed,
    )
    path = receipt_path(name, recorded_at, sequence, receipt.run_hash)
    lake.files[path] = encode_receipt(receipt)
    return path


RAW, EVIDENCE, SCORED, SFT = (
    "_kb/audits.jsonl",
    "evidence/2026/01/31/audits.jsonl",
    "scored-runs/2026/01/31/audits.jsonl",
    "distilled/sft/sft_export.jsonl",
)


def lines(seed: int, size: int) -> bytes:
    """About ``size`` bytes of lines that do not repeat."""
    rng = random.Random(seed)
    out = bytearray()
    while len(out) < size:
        out += b'{"n":%d}\n' % rng.getrandbits(rng.randrange(8, 400))
    return bytes(out)


def sound_lake(seed: int = 0) -> Files:
    """A lake of one raw file, distilled once."""
    lake = Files({RAW: lines(seed, 5000)})
    stage(lake, "evidence", {EVIDENCE: lines(seed + 1, 7000)}, [RAW])
    stage(lake, "score", {SCORED: lines(seed + 2, 3000)}, [EVIDENCE])
    stage(lake, "export-sft", {SFT: lines(seed + 3, 2048)}, [SCORED, EVIDENCE])
    return lake


def kinds(report: VerifyReport) -> list[tuple[str, str]]:
    return [(finding.kind, finding.path) for finding in report.problems]


def only(report: VerifyReport) -> Finding:
    assert len(report.problems) == 1, report.problems
    assert not report.ok
    return report.problems[0]


# ----------------------------------------------------------------------------- the receipt


def golden_receipt(**changes: Any) -> Receipt:
    arguments: dict[str, Any] = {
        "stage": "evidence",
        "outputs": [
            FileDigest("quarantine/evidence/audits.jsonl", 120, 1, "ef" * 32),
            FileDigest(EVIDENCE, 40000, 12, "ab" * 32, 32768, "0123abcd"),
        ],
        "inputs": [FileDigest(RAW, 9000, 13, "cd" * 32)],
        "parameters": {"workers": 2, "strict": True, "sources": ["audits"]},
        "counts": {"rows": 13, "quarantined": {"bad_json": 1}, "evidence": {"audits": 12}},
        "recorded_at": AT,
        "version": "0.1.0",
        "commit": "0f1e2d3",
        "sequence": 3,
        "removed": ["evidence/2026/01/30/audits.jsonl"],
        "started_on": "2026-01-31T12:00:01Z",
        "finished_on": "2026-01-31T12:00:02.500000Z",
    }
    return build_receipt(**{**arguments, **changes})


def test_golden() -> None:
    """A receipt's bytes are a format: they do not change by accident."""
    assert encode_receipt(golden_receipt()) == GOLDEN.read_bytes()


def test_golden_reads_back() -> None:
    """A kept receipt reads as what it was made from."""
    receipt = decode_receipt(GOLDEN.read_bytes(), "golden")
    assert receipt == golden_receipt()
    assert receipt.run.counts["quarantined"] == {"bad_json": 1}
    assert receipt.inputs == [FileDigest(RAW, 9000, 13, "cd" * 32)]
    assert receipt.outputs[0] == FileDigest(EVIDENCE, 40000, 12, "ab" * 32, 32768, "0123abcd")
    assert receipt.sequence == 3


def test_run_hash_can_be_computed_by_anyone() -> None:
    """The documented recipe, followed with the standard library, gives the run hash."""
    row = json.loads(GOLDEN.read_bytes())
    predicate = row["predicate"]
    run = predicate["runDetails"]["byproducts"][0]

    def files(resources: list[Any]) -> list[list[Any]]:
        return sorted(
            [one["name"], notes["bytes"], notes["rows"], one["digest"]["sha256"]]
            for one in resources
            for notes in [one["annotations"]]
        )

    body = {
        "builder": predicate["runDetails"]["builder"]["version"],
        "counts": run["annotations"]["counts"],
        "dependencies": files(predicate["buildDefinition"]["resolvedDependencies"]),
        "parameters": predicate["buildDefinition"]["externalParameters"],
        "removed": run["annotations"]["removed"],
        "subjects": files(row["subject"]),
    }
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == run["digest"]["sha256"]


def test_seal_can_be_computed_by_anyone() -> None:
    """The seal is the hash of the receipt's bytes with its own digits as zeros."""
    data = GOLDEN.read_bytes()
    seal = json.loads(data)["predicate"]["runDetails"]["byproducts"][1]["digest"]["sha256"]
    assert data.count(seal.encode()) == 1
    zeroed = data.replace(seal.encode(), b"0" * 64)
    assert hashlib.sha256(zeroed).hexdigest() == seal


def test_the_public_package_parses_it() -> None:
    """in-toto's own package reads it as a Statement with SLSA provenance, and validates it."""
    why = "in-toto-attestation is not installed"
    statement = pytest.importorskip("in_toto_attestation.v1.statement", reason=why)
    statement_pb2 = pytest.importorskip("in_toto_attestation.v1.statement_pb2", reason=why)
    provenance_pb2 = pytest.importorskip(
        "in_toto_attestation.predicates.provenance.v1.provenance_pb2", reason=why
    )
    json_format = pytest.importorskip("google.protobuf.json_format", reason=why)

    # Parsing is strict: a field that the specifications do not have is an error.
    parsed = json_format.Parse(GOLDEN.read_bytes(), statement_pb2.Statement())
    statement.Statement.copy_from_pb(parsed).validate()
    assert parsed.type == "https://in-toto.io/Statement/v1"
    assert parsed.predicate_type == "https://slsa.dev/provenance/v1"
    predicate = json_format.ParseDict(
        json_format.MessageToDict(parsed)["predicate"], provenance_pb2.Provenance()
    )
    assert predicate.build_definition.build_type == "urn:stillhouse:receipt:v1"
    assert predicate.build_definition.resolved_dependencies[0].name == RAW
    assert predicate.run_details.builder.version["commit"] == "0f1e2d3"
    assert predicate.run_details.metadata.finished_on.nanos == 500_000_000
    counts = predicate.run_details.byproducts[0].annotations["counts"]
    assert counts["quarantined"]["bad_json"] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": {"sources": ["audits"], "strict": True, "workers": 2}},
        {"counts": {"evidence": {"audits": 12}, "quarantined": {"bad_json": 1}, "rows": 13}},
        {"started_on": None, "finished_on": "2027-01-01T00:00:00Z"},
        {"sequence": 9},
        {"removed": iter(["evidence/2026/01/30/audits.jsonl"] * 2)},
        {
            "outputs": [
                FileDigest(EVIDENCE, 40000, 12, "ab" * 32),
                FileDigest("quarantine/evidence/audits.jsonl", 120, 1, "ef" * 32),
            ]
        },
    ],
    ids=["options' order", "counts' order", "clock", "sequence", "removed", "files' order"],
)
def test_run_hash_stays(changes: dict[str, Any]) -> None:
    """Neither order, nor clock, nor the place in the lake's history reach the run hash."""
    assert golden_receipt(**changes).run_hash == golden_receipt().run_hash


@pytest.mark.parametrize(
    "changes",
    [
        {"stage": "score"},
        {"parameters": {"workers": 3, "strict": True, "sources": ["audits"]}},
        {"counts": {}},
        {"recorded_at": "2026-01-31T12:00:01Z"},
        {"version": "0.1.1"},
        {"commit": None},
        {"removed": []},
        {"inputs": []},
        {"inputs": [FileDigest(RAW, 9001, 13, "cd" * 32)]},
        {"outputs": [FileDigest(EVIDENCE, 40000, 12, "ac" + "ab" * 31)]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_run_hash_follows(changes: dict[str, Any]) -> None:
    """Whatever is deterministic in a run reaches its hash."""
    assert golden_receipt(**changes).run_hash != golden_receipt().run_hash


PATHS = st.lists(st.text("abcäö日 ._-", min_size=1, max_size=8), min_size=1, max_size=4).map(
    "/".join
)
SIZES = st.integers(0, 1 << 50)
DIGESTS = st.builds(
    FileDigest,
    path=PATHS.filter(lambda path: not path_problem(path)),
    bytes=SIZES,
    rows=st.none() | SIZES,
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), 1 << 63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    outputs=st.lists(DIGESTS, min_size=1, max_size=5, unique_by=lambda file: file.path),
    inputs=st.lists(DIGESTS, max_size=5, unique_by=lambda file: file.path),
    parameters=st.dictionaries(st.text(), JSON, max_size=4),
    counts=st.dictionaries(st.text(), SIZES | st.dictionaries(st.text(), SIZES), max_size=4),
    sequence=SIZES,
)
def test_round_trip(
    outputs: list[FileDigest],
    inputs: list[FileDigest],
    parameters: dict[str, Any],
    counts: dict[str, Any],
    sequence: int,
) -> None:
    """What is written is read: whatever options, counts and file names there are."""
    receipt = build_receipt(
        "score", outputs, inputs, parameters, counts, AT, "1", sequence=sequence
    )
    data = encode_receipt(receipt)
    again = decode_receipt(data, "x")
    assert again == receipt
    assert encode_receipt(again) == data
    assert data.endswith(b"}\n")
    assert compute_run_hash(again) == receipt.run_hash
    assert again.parameters.options == parameters
    assert sorted(again.outputs, key=str) == sorted(outputs, key=str)


# ------------------------------------------------------------------------------ bad input


def damaged(change: Callable[[dict[str, Any]], object]) -> bytes:
    row = json.loads(GOLDEN.read_bytes())
    change(row)
    return json.dumps(row).encode()


def at(row: Any, *keys: str | int) -> Any:
    for key in keys:
        row = row[key]
    return row


DEFINITION = ("predicate", "buildDefinition")
DETAILS = ("predicate", "runDetails")
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is not JSON"),
    "truncated": (GOLDEN.read_bytes()[:-20] if GOLDEN.exists() else b"", "is not JSON"),
    "not UTF-8": (b'{"_type": "\xff"}', "is not JSON"),
    "UTF-16": ("{}".encode("utf-16"), "is not JSON"),
    "NaN": (b'{"a": NaN}', "NaN is not a JSON value"),
    "lone surrogate": (b'{"a": "\\ud800"}', "is not JSON"),
    "deep": (b"[" * 200_000, "nested too deeply"),
    "a number of many digits": (b"[" + b"9" * 10_000 + b"]", "is not JSON"),
    "an array": (b"[]", "is not a JSON object but an array"),
    "a key twice": (b'{"_type": 1, "_type": 2}', "a key twice"),
    "another statement": (
        damaged(lambda row: row.update(_type="https://in-toto.io/Statement/v0.1")),
        "its _type is 'https://in-toto.io/Statement/v0.1'",
    ),
    "a statement's type of another kind": (
        damaged(lambda row: row.update(_type=["x" * 500])),
        "its _type is",
    ),
    "another predicate": (
        damaged(lambda row: row.update(predicateType="https://slsa.dev/provenance/v0.2")),
        "its predicateType is 'https://slsa.dev/provenance/v0.2'",
    ),
    "newer": (
        damaged(lambda row: at(row, *DEFINITION).update(buildType="urn:stillhouse:receipt:v2")),
        "newer stillhouse ('urn:stillhouse:receipt:v2'; this one reads "
        "urn:stillhouse:receipt:v1). Upgrade stillhouse",
    ),
    "another build": (
        damaged(lambda row: at(row, *DEFINITION).update(buildType="https://example.com/make")),
        "is no receipt of stillhouse",
    ),
    "no type": (damaged(lambda row: row.pop("_type")), "_type: is missing"),
    "no subject": (damaged(lambda row: row.pop("subject")), "subject: is missing"),
    "empty subject": (damaged(lambda row: row.update(subject=[])), "subject: is empty"),
    "no predicate": (damaged(lambda row: row.pop("predicate")), "predicate: is missing"),
    "predicate is null": (damaged(lambda row: row.update(predicate=None)), "predicate: "),
    "no build type": (
        damaged(lambda row: at(row, *DEFINITION).pop("buildType")),
        "predicate.buildDefinition.buildType: is missing",
    ),
    "no recorded_at": (
        damaged(lambda row: at(row, *DEFINITION, "externalParameters").pop("recorded_at")),
        "externalParameters.recorded_at: is missing",
    ),
    "recorded_at": (
        damaged(lambda row: at(row, *DEFINITION, "externalParameters").update(recorded_at="now")),
        "recorded_at: is not an ISO 8601 UTC time",
    ),
    "startedOn": (
        damaged(lambda row: at(row, *DETAILS, "metadata").update(startedOn="today")),
        "started_on: is not an ISO 8601 UTC time",
    ),
    "stage": (
        damaged(lambda row: at(row, *DEFINITION, "externalParameters").update(stage="../x")),
        "stage: '../x' is not a stage's name",
    ),
    "sequence below 0": (
        damaged(lambda row: at(row, *DEFINITION, "internalParameters").update(sequence=-1)),
        "sequence: is out of range",
    ),
    "huge sequence": (
        damaged(lambda row: at(row, *DEFINITION, "internalParameters").update(sequence=2**80)),
        "sequence: is out of range",
    ),
    "no digest": (damaged(lambda row: at(row, "subject", 0).pop("digest")), "digest"),
    "another digest": (
        damaged(lambda row: at(row, "subject", 0).update(digest={"md5": "00"})),
        "digest.sha256 is not 64 hex digits",
    ),
    "short hash": (
        damaged(lambda row: at(row, "subject", 0, "digest").update(sha256="ab" * 31)),
        "digest.sha256 is not 64 hex digits",
    ),
    "long hash": (
        damaged(lambda row: at(row, "subject", 0, "digest").update(sha256="ab" * 32 + "\n")),
        "digest.sha256 is not 64 hex digits",
    ),
    "upper case": (
        damaged(
            lambda row: at(row, *DEFINITION, "resolvedDependencies", 0, "digest").update(
                sha256="AB" * 32
            )
        ),
        "resolvedDependencies '_kb/audits.jsonl': digest.sha256 is not 64 hex digits",
    ),
    "negative bytes": (
        damaged(lambda row: at(row, "subject", 1, "annotations").update(bytes=-1)),
        "bytes is out of range",
    ),
    "rows are words": (
        damaged(lambda row: at(row, "subject", 1, "annotations").update(rows="many")),
        "rows",
    ),
    "negative rows": (
        damaged(lambda row: at(row, "subject", 1, "annotations").update(rows=-1)),
        "rows is out of range",
    ),
    "blocks of 0": (
        damaged(lambda row: at(row, "subject", 0, "annotations", "blocks").update(size=0)),
        "blocks do not fit",
    ),
    "blocks too small": (
        damaged(
            lambda row: at(row, "subject", 1, "annotations").update(
                blocks={"size": 60, "prefixes": "0" * 16}
            )
        ),
        "blocks do not fit",
    ),
    "too many blocks": (
        damaged(
            lambda row: at(row, "subject", 0, "annotations", "blocks").update(prefixes="0" * 16)
        ),
        "blocks do not fit",
    ),
    "blocks of words": (
        damaged(
            lambda row: at(row, "subject", 0, "annotations", "blocks").update(prefixes="zzzzzzzz")
        ),
        "blocks do not fit",
    ),
    "same subject, another hash": (
        damaged(
            lambda row: row["subject"].append(
                {**row["subject"][0], "digest": {"sha256": "00" * 32}}
            )
        ),
        "is there twice",
    ),
    "same input, another hash": (
        damaged(
            lambda row: at(row, *DEFINITION, "resolvedDependencies").append(
                {**at(row, *DEFINITION, "resolvedDependencies", 0), "digest": {"sha256": "00" * 32}}
            )
        ),
        "is there twice",
    ),
    "no run": (
        damaged(lambda row: at(row, *DETAILS, "byproducts").pop(0)),
        "need exactly one 'run'",
    ),
    "two seals": (
        damaged(
            lambda row: at(row, *DETAILS, "byproducts").append(at(row, *DETAILS, "byproducts", 1))
        ),
        "need exactly one 'receipt'",
    ),
    "short run hash": (
        damaged(lambda row: at(row, *DETAILS, "byproducts", 0, "digest").update(sha256="00")),
        "need exactly one 'run'",
    ),
    "removed leaves": (
        damaged(
            lambda row: at(row, *DETAILS, "byproducts", 0, "annotations").update(removed=["../x"])
        ),
        "removed '../x': climbs with",
    ),
    "removed and written": (
        damaged(
            lambda row: at(row, *DETAILS, "byproducts", 0, "annotations").update(removed=[EVIDENCE])
        ),
        "is a subject too",
    ),
    "counts are words": (
        damaged(
            lambda row: at(row, *DETAILS, "byproducts", 0, "annotations").update(
                counts={"rows": "many"}
            )
        ),
        "counts",
    ),
}


@pytest.mark.parametrize(("data", "says"), BAD.values(), ids=BAD.keys())
def test_refuses(data: bytes, says: str) -> None:
    """What is no sound receipt is refused in one clear line that names the file."""
    with pytest.raises(ReceiptError) as caught:
        decode_receipt(data, "receipts/score/x.json")
    line = str(caught.value)
    assert line.startswith("receipts/score/x.json: ")
    assert says in line
    assert "\n" not in line
    assert len(line) < 600


@pytest.mark.parametrize("field", ["subject", "resolvedDependencies"])
@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x.jsonl",
        "evidence/../../x",
        "evidence/./x",
        "evidence//x",
        "evidence/",
        "C:/x",
        "evidence\\x",
        "evidence/\0",
        "..",
    ],
)
def test_refuses_paths_that_leave_the_lake(path: str, field: str) -> None:
    """A receipt never leads a reader out of the lake, neither by an output nor by an input."""

    def change(row: dict[str, Any]) -> None:
        at(row, *(() if field == "subject" else DEFINITION), field, 0)["name"] = path

    with pytest.raises(ReceiptError, match=field):
        decode_receipt(damaged(change), "x")


def test_names_every_problem_but_not_a_million() -> None:
    """All problems are named while they fit a line; the rest is counted."""

    def change(row: dict[str, Any]) -> None:
        row["subject"] = [{**row["subject"][0], "name": f"/{n}"} for n in range(20)]

    with pytest.raises(ReceiptError) as caught:
        decode_receipt(damaged(change), "x")
    assert "'/0'" in str(caught.value)
    assert "'/7'" in str(caught.value)
    assert "and 12 more problems" in str(caught.value)


def test_order_in_the_file_does_not_matter() -> None:
    """Subjects and dependencies are sets: another order on the wire has the same run hash."""
    more = [FileDigest(RAW, 9000, 13, "cd" * 32), FileDigest("_kb/b.jsonl", 1, 1, "cd" * 32)]
    receipt = golden_receipt(inputs=more)
    row = json.loads(encode_receipt(receipt))
    row["subject"].reverse()
    at(row, *DEFINITION, "resolvedDependencies").reverse()
    again = decode_receipt(json.dumps(row).encode(), "x")
    assert again != receipt
    assert compute_run_hash(again) == receipt.run_hash


def test_unknown_fields_are_ignored() -> None:
    """Fields of a later minor version do not stop a reader of today (R6)."""

    def change(row: dict[str, Any]) -> None:
        row["later"] = 1
        at(row, "subject", 0, "annotations")["later"] = {}
        at(row, *DETAILS, "byproducts").append({"name": "later", "digest": {"sha512": "00"}})

    assert decode_receipt(damaged(change), "x").run_hash == golden_receipt().run_hash


@pytest.mark.parametrize(
    "changes",
    [
        {"outputs": []},
        {"stage": "Evidence"},
        {"recorded_at": "yesterday"},
        {"outputs": [FileDigest("../x", 1, 1, "ab" * 32)]},
        {"outputs": [FileDigest("evidence/\ud800", 1, 1, "ab" * 32)]},
        {"inputs": [FileDigest(RAW, 1, 1, "ab" * 31)]},
        {"removed": [EVIDENCE]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_builds_only_what_it_would_read(changes: dict[str, Any]) -> None:
    """A receipt that could not be read again is not made."""
    with pytest.raises(ReceiptError, match="receipt of "):
        golden_receipt(**changes)


# -------------------------------------------------------------------------- where they are


def test_receipt_path_sorts_by_time() -> None:
    """Names sort as the times do, whatever the fraction or the way UTC is written."""
    times = [
        "2025-12-31T23:59:59.999999Z",
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00.5+00:00",
        "2026-01-31T12:00:01Z",
    ]
    paths = [receipt_path("score", moment, 7, "ab" * 32) for moment in times]
    assert paths[1] == "receipts/score/20260131T120000.000000Z-000007-abababababab.json"
    assert paths == sorted(paths)


def test_list_receipts() -> None:
    """Receipts are listed oldest first, whatever their stage; other files are not."""
    lake = Files({"receipts/README.txt": b"", "receipts/.json.tmp": b""})
    lake.files |= {RAW: b"{}\n"}
    later = stage(lake, "evidence", {EVIDENCE: b"1"}, [RAW], recorded_at="2026-02-01T00:00:00Z")
    first = stage(lake, "score", {SCORED: b"1"}, [EVIDENCE])
    assert list_receipts(lake) == [first, later]


def test_last_sequence() -> None:
    """The next run's number follows from the receipts alone, and not past one unreadable."""
    lake = Files()
    assert last_sequence(lake) == 0
    stage(lake, "score", {SCORED: b"1"}, [], sequence=7)
    stage(lake, "score", {SCORED: b"2"}, [], sequence=2)
    assert last_sequence(lake) == 7
    lake.files["receipts/score/torn.json"] = b"{"
    with pytest.raises(ReceiptError, match=r"torn\.json"):
        last_sequence(lake)


# --------------------------------------------------------------------------------- hashing


@settings(max_examples=80, deadline=None)
@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300)), block=st.integers(1, 64))
def test_block_hasher(data: bytes, cuts: list[int], block: int) -> None:
    """However the bytes come in, the digest is SHA-256 and each mark that of its prefix."""
    hasher = BlockHasher(block)
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, end in itertools.pairwise(edges):
        hasher.update(memoryview(data)[start:end])
    found = hasher.digest("x", 1)
    ends = range(block, len(data) + 1, block)
    marks = "".join(hashlib.sha256(data[:end]).hexdigest()[:8] for end in ends)
    digest = hashlib.sha256(data).hexdigest()
    assert found == FileDigest("x", len(data), 1, digest, block if marks else 0, marks)
    assert hasher.hexdigest() == digest


@pytest.mark.parametrize("size", [MOST_MARKS - 1, MOST_MARKS, MOST_MARKS + 1, 2 * MOST_MARKS + 3])
def test_block_doubles(size: int) -> None:
    """Marks of a large file stay few, and stand where the wider block says."""
    data = random.Random(1).randbytes(size)
    hasher = BlockHasher(1)
    for start in range(0, size, 5000):
        hasher.update(data[start : start + 5000])
    found = hasher.digest("x")
    assert found.block == 2 ** (size // MOST_MARKS).bit_length()
    marks = len(found.marks) // 8
    assert marks == size // found.block
    assert marks < MOST_MARKS
    for mark in (1, 2, marks // 2, marks):
        wanted = hashlib.sha256(data[: mark * found.block]).hexdigest()[:8]
        assert found.marks[(mark - 1) * 8 : mark * 8] == wanted


def test_comparing_keeps_the_block() -> None:
    """Who compares does so at the writer's block, however many marks that gives."""
    data = random.Random(1).randbytes(MOST_MARKS + 5)
    found = hash_prefix(io.BytesIO(data), MOST_MARKS + 2, "x", 1)
    assert (found.bytes, found.block) == (MOST_MARKS + 2, 1)
    assert found.sha256 == hashlib.sha256(data[:-3]).hexdigest()
    assert len(found.marks) == found.bytes * 8


def test_marks_are_small() -> None:
    """Marks add less than 0.2 % of a file's size to its receipt."""
    hasher = BlockHasher()
    hasher.update(bytes(40 * BLOCK))
    assert 0 < len(hasher.digest("x").marks) <= 0.002 * 40 * BLOCK


# ---------------------------------------------------------------------------- verification


def test_sound_lake() -> None:
    """A lake as it was left is ok, and the report says how much was compared."""
    lake = sound_lake()
    report = verify_lake(lake)
    assert report == VerifyReport(
        ok=True,
        receipts=3,
        files=4,
        bytes=sum(len(lake.files[path]) for path in (RAW, EVIDENCE, SCORED, SFT)),
        superseded=0,
        problems=[],
        notes=[],
    )


def test_empty_lake() -> None:
    """A lake without receipts and outputs has nothing wrong."""
    assert verify_lake(Files({RAW: b"{}\n"})).ok


def test_report_is_json() -> None:
    """The report's shape for programs is fixed."""
    lake = sound_lake()
    lake.files[SFT] = b"?" + lake.files[SFT][1:]
    row = json.loads(msgspec.json.encode(verify_lake(lake)))
    assert list(row) == [
        "schema_version",
        "ok",
        "receipts",
        "files",
        "bytes",
        "superseded",
        "signed",
        "keys",
        "problems",
        "notes",
    ]
    receipt = next(path for path in lake.files if "export-sft" in path)
    assert row["problems"] == [
        {
            "kind": "wrong_hash",
            "path": SFT,
            "receipt": receipt,
            "detail": "has other bytes than its receipt says; "
            "parts within bytes 0 to 1,023, line 1 or later",
            "start": 0,
            "end": 1024,
            "line": 1,
            "way_out": "`stillhouse run` writes it anew",
        }
    ]


def test_every_finding_has_a_way_out() -> None:
    """Whatever is found, something helps; of a log it is something else than of an output."""
    assert set(WAYS_OUT) == set(get_args(Kind))
    lake = sound_lake()
    lake.files[RAW] = lake.files[SFT] = b""
    lake.files["evidence/2026/01/31/x.jsonl"] = b""
    assert {finding.path: finding.way_out for finding in verify_lake(lake).problems} == {
        RAW: "Put the log back as it was, or `stillhouse run`, which reads it anew or says what "
        "to delete",
        SFT: WAYS_OUT["wrong_size"],
        "evidence/2026/01/31/x.jsonl": WAYS_OUT["unreceipted"],
    }


def flip(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def append(data: bytes, rng: random.Random) -> bytes:
    return data + rng.randbytes(rng.randrange(1, 50))


def insert(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + rng.randbytes(rng.randrange(1, 50)) + data[place:]


def cut_out(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randrange(1, 50) :]


def swap_lines(data: bytes, rng: random.Random) -> bytes:
    rows = data.splitlines(keepends=True)
    one, other = rng.sample(range(len(rows)), 2)
    rows[one], rows[other] = rows[other], rows[one]
    return b"".join(rows)


def first_difference(one: bytes, other: bytes) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


@settings(max_examples=150, deadline=None)
@given(
    path=st.sampled_from([RAW, EVIDENCE, SCORED, SFT]),
    damage=st.sampled_from([flip, truncate, append, insert, cut_out, swap_lines]),
    seed=st.integers(0, 2**32),
)
def test_damage_is_found(
    path: str, damage: Callable[[bytes, random.Random], bytes], seed: int
) -> None:
    """Whatever happens to a byte of any file, verification names the file and its block."""
    lake = sound_lake(seed % 97)
    before = lake.files[path]
    after = lake.files[path] = damage(before, random.Random(seed))
    if before == after or (path == RAW and after.startswith(before)):
        assert verify_lake(lake).ok
        return
    found = only(verify_lake(lake))
    assert found.path == path
    place = first_difference(before, after)
    assert found.start is not None
    assert found.end is not None
    assert found.start <= place < found.end
    assert found.end - found.start <= SMALL + 1
    assert found.start % SMALL == 0 or found.start == len(before)
    assert found.line == before[: found.start].count(b"\n") + 1
    grown = path == RAW and len(after) > len(before)
    wrong_size = len(after) != len(before) and not grown
    assert found.kind == ("wrong_size" if wrong_size else "wrong_hash")


def test_appended_byte_is_named_exactly() -> None:
    """What was appended to an output parts at the very byte where it should have ended."""
    lake = sound_lake()
    size = len(lake.files[SFT])
    lake.files[SFT] += b"\n"
    found = only(verify_lake(lake))
    assert (found.start, found.end) == (size, size + 1)
    assert f"has {size + 1:,} bytes, its receipt says {size:,}; parts at byte" in found.detail


def test_cut_at_a_block_is_named_exactly() -> None:
    """A file cut off at a block's end parts exactly there; elsewhere, no later than there."""
    lake = sound_lake()
    lake.files[EVIDENCE] = lake.files[EVIDENCE][: 3 * SMALL]
    found = only(verify_lake(lake))
    assert (found.kind, found.start, found.end) == ("wrong_size", 3 * SMALL, 3 * SMALL + 1)
    lake.files[EVIDENCE] = lake.files[EVIDENCE][:-1]
    found = only(verify_lake(lake))
    assert (found.start, found.end) == (2 * SMALL, 3 * SMALL)


@pytest.mark.parametrize("step", range(7))
def test_a_damaged_receipt_is_found(step: int) -> None:
    """A bit that flips anywhere in a receipt, the clock and the blanks included, is named."""
    lake = sound_lake()
    path = list_receipts(lake)[0]
    before = lake.files[path]
    for place in range(step, len(before), 41):
        lake.files[path] = before[:place] + bytes([before[place] ^ 1]) + before[place + 1 :]
        report = verify_lake(lake)
        assert path in {finding.path for finding in report.problems}, place
        assert report.problems[0].path == path
        assert not report.ok


def test_forged_hash() -> None:
    """Who edits a file and its receipt alike still has to answer for the run hash."""
    lake = sound_lake()
    path = next(path for path in lake.files if "export-sft" in path)
    old = hashlib.sha256(lake.files[SFT]).hexdigest()
    lake.files[SFT] = lake.files[SFT].replace(b"{", b"[")
    new = hashlib.sha256(lake.files[SFT]).hexdigest()
    lake.files[path] = lake.files[path].replace(old.encode(), new.encode())
    assert kinds(verify_lake(lake)) == [("wrong_run_hash", path)]


def test_forged_receipt_leaves_a_doubt() -> None:
    """A file that differs from a damaged receipt is not accused without saying so."""
    lake = Files()
    path = stage(lake, "export-sft", {SFT: lines(1, 3000)[: 2 * SMALL]}, [])
    old = hashlib.sha256(lake.files[SFT]).hexdigest()
    lake.files[path] = lake.files[path].replace(old.encode(), b"00" * 32)
    report = verify_lake(lake)
    assert kinds(report) == [("wrong_run_hash", path), ("wrong_hash", SFT)]
    assert (report.problems[1].start, report.problems[1].line) == (None, None)
    assert "no byte can be named" in report.problems[1].detail
    assert report.problems[1].detail.endswith("(but that receipt is itself in doubt)")


def test_missing_files() -> None:
    """Outputs and inputs that are gone are named, each with the receipt that knew them."""
    lake = sound_lake()
    del lake.files[RAW], lake.files[SCORED]
    report = verify_lake(lake)
    assert kinds(report) == [("missing", RAW), ("missing", SCORED)]
    assert report.problems[0].receipt == next(path for path in lake.files if "/evidence/2" in path)


def test_missing_receipt() -> None:
    """A receipt that is gone leaves its files unreceipted, and breaks the chain after it."""
    lake = sound_lake()
    lake.files = {path: data for path, data in lake.files.items() if "receipts/score" not in path}
    assert kinds(verify_lake(lake)) == [("unchained", SCORED), ("unreceipted", SCORED)]


@pytest.mark.parametrize("folder", ["evidence", "scored-runs", "distilled", "quarantine"])
def test_unreceipted(folder: str) -> None:
    """A file that no run wrote is found in every folder that runs write to, only there."""
    lake = sound_lake()
    lake.files |= {f"{folder}/planted.jsonl": b"", "reports/x.html": b"", "_kb/new.jsonl": b""}
    assert kinds(verify_lake(lake)) == [("unreceipted", f"{folder}/planted.jsonl")]


def test_swapped_files() -> None:
    """Two files that changed places are both named."""
    lake = sound_lake()
    lake.files[EVIDENCE], lake.files[SCORED] = lake.files[SCORED], lake.files[EVIDENCE]
    assert {path for _, path in kinds(verify_lake(lake))} == {EVIDENCE, SCORED}


def test_newest_word_counts() -> None:
    """A file written again answers to the receipt of the higher sequence, not of the later
    clock; the older word is superseded, and what was made from the older file is a note."""
    lake = sound_lake()
    stage(
        lake,
        "evidence",
        {EVIDENCE: lines(9, 4000)},
        [RAW],
        sequence=2,
        recorded_at="2020-01-01T00:00:00Z",
    )
    report = verify_lake(lake)
    assert report.ok
    assert report.superseded == 1
    assert report.files == 4
    assert [(note.kind, note.path) for note in report.notes] == [("stale", EVIDENCE)] * 2
    lake.files[EVIDENCE] = sound_lake().files[EVIDENCE]
    assert kinds(verify_lake(lake)) == [("wrong_size", EVIDENCE)]


def shuffled(seed: int) -> Callable[[list[str]], list[str]]:
    return lambda paths: random.Random(seed).sample(sorted(paths), len(paths))


def test_a_receipt_without_a_word_left_is_silent() -> None:
    """What a run read matters only as long as something that it wrote is still there."""
    lake = sound_lake()
    lake.files["_kb/old.jsonl"] = b"{}\n"
    stage(lake, "export-rag", {"distilled/rag/rag_export.jsonl": b"1\n"}, ["_kb/old.jsonl"])
    del lake.files["_kb/old.jsonl"]
    assert kinds(verify_lake(lake)) == [("missing", "_kb/old.jsonl")]
    stage(lake, "export-rag", {"distilled/rag/rag_export.jsonl": b"2\n"}, [], sequence=2)
    assert verify_lake(lake).ok


def test_problems_come_by_path() -> None:
    """Whatever the kind, what is wrong with files is listed by path."""
    lake = sound_lake()
    lake.files |= {"distilled/a": b"", EVIDENCE: b"", "scored-runs/z": b""}
    assert [path for _, path in kinds(verify_lake(lake))] == [
        "distilled/a",
        EVIDENCE,
        "scored-runs/z",
    ]


def test_order_on_disk_does_not_matter() -> None:
    """The report is the same however the store happens to list the receipts."""
    lake = sound_lake()
    for sequence in range(2, 6):
        lake.files[RAW] += lines(sequence, 100)
        stage(lake, "evidence", {EVIDENCE: lines(sequence, 3000)}, [RAW], sequence=sequence)
    lake.files[SCORED] = b"?" + lake.files[SCORED][1:]
    wanted = verify_lake(lake)
    assert kinds(wanted) == [("wrong_hash", SCORED)]
    for seed in range(20):
        lake.order = shuffled(seed)
        assert verify_lake(lake) == wanted


def test_raw_file_may_grow() -> None:
    """A raw log that grew is sound; one that changed under its read part is not."""
    lake = sound_lake()
    read = len(lake.files[RAW])
    lake.files[RAW] += lines(50, 400)
    assert verify_lake(lake).ok
    lake.files[RAW] = flip(lake.files[RAW][:read], random.Random(3)) + lake.files[RAW][read:]
    assert only(verify_lake(lake)).kind == "wrong_hash"


def test_raw_file_read_further() -> None:
    """Of several runs over a growing log the newest says how far it was read."""
    lake = sound_lake()
    read = len(lake.files[RAW])
    lake.files[RAW] += lines(50, 3000)
    stage(lake, "evidence", {"evidence/2026/02/01/audits.jsonl": b"x\n"}, [RAW], sequence=2)
    assert verify_lake(lake).ok
    lake.files[RAW] = lake.files[RAW][:read]
    found = only(verify_lake(lake))
    assert (found.kind, found.path) == ("wrong_size", RAW)


def test_removed_files() -> None:
    """What a newer run says is gone is not missed; when it comes back, no receipt covers it."""
    lake = sound_lake()
    stage(
        lake,
        "export-sft",
        {SFT: lines(8, 900)},
        [],
        sequence=2,
        removed=[RAW, EVIDENCE, SCORED],
    )
    report = verify_lake(lake)
    assert report.ok
    assert report.superseded == 3
    lake.files[EVIDENCE] = b"back\n"
    assert kinds(verify_lake(lake)) == [("unreceipted", EVIDENCE)]


def test_raw_file_that_is_gone() -> None:
    """A raw file that a newer run found gone is not missed, though its evidence stays."""
    lake = sound_lake()
    stage(lake, "export-sft", {SFT: lines(8, 900)}, [], sequence=2, removed=[RAW])
    assert verify_lake(lake).ok
    lake.files[RAW] = b"again\n"
    more = "evidence/2026/02/01/audits.jsonl"
    stage(lake, "evidence", {more: b"x\n"}, [RAW], sequence=3)
    assert verify_lake(lake).ok
    del lake.files[RAW]
    assert kinds(verify_lake(lake)) == [("missing", RAW)]


def test_file_without_lines() -> None:
    """Only of JSONL a line is named; bytes always are, but not in words where they are all."""
    lake = sound_lake()
    stage(lake, "export-dataset", {"distilled/dataset/README.md": b"# Data\n"}, [])
    lake.files["distilled/dataset/README.md"] = b"# data\n"
    found = only(verify_lake(lake))
    assert (found.start, found.end, found.line) == (0, 7, None)
    assert found.detail == "has other bytes than its receipt says"


def test_conflict() -> None:
    """Two receipts of one sequence that say different things of a file are both wrong to trust."""
    lake = sound_lake()
    other = lake.files[SFT]
    stage(lake, "export-other", {SFT: b"other\n"}, [])
    assert ("conflict", SFT) in kinds(verify_lake(lake))
    lake = sound_lake()
    stage(lake, "export-other", {SFT: other}, [])
    assert verify_lake(lake).ok
    stage(lake, "export-third", {f"{SFT}.old": b""}, [], removed=[SFT])
    assert ("conflict", SFT) in kinds(verify_lake(lake))


def test_copied_or_renamed_receipt() -> None:
    """A receipt that is not where its content says, or is there twice, is named."""
    lake = sound_lake()
    path = list_receipts(lake)[0]
    copy = path.replace(".json", "-copy.json")
    lake.files[copy] = lake.files[path]
    assert kinds(verify_lake(lake)) == [("misplaced_receipt", copy)]
    del lake.files[path]
    assert path in only(verify_lake(lake)).detail


def test_unreadable() -> None:
    """Receipts and files that cannot be read are named, and the rest is still checked."""
    lake = sound_lake()
    lake.files["receipts/score/foreign.json"] = b"{}"
    lake.refused = {EVIDENCE}
    lake.files[SFT] += b"x"
    report = verify_lake(lake)
    assert kinds(report) == [
        ("unreadable_receipt", "receipts/score/foreign.json"),
        ("wrong_size", SFT),
        ("unreadable", EVIDENCE),
    ]
    assert "_type: is missing" in report.problems[0].detail
    lake.refused.add(list_receipts(lake)[0])
    assert kinds(verify_lake(lake))[0][0] == "unreadable_receipt"


class Shrinking(Files):
    """A store whose files lose their last byte between the look and the reading."""

    def open(self, path: str, *, random: bool = False) -> BinaryIO:
        return io.BytesIO(self.read(path)[:-1])


def test_file_that_shrinks_under_the_reader() -> None:
    """What could be read is what counts, not what the listing had said."""
    lake = Shrinking({RAW: b"{}\n"})
    stage(lake, "evidence", {EVIDENCE: b"1\n"}, [])
    found = only(verify_lake(lake))
    assert (found.kind, found.start, found.end) == ("wrong_size", 0, 2)
    assert "has 1 bytes, its receipt says 2" in found.detail


class Failing(Files):
    """A store on a disk that fails in the middle of a file."""

    def open(self, path: str, *, random: bool = False) -> BinaryIO:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                raise OSError(5, "Input/output error")

        return Broken()


def test_disk_that_fails_under_the_reader() -> None:
    """A disk error in the middle of a file is a finding, not the end of verification."""
    lake = Failing(sound_lake().files)
    report = verify_lake(lake)
    assert [kind for kind, _ in kinds(report)] == ["unreadable"] * 4
    assert "Input/output error" in report.problems[0].detail


def test_on_disk(tmp_path: Path) -> None:
    """The same on a real folder; a link that leads out of the lake stands for no file."""
    for path, data in sound_lake().files.items():
        place = tmp_path / "lake" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    store = LocalStore(tmp_path / "lake")
    assert verify_lake(store).ok
    outside = (tmp_path / "lake" / SFT).rename(tmp_path / "outside.jsonl")
    (tmp_path / "lake" / SFT).symlink_to(outside)
    assert kinds(verify_lake(store)) == [("missing", SFT)]
    receipt = tmp_path / "lake" / list_receipts(store)[0]
    receipt.write_bytes(receipt.read_bytes()[:-1])
    assert kinds(verify_lake(store))[0] == (
        "altered_receipt",
        list_receipts(store)[0],
    )


def test_input_of_another_lake() -> None:
    """An output made from bytes that no earlier stage wrote does not lead back to raw."""
    lake = sound_lake()
    kept = lake.files[EVIDENCE]
    lake.files[EVIDENCE] = b"foreign\n"
    stage(lake, "score", {SCORED: b"1\n"}, [EVIDENCE], sequence=2)
    lake.files[EVIDENCE] = kept
    assert kinds(verify_lake(lake)) == [("unchained", EVIDENCE)]


def test_input_written_later() -> None:
    """A stage cannot have read what was written only after it."""
    lake = Files({RAW: b"{}\n", EVIDENCE: b"1\n"})
    stage(lake, "score", {SCORED: b"1\n"}, [EVIDENCE], sequence=1)
    stage(lake, "evidence", {EVIDENCE: b"1\n"}, [RAW], sequence=2)
    assert kinds(verify_lake(lake)) == [("unchained", EVIDENCE)]


class Backwards:
    """An engine that works the items from the last to the first, through pickles as a
    process would, and answers in their order."""

    name = "inline"
    workers = 1
    worked = 0

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        work = [pickle.loads(pickle.dumps(item)) for item in items]
        self.worked += len(work)
        return iter([function(item) for item in reversed(work)][::-1])

    def close(self) -> None:
        return None


def test_engine() -> None:
    """Hashing through an engine gives the same report; for a little, no worker is started."""
    lake = sound_lake()
    lake.files[SCORED] += b"x"
    workers = Backwards()
    assert verify_lake(lake, workers) == verify_lake(lake)
    assert workers.worked == 0
    receipt = build_receipt(
        "export-rag",
        [FileDigest("distilled/rag/r.jsonl", 1 << 30, 1, "ab" * 32)],
        [],
        {},
        {},
        AT,
        "1",
    )
    lake.files[receipt_path("export-rag", AT, 0, receipt.run_hash)] = encode_receipt(receipt)
    assert kinds(verify_lake(lake, workers)) == kinds(verify_lake(lake)) != []
    assert verify_lake(lake, workers) == verify_lake(lake)
    assert workers.worked == 2 * 5


def test_two_receipts_of_one_commit() -> None:
    """A stage leaves one receipt a commit: a second one is named, whatever files it tells of."""
    lake = sound_lake()
    other = stage(lake, "export-sft", {"distilled/sft/other.jsonl": b"1\n"}, [])
    first = next(path for path in list_receipts(lake) if "export-sft" in path)
    (found,) = verify_lake(lake).problems
    assert found.kind == "conflict"
    assert {found.path, *found.detail.split()} >= {first, other}
