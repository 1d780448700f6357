"""What every engine does alike, and how the one of local processes ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stillhouse.engines import InlineEngine, LocalEngine, start_engine
from stillhouse.errors import EngineError, RecordError, StillhouseError, StorageError, UsageError
from stillhouse.interfaces import Engine
from tests.engines import units


@pytest.fixture(params=["inline", "local"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each engine that needs no extra."""
    with start_engine(request.param, 2) as engine:
        yield engine


@pytest.fixture
def local() -> Iterator[LocalEngine]:
    """Two worker processes."""
    with LocalEngine(2) as engine:
        yield engine


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# ------------------------------------------------------------------------------- all alike


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_results_come_in_the_order_of_the_items(engine: Engine, count: int) -> None:
    """However many items, each result stands where its item stood."""
    assert list(engine.map(units.square, range(count))) == [n * n for n in range(count)]


def test_a_slow_unit_does_not_change_the_order(engine: Engine) -> None:
    """Later results wait for the first."""
    assert list(engine.map(units.slow_first, range(8))) == list(range(8))


def test_a_units_own_error_arrives_as_it_is(engine: Engine) -> None:
    """What came before it is given; the error keeps its class, parts and problems."""
    results = engine.map(units.refuse_third, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(StorageError) as caught:
        next(results)
    assert str(caught.value) == "unit 3: no room. Make some."
    with pytest.raises(RecordError) as problems:
        list(engine.map(units.refuse_with_problems, [1, 2]))
    assert problems.value.problems == ("one", "two")
    assert list(engine.map(units.square, [1, 2, 3])) == [1, 4, 9], "usable afterwards"


def test_a_bug_in_a_unit_keeps_its_class(engine: Engine) -> None:
    """An unforeseen error is not dressed up."""
    with pytest.raises(ZeroDivisionError):
        list(engine.map(units.divide_by, [2, 1, 0, 1]))


def test_an_error_of_the_items_comes_through(engine: Engine) -> None:
    """When reading the items fails, that is the error."""

    def items() -> Iterator[int]:
        yield from (1, 2, 3, 4, 5, 6)
        raise StorageError("the log is gone")

    with pytest.raises(StorageError, match="the log is gone"):
        list(engine.map(units.square, items()))


def test_items_are_taken_only_as_needed(engine: Engine) -> None:
    """Items are not read ahead of the units in flight: a lake of any size fits."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = engine.map(units.square, items())
    for _ in range(10):
        next(results)
        assert len(taken) <= 10 + 2 * engine.workers
    assert isinstance(results, Iterator)


def test_two_maps_may_run_at_once(engine: Engine) -> None:
    """Their results do not mix."""
    first = engine.map(units.square, range(0, 20))
    second = engine.map(units.square, range(100, 120))
    pairs = list(zip(first, second, strict=True))
    assert pairs == [(n * n, (n + 100) ** 2) for n in range(20)]


def test_close_may_be_called_twice(engine: Engine) -> None:
    """Closing what is closed, or never started, is fine."""
    list(engine.map(units.square, range(4)))
    engine.close()
    engine.close()


def test_unknown_engines_and_numbers_are_refused() -> None:
    """A wrong name lists the right ones; zero workers are none."""
    with pytest.raises(UsageError, match="local, ray, inline"):
        start_engine("spark")
    with pytest.raises(UsageError, match="1 or more"):
        start_engine("local", 0)
    assert isinstance(start_engine("inline", 8), InlineEngine)
    assert start_engine("inline", 8).workers == 1
    assert start_engine("local", None).workers >= 1


# ------------------------------------------------------------------------ local processes


def test_nothing_starts_before_there_is_work(local: LocalEngine) -> None:
    """No item starts no process, one item runs here, two run elsewhere."""
    assert list(local.map(units.whoami, [])) == []
    assert list(local.map(units.whoami, [0])) == [os.getpid()]
    assert local._pool == []
    elsewhere = set(local.map(units.whoami, range(20)))
    assert len(elsewhere) == 2
    assert os.getpid() not in elsewhere


def test_at_most_two_units_a_worker_are_under_way(local: LocalEngine, tmp_path: Path) -> None:
    """While nobody takes results, the workers stop after 2 × 2 units."""
    results = local.map(units.mark_and_return, [(str(tmp_path), n) for n in range(50)])
    assert next(results) == 0
    assert wait_until(lambda: len(list(tmp_path.iterdir())) == 4)
    time.sleep(0.2)
    assert len(list(tmp_path.iterdir())) == 4
    assert list(results) == list(range(1, 50))


def test_large_units_and_results_do_not_block_each_other(local: LocalEngine) -> None:
    """Both directions of a pipe full at once is no deadlock."""
    blocks = [bytes([number]) * 3_000_000 for number in range(12)]
    assert list(local.map(units.echo_large, blocks)) == blocks


@pytest.mark.crash
def test_a_killed_worker_is_an_error_with_a_way_out(local: LocalEngine) -> None:
    """kill -9 is told by name within seconds, never a hang; the engine can be used again."""
    begin = time.monotonic()
    with pytest.raises(EngineError, match=r"SIGKILL.*memory.*Run again.*--workers"):
        list(local.map(units.kill_myself_at_five, range(40)))
    assert time.monotonic() - begin < 5
    assert list(local.map(units.square, range(3))) == [0, 1, 4]


@pytest.mark.crash
def test_workers_killed_while_nobody_listens_are_an_error_too(local: LocalEngine) -> None:
    """Dead before the unit was sent is the same as dead at work."""
    processes = set(local.map(units.whoami, range(20)))
    for process in processes:
        os.kill(process, signal.SIGKILL)
    assert wait_until(lambda: not any(map(alive, processes)))
    with pytest.raises(EngineError, match="SIGKILL"):
        list(local.map(units.square, range(20)))


@pytest.mark.crash
def test_a_worker_that_exits_is_an_error(local: LocalEngine) -> None:
    """A library that calls exit is named by its code."""
    with pytest.raises(EngineError, match="exit code 7"):
        list(local.map(units.exit_at_two, range(10)))


def test_a_bug_shows_where_in_the_worker_it_was(local: LocalEngine) -> None:
    """The worker's traceback rides along as a note."""
    with pytest.raises(ZeroDivisionError) as caught:
        list(local.map(units.divide_by, [1, 0]))
    assert "in divide_by" in "\n".join(caught.value.__notes__)


def test_a_worker_prints_nothing_of_its_own(
    local: LocalEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    """An error is told once, by the parent; a worker that broke meanwhile stays silent."""
    with pytest.raises(ZeroDivisionError):
        list(local.map(units.slow_then_broken, range(4)))
    assert capfd.readouterr() == ("", "")


def test_a_terminals_signals_do_not_reach_the_workers(local: LocalEngine) -> None:
    """Each worker is in a process group of its own, from its very start."""
    groups = set(local.map(units.my_group, range(8)))
    assert groups == {worker.process.pid for worker in local._pool}


def test_what_cannot_be_sent_is_said(local: LocalEngine) -> None:
    """Neither way does something that cannot be pickled hang or vanish."""
    with pytest.raises(EngineError, match=r"cannot be sent.*inline"):
        list(local.map(lambda number: number, [1, 2]))
    with pytest.raises(StillhouseError, match="this one stays here"):
        list(local.map(units.whoami, [units.Unsendable(), 2]))
    with pytest.raises(TypeError, match="pickle"):
        list(local.map(units.return_what_cannot_be_sent, [0, 1, 1]))
    with pytest.raises(RuntimeError, match="LocalError: strange"):
        list(local.map(units.raise_what_cannot_be_sent, [0, 1]))


def test_leaving_early_ends_the_workers(local: LocalEngine) -> None:
    """A reader that had enough does not leave processes at work behind."""
    results = local.map(units.sleep_long, range(10))
    assert next(results) == 0
    processes = [worker.process.pid for worker in local._pool]
    begin = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begin < 2
    assert not any(map(alive, processes))


SCRIPT = """
    import os, sys
    from stillhouse.engines import LocalEngine
    from tests.engines import units
    with LocalEngine(2) as engine:
        for result in engine.map(units.sleep_long, range(10)):
            print(*[worker.process.pid for worker in engine._pool], flush=True)
"""


def start_script() -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.crash
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(number: signal.Signals) -> None:
    """Ctrl-C, kill and kill -9 leave no process behind, and children print nothing."""
    with start_script() as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        processes = [int(word) for word in parent.stdout.readline().split()]
        assert len(processes) == 2
        assert all(map(alive, processes))
        os.killpg(parent.pid, number)
        assert parent.wait(timeout=5) in {-number, 130}
        assert wait_until(lambda: not any(map(alive, processes)))
        said = parent.stderr.read()
    assert said.count("Traceback") <= (number == signal.SIGINT)
    assert "worker.py" not in said


def test_starting_is_fast() -> None:
    """Creating an engine is nothing; two workers answer within 1.5 s even on a busy machine."""
    created, answered = [], []
    for _ in range(3):
        begin = time.perf_counter()
        with LocalEngine(2) as engine:
            created.append(time.perf_counter() - begin)
            list(engine.map(units.square, range(2)))
            answered.append(time.perf_counter() - begin)
    assert min(created) < 0.01
    assert min(answered) < 1.5
