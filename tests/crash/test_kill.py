"""kill -9 at any moment: nothing half-written is visible, and running again gives, to the byte,
what a run that nobody disturbed gives (SPEC L4)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from stillhouse.receipts import verify_lake
from stillhouse.receipts.keys import make_key_pair, read_public_key
from stillhouse.storage import LocalStore
from tests.crash.forking import forking
from tests.crash.killer import DONE, NO_WORKER, REFUSED, RecordingStore, Trial
from tests.runs import (
    FIRST,
    SECOND,
    add,
    check_accounted,
    check_clean,
    files,
    lines,
    put,
    row,
    rows,
    run,
    visible,
)

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 needs a POSIX system"),
]

Fork = Callable[[Trial], int]


@pytest.fixture(scope="module")
def fork() -> Iterator[Fork]:
    """Runs a trial in a fresh child of one process that has everything imported."""
    with forking("tests.crash.killer") as ask:
        yield ask


class Scene(NamedTuple):
    """A lake before a run, the contents its files may be seen with, what the run makes of it,
    and how many operations it takes."""

    lake: Path
    recorded_at: str
    before: dict[str, bytes]
    whole: dict[str, set[bytes]]
    after: dict[str, bytes]
    operations: int


def _scene(lake: Path, recorded_at: str) -> Scene:
    undisturbed = lake.with_name(f"{lake.name}-undisturbed")
    _copy(lake, undisturbed)
    store = RecordingStore(LocalStore(undisturbed), Trial(str(undisturbed), recorded_at))
    run(store, recorded_at)
    check_accounted(undisturbed)
    before = visible(lake)
    whole = {path: {data} for path, data in before.items()}
    for path, contents in store.published.items():
        whole.setdefault(path, set()).update(contents)
    return Scene(lake, recorded_at, before, whole, visible(undisturbed), store.operations)


def _outcome(number: int) -> bytes:
    events = [{"name": "built", "ok": True}, {"name": "tested", "ok": number % 2 == 0}]
    return row(number, scenario=f"s{number // 5}", events=events, report=f"Run {number}.") + b"\n"


def _copy(lake: Path, target: Path) -> None:
    # Times are kept; inodes are not, so a fingerprint vouches for nothing: as in a restore.
    shutil.copytree(lake, target)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scene]:
    """A first run; a run after rows were appended; and a run that rebuilds a changed log, with
    a torn line finished, days that go and scored runs that were deleted."""
    root = tmp_path_factory.mktemp("kill")
    fresh = root / "fresh"
    put(fresh, "scrum_reviews", rows(0, 24) + b"not json\n" + row(3) + b"\n\n")
    put(fresh, "outcomes", b"".join(_outcome(number) for number in range(15)))
    put(fresh, "auto_apply", rows(0, 6) + row(7)[:-2])
    grown = root / "grown"
    _copy(fresh, grown)
    run(grown, FIRST)
    changed = root / "changed"
    _copy(grown, changed)
    add(grown / "_kb" / "scrum_reviews.jsonl", rows(500, 512) + row(500) + b"\nnot json\n")
    add(grown / "_kb" / "auto_apply.jsonl", b"\n")
    add(grown / "_kb" / "a_new_stem.jsonl", rows(0, 5))
    log = changed / "_kb" / "outcomes.jsonl"
    log.write_bytes(b"".join(_outcome(number) for number in range(15) if number % 3))
    add(changed / "_kb" / "auto_apply.jsonl", b'"}\n')
    shutil.rmtree(changed / "scored-runs" / "2026" / "02" / "03")
    (changed / "distilled" / "rag" / "rag_export.jsonl").unlink()
    lakes = {"first run": fresh, "grown": grown, "changed": changed}
    return {name: _scene(lake, FIRST if lake is fresh else SECOND) for name, lake in lakes.items()}


def _check_between(lake: Path, scene: Scene) -> None:
    """After a crash every visible file is whole: as it was, or as a commit makes it."""
    for folder in ("evidence", "scored-runs", "distilled", "quarantine"):
        for _ in lines(lake, folder):
            pass
    for path, data in visible(lake).items():
        assert data in scene.whole.get(path, ()), path
    listed = [entry.path for entry in LocalStore(lake).list("")]
    assert not [path for path in listed if path.endswith(".tmp")]


def _check_end(lake: Path, scene: Scene, trial: Trial, fork: Fork) -> None:
    """Running again completes the job, to the byte, and leaves nothing behind."""
    assert fork(trial._replace(kill_at=None, after=None, victim="self")) == DONE
    found = visible(lake)
    assert found.keys() == scene.after.keys()
    assert [path for path in found if found[path] != scene.after[path]] == []
    check_clean(lake)


# ------------------------------------------------------------- at the n-th operation


def _kill_at_operations(seed: int, scene: Scene, fork: Fork, folder: Path) -> None:
    """Kill a run at a random operation, some of the runs after it as well, then let one end."""
    dice = random.Random(seed)
    lake = folder / "lake"
    _copy(scene.lake, lake)
    trial = Trial(str(lake), scene.recorded_at)
    operation = dice.randrange(scene.operations)
    assert fork(trial._replace(kill_at=operation)) == -signal.SIGKILL
    _check_between(lake, scene)
    while dice.random() < 0.4:
        # The next run is killed too: while it finishes what the last one owes, or later.
        fork(trial._replace(kill_at=dice.randrange(dice.choice((8, 80, scene.operations)))))
        _check_between(lake, scene)
    _check_end(lake, scene, trial, fork)
    shutil.rmtree(lake)


@pytest.mark.parametrize("seed", range(80))
def test_killed_at_an_operation(
    seed: int, scenes: dict[str, Scene], fork: Fork, tmp_path: Path
) -> None:
    """At a random write (in the middle of it), move, delete or sync."""
    scene = list(scenes.values())[seed % len(scenes)]
    _kill_at_operations(seed, scene, fork, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["first run", "grown", "changed"])
def test_killed_at_every_operation(
    name: str, scenes: dict[str, Scene], fork: Fork, tmp_path: Path
) -> None:
    """At each operation of a run, one after the other."""
    scene = scenes[name]
    for operation in range(scene.operations):
        lake = tmp_path / str(operation)
        _copy(scene.lake, lake)
        trial = Trial(str(lake), scene.recorded_at)
        assert fork(trial._replace(kill_at=operation)) == -signal.SIGKILL
        _check_between(lake, scene)
        _check_end(lake, scene, trial, fork)
        shutil.rmtree(lake)


@pytest.mark.soak
def test_killed_at_an_operation_long(scenes: dict[str, Scene], fork: Fork, tmp_path: Path) -> None:
    """The same with many more seeds (``SOAK_EXAMPLES``, default 2000)."""
    for seed in range(1000, 1000 + int(os.environ.get("SOAK_EXAMPLES", "2000"))):
        scene = list(scenes.values())[seed % len(scenes)]
        _kill_at_operations(seed, scene, fork, tmp_path)


# --------------------------------------------------------------------- at any moment


@pytest.mark.parametrize("seed", range(20))
def test_killed_at_a_moment(
    seed: int, scenes: dict[str, Scene], fork: Fork, tmp_path: Path
) -> None:
    """From outside, at a random time, between any two instructions."""
    dice = random.Random(seed)
    scene = list(scenes.values())[seed % len(scenes)]
    lake = tmp_path / "lake"
    _copy(scene.lake, lake)
    trial = Trial(str(lake), scene.recorded_at)
    for _ in range(2):
        ended = fork(trial._replace(after=dice.uniform(0.0, 0.35)))
        assert ended in (DONE, -signal.SIGKILL)
        _check_between(lake, scene)
    _check_end(lake, scene, trial, fork)


# -------------------------------------------------------------------- with workers


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize(("victim", "share"), [("self", 0.1), ("self", 0.6), ("worker", 0.3)])
def test_killed_with_workers(
    victim: str, share: float, scenes: dict[str, Scene], fork: Fork, tmp_path: Path
) -> None:
    """A killed worker ends the run in an error, a killed parent ends its workers; either way
    running again gives the same bytes."""
    scene = scenes["first run"]
    lake = tmp_path / "lake"
    _copy(scene.lake, lake)
    trial = Trial(str(lake), scene.recorded_at, workers=2)
    # In the parent there are fewer operations than in a run without workers.
    operation = int(share * 60)
    ended = fork(trial._replace(kill_at=operation, victim=victim))
    assert ended in ((-signal.SIGKILL,) if victim == "self" else (REFUSED, NO_WORKER))
    _check_between(lake, scene)
    deadline = time.monotonic() + 20
    while _workers_of(lake) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _workers_of(lake) == []
    _check_end(lake, scene, trial, fork)


def _workers_of(lake: Path) -> list[int]:
    """Processes that still have the lake's lock or a file of it open."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            held = [os.readlink(handle) for handle in (process / "fd").iterdir()]
        except OSError:
            continue
        if any(name.startswith(str(lake)) for name in held):
            found.append(int(process.name))
    return found


# --------------------------------------------------------------------------- signing


def test_killed_while_signing(scenes: dict[str, Scene], fork: Fork, tmp_path: Path) -> None:
    """At each operation of signing: every receipt is signed or not, never half; signing again
    gives, to the byte, what signing undisturbed gives."""
    key = tmp_path / "key"
    make_key_pair(str(key))
    public = read_public_key(f"{key}.pub")
    whole = tmp_path / "whole"
    _copy(scenes["grown"].lake, whole)
    trial = Trial(str(whole), FIRST, key=str(key))
    assert fork(trial) == DONE
    signed = files(whole, "receipts")
    receipts = files(scenes["grown"].lake, "receipts")
    operations = 3 * len(receipts)  # each file: its beginning, one write, its end
    for operation in range(operations):
        lake = tmp_path / str(operation)
        _copy(scenes["grown"].lake, lake)
        trial = Trial(str(lake), FIRST, key=str(key))
        assert fork(trial._replace(kill_at=operation)) == -signal.SIGKILL
        found = files(lake, "receipts")
        found = {path: data for path, data in found.items() if not path.endswith(".tmp")}
        assert receipts.items() <= found.items() <= signed.items()
        report = verify_lake(LocalStore(lake), keys=[public])
        assert {one.kind for one in report.problems} == {"unsigned"}
        assert report.signed == operation // 3
        assert fork(trial) == DONE
        assert files(lake, "receipts") == signed
    assert fork(trial._replace(kill_at=operations)) == DONE


# --------------------------------------------------------------- the trials themselves


def test_the_scenes_are_worth_it(scenes: dict[str, Scene]) -> None:
    """Each scene's run adds, replaces or removes files, in enough operations to be killed in."""
    for scene in scenes.values():
        assert scene.operations > 100
        assert scene.before != scene.after
    assert scenes["changed"].before.keys() - scenes["changed"].after.keys()


def test_what_a_crash_leaves_can_be_looked_at(
    scenes: dict[str, Scene], fork: Fork, tmp_path: Path
) -> None:
    """Between a crash and the next run the receipts that are there tell of no wrong file that
    the commit had not reached."""
    scene = scenes["grown"]
    lake = tmp_path / "lake"
    _copy(scene.lake, lake)
    trial = Trial(str(lake), scene.recorded_at)
    assert fork(trial._replace(kill_at=0)) == -signal.SIGKILL
    report = verify_lake(LocalStore(lake))
    assert report.ok, report.problems
