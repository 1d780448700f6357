"""The rows of the example lake: one builder a log, each row told from its branch.

A builder knows every branch of its source's scorer (SPEC C3) and writes a text that
deserves that verdict. Choices are hashes of seed and place, so that the same arguments give
the same rows; it never draws a random number, looks at a clock or writes anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar

from stillhouse import demo_words as words

Row = dict[str, Any]
T = TypeVar("T")

TURNS: Final = 3
"""Answers a task gets, so that there are better and worse ones to compare."""


class Place(NamedTuple):
    """Where a row stands: the lake's seed, its log, its number, and its scorer's branch."""

    seed: int
    stem: str
    number: int
    branch: str

    @property
    def task(self) -> int:
        """The task that this row and its neighbours answer."""
        return self.number // TURNS

    def chance(self, limit: int, *about: object) -> int:
        """A number below ``limit`` that hangs on the row and on what it is about."""
        return _chance(limit, self.seed, self.stem, self.number, *about)

    def pick(self, options: Sequence[T], *about: object) -> T:
        """One of the options, by the row."""
        return options[self.chance(len(options), "pick", *about)]

    def of_task(self, options: Sequence[T], *about: object) -> T:
        """One of the options, the same for all answers to the task."""
        return options[_chance(len(options), self.seed, self.stem, self.task, *about)]

    def some(self, options: Sequence[T], count: int, *about: object) -> list[T]:
        """``count`` different options in their own order, by the row."""
        ranked = sorted(range(len(options)), key=lambda i: self.chance(1 << 30, i, *about))
        return [options[i] for i in sorted(ranked[:count])]


def _chance(limit: int, *about: object) -> int:
    digest = hashlib.blake2b(repr(about).encode(), digest_size=8).digest()
    return int.from_bytes(digest) % limit


# ------------------------------------------------------------------------------- reviews

_GOOD_END: Final = (
    "The first point breaks a requirement and should block the merge; the rest can follow.",
    "I wrote a failing test for each of these; the fixes are small and local.",
    "Apart from that the change does what the PRD asks, and the tests cover the new paths.",
)


def _module(place: Place) -> words.Module:
    return words.MODULES[place.task % len(words.MODULES)]


def _review(place: Place, quality: str) -> str:
    module = _module(place)
    line = 12 + place.chance(180, "line")
    if quality == "poor":
        return f"{module.blunder} (line {line})"
    if quality == "fair":
        return f"Line {line}: {place.pick(module.findings)} {place.pick(words.FAIR_END, 'end')}"
    found = place.some(module.findings, 2 + place.chance(2, "count"))
    points = [f"{i}. Line {line + 17 * i}: {point}" for i, point in enumerate(found, 1)]
    start = place.pick(words.LOOKED, "start").format(**module._asdict())
    return f"{start}\n\n" + "\n".join(points) + f"\n\n{place.pick(_GOOD_END, 'end')}"


def scrum(place: Place) -> Row:
    """A review of a file against the PRD."""
    attempt = {"first": 1, "later": 2 + place.chance(2), "late": 4 + place.chance(3)}
    quality = {"first": "good", "later": "fair"}.get(place.branch, "poor")
    row: Row = {"file": _module(place).path}
    if place.branch in attempt:
        row["accepted_on_attempt"] = attempt[place.branch]
    row["review"] = _review(place, quality)
    corpora = place.some(words.CORPORA, 1 + place.chance(3))
    return row | {"matrix_corpora": corpora, "matrix_hits": 3 + place.chance(9)}


def observer(place: Place) -> Row:
    """An observer's look at the latest attempt."""
    quality = {"accept": "good", "cycle": "fair", "unknown": "fair"}.get(place.branch, "poor")
    row: Row = {"file": _module(place).path, "review": _review(place, quality)}
    if place.branch != "missing":
        row["verdict"] = "undecided" if place.branch == "unknown" else place.branch
        row["confidence"] = (55 + place.chance(44)) / 100
    row["notes"] = [f"{1 + place.chance(4)} of 5 points checked against the code"]
    row["role"] = "reviewer"
    return row


def apply(place: Place) -> Row:
    """A small patch that was tried on the main branch by itself."""
    module = _module(place)
    line = 20 + place.chance(200)
    new = module.broken if place.branch == "build_red_reverted" else module.after
    if place.branch == "lint_reverted":
        new += "  # see ticket KB-" + str(300 + place.chance(600))
    patch = (
        f"--- a/{module.path}\n+++ b/{module.path}\n@@ -{line},1 +{line},1 @@\n"
        f"-{module.before}\n+{new}\n"
    )
    if place.branch == "no_patch":
        patch = f"No patch: line {line} no longer reads `{module.before.strip()}`."
    return {"file": module.path, "action": place.branch, "patch": patch, "role": "applier"}


# ------------------------------------------------------------------------- audits, permits

_OVERALL: Final = ("approve", "request_changes", "block", "deferred")


def audit(place: Place) -> Row:
    """An audit of one phase of a release: by an overall word, or by its findings."""
    phase = place.of_task(words.PHASES)
    row: Row = {"phase": phase}
    found = [("info", place.pick(words.AUDIT_FINDINGS["info"]))]
    if place.branch in _OVERALL:
        row["overall"] = place.branch
    elif place.branch == "none":
        row["findings"], found = [], []
    else:
        found.append((place.branch, place.pick(words.AUDIT_FINDINGS[place.branch], "worst")))
        row["findings"] = [{"severity": how, "message": message} for how, message in found]
    week = 3 + place.chance(9)
    sections = [f"Audit of the phase *{phase}*, calendar week {week}."]
    if place.branch in ("approve", "none"):
        # The full report: long enough to be cut into several chunks.
        for module in place.some(words.MODULES, 7):
            fixed = " ".join(place.some(module.findings, 2, module.path))
            sections.append(
                f"`{module.path}` {module.job}. Open at the last audit: {fixed} Both are fixed; "
                f"{2 + place.chance(7, module.path)} new tests hold them."
            )
        sections.append("Nothing stands against the release.")
    else:
        sections += [f"{how.capitalize()}: {message}" for how, message in found]
        sections.append(_AUDIT_ENDS[place.branch])
    return {**row, "summary": "\n\n".join(sections)}


_AUDIT_ENDS: Final = {
    "request_changes": "To be mended before the release, then looked at again.",
    "block": "The release must wait: the restore drill failed twice.",
    "deferred": "The auditor was not given access to the test system.",
    "info": "Nothing here stands against the release.",
    "low": "Small matters; they may follow after the release.",
    "medium": "The team and the auditor do not agree how much this matters.",
    "high": "The release must not go out like this.",
    "critical": "The service should be taken offline until this is mended.",
}


def contract(place: Place) -> Row:
    """A contractor's application, analysed."""
    street, firm = place.of_task(words.STREETS), place.of_task(words.CONTRACTORS, "firm")
    work, days = place.of_task(words.WORKS, "work"), place.of_task(range(3, 40), "days")
    marker, gap, against = place.of_task(words.GAPS, "gap")
    permit = 2400 + place.task
    start = f"{firm} applies for {days} days on {street} for {work}."
    row: Row = {"permit_id": f"P-{permit}", "contractor": firm, "source_files": ["bylaws/4.md"]}
    if place.branch in ("accept", "cycle", "reject"):
        row["observer_verdict"] = place.branch
    if place.branch == "accept":
        fitting = [said for said in words.CONDITIONS if against not in said]
        kept = place.some(fitting, 3 + place.chance(4))
        points = "\n".join(f"- {point.format(year=2027)}" for point in kept)
        end = f"One thing is open: {gap[0].lower()}{gap[1:]} I recommend to grant P-{permit} once "
        row["analysis"] = f"{start}\n\n{points}\n\n{end}that is settled."
    elif place.branch == "marker":
        row["failure_markers"] = [marker]
        row["analysis"] = f"{start} All papers are complete. Grant it."
    elif place.branch == "cycle":
        row["analysis"] = f"{start} {gap} The other conditions I have not checked."
    elif place.branch == "reject":
        row["analysis"] = f"{start} {street} is not in this town, so no permit is needed."
    else:
        row["analysis"] = f"{start} {place.pick(words.CONDITIONS).format(year=2027)}"
    return row


# ----------------------------------------------------------------------------- scenarios

_TOOLS: Final = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": what,
            "parameters": {
                "type": "object",
                "properties": {argument: {"type": "string"} for argument in arguments},
                "required": list(arguments),
            },
        },
    }
    for name, what, arguments in (
        ("find_closure", "The closures of a street, with permit and dates", ("street",)),
        ("send_letter", "Queue a letter to a resident", ("resident", "text")),
    )
]
_POLICY: Final = (
    "You answer residents of a small town who ask about street works. Look up a closure before "
    "you speak of it. Promise nothing that the permit does not say. Be brief and kind."
)


def outcome(place: Place) -> Row:
    """A resident's question, answered with tools; each event of the scenario checked."""
    street, resident = place.of_task(words.STREETS), place.of_task(words.RESIDENTS, "who")
    permit, day = 2400 + place.task, place.of_task(range(9, 28), "day")
    ask = f"This is {resident}. Until when is {street} closed? I have a delivery on {day} March."
    system, user = {"role": "system", "content": _POLICY}, {"role": "user", "content": ask}
    call = {"name": "find_closure", "arguments": f'{{"street": "{street}"}}'}
    calls = [{"id": f"call_{permit}", "type": "function", "function": call}]
    found = f'{{"permit": "P-{permit}", "ends": "{day + 2} March", "access": "rear, from 18:00"}}'
    looked = [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": f"call_{permit}", "content": found},
    ]
    asked = {"all": 3, "some": 1 + place.chance(2), "none": 0}.get(place.branch)
    names = ("closure_looked_up", "date_right", "way_out_offered")
    events = [] if asked is None else [{"name": n, "ok": i < asked} for i, n in enumerate(names)]
    if events and not events[-1]["ok"]:
        events[-1]["note"] = "the rear access is not mentioned"
    talk = [system, user, *(looked if asked != 0 else [])]
    talk.append({"role": "assistant", "content": _reply(place, asked, street, permit, day)})
    return {
        "scenario": f"{resident}, {street}",
        "events": events,
        "messages": talk,
        "tools": _TOOLS,
    }


def _reply(place: Place, good: int | None, street: str, permit: int, day: int) -> str:
    if good is None:
        return f"I have found permit P-{permit}. One moment please."
    if good == 0:
        return f"{street} should be open again soon. Your delivery will be fine."
    end = f"{street} is closed until {day + 2} March under permit P-{permit}"
    if good < 3:
        return f"{end}." if good == 2 else f"{street} is closed until {day + 20} March."
    thanks = place.pick(("Thank you for asking.", "Thank you for your patience.", "Good question!"))
    return (
        f"{thanks} {end}, so it will still be closed on {day} March. Your delivery can use the "
        f"rear access from 18:00. {place.pick(_OFFERS, 'offer')}"
    )


_OFFERS: Final = (
    "Shall I send you that by letter?",
    "If that is too late for the driver, tell me and I will ask the contractor.",
    "I can also let you know when the works end earlier.",
)


# --------------------------------------------------------------------------- experiments


class Exercise(NamedTuple):
    """A prompt with a good, a fair and a bad answer, and the checks they were put to."""

    kind: str
    prompt: str
    good: str
    fair: str
    bad: str
    checks: tuple[str, str]


def mode(place: Place) -> Row:
    """One prompt, answered by one model, put to checks."""
    exercise = (_fee, _label, _sql)[place.task % 3](place)
    first, second = exercise.checks
    answer = {"passed": exercise.good, "some": exercise.fair, "none": exercise.bad}
    validators = {
        "passed": {first: True, second: True},
        "some": {first: True, second: False},
        "none": {first: False, second: False},
    }
    return {
        "task_class": exercise.kind,
        "file": f"cases/{exercise.kind}/{place.task:04d}.md",
        "mode": place.pick(("plain", "with_examples", "with_retrieval"), "mode"),
        "prompt": exercise.prompt,
        "response": answer.get(place.branch, exercise.fair),
        "validators": validators.get(place.branch, {}),
    }


def _fee(place: Place) -> Exercise:
    lanes, days = place.of_task(range(1, 4), "lanes"), place.of_task(range(11, 29), "days")
    rate = place.of_task((18, 24, 36, 42), "rate")
    full, rest = lanes * rate * 10, lanes * rate * (days - 10)
    less = Decimal(rest) * Decimal("0.75")
    total, wrong = full + less, Decimal(lanes * rate * days) * Decimal("0.75")
    steps = (
        f"The first 10 days cost {lanes} × {rate} × 10 = {full} €. The other {days - 10} days "
        f"cost {lanes} × {rate} × {days - 10} = {rest} €, and with 25 % off {less:.2f} €."
    )
    start = ("", "Step by step. ", "By the tariff: ")[place.number % TURNS]
    return Exercise(
        "fee_arithmetic",
        f"A contractor closes {lanes} lane{'s' * (lanes > 1)} for {days} days. A lane costs {rate} "
        "€ a day; from the eleventh day on there is 25 % off. What is the fee? Show the steps.",
        f"{start}{steps} Together {full} + {less:.2f} = {total:.2f} €.\n\nFee: {total:.2f} €",
        f"{start}Fee: {total:.2f} €",
        f"{lanes} × {rate} × {days} with 25 % off is {wrong:.2f} €.\n\nFee: {wrong:.2f} €",
        ("amount_right", "steps_shown"),
    )


def _label(place: Place) -> Exercise:
    reading = words.MESSAGES[place.task // 3 % len(words.MESSAGES)]
    message = reading.message.format(street=place.of_task(words.STREETS))
    labels = ", ".join(sorted({each.label for each in words.MESSAGES}))
    voice = ("{}", "Because {}.", "Reason: {}.")[place.number % TURNS].format(reading.because)
    return Exercise(
        "message_label",
        f"Give the message one label of {labels}, as JSON with a reason.\n\n“{message}”",
        f'{{"label": "{reading.label}", "reason": "{voice}"}}',
        f"{reading.label}: {voice}",
        f"I would call this {reading.wrong}.",
        ("label_right", "is_json"),
    )


def _sql(place: Place) -> Exercise:
    query = words.QUERIES[place.task // 3 % len(words.QUERIES)]
    month, first, after = place.of_task(words.MONTHS, "month")
    names = {"street": place.of_task(words.STREETS), "month": month, "first": first, "next": after}
    quoted = {**names, "street": names["street"].replace("'", "''")}
    right, wrong = query.right.format(**quoted), query.wrong.format(**quoted)
    lead = ("Note", "Careful", "Why so")[place.number % TURNS]
    return Exercise(
        "sql_from_question",
        "Write one PostgreSQL statement over permits, contractors and closures. Say in one line "
        f"what is easy to get wrong.\n\n{query.question.format(**names)}",
        f"```sql\n{right}\n```\n\n{lead}: {query.trap}.",
        f"```sql\n{right}\n```",
        f"```sql\n{wrong}\n```\n\nThis is simple, nothing can go wrong.",
        ("result_right", "trap_named"),
    )


# ---------------------------------------------------------------------------- extraction


def fact(place: Place) -> Row:
    """Something taken from documents and runs; no verdict in it."""
    texts = words.FACTS[place.stem]
    text = texts[place.number % len(texts)].format(
        street=place.pick(words.STREETS),
        days=2 + place.chance(19),
        number=2400 + place.chance(400),
        month=place.pick(words.MONTHS, "month")[0],
        path=_module(place).path,
    )
    return {"text" if place.stem == "standup_notes" else "fact": text, "role": "extractor"}


class Log(NamedTuple):
    """A log of the example lake: its builder, and its scorer's branches, good ones first."""

    build: Callable[[Place], Row]
    branches: tuple[str, ...]
    weight: int


LOGS: Final = {
    "mode_experiments": Log(mode, ("passed", "none", "some", "unchecked"), 24),
    "scrum_reviews": Log(scrum, ("first", "later", "late", "unsaid"), 14),
    "observer_reviews": Log(observer, ("accept", "reject", "cycle", "unknown", "missing"), 14),
    "contract_analyses": Log(contract, ("accept", "marker", "cycle", "reject", "none"), 12),
    "outcomes": Log(outcome, ("all", "none", "some", "no_events"), 10),
    "auto_apply": Log(apply, words.ACTIONS, 10),
    "audits": Log(audit, (*_OVERALL, "none", *words.AUDIT_FINDINGS), 6),
    **{stem: Log(fact, ("said",), 2) for stem in words.FACTS},
}
"""Every log; a weight is about its share of a hundred rows."""
