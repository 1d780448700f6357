"""What may enter the vector store (SPEC V7): each refusal names its field, and all are told."""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.errors import VectorLimitError, VectorRequestError
from stillhouse.vectors import checks
from stillhouse.vectors.arrays import LONGEST, SHORTEST
from stillhouse.vectors.distances import scores
from stillhouse.vectors.limits import Limits
from stillhouse.vectors.values import METRICS, IndexSpec, Item, Metric

LIMITS = Limits()
SPEC = IndexSpec("docs", 3, "l2")
COSINE = IndexSpec("docs", 3, "cosine")
always = settings(max_examples=200, derandomize=True, database=None, deadline=None)


def problems(call: Any, *arguments: Any, **options: Any) -> dict[str, str]:
    """The fields that a call is refused for, each with what is said of it."""
    with pytest.raises(VectorRequestError) as refused:
        call(*arguments, **options)
    str(refused.value).encode()
    return dict(refused.value.problems)


def refused_vector(vector: Any, spec: IndexSpec = SPEC) -> str:
    """What is said of a vector; it is the same alone, among others, and as a query."""
    good = [1.0, 2.0, 3.0]
    alone = problems(checks.check_batch, [Item("a", vector)], spec, LIMITS)
    assert list(alone) == ["items[0].vector"]
    among = [Item("a", good), Item("b", vector), Item("c", np.array(good, np.float32))]
    told = problems(checks.check_batch, among, spec, LIMITS)
    assert told == {"items[1].vector": alone["items[0].vector"]}
    asked = problems(checks.check_queries, [good, vector], spec, LIMITS)
    assert asked == {"vector[1]": alone["items[0].vector"]}
    return alone["items[0].vector"]


# ------------------------------------------------------------------------ names and ids

TEXTS: tuple[tuple[Any, str], ...] = (
    ("", "is empty"),
    (None, "must be a string"),
    (7, "must be a string"),
    (b"a", "must be a string"),
    (".", "has a path in it"),
    ("..", "has a path in it"),
    ("a/b", "has a path in it"),
    ("../etc", "has a path in it"),
    ("a\\b", "has a path in it"),
    ("nul\0", "has a control character in it"),
    ("line\n", "has a control character in it"),
    ("\x7f", "has a control character in it"),
    ("\x9b31m", "has a control character in it"),
    ("\ud800", "is no valid Unicode"),
    (" a", "begins or ends with a blank"),
    ("a\u3000", "begins or ends with a blank"),
    ("x" * 129, "is 129 bytes long"),
    ("é" * 65, "is 130 bytes long"),
)
GOOD = ("a", "...", ".a", "a b", "x" * 128, "é" * 64, "😀", "e\u0301", "a\u202eb", "%2e%2e", "-")


@pytest.mark.parametrize(("text", "words"), TEXTS)
def test_a_name_or_id_that_cannot_be_is_refused(text: Any, words: str) -> None:
    """Of both the same is asked, but for how long they may be."""
    limits = Limits(id_bytes=128)
    for _ in range(2):  # What is remembered of names is what was found.
        assert words in problems(checks.check_name, text, LIMITS, "src")["src"]
    told = problems(checks.check_batch, [Item(text, [1, 2, 3])], SPEC, limits)
    assert words in told["items[0].id"]
    assert words in problems(checks.check_spec, IndexSpec(text, 3), LIMITS)["name"]


def test_a_name_or_id_that_can_be_is_kept_as_it_is() -> None:
    """Nothing is trimmed, folded or normalised; a limit in bytes is held to the byte."""
    for text in GOOD:
        assert checks.check_name(text, LIMITS) == text
        assert checks.check_batch([Item(text, [1, 2, 3])], SPEC, LIMITS).ids == [text]
    assert problems(checks.check_name, "ab", Limits(name_bytes=1))
    assert checks.check_name("ab", Limits(name_bytes=2)) == "ab"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (IndexSpec("a", 0), "dimension"),
        (IndexSpec("a", -1), "dimension"),
        (IndexSpec("a", 16_385), "dimension"),
        (IndexSpec("a", True), "dimension"),
        (IndexSpec("a", 3.0), "dimension"),  # type: ignore[arg-type]
        (IndexSpec("a", 3, "dot"), "metric"),  # type: ignore[arg-type]
        (IndexSpec("a", 3, []), "metric"),  # type: ignore[arg-type]
        (IndexSpec("a", 3, "l2", []), "metadata"),  # type: ignore[arg-type]
        (IndexSpec("a", 3, "l2", {"x": float("nan")}), "metadata"),
    ],
)
def test_an_index_that_cannot_be_is_refused(spec: IndexSpec, field: str) -> None:
    """Each by its field; all of them at once where there are several."""
    assert list(problems(checks.check_spec, spec, LIMITS)) == [field]
    every = IndexSpec("", 0, "dot", {"x": object()})  # type: ignore[arg-type]
    assert list(problems(checks.check_spec, every, LIMITS)) == [
        "name",
        "dimension",
        "metric",
        "metadata",
    ]


# ----------------------------------------------------------------------------- metadata


class Level(enum.IntEnum):
    """A number of somebody's own."""

    HIGH = 2


NO_JSON: tuple[tuple[Any, str], ...] = (
    ({"a": float("nan")}, "not finite"),
    ({"a": float("-inf")}, "not finite"),
    ({"a": 2**64}, "64 bits"),
    ({"a": -(2**63) - 1}, "64 bits"),
    ({"a": 10**5_000}, "64 bits"),
    ({1: "a"}, "key that is no string"),
    ({"a": {None: 1}}, "key that is no string"),
    ({"a": "\ud800"}, "no valid Unicode"),
    ({"\udfff": 1}, "no valid Unicode"),
    ({"a": ["x", "nul\0"]}, "NUL"),
    ({"a\0": 1}, "NUL"),
    ({"a": (1, 2)}, "a tuple"),
    ({"a": {1, 2}}, "a set"),
    ({"a": b"x"}, "a bytes"),
    ({"a": np.float64(1.5)}, "a float64"),
    ({"a": [np.int64(3)]}, "a int64"),
    ({"a": np.str_("x")}, "a str_"),
    ({"a": np.ones(2)}, "a ndarray"),
    ({"a": Level.HIGH}, "a Level"),
    ({"a": 1j}, "a complex"),
    ("text", "must be an object or null"),
    ([], "must be an object or null"),
    (0, "must be an object or null"),
)


@pytest.mark.parametrize(("metadata", "words"), NO_JSON)
def test_metadata_that_would_not_come_back_as_it_went_is_refused(metadata: Any, words: str) -> None:
    """Whatever it is, the item's field is named and nothing else is raised."""
    told = problems(checks.check_batch, [Item("a", [1, 2, 3], metadata)], SPEC, LIMITS)
    assert words in told["items[0].metadata"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab.$é😀", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@always
@given(st.dictionaries(st.text("ab.$é😀", max_size=3), json_values, max_size=4))
def test_metadata_comes_back_as_it_went_and_equal_metadata_has_equal_bytes(metadata: Any) -> None:
    """Types and the sign of zero too; the order of keys does not count, that of a list does."""
    data = checks.canonical_metadata(metadata, LIMITS, "metadata")
    back = checks.decoded(data)
    assert repr(_sorted(back)) == repr(_sorted(metadata))
    turned = OrderedDict(reversed(metadata.items()))
    assert checks.canonical_metadata(turned, LIMITS, "metadata") == data
    assert checks.canonical_metadata(back, LIMITS, "metadata") == data


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(one) for one in value] if isinstance(value, list) else value


def test_null_and_empty_metadata_are_two_things() -> None:
    """None stays None, {} is two bytes (V2)."""
    assert checks.canonical_metadata(None, LIMITS, "metadata") is None
    assert checks.canonical_metadata({}, LIMITS, "metadata") == b"{}"
    assert checks.decoded(None) is None
    assert checks.decoded(b"{}") == {}


def test_metadata_has_a_size_and_a_depth() -> None:
    """In bytes of JSON, to the byte; in levels, to the level; endless nesting ends in a refusal."""
    limits = Limits(metadata_bytes=10)
    assert checks.canonical_metadata({"a": "é"}, limits, "m") == b'{"a":"\xc3\xa9"}'
    with pytest.raises(VectorLimitError, match="is 11 bytes long; at most 10") as refused:
        checks.canonical_metadata({"a": "xyz"}, limits, "m")
    assert refused.value.code == "limit_exceeded"
    limits = Limits(metadata_depth=3)
    checks.canonical_metadata({"a": {"": []}}, limits, "m")
    assert "nested" in problems(checks.canonical_metadata, {"a": {"": [[]]}}, limits, "m")["m"]
    endless: Any = {}
    endless["a"] = [endless]
    assert "nested" in problems(checks.canonical_metadata, endless, LIMITS, "m")["m"]


def test_only_a_limit_that_is_passed_has_the_code_of_one() -> None:
    """Metadata that is too large alone is limit_exceeded; beside another problem it is not."""
    large = Item("a", [1, 2, 3], {"a": "x" * 100})
    limits = Limits(metadata_bytes=50)
    with pytest.raises(VectorLimitError):
        checks.check_batch([large], SPEC, limits)
    with pytest.raises(VectorRequestError) as refused:
        checks.check_batch([large, Item("", [1, 2, 3])], SPEC, limits)
    assert refused.value.code == "invalid_request"
    with pytest.raises(VectorLimitError):
        checks.check_spec(IndexSpec("a", 3, "l2", {"a": "x" * 100}), limits)


# ------------------------------------------------------------------------------ vectors

NO_VECTORS: tuple[Any, ...] = (
    None,
    "123",
    ["1", "2", "3"],
    b"\0" * 12,
    [1, 2, "3"],
    [1, None, 3],
    [1, 2, [3]],
    [[1, 2, 3]],
    [[1], [2, 3]],
    [1, 2, 3j],
    [1, 2, 2**70],
    [True, False, True],
    [True, 0.5, 2.5],
    [1.0, False, 2],
    [0.5, np.True_, 2],
    {"a": 1},
    {1, 2, 3},
    5,
    np.ones((3, 1)),
    np.array(["1", "2", "3"]),
    np.array([True, False, True]),
    np.array([1, 2, None], object),
    np.array([1, 2, 3], complex),
    np.float32(1),
    range,
)


@pytest.mark.parametrize("vector", NO_VECTORS, ids=repr)
def test_what_is_no_list_of_numbers_is_no_vector(vector: Any) -> None:
    """Booleans among numbers are none either; nothing else is raised."""
    assert refused_vector(vector) == "must be a list of numbers"


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        ([1, 2], "has 2 dimensions; the index has 3"),
        ([], "has 0 dimensions; the index has 3"),
        (np.ones(4, np.float32), "has 4 dimensions; the index has 3"),
        ([1, 2, float("nan")], "not finite"),
        ([1, float("inf"), -float("inf")], "not finite"),
        ([1, 2, 1e39], "not finite in float32"),
        (np.array([1, 2, -1e300]), "not finite in float32"),
        ([1e38, 1e38, 1e38], "is too long"),
        ([0, 0, 4.7e18], "is too long"),
    ],
)
def test_a_vector_without_distances_is_refused(vector: Any, words: str) -> None:
    """A wrong dimension, what is not finite, also only in float32, and what is too long."""
    for metric in METRICS:
        assert words in refused_vector(vector, IndexSpec("docs", 3, metric))


@pytest.mark.parametrize("vector", [[0, 0, 0], [0.0, -0.0, 0], [1e-45, 0, 0], [1e-16, 0, 1e-16]])
def test_a_vector_without_direction_has_no_cosine(vector: Any) -> None:
    """Zero, subnormal, and too short ones; other metrics take them."""
    assert "no cosine" in refused_vector(vector, COSINE)
    others: tuple[Metric, ...] = ("ip", "l2")
    for metric in others:
        batch = checks.check_batch([Item("a", vector)], IndexSpec("docs", 3, metric), LIMITS)
        assert batch.vectors.tobytes() == np.array([vector], np.float32).tobytes()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [1, 3, 4_096])
def test_vectors_at_the_bounds_have_right_scores(metric: Metric, dimension: int) -> None:
    """The longest and the shortest that are taken, also opposite ones, have finite scores, and
    right ones to five digits."""
    spec = IndexSpec("docs", dimension, metric)
    made = np.random.default_rng(5).normal(size=(2, dimension))
    made /= np.linalg.norm(made, axis=1)[:, None]
    for length in (LONGEST * 0.999, SHORTEST * 1.001, 1.0):
        rows = np.vstack([made, -made]) * length
        items = [Item(f"{at}", row) for at, row in enumerate(rows)]
        taken = checks.check_batch(items, spec, LIMITS).vectors
        query = checks.check_queries(rows[0], spec, LIMITS)[0]
        found = scores(metric, query, taken)
        exact = taken.astype(np.float64)
        wanted = exact @ query.astype(np.float64)
        if metric == "l2":
            wanted = np.linalg.norm(exact - query, axis=1)
        if metric == "cosine":
            wanted /= np.linalg.norm(exact, axis=1) * np.linalg.norm(query.astype(np.float64))
        scale = {"cosine": 1.0, "ip": length**2, "l2": length}[metric]
        assert np.abs(found - wanted).max() <= 1e-5 * scale


def test_the_bounds_themselves_are_taken() -> None:
    """The greatest length, and under cosine the least, to the bit; the problems of many vectors
    come in the order of the items, whatever they are."""
    for length in (LONGEST, SHORTEST):
        assert len(checks.check_batch([Item("a", [length, 0, 0])], COSINE, LIMITS).ids) == 1
        row = np.array([[1, 0, 0], [length, 0, 0]], np.float32)
        assert checks.check_queries(row, COSINE, LIMITS).tobytes() == row.tobytes()
        row[0] = np.nan
        assert list(problems(checks.check_queries, row, COSINE, LIMITS)) == ["vector[0]"]
    items = [Item("a", [0, 0, 0]), Item("b", [1, 2]), Item("c", [1, 2, float("nan")])]
    fields = list(problems(checks.check_batch, items, COSINE, LIMITS))
    assert fields == [f"items[{at}].vector" for at in range(3)]


def test_every_kind_of_number_becomes_float32() -> None:
    """Lists, tuples, arrays of any number type, byte order and layout, mixed in one batch."""
    wanted = np.array([1, 2, 3], np.float32)
    same: list[Any] = [
        [1, 2, 3],
        (1.0, 2, 3.0),
        np.array([1, 2, 3], np.uint8),
        np.array([1, 2, 3], np.float16),
        np.array([1, 2, 3], ">f4"),
        np.array([1, 0, 2, 0, 3, 0], np.float32)[::2],
        [np.float32(1), np.int8(2), 3],
        range(1, 4),
    ]
    for vectors in ([one] for one in same):
        items = [Item(f"{at}", one) for at, one in enumerate(vectors)]
        batch = checks.check_batch(items, SPEC, LIMITS)
        assert batch.vectors.dtype == np.float32
        assert batch.vectors.flags.c_contiguous
        assert batch.vectors.tobytes() == wanted.tobytes()
    batch = checks.check_batch([Item(f"{at}", one) for at, one in enumerate(same)], SPEC, LIMITS)
    assert batch.vectors.tobytes() == wanted.tobytes() * len(same)
    for one in same[:-1]:
        assert checks.check_queries(one, SPEC, LIMITS).tobytes() == wanted.tobytes()
    assert checks.check_queries([0, 1, 1.0], SPEC, LIMITS).tolist() == [[0, 1, 1]]


def test_a_matrix_is_checked_as_its_rows_are() -> None:
    """Columns as one array: shape and type, then each row by its place."""
    matrix = checks.check_matrix(np.asfortranarray(np.eye(3)), SPEC)
    assert (matrix.dtype, matrix.flags.c_contiguous) == (np.dtype(np.float32), True)
    for wrong in (np.ones(3), np.ones((2, 4)), np.ones((2, 3), bool), np.ones((2, 3), complex)):
        assert list(problems(checks.check_matrix, wrong, SPEC)) == ["vectors"]
    matrix[1] = np.nan
    told = problems(checks.check_columns, ["a", "b", "c"], matrix, None, SPEC, LIMITS)
    assert list(told) == ["items[1].vector"]


def test_all_problems_of_a_batch_are_told_and_the_rest_is_counted() -> None:
    """Ids, repeated ids, vectors and metadata of several items at once; of very many, the first."""
    items = [
        Item("a", [1, 2, 3]),
        Item("a", [1, 2, 3]),
        Item("", [1, 2], {"a": object()}),
        Item("b", [0.0, float("nan"), 0], {"a": 1}),
    ]
    told = problems(checks.check_batch, items, SPEC, LIMITS)
    assert told["items[1].id"] == "repeats that of items[0]"
    assert set(told) == {
        "items[1].id",
        "items[2].id",
        "items[2].vector",
        "items[2].metadata",
        "items[3].vector",
    }
    many = [Item(f"{at}", [1, 2]) for at in range(10_000)]
    told = problems(checks.check_batch, many, SPEC, LIMITS)
    assert len(told) == 21
    assert told["items"] == "have 9,980 more problems"
    assert len(problems(checks.check_batch, many[:20], SPEC, LIMITS)) == 20


def test_a_batch_has_a_size_and_may_be_empty() -> None:
    """As many as the limit are taken, one more is refused; none is an empty batch."""
    limits = Limits(batch_items=2, queries=2)
    items = [Item(f"{at}", [1, 2, 3]) for at in range(3)]
    assert len(checks.check_batch(items[:2], SPEC, limits).ids) == 2
    with pytest.raises(VectorLimitError, match="items: are 3; at most 2"):
        checks.check_batch(items, SPEC, limits)
    with pytest.raises(VectorLimitError, match="items: are 3; at most 2"):
        checks.check_columns(["a", "b", "c"], np.ones((3, 3), np.float32), None, SPEC, limits)
    with pytest.raises(VectorLimitError, match="ids: are 3; at most 2"):
        checks.check_ids(["a", "b", "c"], limits)
    for queries in (np.ones((3, 3)), [[1, 2, 3]] * 3):
        with pytest.raises(VectorLimitError, match="vector: are 3; at most 2"):
            checks.check_queries(queries, SPEC, limits)
    empty = checks.check_batch([], COSINE, limits)
    assert (empty.ids, empty.vectors.shape, empty.metadata) == ([], (0, 3), [])
    assert problems(checks.check_batch, [{"id": "a"}], SPEC, limits) == {"items": "must be items"}


# ----------------------------------------------------------------------------- searches


@pytest.mark.parametrize(
    ("vectors", "fields"),
    [
        ([], ["vector"]),
        (None, ["vector"]),
        ("123", ["vector"]),
        ([1, 2], ["vector"]),
        (np.ones(4, np.float32), ["vector"]),
        (np.zeros(3, np.float32), ["vector"]),
        (np.array([1, np.nan, 2], np.float32), ["vector"]),
        (np.full(3, 1e38, np.float32), ["vector"]),
        (np.full(3, 1e300), ["vector"]),
        (np.array(1.0), ["vector"]),
        (np.ones((1, 1, 3)), ["vector"]),
        (np.zeros((0, 3)), ["vector"]),
        (np.ones(3, bool), ["vector"]),
        (np.ones((2, 4)), ["vector"]),
        (np.array([[1, 2, 3], [0, 0, 0], [1, np.inf, 2]]), ["vector[1]", "vector[2]"]),
        ([[1, 2, 3], [0, 0, 0], [1, 2]], ["vector[1]", "vector[2]"]),
        ([[1, 2, 3], 5], ["vector[1]"]),
    ],
)
def test_queries_are_checked_as_vectors_are(vectors: Any, fields: list[str]) -> None:
    """One vector is "vector", of several each by its place; no warning comes of huge numbers."""
    assert list(problems(checks.check_queries, vectors, COSINE, LIMITS)) == fields


def test_one_query_or_several_become_a_matrix() -> None:
    """A vector, a list of one and a list of two, as lists and as arrays."""
    for one in ([1, 2, 3], np.array([1, 2, 3], np.float32)):
        assert checks.check_queries(one, SPEC, LIMITS).shape == (1, 3)
        assert checks.check_queries([one], SPEC, LIMITS).shape == (1, 3)
        assert checks.check_queries([one, one], SPEC, LIMITS).shape == (2, 3)
    strided = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2].T
    ready = checks.check_queries(strided, SPEC, LIMITS)
    assert ready.flags.c_contiguous
    assert ready.tolist() == strided.tolist()


@pytest.mark.parametrize("value", [0, -1, True, None, 1.0, "1", float("nan")])
def test_a_count_is_a_whole_number_of_at_least_one(value: Any) -> None:
    """Of k, ef and the like; numpy's whole numbers are as good, and too much is a limit."""
    assert list(problems(checks.check_count, value, 10, "k")) == ["k"]
    assert checks.check_count(10, 10, "k") == 10
    assert type(checks.check_count(np.int64(3), 10, "k")) is int
    for large in (11, 10**5_000):
        with pytest.raises(VectorLimitError, match="k: is more than the 10"):
            checks.check_count(large, 10, "k")


def test_ids_are_asked_for_once_each() -> None:
    """In their order; what is no list of strings is refused."""
    assert checks.check_ids(["b", "a", "b", ""], LIMITS) == ["b", "a", ""]
    strange: list[Any] = ["abc", [1], [None], ["a", b"b"]]
    for wrong in strange:
        assert list(problems(checks.check_ids, wrong, LIMITS)) == ["ids"]


def test_only_known_things_come_with_a_hit() -> None:
    """Metadata and vector, in any order, once or twice."""
    assert checks.check_include(["vector", "metadata", "vector"]) == {"metadata", "vector"}
    assert checks.check_include(()) == frozenset()
    strange: list[Any] = [["score"], [[]], "metadata", [None]]
    for wrong in strange:
        told = problems(checks.check_include, wrong)
        assert told == {"include": "knows metadata and vector"}


def test_checked_metadata_of_an_index_is_canonical() -> None:
    """As that of items is: keys in order, so that the same is the same however it was written."""
    spec = checks.check_spec(IndexSpec("a", 3, "l2", {"b": 1, "a": {"d": 1, "c": 2}}), LIMITS)
    assert msgspec.json.encode(spec.metadata) == b'{"a":{"c":2,"d":1},"b":1}'
    assert checks.check_spec(SPEC, LIMITS) == SPEC
