"""Signatures: the envelope's format, key files, signing a lake, and what signing refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.errors import (
    LakeError,
    LakeLockedError,
    ReceiptError,
    SignatureError,
    StillhouseError,
)
from stillhouse.interfaces import Store
from stillhouse.receipts import (
    build_receipt,
    decode_receipt,
    encode_receipt,
    list_receipts,
    sign_lake,
    signature_path,
    verify_lake,
)
from stillhouse.receipts.dsse import (
    PAYLOAD_TYPE,
    Envelope,
    Signature,
    decode_envelope,
    encode_envelope,
    is_signed_by,
    keyid_of,
    pae,
    sign,
)
from stillhouse.receipts.keys import make_key_pair, read_private_key, read_public_key
from stillhouse.storage import LocalStore, MemoryStore
from tests.runs import FIRST, SECOND, WatchedStore, add, demo, put, rows, run, stamps

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PUBLIC = KEY.public_key()


# --------------------------------------------------------------------------- the envelope


def test_pae_is_that_of_the_protocol() -> None:
    """The encoding of the example that DSSE's protocol publishes; lengths are in bytes."""
    told = pae("http://example.com/HelloWorld", b"hello world")
    assert told == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_pae_cannot_be_read_in_two_ways() -> None:
    """Bytes that move from the type to the payload give another encoding."""
    assert pae("a", b"b c") != pae("a 3 b", b"c") != pae("a b", b"c")


def test_the_envelope_is_a_format() -> None:
    """An envelope's bytes do not change by accident: one line, these fields in this order."""
    told = encode_envelope(Envelope(b"{}\n", PAYLOAD_TYPE, (sign(b"{}\n", KEY),)))
    signed = KEY.sign(b"DSSEv1 28 application/vnd.in-toto+json 3 {}\n")
    assert told.decode() == (
        '{"payload":"e30K","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"'
        + keyid_of(PUBLIC)
        + '","sig":"'
        + base64.b64encode(signed).decode()
        + '"}]}\n'
    )


def test_keyid_can_be_computed_by_anyone() -> None:
    """A key's id is the SHA-256 of what stands in its PEM file, decoded."""
    pem = PUBLIC.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    assert keyid_of(PUBLIC) == hashlib.sha256(der).hexdigest()


SIGNATURES = st.builds(Signature, keyid=st.text(), sig=st.binary(max_size=70))


@given(
    payload=st.binary(max_size=200),
    kind=st.text(),
    signatures=st.lists(SIGNATURES, min_size=1, max_size=3).map(tuple),
)
def test_round_trip(payload: bytes, kind: str, signatures: tuple[Signature, ...]) -> None:
    """What is written is read, whatever the bytes."""
    envelope = Envelope(payload, kind, signatures)
    assert decode_envelope(encode_envelope(envelope), "x") == envelope


@given(payload=st.binary(max_size=50), other=st.binary(max_size=50))
def test_a_signature_is_of_one_payload_type_and_key(payload: bytes, other: bytes) -> None:
    """It holds for what was signed, and for nothing else."""
    made = sign(payload, KEY)
    assert is_signed_by(Envelope(payload, PAYLOAD_TYPE, (made,)), made, PUBLIC)
    assert not is_signed_by(Envelope(payload, PAYLOAD_TYPE, (made,)), made, OTHER.public_key())
    assert not is_signed_by(Envelope(payload, "text/plain", (made,)), made, PUBLIC)
    for changed in {other, payload + b"\0"} - {payload}:
        assert not is_signed_by(Envelope(changed, PAYLOAD_TYPE, (made,)), made, PUBLIC)


def test_envelopes_of_others_are_read() -> None:
    """Either base64 alphabet, blanks, unknown fields and a missing key id are DSSE too."""
    wire = {
        "later": [1],
        "signatures": [{"sig": base64.urlsafe_b64encode(b"\xff" * 64).decode(), "cert": "x"}],
        "payloadType": "x",
        "payload": base64.b64encode(b"\xfb\xff").decode(),
    }
    found = decode_envelope(json.dumps(wire, indent=2).encode(), "x")
    assert found == Envelope(b"\xfb\xff", "x", (Signature("", b"\xff" * 64),))


GOOD = {"payload": "e30K", "payloadType": "x", "signatures": [{"keyid": "", "sig": "AAAA"}]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        json.dumps({**GOOD, "later": 1}).encode()[:-20],
        *(json.dumps({**GOOD, name: None}).encode() for name in GOOD),
        *(json.dumps({k: GOOD[k] for k in GOOD if k != name}).encode() for name in GOOD),
        json.dumps({**GOOD, "signatures": []}).encode(),
        json.dumps({**GOOD, "signatures": [{"keyid": "a"}]}).encode(),
        json.dumps({**GOOD, "payload": "e30"}).encode(),
        json.dumps({**GOOD, "payload": "e3 0K"}).encode(),
        json.dumps({**GOOD, "payload": "é30K"}).encode(),
        json.dumps({**GOOD, "signatures": [{"keyid": "", "sig": "!!!!"}]}).encode(),
    ],
)
def test_refuses_what_is_no_envelope(data: bytes) -> None:
    """Whatever else it is, it ends in one clear line that names the file."""
    with pytest.raises(SignatureError) as caught:
        decode_envelope(data, "receipts/sft/x.intoto.jsonl")
    assert str(caught.value).startswith("receipts/sft/x.intoto.jsonl: is no DSSE envelope: ")
    assert "\n" not in str(caught.value)


# -------------------------------------------------------------------------------- key files


def test_a_pair_of_keys(tmp_path: Path) -> None:
    """The private key is for its owner's eyes, the public one is its own; both read back."""
    path = tmp_path / "my.key"
    keyid = make_key_pair(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keyid_of(read_private_key(str(path)).public_key()) == keyid
    assert keyid_of(read_public_key(f"{path}.pub")) == keyid
    assert sorted(os.listdir(tmp_path)) == ["my.key", "my.key.pub"]
    assert make_key_pair(str(tmp_path / "next.key")) != keyid


@pytest.mark.parametrize("taken", ["my.key", "my.key.pub"])
@pytest.mark.parametrize("kind", ["file", "folder", "link to nowhere"])
def test_no_key_is_replaced(taken: str, kind: str, tmp_path: Path) -> None:
    """What has the name of either file stays as it is, and the other is not written."""
    place = tmp_path / taken
    if kind == "file":
        place.write_text("mine")
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SignatureError, match=f"{taken}: is there already, .* Give another name"):
        make_key_pair(str(tmp_path / "my.key"))
    assert os.listdir(tmp_path) == [taken]


def test_of_many_at_once_one_wins(tmp_path: Path) -> None:
    """Whoever comes second replaces nothing: one pair is there, and it belongs together."""
    path = tmp_path / "my.key"
    start = threading.Barrier(8)
    made: list[str] = []

    def make() -> None:
        start.wait()
        with suppress(SignatureError):
            made.append(make_key_pair(str(path)))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [keyid_of(read_public_key(f"{path}.pub"))] == made
    assert keyid_of(read_private_key(str(path)).public_key()) == made[0]
    assert sorted(os.listdir(tmp_path)) == ["my.key", "my.key.pub"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none/my.key", "its folder is not there"),
        ("my.pub", "must not be called .pub"),
        ("", "is no name for a key"),
        ("\udcff.key", "is no name for a key"),
        ("a\0b", "is no name for a key"),
    ],
)
def test_a_place_where_no_key_can_be(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StillhouseError, match=says):
        make_key_pair(name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("where", ["lake/my.key", "lake/_kb/my.key", "lake/_kb/old/my.key"])
def test_a_key_is_not_made_in_a_lake(where: str, tmp_path: Path) -> None:
    """Where the lake is copied to, its private key would go too."""
    (tmp_path / "lake/_kb/old").mkdir(parents=True)
    with pytest.raises(SignatureError, match=r"would lie in the lake .*lake, .*outside of lakes"):
        make_key_pair(str(tmp_path / where))
    assert not list(tmp_path.rglob("my.key*"))


def _private(key: object, kind: form.PrivateFormat, secret: bytes = b"") -> bytes:
    assert isinstance(key, Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    lock: form.KeySerializationEncryption = form.NoEncryption()
    if secret:
        lock = form.BestAvailableEncryption(secret)
    return key.private_bytes(form.Encoding.PEM, kind, lock)


def _public(key: Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    spki = form.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(form.Encoding.PEM, spki)


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
PKCS8 = form.PrivateFormat.PKCS8
NO_KEY = {
    "empty": b"",
    "garbage": b"\xff\x00\n" * 50,
    "a log": b'{"a": 1}\n' * 100_000,
}

WRONG_KEYS: dict[str, tuple[Callable[[str], object], bytes, str]] = {
    **{f"{name} to sign": (read_private_key, data, "no private") for name, data in NO_KEY.items()},
    **{f"{name} to check": (read_public_key, data, "no public") for name, data in NO_KEY.items()},
    "a cut key to sign": (read_private_key, _private(KEY, PKCS8)[:70], "no private"),
    "a cut key to check": (read_public_key, _public(KEY)[:70], "no public"),
    "public to sign": (read_private_key, _public(KEY), "is a public key"),
    "private to check": (read_public_key, _private(KEY, PKCS8), "is a private key"),
    "RSA to sign": (read_private_key, _private(RSA, PKCS8), "for RSA, not for Ed25519"),
    "RSA to check": (read_public_key, _public(RSA), "for RSA, not for Ed25519"),
    "EC to sign": (
        read_private_key,
        _private(CURVE, form.PrivateFormat.TraditionalOpenSSL),
        "not for Ed25519",
    ),
    "EC to check": (read_public_key, _public(CURVE), "not for Ed25519"),
    "RSA private to check": (
        read_public_key,
        _private(RSA, form.PrivateFormat.TraditionalOpenSSL),
        "is a private key",
    ),
    "SSH": (read_private_key, _private(KEY, form.PrivateFormat.OpenSSH), "a key for SSH"),
    "passphrase": (read_private_key, _private(KEY, PKCS8, b"secret"), "with a passphrase"),
}


@pytest.mark.parametrize(("read", "data", "says"), WRONG_KEYS.values(), ids=WRONG_KEYS.keys())
def test_a_wrong_key_is_one_line_that_gives_nothing_away(
    read: Callable[[str], object], data: bytes, says: str, tmp_path: Path
) -> None:
    """Each mistake is told apart, with a way out; nothing of a key stands in it."""
    path = tmp_path / "k"
    path.write_bytes(data)
    with pytest.raises(SignatureError) as caught:
        read(str(path))
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert says in line
    assert caught.value.way_out
    assert "\n" not in line
    assert not [part for part in data.split() if len(part) > 30 and part.decode("latin-1") in line]
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("read", [read_private_key, read_public_key])
def test_a_key_that_is_not_there(read: Callable[[str], object], tmp_path: Path) -> None:
    """A missing file, a folder and a name that no file has are one line each."""
    for name, says in (("none", "no such file"), ("", "no such file"), ("a\0b", "no file's name")):
        with pytest.raises(StillhouseError, match=says):
            read(f"{tmp_path}/{name}" if name else name)
    with pytest.raises(SignatureError, match="is a folder"):
        read(str(tmp_path))


# -------------------------------------------------------------------------- signing a lake


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A small lake on disk, distilled once."""
    root = tmp_path / "lake"
    put(root, "scrum_reviews", rows(0, 12))
    run(root, FIRST)
    return root


def _signatures(store: Store) -> dict[str, bytes]:
    paths = [signature_path(path) for path in list_receipts(store)]
    return {path: store.read(path) for path in paths if store.stat(path)}


def test_every_receipt_is_signed_once(lake: Path) -> None:
    """All receipts get the key's signature; signing again does nothing, to the inode."""
    store = LocalStore(lake)
    report = sign_lake(store, KEY, "test")
    assert (report.receipts, report.signed, report.already, report.replaced) == (6, 6, 0, 0)
    assert report.keyid == keyid_of(PUBLIC)
    found = verify_lake(store, keys=[PUBLIC])
    assert (found.ok, found.signed, found.keys) == (True, 6, [report.keyid])
    before = stamps(lake)
    again = sign_lake(store, KEY, "test")
    assert (again.receipts, again.signed, again.already) == (6, 0, 6)
    assert stamps(lake) == before


def test_it_verifies_with_nothing_of_ours(lake: Path) -> None:
    """An encoding put together by hand and plain Ed25519 agree; the payload is the receipt, and
    in-toto's own package reads it as a statement."""
    store = LocalStore(lake)
    sign_lake(store, KEY, "test")
    for path in list_receipts(store):
        wire = json.loads((lake / path.replace(".json", ".intoto.jsonl")).read_bytes())
        assert list(wire) == ["payload", "payloadType", "signatures"]
        payload, kind = base64.b64decode(wire["payload"]), wire["payloadType"]
        assert payload == (lake / path).read_bytes()
        signed = b" ".join(
            [b"DSSEv1", str(len(kind)).encode(), kind.encode(), str(len(payload)).encode(), payload]
        )
        made = base64.b64decode(wire["signatures"][0]["sig"])
        PUBLIC.verify(made, signed)
        with pytest.raises(InvalidSignature):
            PUBLIC.verify(made, payload)
    why = "in-toto-attestation is not installed"
    statement_pb2 = pytest.importorskip("in_toto_attestation.v1.statement_pb2", reason=why)
    json_format = pytest.importorskip("google.protobuf.json_format", reason=why)
    parsed = json_format.Parse(payload, statement_pb2.Statement())
    assert parsed.type == "https://in-toto.io/Statement/v1"


def test_several_keys_sign_one_receipt(lake: Path) -> None:
    """A second key's signature stands beside the first; either key, or both, verify."""
    store = LocalStore(lake)
    sign_lake(store, KEY, "test")
    first = _signatures(store)
    assert sign_lake(store, OTHER, "test").signed == 6
    for path, data in first.items():
        envelope = decode_envelope(store.read(path), path)
        assert envelope.signatures[:1] == decode_envelope(data, path).signatures
        assert [one.keyid for one in envelope.signatures] == [
            keyid_of(PUBLIC),
            keyid_of(OTHER.public_key()),
        ]
    for keys in ([PUBLIC], [OTHER.public_key()], [PUBLIC, OTHER.public_key(), PUBLIC]):
        report = verify_lake(store, keys=keys)
        assert (report.ok, report.signed, len(report.keys)) == (True, 6, min(2, len(keys)))


def test_receipts_of_a_later_run_are_not_signed_yet(lake: Path) -> None:
    """A run over a signed lake does what is new; old signatures stay, new receipts have none."""
    store = LocalStore(lake)
    sign_lake(store, KEY, "test")
    before, old = _signatures(store), set(list_receipts(store))
    add(lake / "_kb" / "scrum_reviews.jsonl", rows(12, 15))
    report = run(lake, SECOND)
    assert report.read["evidence"] == 3
    assert report.notes == []
    assert _signatures(store) == before
    found = verify_lake(store, keys=[PUBLIC])
    new = set(list_receipts(store)) - old
    assert new
    assert {(one.kind, one.path) for one in found.problems} == {("unsigned", path) for path in new}
    assert found.signed == 6
    assert verify_lake(store).ok
    report = run(lake, SECOND)
    assert report.written == 0
    signed = sign_lake(store, KEY, "test")
    assert (signed.signed, signed.already) == (len(new), 6)
    assert verify_lake(store, keys=[PUBLIC]).ok


def test_a_run_without_its_state_keeps_signatures(lake: Path) -> None:
    """What the receipts tell when the state is lost does not change by files beside them."""
    store = LocalStore(lake)
    sign_lake(store, KEY, "test")
    before = _signatures(store)
    (lake / ".stillhouse" / "state.json").unlink()
    report = run(lake, SECOND)
    assert not [note for note in report.notes if "intoto" in note]
    assert _signatures(store).items() >= before.items()
    assert verify_lake(store).ok


def test_a_forged_signature_of_the_key_is_replaced(lake: Path) -> None:
    """What stands in the key's name and is not its work goes; what others signed stays."""
    store = LocalStore(lake)
    sign_lake(store, OTHER, "test")
    path = signature_path(list_receipts(store)[0])
    envelope = decode_envelope(store.read(path), path)
    forged = Signature(keyid_of(PUBLIC), b"\1" * 64)
    false = Envelope(envelope.payload, PAYLOAD_TYPE, (*envelope.signatures, forged))
    (lake / path).write_bytes(encode_envelope(false))
    (found,) = (one for one in verify_lake(store, keys=[PUBLIC]).problems if one.path == path)
    assert found.kind == "bad_signature"
    report = sign_lake(store, KEY, "test")
    assert (report.signed, report.replaced) == (6, 1)
    assert verify_lake(store, keys=[PUBLIC]).ok
    assert verify_lake(store, keys=[OTHER.public_key()]).ok
    good = decode_envelope(store.read(path), path)
    beside = Envelope(good.payload, PAYLOAD_TYPE, (*good.signatures, forged))
    (lake / path).write_bytes(encode_envelope(beside))
    assert not verify_lake(store, keys=[PUBLIC]).ok
    report = sign_lake(store, KEY, "test")
    assert (report.signed, report.already, report.replaced) == (1, 5, 1)
    assert decode_envelope(store.read(path), path) == good


def test_a_signature_under_the_id_of_another_key(lake: Path) -> None:
    """An id proves nothing: a signature that stands under a wrong one is named as false, and
    one without any is not taken for a given key's."""
    store = LocalStore(lake)
    sign_lake(store, KEY, "test")
    path = signature_path(list_receipts(store)[0])
    made = decode_envelope(store.read(path), path)
    for keyid in (keyid_of(OTHER.public_key()), "", keyid_of(PUBLIC).upper()):
        false = (Signature(keyid, made.signatures[0].sig),)
        (lake / path).write_bytes(encode_envelope(Envelope(made.payload, PAYLOAD_TYPE, false)))
        (found,) = verify_lake(store, keys=[PUBLIC]).problems
        assert (found.kind, found.path) == ("bad_signature", path)


def test_doubt_spreads_from_a_receipt_to_its_files(lake: Path) -> None:
    """A file that parts from a receipt that nobody signed is not accused without saying so."""
    store = LocalStore(lake)
    sign_lake(store, KEY, "test")
    receipt = list_receipts(store, "sft")[0]
    (lake / signature_path(receipt)).unlink()
    path = lake / "distilled/sft/sft_export.jsonl"
    path.write_bytes(path.read_bytes() + b"{}\n")
    unsigned, wrong = verify_lake(store, keys=[PUBLIC]).problems
    assert (unsigned.kind, unsigned.path) == ("unsigned", receipt)
    assert wrong.kind == "wrong_size"
    assert wrong.detail.endswith("(but that receipt is itself in doubt)")


def _edit(root: Path, pattern: str, change: Callable[[bytes], bytes]) -> str:
    path = sorted(root.glob(pattern))[0]
    path.write_bytes(change(path.read_bytes()))
    return path.relative_to(root).as_posix()


SPOILT: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "an output": ("distilled/sft/*.jsonl", lambda data: data + b"\n"),
    "a raw log": ("_kb/*.jsonl", lambda data: b"?" + data[1:]),
    "a receipt": ("receipts/score/*.json", lambda data: data.replace(b"0", b"1", 1)),
    "a signature": ("receipts/score/*.intoto.jsonl", lambda data: data[:-1]),
}


@pytest.mark.parametrize(("pattern", "change"), SPOILT.values(), ids=SPOILT.keys())
def test_a_lake_that_does_not_hold_is_not_signed(
    pattern: str, change: Callable[[bytes], bytes], lake: Path
) -> None:
    """One line names what is wrong and the way out, and no signature is written."""
    store = LocalStore(lake)
    sign_lake(store, OTHER, "test")
    name = _edit(lake, pattern, change)
    before = stamps(lake)
    with pytest.raises(ReceiptError) as caught:
        sign_lake(store, KEY, "test")
    line = str(caught.value)
    assert re.match(rf"{lake}: does not hold, so nothing was signed: {name}: .+\. .+ verify", line)
    assert "\n" not in line
    assert stamps(lake) == before


def test_there_is_nothing_to_sign(tmp_path: Path) -> None:
    """A lake without receipts, a folder that is no lake, and none at all: nothing is written."""
    root = demo(tmp_path / "lake", 60)
    (tmp_path / "other").mkdir()
    before = stamps(tmp_path)
    with pytest.raises(ReceiptError, match=r"has no receipts to sign\. Do `stillhouse run` first"):
        sign_lake(LocalStore(root), KEY, "test")
    with pytest.raises(LakeError, match="has no _kb folder"):
        sign_lake(LocalStore(tmp_path / "other"), KEY, "test")
    with pytest.raises(LakeError, match="there is no such lake"):
        sign_lake(LocalStore(tmp_path / "none"), KEY, "test")
    assert stamps(tmp_path) == before
    assert not (root / ".stillhouse").exists()


def test_a_lake_in_use_is_not_signed(lake: Path) -> None:
    """Signing is writing: the lake takes one writer at a time."""
    store = LocalStore(lake)
    with store.lock("a run"), pytest.raises(LakeLockedError, match="a run"):
        sign_lake(LocalStore(lake), KEY, "test")
    assert _signatures(store) == {}


def test_a_rollback_is_not_seen_from_inside(lake: Path, tmp_path: Path) -> None:
    """The limit that the documentation names: a lake that is put back as it once was, rightly
    signed, verifies; only who kept the newest receipts elsewhere can tell."""
    store = LocalStore(lake)
    sign_lake(store, KEY, "test")
    shutil.copytree(lake, tmp_path / "once")
    add(lake / "_kb" / "scrum_reviews.jsonl", rows(12, 15))
    run(lake, SECOND)
    sign_lake(store, KEY, "test")
    newest = set(list_receipts(store))
    shutil.rmtree(lake)
    (tmp_path / "once").rename(lake)
    assert verify_lake(LocalStore(lake), keys=[PUBLIC]).ok
    assert newest - set(list_receipts(LocalStore(lake)))


class Turning(WatchedStore):
    """A store in which somebody who asks for no lock exchanges a file after its first reading."""

    def __init__(self, root: Path, path: str, data: bytes) -> None:
        super().__init__(LocalStore(root))
        self.place, self.path, self.data, self.readings = root / path, path, data, 0

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        if path == self.path:
            self.readings += 1
            if self.readings == 2:
                self.place.write_bytes(self.data)
        return super().read(path, start, end)


def test_what_was_not_verified_is_not_signed(lake: Path) -> None:
    """A receipt that is exchanged between verifying and signing is looked at once more."""
    store = LocalStore(lake)
    receipt = list_receipts(store)[0]
    data = store.read(receipt)
    # Another one that is sound in itself, and one that is not.
    row = decode_receipt(data, receipt)
    sound = build_receipt("score", row.outputs, row.inputs, {}, {}, FIRST, "0", sequence=9)
    for changed in (encode_receipt(sound), data.replace(b"0", b"1", 1)):
        with pytest.raises(ReceiptError, match=f"{receipt}: changed while the lake was being"):
            sign_lake(Turning(lake, receipt, changed), KEY, "test")
        assert _signatures(store) == {}
        (lake / receipt).write_bytes(data)
    sign_lake(store, KEY, "test")
    others = store.read(signature_path(list_receipts(store)[1]))
    with pytest.raises(ReceiptError, match="changed while"):
        sign_lake(Turning(lake, signature_path(receipt), others), OTHER, "test")


def test_a_link_in_the_place_of_a_signature(lake: Path, tmp_path: Path) -> None:
    """A link out of the lake is no signature, and signing replaces it, not its target."""
    store = LocalStore(lake)
    sign_lake(store, KEY, "test")
    place = lake / signature_path(list_receipts(store)[0])
    outside = place.rename(tmp_path / "outside")
    place.symlink_to(outside)
    before = outside.read_bytes()
    (found,) = verify_lake(store, keys=[PUBLIC]).problems
    assert found.kind == "unsigned"
    assert sign_lake(store, KEY, "test").signed == 1
    assert (place.is_symlink(), outside.read_bytes()) == (False, before)


def test_other_stores_sign_alike(lake: Path) -> None:
    """Whatever store a lake is in, its signatures are the same bytes."""
    store, memory = LocalStore(lake), MemoryStore()
    for entry in store.list(""):
        with memory.writer(entry.path) as sink:
            sink.write(store.read(entry.path))
    assert sign_lake(memory, KEY, "test") == sign_lake(store, KEY, "test")
    assert _signatures(memory) == _signatures(store)
