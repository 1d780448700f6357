"""The envelope: what is written, what is read, and what is refused."""

from __future__ import annotations

import io
import json
import random
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pytest

from stillhouse.errors import VectorDamagedError, VectorFailedError, VectorLimitError
from stillhouse.vectors import Limits
from stillhouse.vectors.backend import Export
from stillhouse.vectors.envelope import decode, encode, verify
from stillhouse.vectors.envelope_v2 import summary
from stillhouse.vectors.memory import MemoryBackend
from stillhouse.vectors.values import Batch, IndexSpec
from tests.vectors import envelopes
from tests.vectors.envelopes import ITEMS, SPEC, Part, block, header, put_together

FIXTURES = Path(__file__).parent.parent / "fixtures" / "vectors"
DATA = (FIXTURES / "docs.v2.envelope").read_bytes()
V1 = (FIXTURES / "docs.v1.json").read_bytes()


def refused(data: bytes | BinaryIO, limits: Limits | None = None) -> VectorDamagedError:
    """How an envelope is refused."""
    with pytest.raises(VectorDamagedError) as found:
        verify(data, limits, "the file")
    assert found.value.where == "the file"
    return found.value


class Drops:
    """Gives a byte, or a few, at a time, as a slow connection does."""

    def __init__(self, data: bytes, most: int) -> None:
        self._file = io.BytesIO(data)
        self._most = most

    def read(self, size: int = -1) -> bytes:
        """Fewer bytes than asked for."""
        return self._file.read(min(size, self._most))


def drops(data: bytes, most: int) -> BinaryIO:
    """Such a file."""
    return cast(BinaryIO, Drops(data, most))


# ---------------------------------------------------------------------------- version 2


def test_kept_envelope_of_version_2_reads_as_ever() -> None:
    """The kept fixture holds these items: no metadata, empty metadata and metadata (SPEC V2)."""
    with decode(DATA) as found:
        assert (found.version, found.spec, found.total, found.left_out) == (2, SPEC, 5, 0)
        assert envelopes.rows(found.batches) == envelopes.expected()


def test_same_index_gives_the_kept_bytes() -> None:
    """Encoding that index gives the fixture to the byte, and decoding and encoding it does."""
    assert envelopes.encoded(envelopes.backend()) == DATA
    assert envelopes.again(DATA) == DATA


def test_layout_is_as_documented() -> None:
    """The documented layout, written down independently, takes the envelope apart and gives it
    back."""
    parts = envelopes.taken_apart(DATA)
    assert [part.kind for part in parts] == [b"HEAD", b"IDS ", b"VECS", b"META"]
    assert json.loads(parts[0].payload) == {
        "name": "döcs", "dimension": 3, "metric": "l2", "metadata": {"made": "by hand"}, "items": 5
    }  # fmt: skip
    ids = [id_.encode() for id_, _, _ in ITEMS]
    metadata = [None if one is None else envelopes.canonical(one) for _, _, one in ITEMS]
    assert parts[1:] == block(ids, [vector for _, vector, _ in ITEMS], metadata)
    assert put_together(parts) == DATA


def test_empty_index_comes_back() -> None:
    """An index of no items is an envelope too."""
    store = MemoryBackend()
    store.create(IndexSpec("none", 7))
    data = envelopes.encoded(store, "none")
    with decode(data) as found:
        assert (found.total, list(found.batches)) == (0, [])
        assert found.spec == IndexSpec("none", 7)


@pytest.mark.parametrize("size", [1, 7, 1_000, 5_000])
def test_bytes_do_not_depend_on_how_items_come(size: int) -> None:
    """Equal indexes give equal bytes, whatever batches a backend exports."""
    store = MemoryBackend()
    store.create(IndexSpec("many", 4))
    ids = sorted(f"id-{at}" for at in range(3_000))
    made = np.random.default_rng(1).normal(size=(3_000, 4)).astype(np.float32)
    store.add("many", Batch(ids, made, [b'{"n":1}', None, b"{}"] * 1_000))
    sink = io.BytesIO()
    with store.export("many") as export:
        told = encode(envelopes.cut(export, size), sink)
    data = sink.getvalue()
    assert data == envelopes.encoded(store, "many") == envelopes.again(data)
    kinds = [part.kind for part in envelopes.taken_apart(data)]
    assert kinds == [b"HEAD"] + [b"IDS ", b"VECS", b"META"] * 3
    assert (told.items, told.bytes) == (3_000, len(data))


def test_block_of_many_bytes_is_cut() -> None:
    """A block takes no more items once it has 4 MiB, so that a reader's memory is bounded."""
    store = MemoryBackend()
    store.create(IndexSpec("big", 16_384))
    vectors = np.ones((150, 16_384), np.float32)
    store.add("big", Batch([f"{at:03}" for at in range(150)], vectors, [None] * 150))
    data = envelopes.encoded(store, "big")
    sizes = [len(part.payload) for part in envelopes.taken_apart(data) if part.kind == b"VECS"]
    assert sizes == [64 * 65_536, 64 * 65_536, 22 * 65_536]
    assert verify(data).total == 150


def test_every_flipped_bit_is_found() -> None:
    """Each single bit of an envelope, flipped, is found."""
    for at in range(len(DATA) * 8):
        changed = bytearray(DATA)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(VectorDamagedError):
            verify(bytes(changed))


def test_every_truncation_is_found() -> None:
    """An envelope that ends anywhere before its end is found out."""
    for size in range(len(DATA)):
        assert refused(DATA[:size]).code == "envelope_damaged"


@pytest.mark.parametrize("more", [b"\0", b"\n", DATA])
def test_what_is_put_behind_is_found(more: bytes) -> None:
    """Anything behind the end is refused."""
    assert "behind" in refused(DATA + more).what


def test_newer_version_is_told_apart() -> None:
    """A version that only a newer program knows is said to be one."""
    found = refused(put_together(envelopes.taken_apart(DATA), version=3))
    assert (found.code, "version 3" in found.what) == ("envelope_version", True)
    assert refused(put_together([header()], version=1)).code == "envelope_damaged"


@pytest.mark.parametrize("most", [1, 2, 3, 1_000])
def test_slow_sources_are_read_to_the_end(most: int) -> None:
    """A source that gives fewer bytes than asked for is no shorter for it."""
    assert verify(drops(DATA, most)).total == 5
    assert verify(drops(V1, most)).total == 3


ONE = block([b"a"], [[1, 2]])
CRAFTED: dict[str, tuple[list[Part], str]] = {
    "repeated id": ([header(items=2), *block([b"a", b"a"], [[1, 2], [3, 4]])], "repeat"),
    "repeated across blocks": ([header(items=2), *ONE, *ONE], "repeat"),
    "ids out of order": ([header(items=2), *block([b"b", b"a"], [[1, 2], [3, 4]])], "order"),
    "empty id": ([header(items=1), *block([b""], [[1, 2]])], "order"),
    "path in an id": ([header(items=1), *block([b"../x"], [[1, 2]])], "path"),
    "id of no text": ([header(items=1), *block([b"\xff"], [[1, 2]])], "no text"),
    "long id": ([header(items=1), *block([b"x" * 513], [[1, 2]])], "513 bytes long"),
    "not a number": ([header(items=1), *block([b"a"], [[1, float("nan")]])], "not finite"),
    "infinite": ([header(items=1), *block([b"a"], [[1, float("-inf")]])], "not finite"),
    "too long a vector": ([header(items=1), *block([b"a"], [[3e38, 3e38]])], "too long"),
    "zero under cosine": ([header(items=1, metric="cosine"), *block([b"a"], [[0, 0]])], "zero"),
    "metadata a list": ([header(items=1), *block([b"a"], [[1, 2]], [b"[]"])], "cannot be read"),
    "metadata nothing": ([header(items=1), *block([b"a"], [[1, 2]], [b""])], "cannot be read"),
    "metadata null": ([header(items=1), *block([b"a"], [[1, 2]], [b"null"])], "cannot be read"),
    "metadata too deep": (
        [header(items=1), *block([b"a"], [[1, 2]], [b'{"a":' * 40 + b"1" + b"}" * 40])],
        "too deeply",
    ),
    "metadata abysmal": (
        [header(items=1), *block([b"a"], [[1, 2]], [b'{"a":' + b"[" * 60_000])],
        "too deeply",
    ),
    "metadata too long": (
        [header(items=1), *block([b"a"], [[1, 2]], [b'{"a":"' + b"x" * 65_536 + b'"}'])],
        "65,544 bytes",
    ),
    "huge number": (
        [header(items=1), *block([b"a"], [[1, 2]], [b'{"a":1' + b"0" * 5_000 + b"}"])],
        "out of range",
    ),
    "fewer vectors": ([header(items=2), *block([b"a", b"b"], [[1, 2]])], "not as many"),
    "more vectors": ([header(items=1), *block([b"a"], [[1, 2], [3, 4]])], "not as many"),
    "less metadata": ([header(items=2), *block([b"a", b"b"], [[1, 2]] * 2, [None])], "too short"),
    "more metadata": ([header(items=1), *block([b"a"], [[1, 2]], [None] * 2)], "too long"),
    "fewer items": ([header(items=2), *ONE], "says 2 items and holds 1"),
    "more items": ([header(items=0), *ONE], "says 0 items and holds 1"),
    "empty block": ([header(), *block([], np.zeros((0, 2)))], "0 items"),
    "block too large": (
        [header(items=1_025), *block([b"%05d" % at for at in range(1_025)], [[1, 2]] * 1_025)],
        "1,025 items",
    ),
    "huge count": ([header(), Part(b"IDS ", b"\xff\xff\xff\xff")], "4,294,967,295 items"),
    "no count": ([header(), Part(b"IDS ", b"\1")], "0 items"),
    "length beyond its part": (
        [header(), Part(b"IDS ", b"\1\0\0\0\xfe\xff\xff\xffa")],
        "beyond its part",
    ),
    "length beyond the file": ([header(), Part(b"IDS ", b"", 16 << 20)], "too early"),
    "length beyond all": ([header(), Part(b"IDS ", b"", (16 << 20) + 1)], "would be"),
    "unknown part": ([header(), Part(b"MORE", b"")], "no known part"),
    "no header": ([*ONE], "no known part"),
    "two headers": ([header(), header()], "no known part"),
    "vectors first": ([header(items=1), *ONE[1:]], "no known part"),
    "half a block": ([header(items=1), *ONE[:2]], "no known part"),
    "header no JSON": ([Part(b"HEAD", b"{")], "header cannot be read"),
    "header abysmal": ([Part(b"HEAD", b'{"metadata":{"a":' + b"[" * 60_000)], "nested too deeply"),
    "header too long": ([Part(b"HEAD", b" " * 100_000)], "would be 100,000 bytes"),
    "unknown field": ([header(more=1)], "header cannot be read"),
    "unknown metric": ([header(metric="hamming")], "header cannot be read"),
    "dimension zero": ([header(dimension=0)], "from 1 to"),
    "dimension beyond": ([header(dimension=10**9)], "from 1 to"),
    "path in the name": ([header(name="../n")], "path"),
    "negative count": ([header(items=-1)], "says -1 items"),
}


@pytest.mark.parametrize("what", CRAFTED)
def test_crafted_envelope_brings_nothing_in(what: str) -> None:
    """What `add` or `create` would refuse is refused, though all checksums fit."""
    parts, why = CRAFTED[what]
    found = refused(put_together(parts))
    assert found.code == "envelope_damaged"
    assert why in found.what


def test_end_must_agree_with_the_rest() -> None:
    """The end's own count of items and of bytes are held against what was read."""
    parts = envelopes.taken_apart(DATA)
    assert "holds" in refused(put_together(parts, items=4)).what
    assert "behind" in refused(put_together(parts, size=len(DATA) + 1)).what


def test_change_that_fits_every_checksum_but_the_last_is_found() -> None:
    """The SHA-256 over everything finds what the sections' own checksums let through."""
    whole = put_together([header(items=1), *block([b"a"], [[1, 2]])])
    other = put_together([header(items=1), *block([b"a"], [[1, 3]])])
    end = whole[-52:-4]
    check = zlib.crc32(b"END " + struct.pack("<I", 48) + end)
    assert "SHA-256" in refused(other[:-52] + end + struct.pack("<I", check)).what


def test_limits_of_the_reader_hold() -> None:
    """An envelope made under wider limits is refused under narrower ones."""
    assert "from 1 to 2" in refused(DATA, Limits(dimension=2)).what
    assert "bytes long" in refused(DATA, Limits(metadata_bytes=20)).what
    assert verify(DATA, Limits(batch_items=1)).total == 5


def test_metadata_is_canonical_whatever_was_written() -> None:
    """Metadata with blanks and in any order comes out as the store keeps it."""
    parts = [header(items=1), *block([b"a"], [[1, 2]], [b' {"b": 1,  "a":"\\u0041"} '])]
    with decode(put_together(parts)) as found:
        assert next(found.batches).metadata == [b'{"a":"A","b":1}']


def test_encoder_refuses_what_a_reader_would() -> None:
    """A backend that gives too few items, or out of order, is told on; so is a huge item."""
    spec = IndexSpec("n", 1)

    def export(ids: list[str], total: int, metadata: bytes | None = None) -> Export:
        vectors = np.ones((len(ids), 1), np.float32)
        return Export(spec, total, iter([Batch(ids, vectors, [metadata] * len(ids))]))

    with pytest.raises(VectorFailedError, match="gave 1"):
        encode(export(["a"], 2), io.BytesIO())
    for ids in (["b", "a"], ["a", "a"]):
        with pytest.raises(VectorFailedError, match="after"):
            encode(export(ids, 2), io.BytesIO())
    with pytest.raises(VectorLimitError, match="an envelope takes"):
        encode(export(["a"], 1, b"x" * (13 << 20)), io.BytesIO())


def test_neither_way_holds_the_index_in_memory() -> None:
    """Encoding and decoding 48 MB takes less than half of that at a time."""
    vectors = np.ones((500, 1_024), np.float32)

    def batches() -> Iterator[Batch]:
        for at in range(24):
            yield Batch([f"{at * 500 + n:06}" for n in range(500)], vectors, [None] * 500)

    class Chained(io.BytesIO):
        """Keeps what is written outside of what tracemalloc is asked about."""

    sink = Chained()
    sink.write(bytes(52_000_000))
    sink.seek(0)
    tracemalloc.start()
    try:
        encode(Export(IndexSpec("n", 1_024), 12_000, batches()), sink)
        writing = tracemalloc.get_traced_memory()[1]
        sink.truncate()
        sink.seek(0)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert verify(cast(BinaryIO, sink)).total == 12_000
        reading = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert (writing < 24_000_000, reading < 24_000_000) == (True, True), (writing, reading)


# ------------------------------------------------------------------------- its two ends


def test_summary_reads_only_the_ends() -> None:
    """What an envelope says of itself is read from its first and last bytes."""
    parts = [header(items=900), *block([b"%03d" % n for n in range(900)], [[1, 2]] * 900)]
    data = put_together(parts)
    asked = []

    def read(start: int, end: int) -> bytes:
        asked.append((start, end))
        return data[start:end]

    found = summary(read, len(data), Limits(), "the file")
    assert (found.spec, found.items) == (IndexSpec("n", 2, "l2"), 900)
    assert found.sha256 == data[-36:-4].hex()
    assert sum(end - start for start, end in asked) < 5_000 < len(data)


def test_summary_reads_a_long_header_too() -> None:
    """A header longer than the first read is read whole."""
    data = put_together([header(metadata={"text": "x" * 50_000})])
    found = summary(lambda start, end: data[start:end], len(data), Limits(), "the file")
    assert found.spec.metadata == {"text": "x" * 50_000}


def test_summary_finds_what_is_wrong_at_the_ends() -> None:
    """A flipped bit in header or end, a truncation and a tail are seen without the middle."""
    ends = [*range(12, 24 + len(envelopes.taken_apart(DATA)[0].payload))]
    for at in [*range(12), *ends, *range(len(DATA) - 60, len(DATA))]:
        changed = bytearray(DATA)
        changed[at] ^= 4
        with pytest.raises(VectorDamagedError):
            summary(lambda start, end: bytes(changed[start:end]), len(DATA), Limits(), "f")  # noqa: B023
    for other in (DATA[:-1], DATA + b"x", DATA[:100], DATA[:40], b"", DATA[:11]):
        with pytest.raises(VectorDamagedError):
            summary(lambda start, end: other[start:end], len(other), Limits(), "f")  # noqa: B023
    parts = envelopes.taken_apart(DATA)
    for wrong in (put_together(parts, items=4), put_together(parts, size=len(DATA) + 1)):
        with pytest.raises(VectorDamagedError):
            summary(lambda start, end: wrong[start:end], len(DATA), Limits(), "f")  # noqa: B023
    for short in (DATA[:15], DATA[:60], DATA[:100]):
        with pytest.raises(VectorDamagedError):  # It has shrunk since its size was asked.
            summary(lambda start, end: short[start:end], len(DATA), Limits(), "f")  # noqa: B023


# ---------------------------------------------------------------------------- version 1


def test_kept_envelope_of_version_1_reads_as_ever() -> None:
    """Ids come from the metadata's keys, and what has none is counted (SPEC V3)."""
    with decode(V1) as found:
        assert (found.version, found.spec) == (1, IndexSpec("", 3, "l2"))
        assert (found.total, found.left_out) == (3, 2)
        assert envelopes.rows(found.batches) == envelopes.expected([ITEMS[0], ITEMS[1], ITEMS[3]])


def v1(**changes: Any) -> bytes:
    """A version-1 envelope of one item; a field that is None is left out."""
    fields = {"version": 1, "dimension": 2, "metric": "l2", "vectors": {"a": [1, 2]},
              "metadata": {"a": {}}, **changes}  # fmt: skip
    return json.dumps({key: value for key, value in fields.items() if value is not None}).encode()


def test_fields_and_keys_come_in_any_order() -> None:
    """The order of JSON's keys means nothing."""
    fields = list(json.loads(V1).items())
    for seed in range(20):
        random.Random(seed).shuffle(fields)
        data = json.dumps(dict(fields), indent=seed % 3 or None).encode()
        assert envelopes.again(data) == envelopes.again(V1)


def test_null_is_metadata_that_is_none() -> None:
    """A key whose metadata is null is an item without metadata."""
    with decode(v1(metadata={"a": None})) as found:
        assert next(found.batches).metadata == [None]


def test_large_version_1_is_read_in_windows() -> None:
    """Values that lie across the borders of what is read at once come whole, in order."""
    made = np.random.default_rng(5).normal(size=(3_000, 16)).astype(np.float32)
    vectors = {f"é{at}": vector for at, vector in enumerate(made.tolist())}
    data = v1(dimension=16, vectors=vectors, metadata={id_: {"id": id_} for id_ in vectors})
    with decode(data) as found:
        rows = envelopes.rows(found.batches)
    assert rows == [
        (id_, np.array(vectors[id_], "<f4").tobytes(), {"id": id_}) for id_ in sorted(vectors)
    ]


def test_numbers_are_not_cut_where_reading_stops() -> None:
    """A number at the border of what is read at once is read to its end."""
    data = v1(dimension=12, vectors={"a": [15] * 12})
    for most in (1, 2, 3, 5):
        assert verify(drops(data, most)).spec.dimension == 12


def test_blanks_without_end_are_skipped() -> None:
    """Blanks count for nothing, however many."""
    assert verify(b" " * 300_000 + v1() + b"\n" * 300_000).total == 1


REFUSED_V1: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no envelope"),
    "blanks": (b"   ", "there is no '{'"),
    "text": (b"hello, world", "no envelope"),
    "a list": (b"[1, 2]", "no envelope"),
    "sqlite": (b"SQLite format 3\0", "no envelope"),
    "an empty object": (b"{}", "lacks version"),
    "UTF-16": (v1().decode().encode("utf-16"), "no envelope"),
    "no UTF-8": (v1().replace(b'"a": {}', b'"\xff": {}'), "UTF-8"),
    "cut UTF-8": (b'{"\xc3', "UTF-8"),
    "unknown field": (v1(more=1), "unknown field 'more'"),
    "no dimension": (v1(dimension=None), "lacks dimension"),
    "no metric": (v1(metric=None), "lacks metric"),
    "no metadata": (v1(metadata=None), "lacks metadata"),
    "no vectors": (v1(vectors=None), "lacks vectors"),
    "version 0": (v1(version=0), "its version is 0"),
    "version true": (v1(version=True), "its version is True"),
    "version 1.0": (v1(version=1.0), "its version is 1.0"),
    "dimension text": (v1(dimension="2"), "whole number"),
    "dimension zero": (v1(dimension=0), "from 1 to"),
    "dimension huge": (v1(dimension=10**400), "from 1 to"),
    "metric unknown": (v1(metric="hamming"), "must be one of"),
    "metric a list": (v1(metric=["l2"]), "must be one of"),
    "wrong dimension": (v1(dimension=3), "has 2 dimensions; the index has 3"),
    "vectors a list": (v1(vectors=[]), "there is no '{'"),
    "metadata a list": (v1(metadata=[]), "there is no '{'"),
    "vector null": (v1().replace(b"[1, 2]", b"null"), "no list of numbers"),
    "vector empty": (v1(vectors={"a": []}), "no list of numbers"),
    "vector of text": (v1(vectors={"a": ["1", "2"]}), "must be a list of numbers"),
    "vector of lists": (v1(vectors={"a": [[1], [2]]}), "must be a list of numbers"),
    "vector too large": (v1(vectors={"a": [10**400, 2]}), "must be a list of numbers"),
    "vector beyond floats": (v1().replace(b"[1, 2]", b"[1e999, 2]"), "not finite"),
    "vector beyond float32": (v1(vectors={"a": [1e39, 2]}), "not finite"),
    "NaN": (v1(vectors={"a": [float("nan"), 2]}), "NaN is no number"),
    "Infinity": (v1(metadata={"a": {"x": -float("inf")}}), "-Infinity is no number"),
    "zero under cosine": (v1(metric="cosine", vectors={"a": [0, 0]}), "is zero"),
    "metadata without a vector": (v1(metadata={"a": {}, "b": {}}), "'b' has metadata and no"),
    "metadata of text": (v1(metadata={"a": "x"}), "must be an object or null"),
    "metadata too long": (v1(metadata={"a": {"x": "y" * 65_536}}), "bytes long"),
    "number beyond 64 bits": (v1(metadata={"a": {"x": 2**64}}), "beyond 64 bits"),
    "number of many digits": (v1().replace(b"{}}", b'{"x": 1' + b"0" * 9_000 + b"}}"), "digit"),
    "lone surrogate": (v1(metadata={"a": {"x": "\ud800"}}), "no valid Unicode"),
    "id a surrogate": (v1(vectors={"\ud800": [1, 2]}), "no valid Unicode"),
    "id a path": (v1(vectors={"a/b": [1, 2]}), "has a path in it"),
    "metadata key a path": (v1(metadata={"..": {}}), "has a path in it"),
    "id empty": (v1(vectors={"": [1, 2]}), "is empty"),
    "id too long": (v1(vectors={"x" * 513: [1, 2]}), "513 bytes long"),
    "repeated field": (b'{"version":1,"version":1}', "repeats field 'version'"),
    "repeated vectors": (b'{"vectors":{},"vectors":{}}', "repeats field 'vectors'"),
    "repeated id": (b'{"vectors":{"a":[1],"a":[1]}}', "vectors repeat the id 'a'"),
    "repeated key": (b'{"metadata":{"a":{},"a":{}}}', "metadata repeat the id 'a'"),
    "repeated inside": (b'{"metadata":{"a":{"x":1,"x":1}}}', "repeats a key"),
    "repeated escaped": (b'{"vectors":{"a":[1],"\\u0061":[1]}}', "repeat the id 'a'"),
    "too deep": (v1().replace(b"{}}", b'{"x":' + b"[" * 40 + b"]" * 40 + b"}}"), "too deeply"),
    "abysmal": (b'{"metadata":{"a":{"x":' + b"[" * 200_000, "too deeply"),
    "no value whole": (b'{"metadata":{"a":"' + b"x" * 3_000_000, "no value is whole within"),
    "comma at the end": (b'{"vectors":{"a":[1],}}', "there is no key"),
    "comma in a list": (b'{"vectors":{"a":[1,]}}', "cannot be read from character"),
    "no colon": (b'{"vectors" 1}', "there is no ':'"),
    "no comma": (b'{"vectors":{"a":[1]"b":[1]}}', "there is no ','"),
    "no end": (v1()[:-1], "there is no ','"),
    "put behind": (v1() + b"{}", "put behind"),
    "single quotes": (b"{'version': 1}", "there is no key"),
    "line end in text": (b'{"vectors":{"a\n":[1]}}', "control character"),
}


@pytest.mark.parametrize("what", REFUSED_V1)
def test_version_1_that_is_off_is_refused(what: str) -> None:
    """What is no such JSON, or holds what `add` would refuse, is refused and told."""
    data, why = REFUSED_V1[what]
    found = refused(data)
    assert found.code == "envelope_damaged"
    assert why in found.what
    assert len(str(found)) < 600


def test_newer_json_is_told_apart() -> None:
    """JSON that says to be of a newer version is not called damaged."""
    for version in (2, 3):
        assert refused(v1(version=version)).code == "envelope_version"


def test_every_truncation_of_version_1_is_found() -> None:
    """JSON that ends before its end is found out (what follows the last brace is a line end)."""
    for size in range(len(V1) - 1):
        assert refused(V1[:size]).code == "envelope_damaged"
