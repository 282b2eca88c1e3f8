"""Quantiles that are only given when enough queries were measured."""

import math
from collections.abc import Sequence

CONFIDENCE = 0.99

P90_QUERIES = 64
"""Fewest queries for a p90 under MLPerf's rule."""


def quantile_bound(latencies: Sequence[float], quantile: float) -> float | None:
    """Return the latency that the given share of all queries stays below, with 99 % confidence.

    It is the ``(t + 1)``-th highest latency for the largest ``t >= 1`` such that, were the share
    smaller than claimed, at most ``t`` slower queries would be seen in less than 1 % of all
    measurements.

    Args:
        latencies: Measured latencies.
        quantile: Share of the queries, such as 0.9.

    Returns:
        ``None`` where there are too few: below 64 for 0.9, below 662 for 0.99.

    Source:
        MLPerf Inference rules, "Early stopping"; Reddi et al. 2020,
        doi:10.1109/ISCA45697.2020.00045.
    """
    n = len(latencies)
    slower = 0
    while slower < n and _at_most(slower + 1, n, 1.0 - quantile) <= 1.0 - CONFIDENCE:
        slower += 1
    return sorted(latencies)[n - 1 - slower] if slower >= 1 else None


def _at_most(k: int, n: int, share: float) -> float:
    """Return the probability of at most ``k`` hits in ``n`` trials."""
    if k >= n:
        return 1.0
    return math.fsum(
        math.exp(
            math.lgamma(n + 1)
            - math.lgamma(hits + 1)
            - math.lgamma(n - hits + 1)
            + hits * math.log(share)
            + (n - hits) * math.log1p(-share)
        )
        for hits in range(k + 1)
    )
