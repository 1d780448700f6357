"""Envelopes as nobody would write them: each is a clear refusal or a valid index, in bounded
memory, and nothing else.

Half of the mutations of version 2 change its parts and put them together with checksums that
fit again, so that they get past those.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stillhouse.errors import VectorDamagedError
from stillhouse.vectors import Limits, checks
from stillhouse.vectors.envelope import decode
from stillhouse.vectors.values import IndexSpec, Item
from tests.vectors import envelopes
from tests.vectors.envelopes import Part, block, header, put_together
from tests.vectors.hostile import CASES, VALID

ROOT = Path(__file__).parent.parent.parent
LIMITS = Limits()
CODES = {"envelope_damaged", "envelope_version"}

V2 = envelopes.encoded(envelopes.backend())
TWO_BLOCKS = put_together(
    [
        header(items=4, metric="cosine", metadata={"a": [1, {"b": None}]}),
        *block([b"a", b"b"], [[1, 2], [3, 4]], [b"{}", None]),
        *block([b"c", b"d"], [[1, -2], [0, 4]], [b'{"x":1.5}', b'{"y":[true,"z"]}']),
    ]
)
V1 = envelopes.V1
SEEDS = (V2, TWO_BLOCKS, V1)
TOKENS = (
    *(b"[ ] { } , : \" \\ 1 0 - e . null true NaN Infinity 1e999 \\u0000 \\ud800 ..".split()),
    *(b'/ "a" "version" "vectors" "metadata" "dimension" [[[[ {"a": 1} 99999999999999999'.split()),
    *(b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01", b"\x7f\xc0", b"HEAD", b"IDS "),
)  # fmt: skip


def scratch(data: bytes, chance: random.Random) -> bytes:
    """Some bytes, changed in one to four ways."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.randint(1, 1 << chance.randrange(8)))
        way = chance.randrange(8)
        if way == 0 and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        elif way == 1:
            data = data[:at] + chance.randbytes(end - at) + data[end:]
        elif way == 2:
            data = data[:at] + chance.randbytes(chance.randint(1, 9)) + data[at:]
        elif way == 3:
            data = data[:at] + data[end:]
        elif way == 4:
            data = data[:at] + data[at:end] * chance.randint(2, 5) + data[end:]
        elif way == 5 and chance.random() < 0.3:
            data = data[:at]
        elif way == 6:
            other = chance.choice(SEEDS)
            start = chance.randrange(len(other))
            data = data[:at] + other[start : start + chance.randint(1, 60)] + data[end:]
        else:
            token = chance.choice(TOKENS)
            data = data[:at] + token + data[at if chance.random() < 0.5 else end :]
    return data


def rebuilt(data: bytes, chance: random.Random) -> bytes:
    """A version-2 envelope with other parts and checksums that fit."""
    parts = envelopes.taken_apart(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(len(parts) or 1)
        one = parts[at] if parts else header()
        way = chance.randrange(11)
        if way < 4:
            parts[at : at + 1] = [one._replace(payload=scratch(one.payload, chance))]
        elif way == 4:
            length = chance.choice((0, 1, 48, 16 << 20, 2**32 - 1, chance.randrange(400)))
            parts[at : at + 1] = [one._replace(length=length)]
        elif way == 5:
            del parts[at : at + 1]
        elif way == 6:
            parts.insert(chance.randrange(len(parts) + 1), one)
        elif way == 7:
            kind = chance.choice((b"HEAD", b"IDS ", b"VECS", b"META", b"END ", chance.randbytes(4)))
            parts[at : at + 1] = [one._replace(kind=kind)]
        elif way == 8:
            parts[at : at + 1] = [Part(one.kind, _relength(one.payload, chance))]
        else:
            other = bytearray(one.payload or b"x")
            other[chance.randrange(len(other))] = chance.choice(b"0a1{\x3f\xff")
            parts[at : at + 1] = [Part(one.kind, bytes(other))]
    items = chance.choice((None,) * 8 + (0, 2**64 - 1))
    size = chance.choice((None,) * 8 + (0, 2**64 - 1))
    return put_together(parts, items=items, size=size, version=chance.choice((2,) * 9 + (3,)))


def _relength(payload: bytes, chance: random.Random) -> bytes:
    """A payload with one of its four-byte numbers changed."""
    at = chance.randrange(max(1, len(payload) - 3))
    number = chance.choice((0, 1, 2**32 - 1, 2**31, chance.randrange(2_000)))
    return payload[:at] + number.to_bytes(4, "little") + payload[at + 4 :]


def judge(data: bytes) -> bool:
    """Whether it is a valid index; anything but that or a clear refusal is raised."""
    try:
        with decode(data, LIMITS) as found:
            batches = list(found.batches)
    except VectorDamagedError as error:
        if error.code in CODES and len(str(error)) < 1_000:
            return False
        raise
    spec = IndexSpec(found.spec.name or "unnamed", found.spec.dimension, found.spec.metric)
    checks.check_spec(spec, LIMITS)
    ids = [id_ for batch in batches for id_ in batch.ids]
    assert ids == sorted(set(ids))
    assert len(ids) == found.total
    for batch in batches:
        rows = zip(batch.ids, batch.vectors, map(checks.decoded, batch.metadata), strict=True)
        again = checks.check_batch([Item(*row) for row in rows], spec, LIMITS)
        assert (again.ids, again.metadata) == (batch.ids, batch.metadata)
        assert np.array_equal(again.vectors, batch.vectors)
    once = envelopes.again(data)
    assert envelopes.again(once) == once
    return True


def campaign(seed: int, count: int) -> dict[str, int]:
    """How many mutations of one seed were valid indexes, by kind."""
    chance = random.Random(seed)
    kinds: dict[str, Callable[[], bytes]] = {
        "v2 scratched": lambda: scratch(chance.choice((V2, TWO_BLOCKS)), chance),
        "v2 rebuilt": lambda: rebuilt(chance.choice((V2, TWO_BLOCKS)), chance),
        "v1": lambda: scratch(V1, chance),
    }
    valid = dict.fromkeys(kinds, 0)
    for number in range(count):
        kind = chance.choices(list(kinds), (1, 2, 2))[0]
        data = kinds[kind]()
        try:
            valid[kind] += judge(data)
        except BaseException as error:
            error.add_note(f"seed {seed}, mutation {number}, {kind}: {data!r}")
            raise
    return valid


def test_seeds_are_valid() -> None:
    """What is mutated is sound to begin with, and putting together is the inverse of taking
    apart."""
    assert all(map(judge, SEEDS))
    assert put_together(envelopes.taken_apart(V2)) == V2


@pytest.mark.parametrize("seed", range(4))
def test_mutations_are_refused_or_valid(seed: int) -> None:
    """A thousand mutations and a half a seed; some of those with fitting checksums are valid."""
    valid = campaign(seed, 1_500)
    assert sum(valid.values()) > 10, valid


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1_000, 1_040))
def test_a_million_mutations_are_refused_or_valid(seed: int) -> None:
    """Forty seeds of 25,000 mutations each."""
    campaign(seed, 25_000)


# ------------------------------------------------------------------------------- memory


def test_memory_is_bounded_for_hostile_envelopes(tmp_path: Path) -> None:
    """No envelope takes more memory than twice its size and 64 MB, measured in a process of its
    own as the most that was ever resident."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the system does not tell a process's peak of memory")
    done = subprocess.run(
        [sys.executable, "-m", "tests.vectors.hostile", str(tmp_path / "envelope")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": "/usr/bin:/bin"},
        check=True,
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one[0] for one in told] == list(CASES)
    for name, how, size, taken in told:
        assert taken <= 2 * size + 64_000_000, (name, size, taken)
        assert how == ("valid" if name in VALID else "envelope_damaged"), name
