"""What a person does who wants to trust a lake: run, accept, audit, report, sign, verify, replay,
and again when it has grown. And what happens when somebody tampers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runs import Command, add, demo, rows

FIRST = ("--recorded-at", "2026-04-01T08:00:00Z")
SECOND = ("--recorded-at", "2026-04-02T08:00:00Z")
INLINE = ("--engine", "inline")

pytest.importorskip("altair", reason="needs the extra `report`: pip install 'stillhouse[report]'")


def test_a_lake_that_is_trusted_and_grows(tmp_path: Path, stillhouse: Command) -> None:
    """Each command finds what the others left, and nothing that they leave is in the way of one."""
    lake, key = demo(tmp_path / "lake"), tmp_path / "my.key"
    assert stillhouse("run", lake, *FIRST, *INLINE).code == 0
    told = stillhouse("report", lake)
    assert "Not proven fit to train on" in told.err

    told = stillhouse("accept", lake, *INLINE)
    assert (told.code, told.err.splitlines()[-1]) == (0, "16/16")
    assert stillhouse("audit", lake, *FIRST, *INLINE).code == 0
    told = stillhouse("report", lake)
    assert "ot proven" not in told.err, told.err
    page = (lake / "reports/report.html").read_text()
    assert "16/16" in page or "16 of 16" in page

    assert stillhouse("keygen", key).code == 0
    assert stillhouse("sign", lake, "--key", key).code == 0
    assert stillhouse("verify", lake, "--key", f"{key}.pub").code == 0
    assert stillhouse("replay", lake, *INLINE).code == 0

    add(lake / "_kb/scrum_reviews.jsonl", rows(0, 400))
    told = stillhouse("audit", lake, *SECOND, *INLINE, "--fail-on-warn")
    assert told.code == 2, told.err
    assert "| warn" in told.err
    assert json.loads((lake / "reports/audit.json").read_bytes())["gates"]["passed"] == 16
    assert stillhouse("verify", lake, "--key", f"{key}.pub").code == 1  # new receipts: unsigned
    assert stillhouse("sign", lake, "--key", key).code == 0
    assert stillhouse("verify", lake, "--key", f"{key}.pub").code == 0
    assert stillhouse("replay", lake, *INLINE).code == 0
    told = stillhouse("accept", lake, *INLINE)
    assert (told.code, told.err.splitlines()[-1]) == (0, "16/16")
    assert stillhouse("export", lake, "--gate", "drift", *INLINE).code == 0


def test_a_relabelled_row_is_seen_by_all_of_them(tmp_path: Path, stillhouse: Command) -> None:
    """A rejected row that was given out as accepted: verify, the gate of the firewall, the drift
    of scores, the audit as it is, and the report's verdict."""
    lake = demo(tmp_path / "lake")
    assert stillhouse("run", lake, *FIRST, *INLINE).code == 0
    file = next(
        path
        for path in sorted((lake / "scored-runs").rglob("*.jsonl"))
        if b'"category":"rejected"' in path.read_bytes()
    )
    data = file.read_bytes()
    file.write_bytes(data.replace(b'"category":"rejected"', b'"category":"accepted"', 1))
    name = file.relative_to(lake).as_posix()
    told = stillhouse("verify", lake)
    assert told.code == 1
    told = stillhouse("accept", lake, *INLINE, "--json")
    report = json.loads(told.out)
    assert (told.code, report["ok"]) == (1, False)
    assert name in told.out
    assert stillhouse("audit", lake, "--as-is", *FIRST, *INLINE).code == 1
    told = stillhouse("report", lake)
    assert "Do not train" in told.err
