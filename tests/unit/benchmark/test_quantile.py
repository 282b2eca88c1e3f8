import numpy as np
import pytest
from scipy.stats import binom

from lamella.benchmark.quantile import quantile_bound, slower_allowed


@pytest.mark.parametrize(("quantile", "fewest"), [(0.9, 64), (0.99, 662)])
def test_a_quantile_is_given_from_mlperfs_number_of_queries_on(quantile, fewest):
    assert quantile_bound(range(fewest - 1), quantile) is None
    # One query is slower than the second highest of them.
    assert quantile_bound(range(fewest), quantile) == fewest - 2


@pytest.mark.parametrize("n", [64, 100, 500, 10_000])
def test_the_bound_is_the_one_of_the_binomial_distribution(n):
    slower = n - 1 - int(quantile_bound(range(n), 0.9))
    assert binom.cdf(slower, n, 0.1) <= 0.01 < binom.cdf(slower + 1, n, 0.1)


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
