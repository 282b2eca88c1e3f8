"""What runs of a whole workload would take, from runs of its first items."""

from collections.abc import Sequence

from lamella.workloads.cell import RunTimes, WorkloadCell, WorkloadRuns
from lamella.workloads.stages import Stage, StageTimes


def whole_runs(cell: WorkloadCell) -> Sequence[WorkloadRuns]:
    """Return all kinds of runs of a cell as if every run had had all items.

    Times of calls stay as they were measured. Times of a run are multiplied by the number of items
    over those that it had, but for opening a slide and finding its tissue, which are of the whole
    in any run. What else happens once is multiplied, too: the memory of a result, and, where
    patches are read ahead, the wait for the first batch. Energy is not told. Where runs had all
    items they are returned as they are; without a measurement there are none.
    """
    kinds = () if cell.measurement is None else cell.measurement.kinds
    if not cell.extrapolated:
        return kinds
    factor = cell.items / cell.run_items
    return [
        kind.model_copy(update={"runs": tuple(_whole(run, factor) for run in kind.runs)})
        for kind in kinds
    ]


def _whole(run: RunTimes, factor: float) -> RunTimes:
    once = run.stages.get(Stage.TISSUE)
    once_ms = 0.0 if once is None else once.total_ms
    return run.model_copy(
        update={
            "total_ms": once_ms + (run.total_ms - once_ms) * factor,
            # As if one CPU found the tissue. Processes that read its overview together take more,
            # and each opens the slide; that is multiplied, too.
            "cpu_ms": once_ms + max(0.0, run.cpu_ms - once_ms) * factor,
            "joules": None,
            "stages": {
                stage: times if stage is Stage.TISSUE else _more(times, factor)
                for stage, times in run.stages.items()
            },
        }
    )


def _more(times: StageTimes, factor: float) -> StageTimes:
    return times.model_copy(update={"total_ms": times.total_ms * factor})
