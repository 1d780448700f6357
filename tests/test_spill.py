"""Grouping over more rows than memory holds gives what grouping in memory gives."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.spill import Buckets, group_starts

ROW = np.dtype([("key", "<u8"), ("number", "<u4")])

keys = st.lists(st.integers(0, (1 << 64) - 1), max_size=60).flatmap(
    lambda some: st.lists(st.sampled_from(some or [0]), max_size=120)
)


def _deal(values: list[int], pieces: int, per_bucket: int) -> list[list[tuple[int, int]]]:
    """The buckets, as lists of (key, number)."""
    rows = np.zeros(len(values), dtype=ROW)
    rows["key"], rows["number"] = np.array(values, dtype="<u8"), np.arange(len(values))
    with tempfile.TemporaryDirectory() as folder:
        buckets = Buckets(Path(folder), "test", ROW, len(values), per_bucket)
        for piece in np.array_split(rows, pieces):
            buckets.add(np.ascontiguousarray(piece["key"]), piece)
        found = [bucket.tolist() for bucket in buckets]
        assert list(Path(folder).iterdir()) == [], "buckets are read once and gone"
    return found


@given(values=keys, pieces=st.integers(1, 5), per_bucket=st.integers(1, 40))
def test_buckets_hold_every_row_once_and_groups_whole(
    values: list[int], pieces: int, per_bucket: int
) -> None:
    """No row is lost or doubled, all rows of a key meet in one bucket, in the order they came."""
    buckets = _deal(values, pieces, per_bucket)
    everything = [tuple(row) for bucket in buckets for row in bucket]
    assert Counter(everything) == Counter(zip(values, range(len(values)), strict=True))
    assert len(everything) == len(values)
    homes = [{key for key, _ in bucket} for bucket in buckets]
    assert sum(map(len, homes)) == len(set(values))
    for bucket in buckets:
        for key in {key for key, _ in bucket}:
            numbers = [number for other, number in bucket if other == key]
            assert numbers == sorted(numbers)


@given(values=keys)
def test_many_buckets_say_what_one_says(values: list[int]) -> None:
    """The groups found in several buckets on disk are those found in one in memory."""
    one = {
        key: n
        for bucket in _deal(values, 1, 1 << 19)
        for key, n in Counter(key for key, _ in bucket).items()
    }
    many: dict[int, int] = {}
    for bucket in _deal(values, 3, 4):
        ordered = np.sort(np.array([key for key, _ in bucket], dtype="<u8"))
        starts = group_starts(ordered)
        sizes = np.diff(np.append(starts, len(ordered)))
        many |= dict(zip(ordered[starts].tolist(), sizes.tolist(), strict=True))
    assert many == one


def test_groups_of_nothing() -> None:
    """No rows, no groups."""
    assert len(group_starts(np.zeros(0, dtype="<u8"))) == 0
    assert sum(map(len, _deal([], 1, 8))) == 0
