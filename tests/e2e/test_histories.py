"""Random histories of a lake, each run at its own time: logs grow, end within a line, are cut,
rewritten and moved away; derived files, state and receipts are lost. Whatever happened, every
row is accounted for, the receipts hold, and a rebuild gives the same bytes (SPEC L1, L2)."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from stillhouse import config
from stillhouse.engines import InlineEngine
from stillhouse.pipeline import make_evidence, score_evidence
from stillhouse.receipts import list_receipts, verify_lake
from stillhouse.replay import Maker, replay
from stillhouse.storage import LocalStore, MemoryStore
from tests.runs import check_accounted, files, from_scratch, lines, put, run

STEMS = ("scrum_reviews", "mode_experiments", "a_stem_of_nobody")


class History:
    """One lake and what happens to it; ``away`` are logs that were moved away, ``told`` is what
    happened, for whoever has to find out why it did not end well."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.dice = random.Random(seed)
        self.told: list[str] = []
        self.runs = 0
        self.away: dict[Path, bytes] = {}
        for stem in STEMS:
            put(root, stem, b"".join(self.line() + b"\n" for _ in range(self.dice.randrange(7))))

    # --------------------------------------------------------------------- what a log is

    def line(self) -> bytes:
        """A row of any source, or one that is none, without its line end."""
        dice = self.dice
        odd = dice.choice([b'{"bad', b"", b"\xff{}", b"[1]", b'{"a":1,"a":2}'])
        if dice.random() < 0.25:
            return odd
        body = {
            "ts": f"2026-03-0{dice.randint(1, 3)}T10:00:{dice.randint(0, 59):02}Z",
            "file": f"f{dice.randint(0, 3)}",
            "prompt": f"p{dice.randint(0, 4)}",
            "accepted_on_attempt": dice.choice([1, 1, 2, 5]),
            "review": f"text {dice.randint(0, 30)}",
            "validators": {"a": dice.random() < 0.7},
        }
        return json.dumps(body).encode() + dice.choice([b"", b"", b"", b"\r"])

    def log(self) -> Path:
        """One of the logs, there or not."""
        return self.root / "_kb" / f"{self.dice.choice(STEMS)}.jsonl"

    # ------------------------------------------------------------------ what may happen

    def grow(self) -> None:
        """Whole rows come to a log."""
        log = self.log()
        data = log.read_bytes() if log.exists() else b""
        if data and not data.endswith(b"\n"):
            data += b"\n"
        new = b"".join(self.line() + b"\n" for _ in range(self.dice.randint(1, 4)))
        log.write_bytes(data + new)
        self.away.pop(log, None)

    def tear(self) -> None:
        """A log ends within a line, or in a whole one that lacks its line end."""
        log = self.log()
        data = log.read_bytes() if log.exists() else b""
        if not data or data.endswith(b"\n"):
            line = self.line()
            cut = self.dice.choice([len(line), self.dice.randint(0, len(line))])
            log.write_bytes(data + line[:cut])
            self.away.pop(log, None)

    def complete(self) -> None:
        """A torn line goes on."""
        log = self.log()
        if log.exists() and not log.read_bytes().endswith(b"\n"):
            rest = self.dice.choice([b"\n", b"\n", b"\r", b"\r\n", b" ", b'"}\n', b"x"])
            log.write_bytes(log.read_bytes() + rest)

    def cut(self) -> None:
        """A log becomes shorter."""
        log = self.log()
        if log.exists():
            data = log.read_bytes()
            log.write_bytes(data[: self.dice.randint(0, len(data))])

    def rewrite(self) -> None:
        """A log becomes another one, of the same rows or of others."""
        log = self.log()
        if log.exists():
            rows = log.read_bytes().split(b"\n")
            self.dice.shuffle(rows)
            log.write_bytes(b"\n".join(rows))

    def move_away(self) -> None:
        """A log is moved away, and those that were come back."""
        log = self.log()
        back, self.away = self.away, {}
        for path, data in back.items():
            path.write_bytes(data)
        if log.exists():
            self.away[log] = log.read_bytes()
            log.unlink()

    def touch(self) -> None:
        """The time of a log changes, nothing else."""
        if (log := self.log()).exists():
            os.utime(log)

    def lose(self) -> None:
        """A derived file or a receipt is lost or cut. Those of a log that is away stay: nobody
        can make them anew."""
        folders = ("evidence", "scored-runs", "quarantine", "distilled", "receipts", ".stillhouse")
        folder = self.root / self.dice.choice(folders)
        away = {log.name for log in self.away}
        found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        found = [path for path in found if path.name not in away and path.suffix != ".idx"]
        if found:
            path = self.dice.choice(found)
            self.told.append(path.relative_to(self.root).as_posix())
            path.unlink() if self.dice.random() < 0.6 else path.write_bytes(path.read_bytes()[:-9])

    def lose_state(self) -> None:
        """The state is lost."""
        shutil.rmtree(self.root / ".stillhouse", ignore_errors=True)

    def lose_receipts(self) -> None:
        """All receipts are lost, while the state knows them."""
        if (self.root / ".stillhouse" / "state.json").exists() and not self.away:
            shutil.rmtree(self.root / "receipts", ignore_errors=True)
            self.run()

    def stage(self) -> None:
        """One stage alone."""
        self.runs += 1
        step = self.dice.choice([make_evidence, score_evidence])
        step(LocalStore(self.root), InlineEngine(), self.moment())

    # -------------------------------------------------------------------------- running

    def moment(self) -> str:
        """The time of the latest run: no two have the same."""
        return f"2026-05-05T{self.runs // 60:02}:{self.runs % 60:02}:00Z"

    def run(self) -> None:
        """The whole job."""
        self.runs += 1
        run(self.root, self.moment(), unit_bytes=self.dice.choice([50, 300, 8 << 20]))

    def live(self, steps: int) -> None:
        """So many things happen; most are followed by a run."""
        events: list[Callable[[], None]] = [
            *(self.grow, self.grow, self.grow, self.tear, self.tear, self.complete, self.complete),
            *(self.cut, self.rewrite, self.move_away, self.touch, self.lose, self.lose),
            *(self.lose_state, self.lose_receipts, self.stage),
        ]
        for _ in range(steps):
            event = self.dice.choice(events)
            self.told.append(event.__name__)
            event()
            if self.dice.random() < 0.7:
                self.told.append("run")
                self.run()


def _timeless(root: Path) -> dict[str, list[dict[str, object]]]:
    """Evidence and refused rows without the time of their run."""
    found: dict[str, list[dict[str, object]]] = {}
    for folder in ("evidence", "quarantine/evidence", "quarantine/torn"):
        for path, line in lines(root, folder):
            line.get("provenance", {}).pop("recorded_at", None)
            found.setdefault(path, []).append(line)
    return found


def _check(history: History, folder: Path) -> None:
    root = history.root
    for path, data in history.away.items():
        path.write_bytes(data)
    history.run()
    assert verify_lake(LocalStore(root)).problems == []
    check_accounted(root)
    # Running again changes nothing.
    before = files(root)
    history.run()
    assert files(root) == before
    # As a first run makes it, but for the times.
    assert _timeless(root) == _timeless(from_scratch(root, folder / "scratch"))
    _replays(history)
    # As it was, with the times, from the receipts alone.
    gone = history.dice.choice([(), ("evidence",), ("evidence", "scored-runs", "distilled")])
    for name in (".stillhouse", *gone):
        shutil.rmtree(root / name, ignore_errors=True)
    history.run()
    assert files(root) == before
    assert verify_lake(LocalStore(root)).problems == []


def _replays(history: History) -> None:
    """A second run gives what the newest receipts name, and what any older one names of which the
    raw bytes are still there."""
    store, maker = LocalStore(history.root), Maker(config.version(), config.git_commit())
    for receipt in (None, *list_receipts(store)):
        with config.scratch_folder() as scratch:
            upper = MemoryStore()
            again = replay(store, InlineEngine(), upper, scratch, maker, receipt=receipt)
        if receipt is None or not again.inputs:
            assert again.ok, msgspec.json.format(msgspec.json.encode(again)).decode()


def _histories(seeds: range, folder: Path) -> None:
    for seed in seeds:
        here = folder / str(seed)
        history = History(here / "lake", seed)
        try:
            history.live(history.dice.randint(2, 9))
            _check(history, here)
        except BaseException:
            print(f"seed {seed}:", " ".join(history.told))
            raise
        shutil.rmtree(here)


@pytest.mark.parametrize("first", range(0, 16, 8))
def test_histories(first: int, tmp_path: Path) -> None:
    """A few histories, the same ones each time."""
    _histories(range(first, first + 8), tmp_path)


@pytest.mark.soak
def test_histories_long(tmp_path: Path) -> None:
    """Many more (``SOAK_EXAMPLES``, default 2000)."""
    _histories(range(1000, 1000 + int(os.environ.get("SOAK_EXAMPLES", "2000"))), tmp_path)
