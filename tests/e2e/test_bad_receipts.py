"""Receipts and signatures as they must not be: each is found in one clear line with a way out,
nothing is changed on disk, and nothing of it is signed."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stillhouse.cli.app import run as program
from stillhouse.receipts import (
    Receipt,
    build_receipt,
    decode_receipt,
    encode_receipt,
    list_receipts,
    receipt_path,
    signature_path,
)
from stillhouse.receipts.dsse import decode_envelope, encode_envelope
from stillhouse.receipts.hashing import BlockHasher
from stillhouse.storage import LocalStore
from tests.runs import FIRST, Command, put, rows, run, stamps

SFT = "distilled/sft/sft_export.jsonl"


class Scene(NamedTuple):
    """Two signed lakes of different logs, and the keys: ``mine`` signed the first."""

    lake: Path
    other: Path
    mine: Path
    theirs: Path

    def receipt(self, stage: str) -> Path:
        """The first lake's receipt of a stage."""
        return self.lake / list_receipts(LocalStore(self.lake), stage)[0]

    def signature(self, stage: str) -> Path:
        """The signature file beside it."""
        path = self.receipt(stage)
        return path.with_name(signature_path(path.name))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene as it was before anybody spoilt it."""
    root = tmp_path_factory.mktemp("receipts")
    for name, first, end in (("lake", 0, 9), ("other", 50, 59)):
        put(root / name, "scrum_reviews", rows(first, end))
        run(root / name, FIRST)
    for key, name in (("mine", "lake"), ("theirs", "other")):
        assert program(["keygen", str(root / key)]) == 0
        assert program(["sign", str(root / name), "--key", str(root / key)]) == 0
    return root


@pytest.fixture
def scene(made: Path, tmp_path: Path) -> Scene:
    """A copy of the scene, to be spoilt."""
    root = shutil.copytree(made, tmp_path / "scene")
    return Scene(root / "lake", root / "other", root / "mine", root / "theirs")


# ------------------------------------------------------------------------- how it is spoilt


def _unsign(scene: Scene) -> None:
    for path in (scene.lake / "receipts").rglob("*.intoto.jsonl"):
        path.unlink()


def _edit(path: Path, change: Callable[[Any], object]) -> None:
    row = json.loads(path.read_bytes())
    change(row)
    path.write_text(json.dumps(row, indent=1) + "\n")


def _named(name: str) -> Callable[[Scene], None]:
    """The SFT receipt says that it wrote a file of this name."""

    def spoil(scene: Scene) -> None:
        _edit(scene.receipt("sft"), lambda row: row["subject"][0].update(name=name))

    return spoil


def _hashed(change: Callable[[str], str]) -> Callable[[Scene], None]:
    """The SFT receipt's first hash is written in another way."""

    def spoil(scene: Scene) -> None:
        def edit(row: Any) -> None:
            digest = row["subject"][0]["digest"]
            digest["sha256"] = change(digest["sha256"])

        _edit(scene.receipt("sft"), edit)

    return spoil


def _newer(scene: Scene) -> None:
    def edit(row: Any) -> None:
        row["predicate"]["buildDefinition"]["buildType"] = "urn:stillhouse:receipt:v2"

    _edit(scene.receipt("sft"), edit)


def _foreign_added(scene: Scene) -> None:
    shutil.copytree(scene.other / "receipts", scene.lake / "receipts", dirs_exist_ok=True)


def _foreign_instead(scene: Scene) -> None:
    shutil.rmtree(scene.lake / "receipts")
    _foreign_added(scene)


def _missing(scene: Scene) -> None:
    scene.receipt("sft").unlink()


def _duplicated(scene: Scene) -> None:
    path = scene.receipt("sft")
    shutil.copy(path, path.with_name("copy.json"))


def _rebuilt(scene: Scene, **changes: Any) -> Receipt:
    """The SFT receipt made once more, sound in itself, with other arguments."""
    old = decode_receipt(scene.receipt("sft").read_bytes(), "sft")
    builder = old.predicate.run_details.builder.version
    arguments: dict[str, Any] = {
        "stage": "sft",
        "outputs": old.outputs,
        "inputs": old.inputs,
        "parameters": old.parameters.options,
        "counts": old.run.counts,
        "recorded_at": old.parameters.recorded_at,
        "version": builder["stillhouse"],
        "commit": builder.get("commit"),
        "sequence": old.sequence,
    }
    return build_receipt(**{**arguments, **changes})


def _put(scene: Scene, receipt: Receipt) -> Path:
    at, sequence = receipt.parameters.recorded_at, receipt.sequence
    path = scene.lake / receipt_path("sft", at, sequence, receipt.run_hash)
    path.write_bytes(encode_receipt(receipt))
    return path


def _disagreeing(scene: Scene) -> None:
    _put(scene, _rebuilt(scene, counts={"sft": 1}))


def _forged_receipt(scene: Scene) -> None:
    """An edited export with a receipt of its own in the place of the signed one: sound in
    itself, so that only the missing signature tells."""
    log = scene.lake / SFT
    log.write_bytes(log.read_bytes().replace(b"module", b"modulo"))
    old = decode_receipt(scene.receipt("sft").read_bytes(), "sft")
    outputs = []
    for file in old.outputs:
        hasher = BlockHasher()
        hasher.update((scene.lake / file.path).read_bytes())
        outputs.append(hasher.digest(file.path, file.rows))
    forged = _rebuilt(scene, outputs=outputs)
    scene.signature("sft").unlink()
    scene.receipt("sft").unlink()
    _put(scene, forged)


def _exchanged_receipt(scene: Scene) -> None:
    """The same, under the old name and beside the old signature."""
    kept, name = scene.signature("sft").read_bytes(), scene.signature("sft")
    new = _rebuilt(scene, started_on="2026-01-01T00:00:00Z")
    assert _put(scene, new) == scene.receipt("sft")
    assert name.read_bytes() == kept


def _resigned(change: Callable[[Any], object]) -> Callable[[Scene], None]:
    """The SFT receipt's signature file says something else, in the form that files have."""

    def spoil(scene: Scene) -> None:
        path = scene.signature("sft")
        row = json.loads(path.read_bytes())
        change(row)
        path.write_bytes(encode_envelope(decode_envelope(json.dumps(row).encode(), "x")))

    return spoil


def _forged_signature(row: Any) -> None:
    row["signatures"][0]["sig"] = base64.b64encode(b"\1" * 64).decode()


def _short_signature(row: Any) -> None:
    row["signatures"][0]["sig"] = base64.b64encode(b"\1" * 63).decode()


def _of_no_statement(row: Any) -> None:
    row["payloadType"] = "text/plain"


def _other_layout(scene: Scene) -> None:
    path = scene.signature("sft")
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1) + "\n")


def _of_another_receipt(scene: Scene) -> None:
    shutil.copy(scene.signature("rag"), scene.signature("sft"))


def _stray_signature(scene: Scene) -> None:
    path = scene.signature("sft")
    shutil.copy(path, path.with_name("stray.intoto.jsonl"))


def _unsigned(scene: Scene) -> None:
    scene.signature("sft").unlink()


def _cut_signature(scene: Scene) -> None:
    path = scene.signature("sft")
    path.write_bytes(path.read_bytes()[:-10])


def _linked(what: str) -> Callable[[Scene], None]:
    """A file or a folder of the lake lies elsewhere, behind a link."""

    def spoil(scene: Scene) -> None:
        place = scene.lake / what
        place = scene.receipt("sft") if what == "receipt" else place
        outside = place.rename(scene.lake.parent / "outside")
        place.symlink_to(outside)

    return spoil


# -------------------------------------------------------------------------------- the table


class Case(NamedTuple):
    """How a lake is spoilt, the kinds of findings that tell of it, words of the first one,
    whether it is found only by who checks signatures, and kinds that may come with it: which
    of two receipts has the last word on a file hangs on their hashes."""

    spoil: Callable[[Scene], None]
    kinds: set[str]
    says: str
    needs_key: bool = False
    also: frozenset[str] = frozenset()


_LEAVES = {"unreadable_receipt", "wrong_payload", "unreceipted"}
"""A receipt that cannot be read tells nothing of its files, and is not what was signed."""

CASES: dict[str, Case] = {
    "of another lake, added": Case(
        _foreign_added,
        {"conflict", "wrong_key"},
        "is another one of the same stage and sequence",
        also=frozenset({"missing", "wrong_size", "wrong_hash"}),
    ),
    "of another lake, instead": Case(
        _foreign_instead,
        {"wrong_key", "wrong_hash", "wrong_size", "missing", "unreceipted"},
        "none of the given keys signed it, but ",
    ),
    "of a newer version": Case(
        _newer, {"newer_receipt", *_LEAVES} - {"unreadable_receipt"}, "a newer stillhouse"
    ),
    "missing": Case(_missing, {"orphan_signature", "unreceipted"}, "is not beside it"),
    "twice": Case(_duplicated, {"misplaced_receipt", "unsigned"}, "is a copy or was renamed"),
    "two that disagree": Case(_disagreeing, {"conflict", "unsigned"}, "is another one of the same"),
    "climbs out": Case(_named("../../x.jsonl"), _LEAVES, "'../../x.jsonl': climbs with .."),
    "absolute": Case(_named("/etc/passwd"), _LEAVES, "'/etc/passwd': is absolute"),
    "a drive": Case(_named("C:/x"), _LEAVES, "'C:/x': names a drive"),
    "backslash": Case(_named("..\\x"), _LEAVES, "holds a backslash"),
    "short hash": Case(_hashed(lambda hex: hex[:-1]), _LEAVES, "is not 64 hex digits"),
    "long hash": Case(_hashed(lambda hex: hex + "0"), _LEAVES, "is not 64 hex digits"),
    "upper-case hash": Case(_hashed(str.upper), _LEAVES, "is not 64 hex digits"),
    "an output behind a link": Case(_linked(SFT), {"missing"}, "is not there"),
    "a folder behind a link": Case(
        _linked("distilled/sft"), {"unreadable"}, "leaves the lake through a symbolic link"
    ),
    "a receipt behind a link": Case(
        _linked("receipt"), {"orphan_signature", "unreceipted"}, "is not beside it"
    ),
    "exchanged": Case(_exchanged_receipt, {"wrong_payload"}, "signs other bytes"),
    "forged": Case(_forged_receipt, {"unsigned"}, "has no signature", True),
    "not signed": Case(_unsigned, {"unsigned"}, "has no signature", True),
    "signature forged": Case(
        _resigned(_forged_signature), {"bad_signature"}, "is not of that key", True
    ),
    "signature too short": Case(
        _resigned(_short_signature), {"bad_signature"}, "is not of that key", True
    ),
    "signature of another receipt": Case(
        _of_another_receipt, {"wrong_payload"}, "signs other bytes"
    ),
    "signature of no receipt": Case(_stray_signature, {"orphan_signature"}, "is not beside it"),
    "signature of no statement": Case(
        _resigned(_of_no_statement), {"unreadable_signature"}, "no in-toto statement"
    ),
    "signature cut": Case(_cut_signature, {"unreadable_signature"}, "is no DSSE envelope"),
    "signature in another layout": Case(
        _other_layout, {"unreadable_signature"}, "is not written as"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_bad_receipt_is_found(case: Case, scene: Scene, stillhouse: Command) -> None:
    """Each kind of it is named in one line with a way out; `verify` and `sign` change nothing."""
    case.spoil(scene)
    before = stamps(scene.lake.parent)
    told = stillhouse("verify", scene.lake, "--key", f"{scene.mine}.pub", "--json")
    report = json.loads(told.out)
    assert (told.code, report["ok"], told.err) == (1, False, "")
    assert {found["kind"] for found in report["problems"]} - case.also == case.kinds
    assert case.says in report["problems"][0]["detail"]
    for found in report["problems"]:
        assert found["path"]
        assert found["way_out"]
        assert "\n" not in found["detail"]
        assert len(found["detail"]) < 600
    told = stillhouse("verify", scene.lake, "--key", f"{scene.mine}.pub")
    assert told.code == 1
    assert report["problems"][0]["way_out"] in told.err
    told = stillhouse("verify", scene.lake)
    assert told.code == (0 if case.needs_key else 1)
    told = stillhouse("sign", scene.lake, "--key", scene.theirs)
    if not case.needs_key:
        assert told.code == 3
        assert len(told.err.splitlines()) == 1
        assert "does not hold, so nothing was signed: " in told.err
        assert stamps(scene.lake.parent) == before


def test_a_wrong_key(scene: Scene, stillhouse: Command) -> None:
    """Every receipt is named, with the beginning of the id of the key that did sign it."""
    before = stamps(scene.lake.parent)
    told = stillhouse("verify", scene.lake, "--key", f"{scene.theirs}.pub", "--json")
    report = json.loads(told.out)
    assert (told.code, report["signed"]) == (1, 0)
    assert [found["kind"] for found in report["problems"]] == ["wrong_key"] * 6
    both = ("--key", f"{scene.theirs}.pub", "--key", f"{scene.mine}.pub")
    told = stillhouse("verify", scene.lake, *both)
    assert (told.code, told.err.splitlines()[-1]) == (
        0,
        "6 of 6 receipts signed by 2 given keys",
    )
    assert stamps(scene.lake.parent) == before


def test_all_receipts_gone_and_their_signatures_left(scene: Scene, stillhouse: Command) -> None:
    """What is left of them still says what was there."""
    for path in (scene.lake / "receipts").rglob("*.json"):
        path.unlink()
    told = stillhouse("verify", scene.lake, "--json")
    kinds = {found["kind"] for found in json.loads(told.out)["problems"]}
    assert (told.code, kinds) == (1, {"orphan_signature", "unreceipted"})


def test_folders_of_receipts_that_leave_the_lake(scene: Scene, stillhouse: Command) -> None:
    """A folder of receipts that is a link is not walked into, or one line says that it leaves."""
    _linked("receipts")(scene)
    before = stamps(scene.lake.parent)
    for command in (("verify",), ("sign", "--key", scene.mine)):
        told = stillhouse(command[0], scene.lake, *command[1:])
        assert told.code == 3
        assert "leaves the lake through a symbolic link" in told.err
        assert len(told.err.splitlines()) == 1
    assert stamps(scene.lake.parent) == before


@pytest.mark.parametrize("command", ["verify", "sign"])
def test_a_key_that_is_no_key(command: str, scene: Scene, stillhouse: Command) -> None:
    """Each is one line that names the file, before anything of the lake is read or changed."""
    wrong = f"{scene.mine}.pub" if command == "sign" else scene.mine
    before = stamps(scene.lake.parent)
    for key in (wrong, scene.lake, scene.lake / "none", scene.lake / SFT, ""):
        told = stillhouse(command, scene.lake, "--key", key)
        assert told.code == 3
        (line,) = told.err.splitlines()
        assert line.startswith(f"error: {key}")
        secret = scene.mine.read_text().splitlines()[1]
        assert secret not in line
    assert stamps(scene.lake.parent) == before


def test_keygen_and_sign_as_programs_see_them(scene: Scene, stillhouse: Command) -> None:
    """The documents that --json prints have these fields."""
    told = stillhouse("keygen", scene.lake.parent / "k", "--json")
    row = json.loads(told.out)
    assert list(row) == ["schema_version", "keyid", "private", "public"]
    assert row["schema_version"] == 1
    told = stillhouse("keygen", scene.lake.parent / "k")
    assert (told.code, len(told.err.splitlines())) == (3, 1)
    told = stillhouse("sign", scene.lake, "--key", scene.lake.parent / "k", "--json")
    assert json.loads(told.out) == {
        "schema_version": 1,
        "keyid": row["keyid"],
        "receipts": 6,
        "signed": 6,
        "already": 0,
        "replaced": 0,
    }
