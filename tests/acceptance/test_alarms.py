"""Gate 16: that planted faults are found, and that a gate which finds none is found out."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from stillhouse.acceptance import AcceptReport
from stillhouse.acceptance.alarms import EXPECTED, planted_faults
from stillhouse.acceptance.asked import View
from stillhouse.acceptance.gates import alarms_work
from stillhouse.acceptance.harness import by_files
from stillhouse.engines import InlineEngine
from stillhouse.interfaces import Store
from stillhouse.storage import MemoryStore
from stillhouse.work import silent
from tests.exports.lakes import NOW, files


def _view(scratch: Path, deaf: frozenset[int] = frozenset()) -> View:
    """A view whose trials do not hear what the gates in ``deaf`` say."""
    honest = partial(by_files, recorded_at=NOW, version="a test", scratch=scratch)

    def again(store: Store) -> AcceptReport:
        report = honest(store)
        heard = [gate for gate in report.gates if gate.number not in deaf]
        return AcceptReport(
            lake=report.lake, recorded_at=NOW, version="a test", sequence=0, gates=heard,
            passed=0, ok=False,
        )  # fmt: skip

    return View(MemoryStore(), InlineEngine(), NOW, "a test", None, scratch, silent, again)


def test_every_planted_fault_is_found(tmp_path: Path) -> None:
    """All of them, and nothing where nothing is planted."""
    found = alarms_work(_view(tmp_path))
    assert (found.checked, found.faults) == (len(EXPECTED), [])


@pytest.mark.parametrize("gate", [1, 3, 6, 12, 13])
def test_a_deaf_gate_is_found_out(tmp_path: Path, gate: int) -> None:
    """Gate 16 says which fault went by, and is red."""
    (name,) = (name for name, red in EXPECTED.items() if red == [gate])
    (fault,) = alarms_work(_view(tmp_path, frozenset({gate}))).faults
    assert fault.detail == f"{name}: red are [], not [{gate}]"


def test_what_is_planted_stays_in_its_copy() -> None:
    """Each fault changes one file of the lake, and the lake is the same for all."""
    lakes = {name: files(store, "") for name, store in planted_faults()}
    sound = lakes.pop("nothing planted")
    for name, lake in lakes.items():
        assert lake.keys() == sound.keys(), name
        assert sum(lake[path] != sound[path] for path in sound) == 1, name
