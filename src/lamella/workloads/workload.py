"""What the three workloads have in common."""

from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from lamella.benchmark.settings import BenchmarkCase
from lamella.engines.engine import CheckedEngine
from lamella.workloads.chest import Chest
from lamella.workloads.clip import Clip
from lamella.workloads.settings import WorkloadSettings
from lamella.workloads.sizes import SIZES
from lamella.workloads.slide import WholeSlide
from lamella.workloads.stages import StageClock


class Workload(Protocol):
    """A workload, its input in memory or open."""

    items: int
    """Frames or patches of the whole."""
    run_items: int
    """Of these, how many a run has: the first."""
    asked: int
    """Pixels, voxels or patches of a run, each of which gets an answer."""

    def examples(self) -> NDArray[Any]:
        """Return a few items, spread over the whole, as the network takes them."""
        ...

    def at_examples(self, result: NDArray[Any]) -> list[NDArray[Any]]:
        """Return what a run's result says of each example that the run had, from the first on."""
        ...

    def run(self, engine: CheckedEngine, clock: StageClock, *, batch_size: int) -> NDArray[Any]:
        """Run it from the input to the end, one thing after another, and return the result."""
        ...


def open_workload(case: BenchmarkCase, file: Path, settings: WorkloadSettings) -> Workload:
    """Return a workload on its prepared input."""
    sizes = SIZES[settings.size]
    match case:
        case BenchmarkCase.ULTRASOUND:
            return Clip(file, sizes.frame_px, run_items=settings.run_items)
        case BenchmarkCase.CT:
            return Chest(file, sizes.patch_zyx, run_items=settings.run_items)
        case BenchmarkCase.WSI:
            return WholeSlide(
                file, sizes.patch_px, readers=settings.readers, run_items=settings.run_items
            )
        case BenchmarkCase.PATCHES:
            raise ValueError("it is measured by lamella.benchmark")
