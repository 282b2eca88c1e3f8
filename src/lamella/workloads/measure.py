"""Run a workload on one engine, again and again."""

import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lamella.benchmark.batch_sizes import measure_sizes
from lamella.benchmark.energy import EnergyMeter, find_meter, joules_since, read_joules
from lamella.benchmark.host import others_cpu_share, own_memory_mib, read_cpu_times
from lamella.benchmark.loading import load_timed
from lamella.benchmark.settings import BenchmarkSettings
from lamella.engines.engine import CheckedEngine
from lamella.engines.load import load_foreign_engine
from lamella.engines.settings import EngineName, Precision
from lamella.export.description import ModelInterface
from lamella.workloads.cell import Mode, RunTimes, WorkloadMeasurement, WorkloadRuns
from lamella.workloads.examples import Answers, compare_examples, reference_difference
from lamella.workloads.labels import NOT_ASKED
from lamella.workloads.settings import WorkloadSettings
from lamella.workloads.slide import Run, WholeSlide
from lamella.workloads.stages import StageClock
from lamella.workloads.workload import Workload

_log = logging.getLogger(__name__)
_MS_PER_S = 1e3
_NS_PER_MS = 1e6
_NS_PER_S = 1e9


class _Fault(NamedTuple):
    """How far the result of a run is from what it should be, as in ``WorkloadRuns``."""

    unanswered: int
    reference_difference: float
    result_difference: float


class _OfSize(NamedTuple):
    """What was measured at one batch size, as in ``WorkloadMeasurement``."""

    difference: float
    label_agreement: float
    compared_answers: int
    kinds: list[WorkloadRuns]


def measure_workload(
    workload: Workload,
    name: EngineName,
    precision: Precision,
    model: Path,
    interface: ModelInterface,
    *,
    answers: Answers,
    benchmark: BenchmarkSettings,
    settings: WorkloadSettings,
) -> WorkloadMeasurement:
    """Import and load an engine, compare its answers, and time whole runs.

    Args:
        workload: What is run.
        name: The engine.
        precision: Arithmetic that it computes in.
        model: The network, in the engine's format; it was checked.
        interface: Its input and output.
        answers: Examples with the network's answers.
        benchmark: Device and threads.
        settings: How often it is run.

    Raises:
        EngineUnavailableError: the engine is not available, cannot load the model, or fails at
            every batch size.
    """
    loaded = load_timed(
        name,
        benchmark.device,
        lambda: load_foreign_engine(
            name,
            model,
            interface=interface,
            # Engines whose files have checksums of their own would take longer to load.
            checked=True,
            device=benchmark.device,
            precision=precision,
            threads=benchmark.threads,
            batch_sizes=_batch_sizes(workload, settings),
        ),
    )
    engine = loaded.engine
    examples, expected = answers
    begun = time.perf_counter()
    engine.run((examples[:1],))
    first_call_ms = (time.perf_counter() - begun) * _MS_PER_S
    meter, energy_source = find_meter(benchmark.device)
    before = read_cpu_times()
    # All runs at all batch sizes are held against the first one.
    results: list[NDArray[Any]] = []

    def measure(batch_size: int) -> _OfSize:
        # No run has more at once.
        compared = compare_examples(engine, answers, min(batch_size, workload.run_items))
        against = results.copy()
        kinds = _kinds(
            workload, engine, batch_size, settings, meter=meter, expected=expected, results=against
        )
        # Not where the engine fails at this size.
        results[:] = against
        return _OfSize(*compared, kinds)

    sizes, failures = measure_sizes(_batch_sizes(workload, settings), measure)
    return WorkloadMeasurement(
        version=loaded.version,
        import_ms=loaded.import_ms,
        load_ms=loaded.load_ms,
        build_ms=loaded.build_ms,
        first_call_ms=first_call_ms,
        peak_rss_mib=own_memory_mib("VmHWM"),
        others_cpu_share=others_cpu_share(before, read_cpu_times()),
        energy_source=energy_source,
        # Not Python's own maximum, which may lose a NaN.
        max_abs_difference=float(np.max([size.difference for size in sizes])),
        label_agreement=min(size.label_agreement for size in sizes),
        compared_answers=sizes[0].compared_answers,
        kinds=tuple(kind for size in sizes for kind in size.kinds),
        batch_failures=failures,
    )


def _batch_sizes(workload: Workload, settings: WorkloadSettings) -> Sequence[int]:
    return settings.batch_sizes if isinstance(workload, WholeSlide) else (1,)


def _kinds(
    workload: Workload,
    engine: CheckedEngine,
    batch_size: int,
    settings: WorkloadSettings,
    *,
    meter: EnergyMeter | None,
    expected: NDArray[np.float32],
    results: list[NDArray[Any]],
) -> list[WorkloadRuns]:
    """Measure every kind of run; they take turns, so that a slower machine slows all.

    Args:
        workload: What is run.
        engine: A loaded engine.
        batch_size: Frames or patches per call.
        settings: How often it is run.
        meter: Counts the energy of each run.
        expected: The network's answers to the examples.
        results: The first result of all, or none yet: then it is put there.
    """
    runs: dict[Mode, list[RunTimes]] = {}
    faults: dict[Mode, list[_Fault]] = {}
    number_of_runs = settings.warmup + settings.iterations
    with _modes(workload, batch_size) as modes:
        for number, (mode, run) in itertools.product(range(number_of_runs), modes.items()):
            times, result = timed(run, engine, batch_size, meter)
            _log.info(
                "%s at batch %d: run %d of %d, %d to warm up, took %.1f s",
                *(mode, batch_size, number + 1, number_of_runs, settings.warmup),
                times.total_ms / _MS_PER_S,
            )
            if not results:
                results.append(result)
            faults.setdefault(mode, []).append(_fault(workload, result, results[0], expected))
            if number >= settings.warmup:
                runs.setdefault(mode, []).append(times)
    return [
        WorkloadRuns(
            mode=mode,
            batch_size=batch_size,
            runs=tuple(runs[mode]),
            of_labels=bool(np.issubdtype(results[0].dtype, np.integer)),
            # Of each figure the worst one, by itself.
            **_Fault(
                *(np.max(figures).item() for figures in zip(*faults[mode], strict=True))
            )._asdict(),
        )
        for mode in runs
    ]


@contextmanager
def _modes(workload: Workload, batch_size: int) -> Iterator[dict[Mode, Run]]:
    """Give the ways that a workload is run in."""
    if not isinstance(workload, WholeSlide):
        yield {Mode.SEQUENTIAL: workload.run}
        return
    with workload.overlapped(batch_size) as overlapped:
        yield {Mode.SEQUENTIAL: workload.run, Mode.OVERLAPPED: overlapped}


def _fault(
    workload: Workload,
    result: NDArray[Any],
    first: NDArray[Any],
    expected: NDArray[np.float32],
) -> _Fault:
    return _Fault(
        unanswered=abs(workload.asked - answered(result)),
        reference_difference=reference_difference(workload.at_examples(result), expected),
        result_difference=result_difference(result, first),
    )


def timed(
    run: Run, engine: CheckedEngine, batch_size: int, meter: EnergyMeter | None = None
) -> tuple[RunTimes, NDArray[Any]]:
    """Run a workload once, and return its times and its result."""
    start_j = read_joules(meter)
    clock = StageClock()
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    result = run(engine, clock, batch_size=batch_size)
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    cpu += clock.processes_cpu_ns
    times = RunTimes(
        total_ms=wall / _NS_PER_MS,
        start_ms=clock.start_ms,
        cpu_ms=cpu / _NS_PER_MS,
        joules=_joules(start_j, meter, seconds=wall / _NS_PER_S),
        stages=clock.times(),
    )
    return times, result


def _joules(start_j: float, meter: EnergyMeter | None, *, seconds: float) -> float | None:
    # Nobody reads the counters within a run.
    too_long = meter is not None and seconds > meter.longest_s
    return None if too_long else joules_since(start_j, meter, seconds=seconds)


def answered(result: NDArray[Any]) -> int:
    """Return how many pixels, voxels or patches of a result have an answer that is finite.

    Args:
        result: Labels, or probabilities whose last axis are the classes.
    """
    if np.issubdtype(result.dtype, np.integer):
        return int(np.count_nonzero(result != NOT_ASKED))
    return int(np.count_nonzero(np.isfinite(result).all(axis=-1)))


def result_difference(result: NDArray[Any], first: NDArray[Any]) -> float:
    """Return how far two results of one workload differ.

    Args:
        result: Labels or probabilities of any shape; `NOT_ASKED` or NaN where nothing was asked.
        first: The other one, of the same shape.

    Returns:
        Of labels the share that is another one; of probabilities the largest difference, infinite
        where one of the two has a finite answer alone.
    """
    if np.issubdtype(result.dtype, np.integer):
        return float(np.count_nonzero(result != first) / max(1, answered(first)))
    finite = np.isfinite(result)
    if (finite != np.isfinite(first)).any():
        return float("inf")
    return float(np.abs(result[finite] - first[finite]).max(initial=0.0))
