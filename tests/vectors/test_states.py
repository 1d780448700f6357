"""Any series of calls leaves a backend as the model has it, across restarts and compactions."""

from __future__ import annotations

import os
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from stillhouse.errors import VectorConflictError, VectorNotFoundError, VectorRequestError
from stillhouse.vectors.values import METRICS, Batch, IndexSpec, Item
from tests.vectors.backends import BACKENDS, Place, opened
from tests.vectors.model import Held, Index, check_hits, told_of

DIMENSION = 3
BULK = 1_200
"""So many rows at once that a segment of them is searched by its graph."""

names = st.sampled_from(["a", "b", "ç 😀"])
id_pool = [f"{mark}{at}" for mark in ("i", "é", "😀") for at in range(14)]
ids = st.lists(st.sampled_from(id_pool), min_size=1, max_size=30, unique=True)
metadata = st.sampled_from([None, {}, {"n": 1}, {"n": 1.0}, {"n": 2, "t": ["x", "y"]}, {"n": None}])
filters = st.sampled_from(
    [{"n": 1}, {"n": {"$gt": 1}}, {"$not": {"n": 1}}, {"t": "x"}, {"n": {"$exists": True}}, {}]
)
vectors = st.integers(0, 40)
"""Numbers of vectors; see `vector`."""


def vector(number: int) -> Any:
    """One of few vectors, some of them the same up to a bit, none of them zero."""
    made = np.random.default_rng(number // 2).normal(size=DIMENSION).astype(np.float32)
    return np.nextafter(made, np.float32(9), dtype=np.float32) if number % 2 else made


class Saved(msgspec.Struct, frozen=True):
    """An index that was exported, and the model of it."""

    spec: IndexSpec
    batches: list[Batch]
    items: dict[str, Held]


class Machine(RuleBasedStateMachine):
    """See the module; `of` gives one for a backend."""

    place: Place
    saved = Bundle("saved")

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Index] = {}
        self.near = self.nearest = 0

    def index(self, name: str) -> Index | None:
        """The model's index; when there is none, the store says so, too."""
        if name not in self.model:
            with pytest.raises(VectorNotFoundError):
                self.place.store.describe(name)
        return self.model.get(name)

    # ------------------------------------------------------------------------- indexes

    @initialize(metric=st.sampled_from(METRICS))
    def begin(self, metric: Any) -> None:
        for name in ("a", "b", "ç 😀"):
            self.create(name, metric, None)

    @rule(name=names, metric=st.sampled_from(METRICS), meta=st.sampled_from([None, None, {}]))
    def create(self, name: str, metric: Any, meta: Any) -> None:
        new, old = Index(DIMENSION, metric, meta), self.model.get(name)
        if old is None or old.made_with == new.made_with:
            assert self.place.store.create(name, DIMENSION, metric, meta) is (old is None)
            self.model.setdefault(name, new)
        else:
            with pytest.raises(VectorConflictError):
                self.place.store.create(name, DIMENSION, metric, meta)

    @precondition(lambda self: len(self.model) == 3)
    @rule(name=names)
    def drop(self, name: str) -> None:
        if self.index(name) is not None:
            self.place.store.drop(name)
            del self.model[name]

    # --------------------------------------------------------------------------- items

    @rule(name=names, ids=ids, start=vectors, meta=metadata)
    def add_again(self, name: str, ids: list[str], start: int, meta: Any) -> None:
        self.add(name, ids, start, meta)

    @rule(name=names, ids=ids, start=vectors, meta=metadata)
    def add(self, name: str, ids: list[str], start: int, meta: Any) -> None:
        if (index := self.index(name)) is not None:
            items = [Item(id_, vector(start + at % 5), meta) for at, id_ in enumerate(ids)]
            told = self.place.store.add(name, items)
            assert [one.status for one in told.results] == index.add(items)

    @precondition(lambda self: any(len(index.items) < BULK for index in self.model.values()))
    @rule(name=names, seed=st.integers(0, 3))
    def add_many(self, name: str, seed: int) -> None:
        if (index := self.index(name)) is not None:
            many = np.random.default_rng(seed).normal(size=(BULK, DIMENSION)).astype(np.float32)
            items = [Item(f"bulk {at}", one, {"n": at}) for at, one in enumerate(many)]
            self.place.store.add(name, items)
            index.add(items)

    @rule(name=names, ids=ids)
    def delete(self, name: str, ids: list[str]) -> None:
        if (index := self.index(name)) is not None:
            assert self.place.store.delete(name, ids).missing == index.delete(ids)

    @rule(name=names, filter_=filters)
    def delete_matching(self, name: str, filter_: dict[str, Any]) -> None:
        if (index := self.index(name)) is not None:
            doomed = index.ids(filter_)
            assert self.place.store.delete(name, filter=filter_).deleted == len(doomed)
            index.delete(doomed)

    @rule(
        pair=st.tuples(names, names),
        clear=st.booleans(),
        on_conflict=st.sampled_from(["skip", "replace"]),
        again=st.booleans(),
    )
    def merge(self, pair: tuple[str, str], clear: bool, on_conflict: Any, again: bool) -> None:
        src, dest = pair
        ours, theirs = self.index(src), self.index(dest)
        if ours is None or theirs is None:
            return

        def call() -> Any:
            return self.place.store.merge(src, dest, clear_source=clear, on_conflict=on_conflict)

        if src == dest:
            with pytest.raises(VectorRequestError, match="the source itself"):
                call()
        elif ours.metric != theirs.metric:
            with pytest.raises(VectorConflictError, match="has metric"):
                call()
        else:
            for _ in range(1 + again):
                assert told_of(call()) == ours.merge_into(theirs, clear, on_conflict)

    # ------------------------------------------------------------------- whole indexes

    @rule(target=saved, name=names)
    def save(self, name: str) -> Any:
        if (index := self.index(name)) is None:
            return multiple()
        with self.place.backend.export(name) as state:
            batches = list(state.batches)
            assert state.total == len(index.items) == sum(len(batch.ids) for batch in batches)
        return Saved(state.spec, batches, dict(index.items))

    @rule(saved=saved, name=names, replace=st.booleans(), breaks=st.booleans())
    def load(self, saved: Saved, name: str, replace: bool, breaks: bool) -> None:
        spec = msgspec.structs.replace(saved.spec, name=name)

        def batches() -> Any:
            yield from saved.batches
            if breaks:
                raise EOFError

        def call() -> int:
            return self.place.backend.load(spec, batches(), replace=replace)

        if name in self.model and not replace:
            with pytest.raises((VectorConflictError, EOFError)):
                call()
        elif breaks:
            with pytest.raises(EOFError):
                call()
        else:
            assert call() == len(saved.items)
            index = self.model[name] = Index(spec.dimension, spec.metric, spec.metadata)
            index.items = dict(saved.items)

    # ------------------------------------------------------------------------- reading

    @rule(name=names, ids=ids)
    def get(self, name: str, ids: list[str]) -> None:
        if (index := self.index(name)) is not None:
            got = self.place.backend.get(name, ids)
            assert got.ids == [id_ for id_ in ids if id_ in index.items]
            assert got.vectors.tobytes() == b"".join(index.items[id_].vector for id_ in got.ids)
            for id_, one in zip(got.ids, got.metadata, strict=True):
                assert (one is None) == (index.items[id_].metadata is None)

    @rule(
        name=names, query=vectors, filter_=st.none() | filters, k=st.sampled_from([1, 9, 9, 9_999])
    )
    def search(self, name: str, query: int, filter_: Any, k: int) -> None:
        if (index := self.index(name)) is not None:
            found = self.place.store.search(name, vector(query), k, filter=filter_)
            matching = index.ids(filter_)
            if len(matching) <= 256 or k == 9_999:
                check_hits(index, vector(query), k, filter_, found)
                return
            ids = [hit.id for hit in found]
            assert len(set(ids)) == len(ids) == k
            assert set(ids) <= set(matching)
            scores = np.sort(index.scores(vector(query), matching) * self.sign(index))
            self.near += sum(hit.score * self.sign(index) <= scores[k - 1] + 1e-4 for hit in found)
            self.nearest += k

    @staticmethod
    def sign(index: Index) -> float:
        """What makes less of a score nearer."""
        return 1.0 if index.metric == "l2" else -1.0

    # ---------------------------------------------------------------------- the process

    @rule(name=names, what=st.sampled_from(["restart", "restart", "settle", "rebuild"]))
    def go_on(self, name: str, what: str) -> None:
        if what == "restart":
            self.place.reopen()
        elif name in self.model:
            getattr(self.place, what)(name)

    @invariant()
    def all_there(self) -> None:
        """Names, ids and counts are right after every step."""
        assert [info.name for info in self.place.store.indexes()] == sorted(self.model)
        for name, index in self.model.items():
            assert self.place.store.ids(name) == index.ids()
            assert self.place.store.count(name) == len(index.items)
            assert self.place.store.count(name, {"n": 1}) == len(index.ids({"n": 1}))

    def teardown(self) -> None:
        """At the end, every item is found from everywhere, and few were missed on the way."""
        for name, index in self.model.items():
            for number in (0, 7):
                found = self.place.store.search(name, vector(number), 9_999)
                check_hits(index, vector(number), 9_999, None, found)
        assert self.near >= 0.95 * self.nearest


def run(name: str, request: pytest.FixtureRequest, folder: Path, examples: int, steps: int) -> None:
    """Run the machine on a backend, each example on an empty one."""
    numbers = count()

    class OnPlace(Machine):
        def __init__(self) -> None:
            super().__init__()
            self.held = ExitStack()
            self.place = self.held.enter_context(opened(name, request, folder / str(next(numbers))))

        def teardown(self) -> None:
            with self.held:
                super().teardown()

    run_state_machine_as_test(
        OnPlace,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("name", BACKENDS)
def test_any_series_of_calls_leaves_what_the_model_has(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Few and short series, always the same ones."""
    examples = {"memory": 30, "local": 25}.get(name, 4)
    run(name, request, tmp_path, examples, 30)


@pytest.mark.soak
@pytest.mark.parametrize("name", BACKENDS)
def test_any_long_series_of_calls_leaves_what_the_model_has(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """More and longer ones (``SOAK_EXAMPLES``, default 2000)."""
    run(name, request, tmp_path, int(os.environ.get("SOAK_EXAMPLES", "2000")), 80)
