"""When code changes, what it made is made anew: the text of the code counts, not its version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

import stillhouse
from stillhouse.cli.app import run as program
from stillhouse.exports import KINDS, ExportOptions, export
from stillhouse.state import State, load_state
from stillhouse.storage import LocalStore
from stillhouse.work import Work

PACKAGE = Path(stillhouse.__file__).parent

T = TypeVar("T")
U = TypeVar("U")

ROW = {"ts": "2026-03-01T00:00:00Z", "file": "a.py", "accepted_on_attempt": 1, "review": "Good."}

PLUGIN = """
from stillhouse.interfaces import Source, Verdict
from stillhouse.rows import RawRow, evidence

class Raw(RawRow, frozen=True, kw_only=True):
    pass

def transform(raw, anchor):
    return evidence(raw, anchor, task=("memo", None), text=None)

def score(record):
    return Verdict("CATEGORY", ["a memo"], {})

def template(record):
    return "Write the memo."

SOURCE = Source(stem="memos", source_class="verdict", raw=Raw, transform=transform, score=score,
                template=template, summary="memos")
"""


class Counting:
    """An engine that runs units here and notes what ran."""

    name = "inline"
    workers = 1

    def __init__(self) -> None:
        self.ran: list[str] = []

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        for item in items:
            self.ran.append(function.__name__)
            yield function(item)

    def close(self) -> None:
        return None


def _lake(root: Path, stem: str, row: dict[str, Any]) -> Path:
    (root / "_kb").mkdir(parents=True)
    (root / "_kb" / f"{stem}.jsonl").write_text(json.dumps(row) + "\n")
    return root


def test_another_version_renders_every_line_anew(tmp_path: Path) -> None:
    """Lines that another version exported are not copied: what it could not know stays out."""
    root = _lake(tmp_path / "lake", "scrum_reviews", ROW)
    assert program(["run", str(root), "--engine", "inline", "--json"]) == 0
    ran: dict[str, list[list[str]]] = {}
    for version in ("9.9.9", "9.9.9", "9.9.10"):
        store, engine = LocalStore(root), Counting()
        with store.lock("a test"):
            state = load_state(store) or State()
            work = Work(
                store,
                state,
                engine,
                recorded_at="2026-04-01T00:00:00Z",
                version=version,
                scratch=tmp_path,
            )
            export(work, KINDS, ExportOptions())
            work.commit()
        ran.setdefault(version, []).append([name for name in engine.ran if name == "render"])
    assert ran == {"9.9.9": [["render"], []], "9.9.10": [["render"]]}


def test_a_package_whose_rule_changed_is_read_anew(tmp_path: Path) -> None:
    """An edited scorer of an installed package takes its accepted row out of SFT again."""
    site = tmp_path / "site"
    info = site / "memo_logs-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: memo-logs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stillhouse.sources]\nmemos = memo_logs:SOURCE\n")
    root = _lake(
        tmp_path / "lake", "memos", {"ts": ROW["ts"], "task_id": "list", "text": "Buy oats."}
    )
    rows = []
    for category in ("accepted", "rejected"):
        (site / "memo_logs.py").write_text(PLUGIN.replace("CATEGORY", category))
        path = os.pathsep.join([str(site), *filter(None, sys.path)])
        done = subprocess.run(
            [sys.executable, "-B", "-m", "stillhouse", "run", str(root), "--engine", "inline"],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        rows.append((root / "distilled/sft/sft_export.jsonl").read_text().count("\n"))
    assert rows == [1, 0]
    assert "was read by other code" in done.stderr


@pytest.mark.parametrize(
    ("module", "before", "after", "left"),
    [
        ("sources/scrum_reviews.py", '"accepted"', '"rejected"', 0),
        ("rows.py", "", "# Another text, the same rules.\n", 1),
    ],
)
def test_a_rule_of_ours_that_changed_is_applied(
    module: str, before: str, after: str, left: int, tmp_path: Path
) -> None:
    """An edit of our own rules counts under the same version: no row of the old rule stays
    beside those of the new one."""
    site = tmp_path / "site"
    shutil.copytree(PACKAGE, site / "stillhouse", ignore=shutil.ignore_patterns("__pycache__"))
    root = _lake(tmp_path / "lake", "scrum_reviews", ROW)
    path = site / "stillhouse" / module
    text = path.read_text()
    changed = text.replace(before, after) if before else text + after
    assert changed != text
    rows = []
    for body in (text, changed):
        path.write_text(body)
        done = subprocess.run(
            [sys.executable, "-B", "-m", "stillhouse", "run", str(root), "--engine", "inline"],
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        rows.append((root / "distilled/sft/sft_export.jsonl").read_text().count("\n"))
    assert rows == [1, left]
    assert "was read by other code" in done.stderr


@pytest.mark.parametrize("what", KINDS)
def test_an_export_alone_that_wrote_rows_ends_well(what: str, tmp_path: Path) -> None:
    """Exit code 0 for each export that has rows, the dataset too."""
    root = _lake(tmp_path / "lake", "scrum_reviews", ROW)
    for command in (["evidence"], ["score"], ["export", what]):
        words = [command[0], str(root), *command[1:], "--engine", "inline", "--json"]
        assert program(words) == 0
