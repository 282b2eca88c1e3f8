"""How large the workloads are, and on what they run."""

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from lamella.benchmark.settings import BenchmarkCase
from lamella.settings import Settings


class WorkloadSize(StrEnum):
    """How much work a workload is."""

    SMALL = "small"
    PAPER = "paper"


class WorkloadSettings(Settings):
    """The workloads of `benchmark.cases`, except `patches`."""

    size: WorkloadSize = WorkloadSize.SMALL
    """`paper`: a clip of 171 frames, a volume of 305 x 512 x 512, a slide of 52,000 x 43,000
    pixels, as Smistad et al. 2019 had; `small`: some seconds for each on two cores, not
    comparable."""

    frames: Path | None = None
    """Of `ultrasound`, a clip that FFmpeg reads, no DICOM file; absent: drawn. It is repeated or
    cut to length."""

    volume: Path | None = None
    """Of `ct`, a volume in Hounsfield units as NIfTI; absent: drawn. It is repeated or cut to
    size."""

    slide: Path | None = None
    """Of `wsi`, a slide of any size; absent: drawn."""

    batch_sizes: tuple[int, ...] = Field(default=(1, 16), min_length=1)
    """Of `wsi`, patches per call, each at least 1 and another one."""

    readers: int = Field(default=2, ge=1)
    """Of `wsi`, processes that read the overview, and patches while the engine computes."""

    run_items: int | None = Field(default=None, ge=1)
    """Frames or patches of a run, the first of the workload, as many as fill batches of all
    `batch_sizes`; absent: all. The times of whole runs are then extrapolated, and labelled so."""

    warmup: int = Field(default=1, ge=1)
    """Runs of a workload before the measured ones."""

    iterations: int = Field(default=10, ge=1)
    """Measured runs; below 10 results are not comparable."""

    seed: int = Field(default=0, ge=0)
    """Seed of the networks' weights and of what is drawn."""

    @field_validator("batch_sizes")
    @classmethod
    def _batches_differ(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if min(sizes) < 1 or len(set(sizes)) < len(sizes):
            raise ValueError("batches hold at least 1 patch, and each another number")
        return sizes

    @model_validator(mode="after")
    def _batches_are_full(self) -> Self:
        # Else the last call, of a smaller batch, would count as one of many.
        if self.run_items is not None and any(self.run_items % size for size in self.batch_sizes):
            raise ValueError("run_items is not a multiple of every one of batch_sizes")
        return self

    def of_input(self, case: BenchmarkCase) -> Self:
        """Return what decides the input of a workload, the same for all that make the same."""
        name = _GIVEN[BenchmarkCase(case)]
        return type(self)(size=self.size, seed=self.seed, **{name: getattr(self, name)})

    def of_network(self) -> Self:
        """Return what decides the network of a workload, beside its input."""
        return type(self)(size=self.size, seed=self.seed)

    def of_runs(self) -> Self:
        """Return what decides how a workload is run, beside its input and its network."""
        return self.model_copy(update=dict.fromkeys(_GIVEN.values()))

    def given(self, case: BenchmarkCase) -> list[Path]:
        """Return the file that is given for a workload, if any."""
        found: Path | None = getattr(self, _GIVEN[BenchmarkCase(case)])
        return [found] if found else []


_GIVEN = {
    BenchmarkCase.ULTRASOUND: "frames",
    BenchmarkCase.CT: "volume",
    BenchmarkCase.WSI: "slide",
}
"""The setting that names what a workload works on."""
