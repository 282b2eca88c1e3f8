"""Time an engine on patches that lie in memory."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.benchmark.cell import BatchResult
from lamella.benchmark.energy import EnergyMeter, joules_since, read_joules
from lamella.benchmark.quantile import quantile_bound
from lamella.engines.difference import largest_difference
from lamella.engines.engine import Engine

_NS_PER_MS = 1e6
_MS_PER_S = 1e3

_REPEATS = 8
"""Calls with different patches, and then with the same, before the next patch is repeated."""


@dataclass(frozen=True)
class Call:
    """One call of an engine.

    Attributes:
        latency_ms: Wall-clock time.
        cpu_ms: Time of all CPUs that this process took meanwhile, waiting threads included.
    """

    latency_ms: float
    cpu_ms: float


@dataclass(frozen=True)
class Pool:
    """Patches in memory with the trained network's answers: ``(n, H, W, 3)``, ``(n, outputs)``.

    Differences from these are told in ``units``: 1 of probabilities, else ``(outputs,)``.
    """

    patches: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    units: NDArray[np.float64] | float = 1.0


class Timer:
    """Times calls of an engine, and keeps all answers to be compared when nothing is timed."""

    def __init__(self, engine: Engine, pool: Pool) -> None:
        self.pool = pool
        self._engine = engine
        self._places: list[NDArray[np.int64]] = []
        self._answers: list[NDArray[np.float32]] = []

    def draw(self, batch_size: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Return places of patches in the pool, drawn with replacement."""
        return generator.integers(len(self.pool.patches), size=batch_size)

    def call(self, places: NDArray[np.int64]) -> Call:
        """Time one call with the patches at these places."""
        batch = self.pool.patches[places]
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        answers = self._engine.infer(batch)
        wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
        self._places.append(places)
        self._answers.append(answers)
        return Call(latency_ms=wall / _NS_PER_MS, cpu_ms=cpu / _NS_PER_MS)

    def difference(self) -> float:
        """Return the largest difference of all answers so far from the trained network's."""
        expected = self.pool.probabilities[np.concatenate(self._places)]
        return largest_difference(np.concatenate(self._answers), expected, units=self.pool.units)


def measure_batch(
    engine: Engine,
    pool: Pool,
    *,
    batch_size: int,
    warmup: int,
    iterations: int,
    seeds: Sequence[int],
    meter: EnergyMeter | None = None,
) -> BatchResult:
    """Measure one batch size.

    Args:
        engine: A loaded engine.
        pool: Where the batches are drawn from, with replacement.
        batch_size: Patches per call.
        warmup: Calls before the measured ones, at least 1.
        iterations: Measured calls, at least 1, dealt out to the seeds.
        seeds: Seeds of the draws.
        meter: Counts the energy of the measured calls and the draws between them; none is told
            where they were too short for it.
    """
    timer = Timer(engine, pool)
    generators = [np.random.default_rng([seed, batch_size]) for seed in seeds]
    before = [timer.call(timer.draw(batch_size, generators[0])) for _ in range(warmup)]
    start_j, begun = read_joules(meter), time.perf_counter()
    calls = [
        [_metered(timer, timer.draw(batch_size, generator), meter) for _ in range(count)]
        for generator, count in zip(generators, deal_out(iterations, len(seeds)), strict=True)
    ]
    joules = joules_since(start_j, meter, seconds=time.perf_counter() - begun)
    return summarise_calls(before, calls, batch_size, difference=timer.difference(), joules=joules)


def deal_out(calls: int, seeds: int) -> list[int]:
    """Return how many calls each seed gets; the first ones get one more where it must be."""
    return [calls // seeds + (place < calls % seeds) for place in range(seeds)]


def _metered(timer: Timer, places: NDArray[np.int64], meter: EnergyMeter | None) -> Call:
    call = timer.call(places)
    if meter is not None:
        meter.tick()
    return call


def summarise_calls(
    before: Sequence[Call],
    calls_of_seeds: Sequence[Sequence[Call]],
    batch_size: int,
    *,
    difference: float,
    joules: float | None,
) -> BatchResult:
    """Return the figures of a batch size.

    Args:
        before: Calls of the warm-up.
        calls_of_seeds: Measured calls of each seed; of a seed there may be none.
        batch_size: Patches per call.
        difference: Largest difference of an answer from the trained network's.
        joules: Energy of the measured calls.
    """
    calls = [call for each in calls_of_seeds for call in each]
    latencies = [call.latency_ms for call in calls]
    patches = batch_size * len(calls)
    return BatchResult(
        batch_size=batch_size,
        warmup=len(before),
        iterations=len(calls),
        first_call_ms=before[0].latency_ms,
        latency_ms_median=statistics.median(latencies),
        latency_ms_p90=quantile_bound(latencies, 0.9),
        latency_ms_p99=quantile_bound(latencies, 0.99),
        latency_ms_seeds=tuple(_median(each) for each in calls_of_seeds if each),
        latency_ms_mean=statistics.fmean(latencies),
        latency_ms_sd=statistics.stdev(latencies) if len(latencies) > 1 else None,
        latency_ms_min=min(latencies),
        patches_per_s=patches / (sum(latencies) / _MS_PER_S),
        cpu_ms_per_patch=sum(call.cpu_ms for call in calls) / patches,
        joules_per_patch=None if joules is None else joules / patches,
        max_abs_difference=difference,
    )


def measure_repeat(
    engine: Engine, pool: Pool, *, batch_size: int, calls: int, seeds: Sequence[int]
) -> float:
    """Return by how much an engine is faster with patches that it has just seen.

    Calls with different patches and calls with one and the same take turns, so that a machine that
    slows down meanwhile slows both.

    Args:
        engine: A loaded engine, already warm.
        pool: Where the patches are drawn from.
        batch_size: Patches per call.
        calls: Calls of each kind, at least 1, rounded up to whole turns.
        seeds: Seeds of the draws, one after another.

    Returns:
        Median latency of the former over that of the latter; about 1 for an engine that keeps no
        answers.

    Source:
        MLPerf Inference, compliance/TEST04, "Verify SUT is not caching samples".
    """
    timer = Timer(engine, pool)
    different, same = [], []
    for turn in range(-(-calls // _REPEATS)):
        generator = np.random.default_rng([seeds[turn % len(seeds)], batch_size, turn])
        drawn = [timer.draw(batch_size, generator) for _ in range(_REPEATS)]
        different += [timer.call(places) for places in drawn]
        # The last ones: they are known already, all the more the first of them.
        same += [timer.call(drawn[-1]) for _ in drawn]
    return _median(different) / _median(same)


def _median(calls: Sequence[Call]) -> float:
    return statistics.median(call.latency_ms for call in calls)
