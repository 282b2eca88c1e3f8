"""What is measured."""

from enum import StrEnum
from typing import Self

from pydantic import Field, field_validator

from lamella.engines.settings import USUAL_ENGINES, EngineName, Precision
from lamella.settings import Device, Settings


class BenchmarkCase(StrEnum):
    """A workload."""

    PATCHES = "patches"
    ULTRASOUND = "ultrasound"
    CT = "ct"
    WSI = "wsi"


class Scenario(StrEnum):
    """How queries come, by MLPerf's names."""

    SINGLE_STREAM = "single_stream"
    MULTI_STREAM = "multi_stream"
    OFFLINE = "offline"
    SERVER = "server"


TAILS = frozenset({Scenario.MULTI_STREAM, Scenario.SERVER})
"""Scenarios with a p99, which takes many queries."""


class BenchmarkSettings(Settings):
    """Which workloads are measured on which engines, and how often."""

    cases: tuple[BenchmarkCase, ...] = (BenchmarkCase.PATCHES,)
    """Workloads; `patches`: the patch classifier on patches that lie in memory; `ultrasound`: a
    stream of frames is segmented; `ct`: a volume, by patches that are stitched; `wsi`: a slide is
    classified by patches, from the file to the heatmap. The last three have networks of their own,
    see section `workloads`."""

    engines: tuple[EngineName, ...] = USUAL_ENGINES
    """Engines; one that is unavailable gets a row that says why."""

    precisions: tuple[Precision, ...] = Field(default=(Precision.F32,), min_length=1)
    """Arithmetic that each engine is measured in; each stands in `parity.precisions`, too."""

    run: str | None = None
    """Run whose exported model is measured; absent: the first run that is trained."""

    device: Device = Device.CPU
    """Where the engines run; for case `patches` the same as `parity.device`."""

    threads: int = Field(default=2, ge=1)
    """Threads that an engine computes with, the same for all."""

    scenarios: tuple[Scenario, ...] = (Scenario.SINGLE_STREAM, Scenario.OFFLINE)
    """MLPerf's scenarios; `single_stream`: p90 of queries of 1 patch; `multi_stream`: p99 of
    queries of 8; `offline`: throughput of the fastest batch size; `server`: queries of 1 patch per
    second, at random times: the highest rate tried whose p99 is below `server_bound_ms` with 99 %
    confidence. The two with a p99 take minutes per engine on a GPU and up to hours on a CPU."""

    batch_sizes: tuple[int, ...] = Field(default=(1, 16), min_length=1)
    """Patches per call, at least 1; each is measured, or `unavailable` where the engine fails."""

    warmup: int = Field(default=5, ge=1)
    """Calls per batch size before the measured ones; the first is timed apart."""

    iterations: int = Field(default=100, ge=1)
    """Measured calls per batch size; below 64 no p90 is given, and results are not comparable."""

    tail_queries: int = Field(default=662, ge=1)
    """Queries of `multi_stream`, and of each seed in each trial of `server`; below 662 no p99 is
    given, and results with one of these scenarios are not comparable."""

    server_bound_ms: float = Field(default=15.0, gt=0.0)
    """Latency in milliseconds that 99 % of the queries of `server` stay below; 15 is MLPerf's for
    the classification of images."""

    patches: int = Field(default=1024, ge=1)
    """Most patches in memory that the calls draw from, with replacement; below 1024 results are
    not comparable."""

    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    """Seeds of the draws and arrivals, each at least 0 and another one: the calls are dealt out to
    them evenly; below 3 seeds results are not comparable."""

    def of_workloads(self) -> Self:
        """Return what decides how the cases with networks of their own are run."""
        return type(self)(device=self.device, threads=self.threads)

    @property
    def has_tail(self) -> bool:
        """Whether a scenario has a p99."""
        return bool(TAILS.intersection(self.scenarios))

    @property
    def runtime_min(self) -> int:
        """Minutes that a job may take."""
        return 480 if self.has_tail else 60

    @field_validator("batch_sizes")
    @classmethod
    def _batches_hold_patches(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if min(sizes) < 1:
            raise ValueError("a batch holds at least 1 patch")
        return sizes

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if min(seeds) < 0 or len(set(seeds)) < len(seeds):
            raise ValueError("seeds are at least 0, and each another one")
        return seeds
