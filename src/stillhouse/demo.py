"""Writes the example lake: every source, every category, and the dirt of real logs.

The same arguments give the same bytes on any machine and day. It never touches a folder
that holds anything else than an example lake, and writes raw logs only: distilling them is
for `stillhouse run`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import msgspec

from stillhouse import demo_words as words
from stillhouse.demo_rows import LOGS, Log, Place, Row
from stillhouse.errors import LakeError, UsageError
from stillhouse.interfaces import Store
from stillhouse.lake import raw_path

MIN_ROWS: Final = 60
"""Fewer do not hold one row of every branch of every scorer and every kind of dirt."""

MARKER: Final = "demo-lake.json"
"""The file that says that a folder is an example lake and may be written anew."""

_START: Final = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
_SPAN: Final = timedelta(days=5, hours=12)
_OVERRIDDEN: Final = ("observer_reviews", "contract_analyses", "auto_apply")
_DECISIONS: Final = {
    "accept": "checked by hand; the concern was already mended",
    "reject": "it works, but it breaks the agreement with the bus operator",
    "needs_review": "the legal desk has to see this first",
}
_NAMED_RUNS: Final = ("scrum_reviews", "mode_experiments", "outcomes", "contract_analyses")
_CRLF: Final = "audit_facts"
_BOM: Final = "audits"
_TORN: Final = "auto_apply"


class DemoSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What was written: raw rows (blank lines not counted) in all and by log, how often each
    kind of dirt occurs, and the days that the rows span (UTC)."""

    lake: str
    rows: int
    logs: dict[str, int]
    dirt: dict[str, int]
    first_day: str
    last_day: str


def write_demo_lake(store: Store, rows: int = 400, *, seed: int = 1) -> DemoSummary:
    """Write about ``rows`` raw rows; files that hold them already are left alone.

    Raises `UsageError` for fewer than `MIN_ROWS` rows and `LakeError` for a folder that
    holds something else.
    """
    if rows < MIN_ROWS:
        raise UsageError(
            f"{rows} rows are too few for an example of everything",
            way_out=f"Ask for {MIN_ROWS} or more.",
        )
    _refuse_strangers(store)
    about = {"what": "an example lake, written by `stillhouse demo`", "rows": rows, "seed": seed}
    _put(store, MARKER, json.dumps(about, indent=2).encode() + b"\n")
    logs: dict[str, int] = {}
    dirt: dict[str, int] = {}
    for stem, count in _counts(rows).items():
        lines = list(_log(stem, count, seed))
        _soil(stem, lines, dirt, copies=_copies(rows))
        data = _join(stem, lines, dirt)
        logs[stem] = sum(1 for line in lines if line.strip())
        _put(store, raw_path(stem), data)
    return DemoSummary(
        lake=store.url,
        rows=sum(logs.values()),
        logs=dict(sorted(logs.items())),
        dirt=dict(sorted(dirt.items())),
        first_day=_START.date().isoformat(),
        last_day=(_START + _SPAN).date().isoformat(),
    )


def _refuse_strangers(store: Store) -> None:
    if store.stat(MARKER) is not None:
        return
    stranger = next(iter(store.list("")), None)
    if stranger is not None:
        raise LakeError(
            f"is not empty and no example lake (it holds {stranger.path})",
            where=store.url,
            way_out="Name a new or an empty folder: stillhouse demo DIR",
        )


def _put(store: Store, path: str, data: bytes) -> None:
    # A rewritten file would look changed to the next run, and be read again for nothing.
    entry = store.stat(path)
    if entry is not None and entry.size == len(data) and store.read(path) == data:
        return
    with store.writer(path) as out:
        out.write(data)


# --------------------------------------------------------------------------------- rows


def _copies(rows: int) -> int:
    return max(1, rows // 400)


def _least(stem: str, log: Log) -> int:
    return len(log.branches) + (stem in _OVERRIDDEN)


def _counts(rows: int) -> dict[str, int]:
    """Rows of each log without its dirt: one of every branch, the rest by weight."""
    least = {stem: _least(stem, log) for stem, log in LOGS.items()}
    spare = rows - sum(least.values()) - (len(_DIRT) + 2) * _copies(rows) - 1
    weight = sum(log.weight for log in LOGS.values())
    counts = {
        stem: least[stem] + max(spare, 0) * log.weight // weight for stem, log in LOGS.items()
    }
    counts["mode_experiments"] += max(spare, 0) - sum(counts.values()) + sum(least.values())
    return counts


def _log(stem: str, count: int, seed: int) -> Iterator[bytes]:
    """The clean lines of one log, in the order of their times."""
    log = LOGS[stem]
    # Good runs are the most frequent; the first rows show every branch once.
    bag = (log.branches[0],) * len(log.branches) + log.branches
    for number in range(count):
        place = Place(seed, stem, number, "")
        branch = log.branches[number] if number < len(log.branches) else place.pick(bag, "branch")
        place = place._replace(branch=branch)
        when = _START + _SPAN * number / count + timedelta(seconds=place.chance(600, "late"))
        row = {**_common(place, when), **log.build(place)}
        if number % 40 == 0:
            _leak(stem, row)
        if stem in _OVERRIDDEN and number >= len(log.branches):
            _override(place, row, when)
        yield _line(row)


def _line(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()


def _common(place: Place, when: datetime) -> Row:
    model, provider = place.pick(words.MODELS, "model")
    row: Row = {}
    if place.stem in _NAMED_RUNS:
        row["run_id"] = f"{place.stem.split('_')[0]}-{when:%m%d}-{place.number:04d}"
    row |= _time(place.stem, when)
    row |= {"model": model, "provider": provider}
    if place.stem not in words.FACTS:
        row["cost_usd"] = (20 + place.chance(900, "cost")) / 10_000
        row["latency_ms"] = 700 + place.chance(9000, "latency")
        row["metadata"] = {"ticket": f"KB-{300 + place.task}", "release": "2.14"}
    return row


def _time(stem: str, when: datetime) -> Row:
    """Each log spells its times in its own way."""
    if stem == "scrum_reviews":
        return {"reviewed_at": when.astimezone(timezone(timedelta(hours=1))).isoformat()}
    if stem == "observer_reviews":
        return {"ts": int(when.timestamp())}
    if stem == "contract_analyses":
        return {"at": int(when.timestamp() * 1000)}
    if stem == "outcomes":
        return {"created_at": when.isoformat(timespec="microseconds")}
    if stem == "distilled_facts":
        return {"ts": when.timestamp() + 0.25}
    if stem == "distilled_procedures":
        return {"at": when.astimezone(timezone(timedelta(hours=-5))).isoformat()}
    return {"timestamp": f"{when:%Y-%m-%dT%H:%M:%S}Z"}


def _override(place: Place, row: Row, when: datetime) -> None:
    """A person decided otherwise: the first row past the branches, then now and then."""
    past = place.number - len(LOGS[place.stem].branches)
    if past % 13 == 0:
        turn = _OVERRIDDEN.index(place.stem) + past // 13
        decision = tuple(_DECISIONS)[turn % len(_DECISIONS)]
        row["human_override"] = {
            "decision": decision,
            "reviewer": words.REVIEWERS[turn % len(words.REVIEWERS)],
            "reason": _DECISIONS[decision],
            "overridden_at": (when + timedelta(hours=3)).isoformat(),
        }


# ------------------------------------------------------------------------------ secrets


def fake_secrets() -> dict[str, str]:
    """Made-up secrets in the formats of real ones. They open nothing, and they are put
    together only here, so that no scanner takes this file for a leak."""
    return {
        "aws_key": "AKIA" + "KERBSIDEDEMO" + "2026",
        "github_token": "ghp" + "_" + "K3rbs1deDemo" * 3,
        "llm_key": "sk-" + "proj-" + "K3rbs1deDemoNotARealKey" * 2,
        "url_password": "postgresql://" + "kerbside:" + "demo-Only-71" + "@db.kerbside.example/app",
        "private_key": "-----BEGIN RSA " + "PRIVATE KEY-----\n" + "S2VyYnNpZGVEZW1v" * 4
        + "\n-----END RSA " + "PRIVATE KEY-----",
    }  # fmt: skip


def _leak(stem: str, row: Row) -> None:
    """Let a secret slip into a row, as it happens: the exports must not carry it on."""
    fakes = fake_secrets()
    if stem == "scrum_reviews":
        row["review"] += f"\n\nThe fixture in line 9 holds a key: {fakes['aws_key']}."
    elif stem == "observer_reviews":
        row["review"] += f"\n\nThe script calls the API with {fakes['github_token']}."
    elif stem == "audits":
        row["summary"] += f"\n\nFound in the repository and revoked:\n\n{fakes['private_key']}"
    elif stem == "auto_apply":
        row["patch"] = (
            row["patch"].replace(",1", ",2", 2) + f' DATABASE = "{fakes["url_password"]}"\n'
        )
    elif stem == "outcomes":
        for message in row["messages"]:
            if message["role"] == "tool":
                message["content"] = message["content"][:-1] + f', "key": "{fakes["llm_key"]}"}}'


# --------------------------------------------------------------------------------- dirt


def _dirty_lines(copy: int) -> dict[str, tuple[str, bytes]]:
    """Rows that must end in quarantine, by kind: in which log, and the line."""
    path = words.MODULES[copy % len(words.MODULES)].path
    day = f"2026-03-0{3 + copy % 4}"
    return {
        "invalid_utf8": (
            "observer_reviews",
            f'{{"ts": "{day}T08:30:00Z", "file": "{path}", "verdict": "accept", "review": '
            f'"The sign in Hafenstraße {copy + 1} is missing."}}'.encode("latin-1"),
        ),
        "not_an_object": ("outcomes", b'["closure_looked_up", true, %d]' % copy),
        "not_a_number": (
            "auto_apply",
            f'{{"timestamp": "{day}T09:00:00Z", "file": "{path}", "action": "committed", '
            f'"patch": "+ pass  # {copy}", "cost_usd": NaN}}'.encode(),
        ),
        "duplicate_key": (
            "contract_analyses",
            f'{{"at": "{day}T10:00:00Z", "permit_id": "P-{2900 + copy}", "observer_verdict": '
            '"reject", "analysis": "The bank guarantee is missing.", "observer_verdict": "accept"}'
            "".encode(),
        ),
        "missing_time": (
            "scrum_reviews",
            f'{{"file": "{path}", "accepted_on_attempt": 1, "review": "Fine, see KB-{copy}."}}'
            "".encode(),
        ),
        "wrong_types": (
            "mode_experiments",
            f'{{"timestamp": "{day}T11:00:00Z", "task_class": "fee_arithmetic", "file": {copy}, '
            '"latency_ms": "slow", "validators": "all green", "response": "Fee: 96.00 €"}'.encode(),
        ),
        "not_json": (
            "distilled_procedures",
            b"Traceback (most recent call last): worker %d ran out of disk" % copy,
        ),
    }


_DIRT: Final = (*_dirty_lines(0), "repeated_line")


def _soil(stem: str, lines: list[bytes], dirt: dict[str, int], *, copies: int) -> None:
    """Put this log's share of dirt between its lines."""
    for copy in range(copies):
        place = (7 * copy + 3) % len(lines) + 1
        for kind, (where, line) in _dirty_lines(copy).items():
            if where == stem:
                lines.insert(place, line)
                dirt[kind] = dirt.get(kind, 0) + 1
        if stem == "mode_experiments":
            _echo(lines, copy, dirt)
    if stem == "observer_reviews":
        for blank in (b"", b"  \t"):
            lines.insert(len(lines) // 2, blank)
        dirt["blank_line"] = 2


def _echo(lines: list[bytes], copy: int, dirt: dict[str, int]) -> None:
    """The log's shipper sent a line twice; an answer was given again; a check that fails
    now and then failed on an answer it had passed."""
    right = [line for line in lines if b'": false' not in line and b'": true' in line]
    line = right[5 * copy % len(right)]
    row: dict[str, Any] = json.loads(line)
    again = {**row, "run_id": f"{row['run_id']}-again"}
    flaky = json.loads(right[(5 * copy + 2) % len(right)] if len(right) > 2 else line)
    failed = dict.fromkeys(flaky["validators"], False)
    lines.insert(lines.index(line) + 1, line)
    lines.append(_line(again))
    lines.append(_line({**flaky, "run_id": f"{flaky['run_id']}-flaky", "validators": failed}))
    for kind in ("repeated_line", "same_answer", "conflicting_verdict"):
        dirt[kind] = dirt.get(kind, 0) + 1


def _join(stem: str, lines: list[bytes], dirt: dict[str, int]) -> bytes:
    """The file: its line ends, its byte order mark, its torn last line."""
    end = b"\n"
    if stem == _CRLF:
        end = b"\r\n"
        dirt["crlf"] = len(lines)
    data = b"".join(line + end for line in lines)
    if stem == _BOM:
        data = b"\xef\xbb\xbf" + data
        dirt["byte_order_mark"] = 1
    if stem == _TORN:
        # The writer was killed in the middle of a line.
        last = lines[0][: len(lines[0]) * 2 // 3]
        lines.append(last)
        data += last
        dirt["truncated_last_line"] = 1
    return data
