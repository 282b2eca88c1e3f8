"""Time an engine on patches that lie in memory."""

import statistics
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.benchmark.cell import BatchResult
from lamella.benchmark.quantile import quantile_bound
from lamella.engines.agreement import largest_difference
from lamella.engines.engine import Engine

_NS_PER_MS = 1e6
_MS_PER_S = 1e3


@dataclass(frozen=True)
class Call:
    """One call of an engine.

    Attributes:
        latency_ms: Wall-clock time.
        cpu_ms: Time of all CPUs that this process took meanwhile, waiting threads included.
        difference: Largest difference of a probability from the trained network's.
    """

    latency_ms: float
    cpu_ms: float
    difference: float


@dataclass(frozen=True)
class Pool:
    """Patches in memory with the trained network's answers: ``(n, H, W, 3)``, ``(n, outputs)``.

    Differences from these are told in ``units``: 1 of probabilities, else ``(outputs,)``.
    """

    patches: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    units: NDArray[np.float64] | float = 1.0


def measure_batch(
    engine: Engine, pool: Pool, *, batch_size: int, warmup: int, iterations: int, seed: int
) -> BatchResult:
    """Measure one batch size.

    Args:
        engine: A loaded engine.
        pool: Where the batches are drawn from, with replacement.
        batch_size: Patches per call.
        warmup: Calls before the measured ones, at least 1.
        iterations: Measured calls, at least 1.
        seed: Seed of the draws.
    """
    generator = np.random.default_rng([seed, batch_size])
    before = [_timed_call(engine, pool, batch_size, generator) for _ in range(warmup)]
    calls = [_timed_call(engine, pool, batch_size, generator) for _ in range(iterations)]
    return summarise_calls(before, calls, batch_size)


def summarise_calls(before: list[Call], calls: list[Call], batch_size: int) -> BatchResult:
    """Return the figures of a batch size from its calls, those of the warm-up first."""
    latencies = [call.latency_ms for call in calls]
    patches = batch_size * len(calls)
    return BatchResult(
        batch_size=batch_size,
        warmup=len(before),
        iterations=len(calls),
        first_call_ms=before[0].latency_ms,
        latency_ms_median=statistics.median(latencies),
        latency_ms_p90=quantile_bound(latencies, 0.9),
        latency_ms_mean=statistics.fmean(latencies),
        latency_ms_sd=statistics.stdev(latencies) if len(latencies) > 1 else None,
        latency_ms_min=min(latencies),
        patches_per_s=patches / (sum(latencies) / _MS_PER_S),
        cpu_ms_per_patch=sum(call.cpu_ms for call in calls) / patches,
        max_abs_difference=float(np.max([call.difference for call in before + calls])),
    )


def _timed_call(
    engine: Engine, pool: Pool, batch_size: int, generator: np.random.Generator
) -> Call:
    places = generator.integers(len(pool.patches), size=batch_size)
    batch = pool.patches[places]
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    answers = engine.infer(batch)
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    return Call(
        latency_ms=wall / _NS_PER_MS,
        cpu_ms=cpu / _NS_PER_MS,
        difference=largest_difference(answers, pool.probabilities[places], units=pool.units),
    )
