import numpy as np
import pytest
from scipy.special import betainc
from scipy.stats import binom

from lamella.benchmark.quantile import quantile_bound, slower_allowed


@pytest.mark.parametrize(("quantile", "fewest"), [(0.9, 64), (0.99, 662)])
def test_a_quantile_is_given_from_mlperfs_number_of_queries_on(quantile, fewest):
    assert quantile_bound(range(fewest - 1), quantile) is None
    # It discards none of so few: the bound is the highest of them.
    assert quantile_bound(range(fewest), quantile) == fewest - 1


def loadgen_estimate(latencies, quantile):
    """MLPerf's loadgen/results.cc and early_stopping.cc: the t-th highest of n latencies.

    t is the most slower ones with h of the others, h + t <= n, that leave a chance of 1 % at most.
    """

    def passes(slower):
        return betainc(len(latencies) - slower, slower + 1, quantile) <= 0.01

    slower = max(count for count in range(1, len(latencies)) if passes(count))
    return sorted(latencies)[len(latencies) - slower]


@pytest.mark.parametrize(
    ("n", "quantile", "place"),
    [
        (64, 0.9, 1),
        (80, 0.9, 1),
        (81, 0.9, 2),
        (100, 0.9, 3),
        (10_000, 0.9, 930),
        (662, 0.99, 1),
        (837, 0.99, 1),
        (838, 0.99, 2),
        (10_000, 0.99, 77),
    ],
)
def test_the_bound_is_loadgens_estimate(n, quantile, place):
    latencies = range(1000, 1000 + n)
    assert quantile_bound(latencies, quantile) == sorted(latencies)[-place]
    assert quantile_bound(latencies, quantile) == loadgen_estimate(latencies, quantile)


def test_the_order_of_the_latencies_does_not_matter():
    latencies = np.random.default_rng(0).permutation(200).tolist()
    assert quantile_bound(latencies, 0.9) == quantile_bound(sorted(latencies), 0.9)


@pytest.mark.parametrize("latencies", [[], [3.0]])
def test_hardly_any_query_gives_no_quantile(latencies):
    assert quantile_bound(latencies, 0.9) is None


def test_how_many_queries_may_be_late_is_mlperfs_number():
    # Queries from which on one and two may be slower, by the binomial distribution.
    assert [slower_allowed(n, 0.99) for n in (661, 662, 837, 838)] == [0, 1, 1, 2]
    assert binom.cdf(2, 838, 0.01) <= 0.01 < binom.cdf(2, 837, 0.01)
