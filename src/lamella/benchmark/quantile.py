"""Quantiles that are only given when enough queries were measured."""

import math
from collections.abc import Sequence

CONFIDENCE = 0.99

P90_QUERIES = 64
"""Fewest queries for a p90 under MLPerf's rule."""

P99_QUERIES = 662
"""Fewest queries for a p99 under MLPerf's rule."""


def slower_allowed(queries: int, quantile: float) -> int:
    """Return how many queries may be slower than a claimed quantile.

    It is the largest ``t`` such that, were the share of faster queries smaller than claimed, at
    most ``t`` slower ones would be seen in less than 1 % of all measurements.

    Args:
        queries: Measured queries.
        quantile: Share of the queries, such as 0.9.

    Returns:
        0 where there are too few for a claim: below 64 for 0.9, below 662 for 0.99.

    Source:
        MLPerf Inference rules, "Early stopping"; Reddi et al. 2020,
        doi:10.1109/ISCA45697.2020.00045.
    """
    slower = 0
    while slower < queries and _at_most(slower + 1, queries, 1.0 - quantile) <= 1.0 - CONFIDENCE:
        slower += 1
    return slower


def quantile_bound(latencies: Sequence[float], quantile: float) -> float | None:
    """Return the latency that the given share of all queries stays below, with 99 % confidence.

    It is the ``t``-th highest latency, where ``t`` queries may be slower: MLPerf discards one query
    fewer than the confidence takes.

    Args:
        latencies: Measured latencies.
        quantile: Share of the queries, such as 0.9.

    Returns:
        ``None`` where there are too few for a claim; see ``slower_allowed``.

    Source:
        MLPerf Inference, ``loadgen/results.cc``, "Early stopping percentile estimate".
    """
    slower = slower_allowed(len(latencies), quantile)
    return sorted(latencies)[-slower] if slower else None


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
