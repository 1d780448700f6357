"""Says how far two sets of values differ, and whether that is more than chance (SPEC G1 to G3).

    values → edges → histograms → buckets → PSI and its companions → DistributionDrift

    reference   the values that count as normal: an earlier window, a baseline
    current     the values that are asked about
    bucket      one row of the breakdown: a range of numbers, NaN, or a category
    edges       where numeric buckets begin and end; kept, so that later figures compare
    share       a bucket's count over its side's size
    clamped     a share below epsilon, reckoned as epsilon
    PSI         Population Stability Index: Σ (cᵢ - rᵢ) · ln(cᵢ / rᵢ) over the shares
    noise       what PSI is when nothing drifted: about (1/N + 1/M) · χ² with B - 1 degrees
    KS          largest distance between the two cumulative distributions
    JS          Jensen–Shannon distance of the shares, base 2, from 0 to 1

Histograms over the same edges add up, so that parts of a lake are counted apart and compared as
one. The mathematics here takes values and gives records; it never touches a disk or a clock and
never draws at random.
"""

from stillhouse.drift.breakdown import Bucket, DistributionDrift
from stillhouse.drift.categorical import compare_counts, compute_categorical_drift
from stillhouse.drift.distribution import compare_histograms, compute_distribution_drift
from stillhouse.drift.edges import equal_width_edges, quantile_edges
from stillhouse.drift.histogram import Histogram, build_histogram, merge_histograms

__all__ = [
    "Bucket",
    "DistributionDrift",
    "Histogram",
    "build_histogram",
    "compare_counts",
    "compare_histograms",
    "compute_categorical_drift",
    "compute_distribution_drift",
    "equal_width_edges",
    "merge_histograms",
    "quantile_edges",
]
