"""The scenario `server`: queries come at random times, and wait while the engine is busy.

Source:
    MLPerf Inference rules, "Scenarios" and "LoadGen Operation"; Reddi et al. 2020,
    doi:10.1109/ISCA45697.2020.00045.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from lamella.benchmark.cell import BatchResult, Figure, ScenarioResult, Trial
from lamella.benchmark.measure import Timer
from lamella.benchmark.quantile import P99_QUERIES, slower_allowed
from lamella.benchmark.settings import BenchmarkSettings, Scenario

TOLERANCE = 0.05
"""How close the rate is found, as a share of the rate that the engine could do without a break."""

_QUANTILE = 0.99
_MS_PER_S = 1e3
_ARRIVALS = 0
"""Stream of random numbers beside those of the batch sizes, which are at least 1."""

_LAST_WAIT_S = 1e-3
"""Sleep may last longer than asked for; the last millisecond is waited for actively."""


def arrival_times(
    count: int, queries_per_s: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return when queries come, a Poisson process.

    Args:
        count: Queries.
        queries_per_s: Queries per second, in the mean.
        generator: Source of randomness; an equal one gives the same pattern at any rate.

    Returns:
        ``(count,)`` ascending, in seconds; the first comes after a random time, too.
    """
    return np.cumsum(generator.standard_exponential(count)) / queries_per_s


def highest_rate(keeps: Callable[[float], bool], *, ceiling: float, tolerance: float) -> float:
    """Return the highest rate that keeps the bound, by bisection.

    Args:
        keeps: Whether a rate keeps it; higher rates than one that does not are not asked for.
        ceiling: Rate that is known not to keep it.
        tolerance: How close to the highest one the rate is, as a share of ``ceiling``.

    Returns:
        A rate that was asked for and keeps the bound, above half of the tolerance; 0 where none
        did.
    """
    lowest, highest = 0.0, ceiling
    while highest - lowest > tolerance * ceiling:
        rate = (lowest + highest) / 2
        if keeps(rate):
            lowest = rate
        else:
            highest = rate
    return lowest


def serve(
    timer: Timer, arrivals_s: NDArray[np.float64], generator: np.random.Generator
) -> Iterator[float]:
    """Answer queries of one patch in the order in which they come; yield the latency of each.

    Args:
        timer: The engine and its patches.
        arrivals_s: ``(n,)`` ascending times, in seconds from now on.
        generator: Source of the draws.

    Yields:
        Milliseconds from when the query was due until it was answered.
    """
    drawn = [timer.draw(1, generator) for _ in arrivals_s]
    begun = time.perf_counter()
    for due_s, places in zip((begun + arrivals_s).tolist(), drawn, strict=True):
        _wait_until(due_s)
        timer.call(places)
        yield (time.perf_counter() - due_s) * _MS_PER_S


def _wait_until(due_s: float) -> None:
    while (left_s := due_s - time.perf_counter()) > 0:
        if left_s > _LAST_WAIT_S:
            time.sleep(left_s - _LAST_WAIT_S)


def measure_server(
    timer: Timer, settings: BenchmarkSettings, single: BatchResult
) -> ScenarioResult:
    """Search the highest rate of queries whose p99 stays below the bound, by bisection.

    The queries of all seeds at a rate are judged together: three times 662 may have nine late ones,
    662 only one, which is chance more than speed.

    Args:
        timer: The engine, already warm.
        settings: Bound, seeds and queries of a trial.
        single: What was measured with one patch at a time.
    """
    trials: list[Trial] = []
    enough = settings.tail_queries >= P99_QUERIES
    value = _search(timer, settings, single, trials) if enough else None
    return ScenarioResult(
        scenario=Scenario.SERVER,
        patches_per_query=1,
        queries=_queries(settings),
        figure=Figure.QUERIES_PER_S,
        value=value,
        bound_ms=settings.server_bound_ms,
        trials=tuple(trials),
        max_abs_difference=timer.difference() if trials else None,
    )


def _queries(settings: BenchmarkSettings) -> int:
    """Return the queries of a trial, of all seeds."""
    return len(settings.seeds) * settings.tail_queries


def _search(
    timer: Timer, settings: BenchmarkSettings, single: BatchResult, trials: list[Trial]
) -> float:
    """Return the rate, and append what was tried."""
    # Without any other query before it, each one would be late already.
    if single.latency_ms_min > settings.server_bound_ms:
        return 0.0

    def keeps(rate: float) -> bool:
        trials.append(_trial(timer, settings, rate))
        return trials[-1].kept

    # A few calls that were disturbed must not lower it, as they would the mean.
    ceiling = _MS_PER_S / single.latency_ms_median
    return highest_rate(keeps, ceiling=ceiling, tolerance=TOLERANCE)


def _trial(timer: Timer, settings: BenchmarkSettings, rate: float) -> Trial:
    """Try a rate, one seed after another; ends as soon as the bound cannot be kept any more."""
    left = slower_allowed(_queries(settings), _QUANTILE)
    late: list[int] = []
    for seed in settings.seeds:
        late.append(_late(timer, settings, rate=rate, seed=seed, most=left))
        left -= late[-1]
        if left < 0:
            break
    return Trial(queries_per_s=rate, late=tuple(late), kept=left >= 0)


def _late(timer: Timer, settings: BenchmarkSettings, *, rate: float, seed: int, most: int) -> int:
    """Return how many queries of a seed were late; ends with the first one beyond the most."""
    arrivals_s = arrival_times(
        settings.tail_queries, rate, np.random.default_rng([seed, _ARRIVALS])
    )
    late = 0
    for latency_ms in serve(timer, arrivals_s, np.random.default_rng([seed, 1])):
        late += latency_ms > settings.server_bound_ms
        if late > most:
            break
    return late
