"""Slow creep: where a metric stands beside the last few audits, not the last one alone (A7).

A metric that moves by 15 % at every audit never moves by more than 20 % since the last. The
median and the median absolute deviation (MAD) of the last audits are not moved by one outlier,
as mean and standard deviation are. 1.4826 times the MAD estimates the standard deviation of
normally distributed values (Rousseeuw and Croux, JASA 88, 1993).

Pure; this module never reads a baseline's file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final, Literal

from stillhouse.audit.change import exceeds, share_of_change
from stillhouse.errors import UsageError
from stillhouse.records import AuditBaseline, Record

LEAST_AUDITS: Final = 5
"""Fewer values than these have no spread worth the name."""

_SIGMAS: Final = 3
_SIGMA_A_MAD: Final = 1.4826

Direction = Literal["more", "fewer"]

BETTER: Final[Mapping[str, Direction]] = {
    "p2_evidence_rows": "more",
    "p2_skipped_rows": "fewer",
    "p3_accepted": "more",
    "p3_rejected": "fewer",
    "p3_human": "fewer",
    "p4_sft_rows": "more",
    "p4_preference_pairs": "more",
    "p4_rag_rows": "more",
    "p4_quarantined": "fewer",
}
"""Which way is better, of the metrics where that can be said. Names are free: of others only
the range is known."""


class MetricHistory(Record, frozen=True, kw_only=True):
    """A metric over the last audits that have it: how many, ``low`` and ``high``, which way is
    ``better`` (see `BETTER`) and the ``best`` of them where that is known, their median, and
    the MAD around it."""

    audits: int
    low: float
    high: float
    better: Direction | None
    best: float | None
    median: float
    mad: float


def summarise_history(
    baselines: Sequence[AuditBaseline], k: int = LEAST_AUDITS
) -> dict[str, MetricHistory]:
    """Each metric over the last ``k`` baselines (oldest first, the audit that is judged not
    among them). Raises `UsageError` for a ``k`` below 5."""
    if k < LEAST_AUDITS:
        raise UsageError(
            f"a history of {k} audits is too short to tell creep from chance",
            way_out=f"Take {LEAST_AUDITS} or more.",
        )
    values: dict[str, list[float]] = {}
    for baseline in baselines[-k:]:
        for name, value in baseline.metrics.items():
            values.setdefault(name, []).append(value)
    return {name: _summary(name, seen) for name, seen in sorted(values.items())}


def _summary(name: str, values: list[float]) -> MetricHistory:
    middle = median(values)
    low, high = min(values), max(values)
    better = BETTER.get(name)
    return MetricHistory(
        audits=len(values),
        low=low,
        high=high,
        better=better,
        best={"more": high, "fewer": low}[better] if better else None,
        median=middle,
        mad=median(abs(value - middle) for value in values),
    )


def creep_of(current: float, history: MetricHistory, threshold: float) -> list[str]:
    """In what ways a value has left its history, in words; empty when it has not, or when the
    history is shorter than `LEAST_AUDITS`.

    Better than the best is no creep. Where all values were the same the MAD is 0 and tells
    nothing of the spread: then the threshold alone decides.
    """
    if history.audits < LEAST_AUDITS:
        return []
    found = []
    if history.mad and abs(current - history.median) > _SIGMAS * _SIGMA_A_MAD * history.mad:
        found.append(f"outside median ± {_SIGMAS} sigma")
    if exceeds(history.median, current, threshold):
        found.append(_moved(history.median, current, "median"))
    best = history.best
    if best is not None and exceeds(best, current, threshold):
        worse = current < best if history.better == "more" else current > best
        if worse:
            found.append(_moved(best, current, "best"))
    return found


def _moved(before: float, after: float, what: str) -> str:
    share = share_of_change(before, after)
    return f"off the {what} {before:g}" if share is None else f"{share:+.1%} from the {what}"
