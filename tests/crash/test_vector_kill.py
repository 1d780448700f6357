"""kill -9 on a process that writes vectors: what was acknowledged is there, what was under way is
there wholly or not at all, and a merge that is run again ends as if nobody had disturbed it."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stillhouse.vectors.local import LocalBackend
from tests.crash.forking import forking
from tests.crash.vector_life import (
    DONE,
    Life,
    State,
    apply,
    check,
    model_of,
    options,
    replay,
    state_of,
)
from tests.crash.vector_opening import Opening

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 needs a POSIX system"),
]

Fork = Callable[[Life], int]

POINTS = (
    "commit:before",
    "commit:after",
    "mark:written",
    "views:told",
    "fold:before",
    "fold:after",
    "merge:planned",
    "merge:carried",
    "merge:batch",
    "load:batch",
    "load:swapped",
    "drop:unnamed",
    "purge:some",
    "purge:rows",
    "seal:built",
    "seal:written",
    "seal:renamed",
    "manifest:written",
    "manifest:renamed",
    "compaction:swept",
)


def quiet(point: str) -> None:
    """Nobody dies in this process."""


@pytest.fixture(scope="module")
def fork() -> Iterator[Fork]:
    """Runs a life in a fresh child of one process that has everything imported."""
    with forking("tests.crash.vector_life", OMP_NUM_THREADS="1") as ask:
        yield ask


def look(life: Life, before: State) -> State:
    """Open what a life left, see that it is right, and finish the merges that were under way."""
    model = model_of(before)
    under_way = replay(Path(life.log), model)
    backend = LocalBackend(life.folder, options=options(quiet))
    try:
        check(state_of(backend), model, under_way)
        for operation in under_way.values():
            if operation[0] == "merge":
                apply(backend, operation)
                apply(model, operation)
                for name in operation[1:3]:
                    assert state_of(backend)[name] == state_of(model)[name]
        return state_of(backend)
    finally:
        backend.close()


def campaign(tmp_path: Path, fork: Fork, seed: int, lives: int) -> int:
    """Lives one after the other on one folder, each killed at some moment; how many were."""
    chance = random.Random(seed)
    state: State = {}
    killed = 0
    for number in range(lives):
        life = Life(
            str(tmp_path / f"data-{seed}"),
            str(tmp_path / f"log-{seed}-{number}"),
            seed * 1_000 + number,
            after=chance.randrange(1, 100),
            delay=chance.choice([0.0, chance.uniform(0.0, 0.02)]),
        )
        code = fork(life)
        assert code in (DONE, -signal.SIGKILL)
        killed += code != DONE
        state = look(life, state)
    return killed


def test_killed_at_any_moment(tmp_path: Path, fork: Fork) -> None:
    """Twelve lives, killed at random moments: all that was acknowledged is there, and no more."""
    assert sum(campaign(tmp_path, fork, seed, 4) for seed in range(3)) >= 10


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 120))
def test_killed_at_any_moment_often(tmp_path: Path, fork: Fork, seed: int) -> None:
    """The same ten times on each of twenty folders."""
    assert campaign(tmp_path, fork, seed, 10) >= 8


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_named_point(tmp_path: Path, fork: Fork, point: str) -> None:
    """Killed between two steps of writing, folding, merging, loading, removing or sealing: the
    same holds."""
    chance = random.Random(point)
    life = Life(
        str(tmp_path / "data"),
        str(tmp_path / "log"),
        chance.randrange(1_000),
        point=point,
        nth=chance.randint(1, 3),
    )
    assert fork(life) == -signal.SIGKILL
    look(life, {})


@pytest.mark.parametrize("times", [60, pytest.param(1_500, marks=pytest.mark.soak)])
def test_killed_while_a_folder_is_made(tmp_path: Path, times: int) -> None:
    """Whenever the first opening is killed, the next one makes the folder: nothing was acknowledged
    in it, so nothing can be missing."""
    chance = random.Random(times)
    with forking("tests.crash.vector_opening", OMP_NUM_THREADS="1") as opening:
        for number in range(times):
            folder = tmp_path / str(number)
            asked = Opening(str(folder), chance.uniform(0.0005, 0.04))
            assert opening(asked) == -signal.SIGKILL
            backend = LocalBackend(folder)
            assert backend.names() == []
            backend.close()


def test_a_life_that_nobody_ends(tmp_path: Path, fork: Fork) -> None:
    """Without a kill everything is as the model has it, after closing and opening again."""
    life = Life(str(tmp_path / "data"), str(tmp_path / "log"), 5)
    assert fork(life) == DONE
    assert look(life, {})
