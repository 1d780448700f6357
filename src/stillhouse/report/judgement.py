"""What the facts mean: may one train on this lake, and what needs a human.

The rules, in the order they are asked:

    no        something forbids it: a red gate, a harmful change of verdicts, a commit that was
              interrupted, nothing to train on
    unproven  nobody has run the sixteen gates, some are blocked, or the lake changed since
    look      the gates hold, and something wants to be looked at first
    yes       the gates hold and nothing stands out

Pure: facts in, facts out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from stillhouse.funnel import SourceFunnel
from stillhouse.report import reasons
from stillhouse.report.facts import (
    Acceptance,
    Attention,
    Audit,
    Changes,
    FieldDrift,
    Flag,
    Level,
    ReceiptRow,
    RefusedRows,
    Totals,
    Verdict,
)
from stillhouse.sources import all_sources

MUCH_REFUSED: Final = 0.05
"""Share of raw rows in quarantine above which somebody should look at what writes the logs."""

_GATES: Final = 16
_MOST_NAMES: Final = 4
_ORDER: Final[dict[Flag, int]] = {"warn": 0, "removed": 1, "first_run": 2, "ok": 4}
_WORDS: Final[dict[Level, str]] = {
    "no": "Do not train on this lake as it is.",
    "unproven": "Not proven fit to train on.",
    "look": "Fit to train on, after a look at what is listed below.",
    "yes": "Fit to train on.",
}


class Seen(NamedTuple):
    """What is judged."""

    totals: Totals
    sources: list[SourceFunnel]
    refused: list[RefusedRows]
    unread: list[str]
    owes: bool
    acceptance: Acceptance | None
    audit: Audit | None
    receipts: list[ReceiptRow]
    notes: list[str]


def verdict(totals: Totals, acceptance: Acceptance | None, attention: list[Attention]) -> Verdict:
    """The answer, with what speaks for and against it."""
    weights = Counter(one.weight for one in attention)
    proven = acceptance is not None and not acceptance.stale and acceptance.passed == _GATES
    level: Level = "yes"
    if weights["stop"]:
        level = "no"
    elif not proven:
        level = "unproven"
    elif weights["look"]:
        level = "look"
    found = [one.what for one in attention if one.weight == "stop"]
    found.append(gates_in_words(acceptance))
    sft, pairs = totals.exports.get("sft", 0), totals.exports.get("preference", 0)
    if sft or pairs:
        found.append(
            f"It offers {number(sft, 'SFT sample')} and {number(pairs, 'preference pair')}."
        )
    return Verdict(level=level, words=_WORDS[level], reasons=found)


def gates_in_words(acceptance: Acceptance | None) -> str:
    """What the sixteen gates say, in a sentence."""
    if acceptance is None:
        return "The sixteen gates have not been run on it."
    when = acceptance.recorded_at[:10]
    said = f"{acceptance.passed} of {_GATES} gates held on {when}"
    if acceptance.stale:
        return f"{said}, but the lake has changed since."
    if acceptance.passed == _GATES:
        return f"All {_GATES} gates held on {when}, and no run has written anything since."
    return f"{said}."


def changes(audit: Audit | None, by_receipts: Changes) -> Changes:
    """What changed: as a fresh audit tells it, or else as the receipts do."""
    if audit is None or audit.stale or not audit.drift_rows:
        return by_receipts
    warned = [reasons.metric(row.what) for row in audit.drift_rows if row.flag == "warn"]
    limit = f"{100 * audit.threshold:g} %"
    if not audit.prior_at:
        words = "This was the first audit, so there is nothing to compare with."
    elif warned:
        words = f"{number(len(warned), 'figure')} moved by more than {limit}: {listed(warned)}."
    else:
        words = f"No figure moved by more than {limit}."
    return Changes(
        source="audit",
        words=words,
        since=audit.prior_at,
        now=audit.recorded_at,
        threshold=audit.threshold,
        rows=sorted(audit.drift_rows, key=lambda row: _ORDER[row.flag] - bool(row.creep)),
    )


# ---------------------------------------------------------------------------- attention


def attention(seen: Seen) -> list[Attention]:
    """What needs a human, the gravest first."""
    found = [*_state(seen), *_gates(seen.acceptance), *_audit(seen.audit), *_receipts(seen)]
    found += [*_rows(seen), *_review(seen)]
    found += [Attention(weight="look", what=note) for note in seen.notes]
    order = {"stop": 0, "look": 1, "todo": 2}
    return sorted(found, key=lambda one: order[one.weight])


def _state(seen: Seen) -> Iterator[Attention]:
    if seen.owes:
        yield Attention(
            weight="stop",
            what="A run was interrupted while it put its files into place.",
            do="Finish it:",
            command="run",
        )
    if not any(seen.totals.exports.values()):
        yield Attention(
            weight="stop",
            what="There is nothing to train on: no row has been exported.",
            do="See why:",
            command="inspect",
        )
    if seen.unread:
        yield Attention(
            weight="look",
            what=f"{number(len(seen.unread), 'raw log')} grew, changed or went since the last run: "
            f"{listed(seen.unread)}.",
            do="Take it in:",
            command="run",
        )


def _gates(acceptance: Acceptance | None) -> Iterator[Attention]:
    if acceptance is None or acceptance.stale:
        yield Attention(
            weight="todo",
            what=gates_in_words(acceptance),
            do="Run them:",
            command="accept",
        )
    red = [gate for gate in acceptance.gates if gate.verdict == "red"] if acceptance else []
    if acceptance and not acceptance.stale and acceptance.passed + len(red) < _GATES:
        left = _GATES - acceptance.passed - len(red)
        yield Attention(
            weight="todo",
            what=f"{left} of {_GATES} gates gave no verdict, so nothing is proven.",
            do="See why under “Gates”, then run them again:",
            command="accept",
        )
    for gate in red:
        first = gate.offences[0] if gate.offences else None
        detail = f": {first.detail}" if first else f": {gate.detail}" if gate.detail else ""
        yield Attention(
            weight="stop",
            what=sentence(f"Gate {gate.number}, {gate.name}, does not hold{detail}"),
            do="See its rows under “Gates”.",
        )


def _audit(audit: Audit | None) -> Iterator[Attention]:
    if audit is None or audit.stale:
        return
    if audit.harmful:
        yield Attention(
            weight="stop",
            what=f"{number(audit.harmful, 'row')} would train by today's rules, but were rejected "
            "or left to a person when they were scored.",
            do="See which:",
            command="drift scores",
        )
    if audit.unverified:
        yield Attention(
            weight="stop",
            what=f"{number(audit.unverified, 'file')} not as receipted, said the audit.",
            do="See which:",
            command="verify",
        )
    for phase in audit.phases:
        if phase.outcome == "error":
            yield Attention(
                weight="look",
                what=f"The audit could not finish its phase {phase.name}: {phase.detail}",
                do="Run it again:",
                command="audit",
            )
    drifted = sorted(filter(has_drifted, audit.fields), key=lambda field: -field.psi)
    if drifted:
        names = listed([f"{one.field} ({one.verdict}, PSI {one.psi:.2f})" for one in drifted])
        yield Attention(
            weight="look",
            what=f"The distribution of {number(len(drifted), 'field')} moved by more than noise: "
            f"{names}.",
            do="See the charts under “Drift”.",
        )
    warned = [row for row in audit.drift_rows if row.flag == "warn"]
    if warned:
        steps = listed(
            [f"{reasons.metric(row.what)} {moved(row.before, row.now)}" for row in warned]
        )
        yield Attention(
            weight="look",
            what=f"{number(len(warned), 'figure')} moved by more than {100 * audit.threshold:g} % "
            f"since the audit before: {steps}.",
            do="If the lake grew as it should, all is well.",
        )
    for row in audit.drift_rows:
        if row.creep:
            name = reasons.metric(row.what)
            yield Attention(weight="todo", what=f"{name} creeps: {'; '.join(row.creep)}.")


def has_drifted(field: FieldDrift) -> bool:
    """True for a drift that is called one and is more than noise."""
    return field.verdict in ("minor", "major") and field.psi > (field.noise_floor or 0.0)


def _receipts(seen: Seen) -> Iterator[Attention]:
    for row in seen.receipts:
        if row.problem:
            yield Attention(
                weight="look",
                what=f"The receipt {row.path} cannot be read: {row.problem}.",
                do="See what holds:",
                command="verify",
            )


def _rows(seen: Seen) -> Iterator[Attention]:
    rows = seen.totals.refused + seen.totals.evidence
    if seen.totals.refused:
        share = seen.totals.refused / rows
        yield Attention(
            weight="look" if share > MUCH_REFUSED else "todo",
            what=f"{number(seen.totals.refused, 'raw row')} ({100 * share:.1f} %) could not be "
            "used. The reasons and the lines stand under “Refused rows”.",
            do="Mend what writes them.",
        )
    if conflicts := max(
        (one.rows for one in seen.refused if one.reason == "conflicting_verdict"), default=0
    ):
        yield Attention(
            weight="todo",
            what=f"{number(conflicts, 'answer')} got a better verdict in one row than in another, "
            "and the better one was held back.",
            do="Settle them with `human_override`.",
        )
    known = all_sources()
    for source in seen.sources:
        if source.stem not in known and source.evidence:
            yield Attention(
                weight="todo",
                what=f"No source is defined for {source.stem}: none of its "
                f"{number(source.evidence, 'row')} can train.",
                do="Name the log as one of `stillhouse sources`, or add a source.",
            )


def _review(seen: Seen) -> Iterator[Attention]:
    waiting = seen.totals.categories["needs_human_review"]
    if waiting:
        most = sorted(seen.sources, key=lambda one: -one.categories["needs_human_review"])[:3]
        names = ", ".join(
            f"{one.stem} {one.categories['needs_human_review']:,}"
            for one in most
            if one.categories["needs_human_review"]
        )
        yield Attention(
            weight="todo",
            what=f"{number(waiting, 'row')} await a person's verdict ({names}).",
            do="Decide them with `human_override`; until then they do not train.",
        )


# -------------------------------------------------------------------------------- words


def number(count: int, what: str) -> str:
    """So many of what: ``1 row``, ``2 rows``."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def sentence(words: str) -> str:
    """The words with a full stop behind them, where nothing stops them yet."""
    return words if words.endswith((".", "!", "?")) else f"{words}."


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def figure(value: float | None) -> str:
    """A figure for people: whole numbers with separators, others with four digits."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


def moved(before: float | None, now: float | None) -> str:
    """What a figure did, in words."""
    if before is None:
        return f"is {figure(now)}, for the first time"
    if now is None:
        return f"was {figure(before)} and is no longer measured"
    if before == now:
        return f"is {figure(now)} as before"
    verb = "rose" if now > before else "fell"
    return f"{verb} from {figure(before)} to {figure(now)}"
