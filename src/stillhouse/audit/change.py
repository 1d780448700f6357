"""How far a number moved, as a share of what it was; compared exactly.

Binary fractions would decide by their rounding: 0.3 is not three times 0.1. So numbers are
taken as the decimals they are written as.
"""

from __future__ import annotations

from fractions import Fraction


def exceeds(before: float, after: float, threshold: float) -> bool:
    """True when the number moved by more than ``threshold`` times what it was. Of 0 any move
    is more than any share."""
    return abs(_exact(after) - _exact(before)) > _exact(threshold) * abs(_exact(before))


def share_of_change(before: float | None, after: float | None) -> float | None:
    """(after - before) / abs(before), so that a rise is positive for negative numbers too;
    None where a side is missing, ``before`` is 0, or the share is too large for a float."""
    if before is None or after is None or before == 0:
        return None
    try:
        return float((_exact(after) - _exact(before)) / abs(_exact(before)))
    except OverflowError:
        return None


def _exact(value: float) -> Fraction:
    return Fraction(repr(float(value)))
