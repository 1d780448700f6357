"""Pure parts the scorers share: the common tables, counting checks, wording a reason.

A scorer is a function from an evidence record to a verdict (SPEC section 3). Nothing here
or in any scorer asks a clock, reads a file or changes what it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from stillhouse.interfaces import Verdict
from stillhouse.records import Category, HumanOverride, OverrideDecision, Signal

OBSERVER_CATEGORY: Final[Mapping[str, Category]] = {
    "accept": "accepted",
    "cycle": "partially_accepted",
    "reject": "rejected",
}
"""What an observer's word means (SPEC C3)."""

OVERRIDE_CATEGORY: Final[Mapping[OverrideDecision, Category]] = {
    "accept": "accepted",
    "reject": "rejected",
    "needs_review": "needs_human_review",
}
"""What a person's decision means (SPEC C4)."""

_LONGEST_QUOTE: Final = 60
_HINT: Final = 8
_MOST_NAMES: Final = 5


def quoted(text: object) -> str:
    """A value in quotes, cut where it would drown the reason it stands in.

    Cut between words, and a word too long to stand there is only hinted at: half a token or
    half a password would not be known for what it is when secrets are taken out.
    """
    plain = " ".join(str(text).split())
    if len(plain) > _LONGEST_QUOTE:
        whole = plain[:_LONGEST_QUOTE].rpartition(" ")[0]
        plain = f"{whole} …" if whole else f"{plain[:_HINT]}…"
    return f"'{plain}'"


def listed(names: Iterable[str]) -> str:
    """Names in quotes, joined by commas; the first few, and how many more there are."""
    every = list(names)
    shown = ", ".join(quoted(name) for name in every[:_MOST_NAMES])
    more = len(every) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def observer_verdict(verdict: str | None, said: Signal) -> Verdict:
    """Score an observer's verdict; ``said`` is what stood there when it was no known word."""
    if verdict is not None and verdict in OBSERVER_CATEGORY:
        return Verdict(
            OBSERVER_CATEGORY[verdict],
            [f"observer verdict is {quoted(verdict)}"],
            {"observer_verdict": verdict},
        )
    if said:
        reason = f"observer verdict {quoted(said)} is none of accept, cycle, reject"
        return Verdict("needs_human_review", [f"{reason}: a person must read it"], {})
    reason = "no observer verdict was recorded: a person must decide"
    return Verdict("needs_human_review", [reason], {})


def share_verdict(results: Mapping[str, bool], thing: str, good: str) -> Verdict:
    """Score named checks: all, some or none of them good; a person decides when none ran."""
    total = len(results)
    if not total:
        reason = f"no {thing} was recorded: a person must decide"
        return Verdict("needs_human_review", [reason], {f"{thing}s": 0})
    failed = [name for name, passed in results.items() if not passed]
    passed = total - len(failed)
    scores: dict[str, Signal] = {f"{thing}s": total, f"{thing}s_{good}": passed}
    count = f"{passed} of {total} {thing}s {good}"
    if not failed:
        return Verdict("accepted", [count], scores)
    category: Category = "partially_accepted" if passed else "rejected"
    return Verdict(category, [f"{count}; not {good}: {listed(failed)}"], scores)


def overridden(override: HumanOverride, rule: Verdict) -> Verdict:
    """A person's decision over a rule's (SPEC C4); the rule's own reasons are kept behind it."""
    who = quoted(override.reviewer) if override.reviewer else "a person who gave no name"
    reason = f"human override: {who} decided {quoted(override.decision)}"
    if override.reason:
        reason += f": {override.reason.strip()}"
    return Verdict(
        OVERRIDE_CATEGORY[override.decision],
        [reason, *(f"overridden rule ({rule.category}): {said}" for said in rule.reasons)],
        {**rule.sub_scores, "human_override": override.decision},
    )
