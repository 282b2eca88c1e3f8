"""Times of a workload as FAST's own benchmark writes them."""

from collections.abc import Iterator
from pathlib import Path

from lamella.benchmark.settings import BenchmarkCase
from lamella.engines.settings import Precision
from lamella.engines.verdict import Verdict
from lamella.settings import Device
from lamella.stores.atomic import write_text
from lamella.workloads.cell import Mode, RunTimes, WorkloadCell
from lamella.workloads.extrapolate import whole_runs
from lamella.workloads.settings import WorkloadSize
from lamella.workloads.stages import Stage

_NAMES = {
    Stage.PATCH_GENERATOR: "Patch generator",
    Stage.NN_INPUT: "NN input",
    Stage.NN_INFERENCE: "NN inference",
    Stage.NN_OUTPUT: "NN output",
    Stage.PATCH_STITCHER: "Patch stitcher",
}
_DEVICES = {Device.CPU: "CPU", Device.CUDA: "GPU"}
_WITHOUT_PATCHES = (Stage.NN_INPUT, Stage.NN_INFERENCE, Stage.NN_OUTPUT)


def write_fast_table(path: Path, cell: WorkloadCell) -> None:
    """Write the sequential runs of a cell; without a measurement the header alone.

    Semicolons between cells, a row for every run, milliseconds: mean and standard deviation of the
    calls of every stage, and the time of the run. A precision other than f32, a batch size above 1,
    `extrapolated`, `small` and `invalid` stand behind the engine's name. A stream of frames has no
    patches, and no columns of theirs.

    Source:
        The programs that measured Smistad, Østvik and Pedersen, IEEE Access 7, 2019,
        doi:10.1109/ACCESS.2019.2942441.
    """
    stages = _WITHOUT_PATCHES if cell.case is BenchmarkCase.ULTRASOUND else tuple(_NAMES)
    header = ["Engine", "Device Type", "Iteration"]
    header += [f"{_NAMES[stage]} {figure}" for stage in stages for figure in ("AVG", "STD")]
    lines = [";".join([*header, "Total"]), *_rows(cell, stages)]
    write_text(path, "\n".join(lines) + "\n")


def _rows(cell: WorkloadCell, stages: tuple[Stage, ...]) -> Iterator[str]:
    for kind in whole_runs(cell):
        if kind.mode is Mode.SEQUENTIAL:
            name = _name(cell, kind.batch_size)
            for number, run in enumerate(kind.runs, start=1):
                device = _DEVICES[cell.device]
                figures = _figures(run, stages)
                yield ";".join([name, device, str(number), *figures])


def _name(cell: WorkloadCell, batch_size: int) -> str:
    """Return the engine with all that a row has no column for."""
    behind = {
        str(cell.precision): cell.precision is not Precision.F32,
        f"batch {batch_size}": batch_size > 1,
        "extrapolated": cell.extrapolated,
        str(cell.size): cell.size is not WorkloadSize.PAPER,
        str(cell.verdict): cell.verdict is not Verdict.VALID,
    }
    return " ".join([cell.engine, *(word for word, said in behind.items() if said)])


def _figures(run: RunTimes, stages: tuple[Stage, ...]) -> Iterator[str]:
    for stage in stages:
        times = run.stages[stage]
        yield f"{times.mean_ms:.6f}"
        yield f"{times.sd_ms:.6f}"
    yield f"{run.total_ms:.6f}"
