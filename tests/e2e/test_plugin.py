"""The example package under `examples/`, installed as a user would, adds its source."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "examples" / "stillhouse-support-tickets"

PROGRAM = """
import json, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from hashlib import sha256
from stillhouse.rows import read_line
from stillhouse.sources import SOURCES, all_sources, build_instruction, score_record, source_for

def distil(line):
    hashed = sha256(line).hexdigest()
    time = "2026-04-01T00:00:00Z"
    source = source_for("support_tickets")
    got = read_line(line, source, "_kb/support_tickets.jsonl", 0, time, hashed)
    if hasattr(got, "reason"):
        return list(got)
    return [score_record(got).category, score_record(got).reasons, build_instruction(got), got.text]

if __name__ == "__main__":
    lines = sys.stdin.buffer.read().splitlines()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        rows = [distil(line) for line in lines] + list(pool.map(distil, lines))
    print(json.dumps([sorted(set(all_sources()) - set(SOURCES)), rows]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example installed in it."""
    target = tmp_path_factory.mktemp("site")
    # The build leaves files behind: it gets a copy, so that the tree stays as it is.
    example = tmp_path_factory.mktemp("src") / EXAMPLE.name
    shutil.copytree(EXAMPLE, example)
    options = ["--no-deps", "--target", str(target), str(example)]
    if importlib.util.find_spec("pip") and importlib.util.find_spec("uv_build"):
        command = [sys.executable, "-m", "pip", "install", "--no-build-isolation", *options]
    elif uv := shutil.which("uv"):
        command = [uv, "pip", "install", "--python", sys.executable, *options]
    else:
        pytest.skip("neither pip with uv-build nor uv is here to install the example")
    # The build back end looks for its program on the path, where a virtual environment
    # that was not activated is not.
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    env = {**os.environ, "PATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return target


def test_an_installed_package_adds_its_source(installed: Path, tmp_path: Path) -> None:
    """Its stem is known, its rows are read, scored and phrased, in worker processes as well."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    row = {"ts": "2026-03-02T15:00:00Z", "ticket_id": "T-881", "product": "Kettle 2"}
    rows = [
        {**row, "rating": 5, "answer": "Turn the hinge."},
        {**row, "rating": 5, "answer": "Turn the hinge.", "reopened": True},
        {**row, "rating": 3, "answer": "Wait."},
        {**row, "answer": "Wait."},
        {**row, "rating": 9, "answer": "Wait."},
    ]
    path = os.pathsep.join([str(installed), str(ROOT / "src")])
    done = subprocess.run(
        [sys.executable, str(program)],
        input="\n".join(json.dumps(row) for row in rows),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    added, read = json.loads(done.stdout)
    assert added == ["support_tickets"]
    assert read[:5] == read[5:]
    assert [got[0] for got in read[:5]] == [
        "accepted",
        "rejected",
        "partially_accepted",
        "needs_human_review",
        "invalid",
    ]
    assert read[0][1:] == [
        ["the customer's rating is 5 of 5"],
        "Answer the support ticket 'T-881' about the product 'Kettle 2': say what to do first, "
        "what to do if that does not help, and what the customer can expect from us.",
        "Turn the hinge.",
    ]
    assert read[4][1] == ["rating: 9 is not from 1 to 5"]
