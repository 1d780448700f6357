"""What people should know before they believe a PSI: the warnings of a comparison, in plain words.

Each looks at the finished figures alone, and says what to read or do instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stillhouse.drift.breakdown import Bucket, DistributionDrift
from stillhouse.drift.edges import is_one_value

_CROWDED: Final = 0.9
_FEWER: Final = ". Fewer buckets, or quantile edges, lean less on it"


def cautions(drift: DistributionDrift) -> Iterator[str]:
    """Every caution that the figures call for, the gravest first."""
    if drift.verdict == "empty":
        sides = (("reference", drift.reference_size), ("current", drift.current_size))
        empty = [name for name, size in sides if not size]
        yield f"nothing to compare: no values in {' and '.join(empty)}"
        return
    yield from _crowded(drift)
    yield from _low_sample(drift)
    yield from _clamped(drift)


def _crowded(drift: DistributionDrift) -> Iterator[str]:
    """One bucket holds nearly everything, so that PSI sees nearly nothing."""
    for bucket in drift.buckets:
        if min(bucket.reference_share, bucket.current_share) <= _CROWDED:
            continue
        said = f"{bucket.label} holds over 90 % of both sides"
        if _hides_values(bucket):
            yield (
                f"one bucket, {said}: PSI cannot see what moves inside it. An outlier stretches "
                "buckets of equal width; read ks, or use quantile or explicit edges"
            )
        elif bucket.reference_share + bucket.current_share < 2:
            yield f"{said}: changes among the rest weigh little in PSI"


def _hides_values(bucket: Bucket) -> bool:
    """Whether values that differ may lie in the bucket."""
    if bucket.low is None or bucket.high is None:
        return bucket.low is not bucket.high
    return not is_one_value(bucket.low, bucket.high)


def _low_sample(drift: DistributionDrift) -> Iterator[str]:
    if drift.low_sample:
        yield (
            f"too few values ({drift.reference_size} and {drift.current_size}) for "
            f"{drift.degrees_of_freedom + 1} buckets: without any drift one pair in a hundred "
            f"reaches a PSI of {drift.noise_floor_99:.2g}. Read psi_debiased and p_value"
            f"{', with quantile or fewer buckets' if drift.kind == 'numeric' else ''}"
        )


def _clamped(drift: DistributionDrift) -> Iterator[str]:
    part = drift.psi_from_clamped_buckets
    if drift.verdict != "stable" and part > drift.psi / 2:
        yield (
            f"{part / drift.psi:.0%} of PSI comes from buckets that are empty on one side: its "
            f"size follows from epsilon ({drift.epsilon:g}), not from the data"
            f"{_FEWER if drift.kind == 'numeric' else ''}"
        )
