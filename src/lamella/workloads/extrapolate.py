"""What runs of a whole workload would take, from runs of its first items."""

from collections.abc import Sequence

from lamella.workloads.cell import Mode, RunTimes, WorkloadCell, WorkloadRuns
from lamella.workloads.stages import Stage, StageTimes


def whole_runs(cell: WorkloadCell) -> Sequence[WorkloadRuns]:
    """Return all kinds of runs of a cell as if every run had had all items.

    Times of calls stay as they were measured. The total of a run is multiplied by the number of
    items over those that it had, but for its start: a slide is opened and its tissue found once in
    any run. (The memory of a result, which is asked for once, too, is multiplied.) Energy is not
    told. Where runs had all items they are returned as they are; without a measurement there are
    none.

    In overlapped runs the wait for the first batch is of the start, too. Where the engine is slower
    than the readers, it never waits again: what follows the start is its work alone, so much for
    each item. Where they are slower, it waits for most batches of the whole, but a run of a few
    does not show it: some of them, or all, are read before the first is given. The whole then takes
    as long as the readers need for all patches together, once the tissue is found. And where both
    share the CPUs, it takes as long as these need for all work, of which readers may have done
    most before the engine began. It never takes less, so the longest of these times is returned.

    CPU time is multiplied but for the start, as if one CPU were busy in it; of overlapped runs but
    for the tissue alone, for others read the first batch. What several processes take beyond that
    to open the slide and to read its overview together is multiplied, too.
    """
    kinds = () if cell.measurement is None else cell.measurement.kinds
    if not cell.extrapolated:
        return kinds
    factor = cell.items / cell.run_items
    return [
        kind.model_copy(
            update={"runs": tuple(_whole(run, kind.mode, factor, cell) for run in kind.runs)}
        )
        for kind in kinds
    ]


def _whole(run: RunTimes, mode: Mode, factor: float, cell: WorkloadCell) -> RunTimes:
    total_ms = run.start_ms + (run.total_ms - run.start_ms) * factor
    overlapped = mode is Mode.OVERLAPPED
    once_ms = run.stages[Stage.TISSUE].total_ms if overlapped else run.start_ms
    cpu_ms = once_ms + max(0.0, run.cpu_ms - once_ms) * factor
    if overlapped:
        reading_ms = run.stages[Stage.PATCH_GENERATOR].total_ms * factor / cell.readers
        total_ms = max(total_ms, once_ms + reading_ms, cpu_ms / float(cell.host["cpus"]))
    return run.model_copy(
        update={
            "total_ms": total_ms,
            "cpu_ms": cpu_ms,
            "joules": None,
            "stages": {
                stage: times if stage is Stage.TISSUE else _more(times, factor)
                for stage, times in run.stages.items()
            },
        }
    )


def _more(times: StageTimes, factor: float) -> StageTimes:
    return times.model_copy(update={"total_ms": times.total_ms * factor})
