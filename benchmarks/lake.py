"""Writes a lake of synthetic run logs for the benchmarks, and says what it put there.

Deterministic (every choice is a byte of a BLAKE2 hash of seed, stem and row number),
streaming (any number of rows in a few MB of memory) and fast. One row in a thousand is
malformed, one in a hundred invalid; about one answer in sixty repeats another's and one in
two hundred contradicts it. It never looks at the clock and never imports stillhouse: what
it expects of the rules is written down here a second time, on purpose.

    python -m benchmarks.lake DIR --rows 100000
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

from benchmarks.rows import ACCEPTED, BUILDERS, CATEGORIES, REJECTED, REVIEW, Answer
from benchmarks.words import FILES, MODELS, SENTENCES, SNIPPETS, fake_secrets

DAYS: Final = 30
DAY_MS: Final = 86_400_000
SPAN_MS: Final = DAYS * DAY_MS
START_MS: Final = 1_767_571_200_000
"""2026-01-05T00:00:00Z."""
SHARES: Final = {
    "mode_experiments": 20,
    "scrum_reviews": 18,
    "observer_reviews": 14,
    "contract_analyses": 12,
    "auto_apply": 12,
    "distilled_facts": 10,
    "outcomes": 8,
    "audits": 6,
}
"""Rows of a stem in a hundred."""

INVALID_RUN: Final = "invalid-"
"""Run ids of rows that break a rule start so: a reader that is lax can be compared on the rest."""

_TASKS_AT_ONCE: Final = 1000
_ANSWERS: Final = 4
_SECRETS: Final = fake_secrets()


@dataclass
class Expected:
    """What a right run makes of the rows written: the generator's own account."""

    rows: int = 0
    bytes: int = 0
    malformed: int = 0
    invalid: int = 0
    repeated: int = 0
    categories: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def valid(self) -> int:
        """Rows that become evidence."""
        return self.rows - self.malformed - self.invalid - self.repeated

    def totals(self) -> dict[str, int]:
        """Valid rows by category, over all stems."""
        total: Counter[str] = Counter()
        for counts in self.categories.values():
            total.update(counts)
        return dict(sorted(total.items()))

    def as_dict(self) -> dict[str, object]:
        """All of it, for JSON."""
        return {
            "rows": self.rows,
            "bytes": self.bytes,
            "malformed": self.malformed,
            "invalid": self.invalid,
            "repeated": self.repeated,
            "valid": self.valid,
            "totals": self.totals(),
            "categories": {stem: dict(counts) for stem, counts in self.categories.items()},
        }


def stem_rows(rows: int) -> dict[str, int]:
    """How many rows each stem gets; they add up to ``rows``."""
    counts = {stem: rows * share // 100 for stem, share in SHARES.items()}
    counts["mode_experiments"] += rows - sum(counts.values())
    return counts


def write_lake(root: Path, rows: int, *, seed: int = 1) -> Expected:
    """Write ``rows`` raw rows under ``root/_kb`` and return what they should become."""
    return _write(root, stem_rows(rows), {}, rows, seed, "wb")


def append_rows(root: Path, rows: int, more: int, *, seed: int = 1) -> Expected:
    """Append ``more`` rows to a lake of ``rows``: half on its last day, half on the next."""
    return _write(root, stem_rows(more), stem_rows(rows), rows, seed, "ab")


def _write(
    root: Path, counts: dict[str, int], first: dict[str, int], rows: int, seed: int, mode: str
) -> Expected:
    expected = Expected()
    folder = root / "_kb"
    folder.mkdir(parents=True, exist_ok=True)
    whole = stem_rows(rows)
    for stem, count in counts.items():
        kinds: Counter[str] = Counter()
        size = 0
        with (folder / f"{stem}.jsonl").open(mode, buffering=1 << 20) as out:
            start = first.get(stem, 0)
            for line, kind in stem_lines(stem, start, count, max(whole[stem], 1), seed):
                out.write(line)
                size += len(line)
                kinds[kind] += 1
        _account(expected, stem, size, kinds)
    return expected


def _account(expected: Expected, stem: str, size: int, kinds: Counter[str]) -> None:
    expected.rows += kinds.total()
    expected.bytes += size
    expected.malformed += kinds.pop("malformed", 0)
    expected.invalid += kinds.pop("invalid", 0)
    expected.repeated += kinds.pop("repeated", 0)
    expected.categories[stem] = kinds


def stem_lines(
    stem: str, start: int, count: int, whole: int, seed: int
) -> Iterator[tuple[bytes, str]]:
    """The lines of one stem with their line ends, each with its category or what is wrong.

    ``whole`` rows span `DAYS` days; rows past them go on at the same pace.
    """
    build = BUILDERS[stem]
    lag = whole // 200
    name = stem.encode()
    key = b"%d:%b:" % (seed, name)
    line, kind = b"", ""
    for i in range(start, start + count):
        if i % 400 == 123 and kind in CATEGORIES:
            yield line, "repeated"
            continue
        bits = _hash(key, b"row", i)
        answer = _answer(key, bits, i, START_MS + SPAN_MS * max(i - lag, 0) // whole)
        body, kind = build(answer)
        head = _head(name, bits, i, answer, _time(stem, answer.when))
        if bits[5] < 2:
            decision, kind = _OVERRIDES[bits[6] % 3]
            body += b',"human_override":{"decision":"%b","reviewer":"dana"}' % decision
        if i % 100 == 37:
            head, body, kind = _spoil(bits, head, body)
        line = b"{%b,%b}\n" % (head, body)
        if i % 1000 == 499:
            line, kind = _tear(bits, line), "malformed"
        yield line, kind


_OVERRIDES: Final = ((b"accept", ACCEPTED), (b"reject", REJECTED), (b"needs_review", REVIEW))


def _hash(key: bytes, what: bytes, number: int) -> bytes:
    return blake2b(b"%b%b:%d" % (key, what, number), digest_size=48).digest()


def _answer(key: bytes, bits: bytes, i: int, when: int) -> Answer:
    """Row ``i`` answers a task that `_ANSWERS` rows share, a thousand rows apart."""
    block = _TASKS_AT_ONCE * _ANSWERS
    task = i // block * _TASKS_AT_ONCE + i % _TASKS_AT_ONCE
    turn = i % block // _TASKS_AT_ONCE
    same = turn > 0 and bits[0] < 5
    content = _hash(key, b"answer", task * _ANSWERS + (0 if same else turn))
    verdict = content[40]
    if same and bits[1] < 80:
        verdict += 4  # the same words; four places on, every table of `rows` judges otherwise
    return Answer(content, _text(content), task, when, verdict % 256)


def _text(bits: bytes) -> bytes:
    sentences = [SENTENCES[bit] for bit in bits[: 9 + bits[41] % 10]]
    middle = len(sentences) // 2
    parts = [b" ".join(sentences[:middle]), b" ".join(sentences[middle:])]
    if bits[42] < 110:
        parts.insert(1, SNIPPETS[bits[42] % len(SNIPPETS)])
    parts.append(b"Checked at %b." % bits[24:30].hex().encode())
    if bits[43] == 0:
        parts.append(b"The job ran with " + _SECRETS[bits[44] % len(_SECRETS)] + b" in its log.")
    return b"\\n\\n".join(parts)


def _time(stem: str, when: int) -> bytes:
    """Each log spells its times in its own way, as logs do."""
    if stem == "observer_reviews":
        return b'"ts":%d' % (when // 1000)
    if stem == "contract_analyses":
        return b'"at":%d' % when
    if stem == "scrum_reviews":
        return b'"reviewed_at":"%b+02:00"' % _clock(when + 7_200_000)[:19]
    name = _TIME_NAMES.get(stem, b"timestamp")
    return b'"%b":"%bZ"' % (name, _clock(when))


_TIME_NAMES: Final = {"auto_apply": b"ts", "outcomes": b"created_at"}


def _clock(when: int) -> bytes:
    seconds, ms = divmod(when % DAY_MS, 1000)
    minutes, second = divmod(seconds, 60)
    return b"%bT%02d:%02d:%02d.%03d" % (
        _date(when // DAY_MS),
        minutes // 60,
        minutes % 60,
        second,
        ms,
    )


@cache
def _date(day: int) -> bytes:
    return date.fromordinal(date(1970, 1, 1).toordinal() + day).isoformat().encode()


def _head(stem: bytes, bits: bytes, i: int, answer: Answer, spelled: bytes) -> bytes:
    return (
        b'"run_id":"%b-%d",%b,%b,"cost_usd":0.%04d,"latency_ms":%d,'
        b'"metadata":{"branch":"fix/%d","commit":"%b","attempts":%d,"labels":["%b","%b"]}'
    ) % (
        stem,
        i,
        spelled,
        _MODELS[bits[2] % len(_MODELS)],
        bits[3] * 3,
        400 + bits[4] * 37,
        answer.task,
        bits[8:16].hex().encode(),
        bits[7] % 4,
        FILES[bits[16] % 8],
        FILES[bits[17] % 8],
    )


_MODELS: Final = tuple(b'"model":"%b","provider":"%b"' % names for names in MODELS)


def _spoil(bits: bytes, head: bytes, body: bytes) -> tuple[bytes, bytes, str]:
    """Break a rule: half the time the time is missing, else a field has a wrong type."""
    head = head.replace(b'"run_id":"', b'"run_id":"' + INVALID_RUN.encode(), 1)
    if bits[20] < 128:
        for name in (b'"ts":', b'"at":', b'"reviewed_at":', b'"created_at":', b'"timestamp":'):
            head = head.replace(name, b'"noted":', 1)
    elif bits[20] < 192:
        head = head.replace(b'"cost_usd":', b'"cost_usd":"n/a","cost_was":', 1)
    else:
        head = head.replace(b'"latency_ms":', b'"latency_ms":["slow"],"latency_was":', 1)
    return head, body, "invalid"


def _tear(bits: bytes, line: bytes) -> bytes:
    if bits[20] < 128:
        torn = line[: len(line) * (1 + bits[21] % 3) // 4]
        # Not inside a character: half the peers stop at a file that is not UTF-8.
        return torn.decode(errors="ignore").encode() + b"\n"
    return b"Traceback (most recent call last): worker %d gave up\n" % bits[21]


def main() -> None:
    """Write a lake and print what is in it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lake", type=Path, help="folder to write; it should be empty")
    parser.add_argument("--rows", type=int, default=100_000, help="raw rows over all stems")
    parser.add_argument("--append", type=int, default=0, help="append this many to --rows instead")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.append:
        expected = append_rows(options.lake, options.rows, options.append, seed=options.seed)
    else:
        expected = write_lake(options.lake, options.rows, seed=options.seed)
    print(json.dumps(expected.as_dict(), indent=2))


if __name__ == "__main__":
    main()
