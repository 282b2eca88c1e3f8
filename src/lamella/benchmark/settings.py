"""What is measured."""

from enum import StrEnum

from pydantic import Field, field_validator

from lamella.engines.settings import USUAL_ENGINES, EngineName
from lamella.settings import Device, Settings


class BenchmarkCase(StrEnum):
    """A workload."""

    PATCHES = "patches"


class BenchmarkSettings(Settings):
    """Which workloads are measured on which engines, and how often."""

    cases: tuple[BenchmarkCase, ...] = tuple(BenchmarkCase)
    """Workloads; `patches`: the patch classifier on patches that lie in memory."""

    engines: tuple[EngineName, ...] = USUAL_ENGINES
    """Engines; one that is unavailable gets a row that says why."""

    run: str | None = None
    """Run whose exported model is measured; absent: the first run that is trained."""

    device: Device = Device.CPU
    """Where the engines run."""

    threads: int = Field(default=2, ge=1)
    """Threads that an engine computes with, the same for all."""

    batch_sizes: tuple[int, ...] = Field(default=(1, 16), min_length=1)
    """Patches per call, at least 1; each is measured."""

    warmup: int = Field(default=5, ge=1)
    """Calls per batch size before the measured ones; the first is timed apart."""

    iterations: int = Field(default=100, ge=1)
    """Measured calls per batch size; below 64 no p90 is given, and results are not comparable."""

    patches: int = Field(default=1024, ge=1)
    """Most patches in memory that the calls draw from, with replacement; below 1024 results are
    not comparable."""

    seed: int = Field(default=0, ge=0)
    """Seed of the draws."""

    @field_validator("batch_sizes")
    @classmethod
    def _batches_hold_patches(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if min(sizes) < 1:
            raise ValueError("a batch holds at least 1 patch")
        return sizes
