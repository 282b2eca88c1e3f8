"""Where the time of a workload goes."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum

from lamella.benchmark.cell import CellValue

_NS_PER_MS = 1e6


class Stage(StrEnum):
    """A part of a workload; the last five by FAST's names."""

    TISSUE = "tissue"
    PATCH_GENERATOR = "patch_generator"
    NN_INPUT = "nn_input"
    NN_INFERENCE = "nn_inference"
    NN_OUTPUT = "nn_output"
    PATCH_STITCHER = "patch_stitcher"


class StageTimes(CellValue):
    """A stage in one run of a workload."""

    calls: int
    """How often it was entered."""
    mean_ms: float
    """Mean time of a call."""
    sd_ms: float
    """Standard deviation, as FAST computes it: over all calls; 0 for a single one."""
    total_ms: float
    """Time of all calls; of an extrapolated run more than that of the calls there were."""


class StageClock:
    """Adds up the time of each stage, of several threads, too; a run begins with it.

    Attributes:
        start_ms: Time in which happened what a run does once, as in ``RunTimes``.
        processes_cpu_ns: CPU time of other processes that work for the run.
    """

    def __init__(self) -> None:
        self._calls_ms: dict[Stage, list[float]] = {stage: [] for stage in Stage}
        self.start_ms = 0.0
        self.processes_cpu_ns = 0
        self._began_ns = time.perf_counter_ns()

    def started(self) -> None:
        """Note that what a run does once is done."""
        self.start_ms = (time.perf_counter_ns() - self._began_ns) / _NS_PER_MS

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Count the time within as one call of a stage."""
        began = time.perf_counter_ns()
        yield
        # Appending is atomic: threads need no lock.
        self._calls_ms[stage].append((time.perf_counter_ns() - began) / _NS_PER_MS)

    def add(self, stage: Stage, calls_ns: Sequence[int]) -> None:
        """Count calls of a stage that another process has timed."""
        self._calls_ms[stage].extend(call / _NS_PER_MS for call in calls_ns)

    def times(self) -> dict[Stage, StageTimes]:
        """Return the times of the stages that were entered."""
        return {stage: stage_times(calls) for stage, calls in self._calls_ms.items() if calls}


def stage_times(calls_ms: Sequence[float]) -> StageTimes:
    """Return the times of a stage from those of its calls, at least one."""
    return StageTimes(
        calls=len(calls_ms),
        mean_ms=statistics.fmean(calls_ms),
        sd_ms=statistics.pstdev(calls_ms),
        total_ms=sum(calls_ms),
    )
