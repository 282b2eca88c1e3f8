"""``results/benchmark/workloads.tsv``: the workloads of all engines side by side."""

import statistics
from collections.abc import Callable, Sequence
from operator import itemgetter

from lamella.benchmark.summarise import engine_columns, unavailable
from lamella.engines.settings import EngineName, Precision
from lamella.stores.tables import written
from lamella.workloads.cell import Mode, RunTimes, WorkloadCell, WorkloadMeasurement, WorkloadRuns
from lamella.workloads.extrapolate import whole_runs
from lamella.workloads.stages import Stage, StageTimes

COLUMNS = (
    "case",
    "size",
    "engine",
    "device",
    "precision",
    "threads",
    "batch_size",
    "mode",
    "verdict",
    "reason",
    "comparable",
    "runs",
    "items",
    "run_items",
    "total_ms_mean",
    "total_ms_sd",
    "total_ms_median",
    "items_per_s",
    "speed_against_torch",
    *(f"{stage}_ms" for stage in Stage),
    *(f"{stage}_call_ms_{figure}" for stage in Stage for figure in ("mean", "sd")),
    "cpu_ms",
    "joules",
    "energy_source",
    "overlap_cost",
    "readers",
    "import_ms",
    "load_ms",
    "build_ms",
    "first_call_ms",
    "peak_rss_mib",
    "others_cpu_share",
    "max_abs_difference",
    "limit",
    "label_agreement",
    "compared_answers",
    "source",
    "parameters",
    "version",
    "host",
    "cpu",
    "gpu",
    "driver",
)
"""One row a case, engine, precision, batch size and mode; one row for an engine, or a batch size of
it, that is unavailable. ``speed_against_torch`` is the engine's items per second over those of
torch in f32 with the same case, size, items of a run, source, device, threads, readers, batch size,
mode and models of CPU and GPU; empty where torch has no such row."""

_MS_PER_S = 1e3

_Peer = tuple[object, ...]


def workload_rows(cells: Sequence[WorkloadCell]) -> list[dict[str, object]]:
    """Return the rows of the table, in the order of the cells and by batch size."""
    torch = {
        _peer(cell, kind): items_per_s(cell, kind)
        for cell in cells
        if cell.engine is EngineName.TORCH and cell.precision is Precision.F32
        for kind in whole_runs(cell)
    }
    rows: list[dict[str, object]] = []
    for cell in cells:
        measurement = cell.measurement
        if measurement is None:
            rows.append(_shared(cell))
            continue
        measured = [
            (kind.batch_size, _row(cell, kind, torch.get(_peer(cell, kind))))
            for kind in whole_runs(cell)
        ]
        failed = [
            (size, _shared(cell) | unavailable(reason, measurement.version) | {"batch_size": size})
            for size, reason in measurement.batch_failures.items()
        ]
        rows += [row for _, row in sorted(measured + failed, key=itemgetter(0))]
    return rows


def items_per_s(cell: WorkloadCell, kind: WorkloadRuns) -> float:
    """Return the frames or patches of whole runs over their time."""
    total_ms = sum(run.total_ms for run in kind.runs)
    return cell.items * len(kind.runs) / total_ms * _MS_PER_S


def overlap_cost(run: RunTimes, alone: Sequence[RunTimes], *, readers: int, cpus: float) -> float:
    """Return what a run takes over what it must take when everything overlaps.

    Args:
        run: An overlapped run.
        alone: Sequential runs, whose stages do not get in each other's way.
        readers: Processes that read patches.
        cpus: CPUs of the machine.

    Returns:
        1 where the run is as long as the slowest of what runs side by side: the engine, the
        readers, or all work on all CPUs.
    """
    inference_ms = _median_ms(alone, Stage.NN_INFERENCE)
    reading_ms = _median_ms(alone, Stage.PATCH_GENERATOR) / readers
    return run.total_ms / max(inference_ms, reading_ms, run.cpu_ms / cpus)


def _peer(cell: WorkloadCell, kind: WorkloadRuns) -> _Peer:
    """Return what two measurements must have in common to be compared."""
    return (
        cell.case,
        cell.size,
        cell.run_items,
        cell.source,
        cell.device,
        cell.threads,
        cell.readers,
        cell.host["cpu"],
        cell.host.get("gpu"),
        kind.batch_size,
        kind.mode,
    )


def _shared(cell: WorkloadCell) -> dict[str, object]:
    return {
        **engine_columns(cell),
        "size": cell.size,
        "items": cell.items,
        "run_items": cell.run_items,
        "readers": cell.readers,
        "source": cell.source,
        "parameters": cell.parameters,
    }


def _row(cell: WorkloadCell, kind: WorkloadRuns, torch: float | None) -> dict[str, object]:
    assert cell.measurement is not None, "there are runs"
    speed = items_per_s(cell, kind)
    figures = {
        **_totals(cell, kind),
        **_stages(kind.runs),
        **_costs(cell.measurement),
        "items_per_s": speed,
        "speed_against_torch": None if torch is None else speed / torch,
    }
    return {
        **_shared(cell),
        **{key: written(value, ".3f") for key, value in figures.items()},
        "batch_size": kind.batch_size,
        "mode": kind.mode,
        "runs": len(kind.runs),
        "max_abs_difference": written(cell.measurement.max_abs_difference, ".3e"),
        "label_agreement": written(cell.measurement.label_agreement, ".6f"),
        "compared_answers": cell.measurement.compared_answers,
        "version": cell.measurement.version,
        "energy_source": cell.measurement.energy_source,
    }


def _totals(cell: WorkloadCell, kind: WorkloadRuns) -> dict[str, float | None]:
    totals = [run.total_ms for run in kind.runs]
    return {
        "total_ms_mean": statistics.fmean(totals),
        # One run has no deviation, and that of short runs says little of whole ones.
        "total_ms_sd": (
            statistics.stdev(totals) if len(totals) > 1 and not cell.extrapolated else None
        ),
        "total_ms_median": statistics.median(totals),
        "cpu_ms": statistics.fmean(run.cpu_ms for run in kind.runs),
        "joules": mean_joules(kind.runs),
        "overlap_cost": _overlap_cost(cell, kind),
    }


def _overlap_cost(cell: WorkloadCell, kind: WorkloadRuns) -> float | None:
    # The wait for the first batch would be a large part of a short run.
    if kind.mode is not Mode.OVERLAPPED or cell.extrapolated:
        return None
    cpus = float(cell.host["cpus"])
    alone = next(
        each.runs
        for each in whole_runs(cell)
        if (each.mode, each.batch_size) == (Mode.SEQUENTIAL, kind.batch_size)
    )
    return statistics.median(
        overlap_cost(run, alone, readers=cell.readers, cpus=cpus) for run in kind.runs
    )


def mean_joules(runs: Sequence[RunTimes]) -> float | None:
    """Return the mean energy of a run; none where a run was too short for the counter."""
    consumed = [run.joules for run in runs if run.joules is not None]
    return statistics.fmean(consumed) if len(consumed) == len(runs) else None


def _median_ms(runs: Sequence[RunTimes], stage: Stage) -> float:
    return statistics.median(run.stages[stage].total_ms for run in runs)


def _stages(runs: Sequence[RunTimes]) -> dict[str, float | None]:
    figures: dict[str, float | None] = {}
    for stage in Stage:
        times = [run.stages[stage] for run in runs if stage in run.stages]
        figures[f"{stage}_ms"] = _of_any(_mean_total, times)
        figures[f"{stage}_call_ms_mean"] = _of_any(_call_mean, times)
        figures[f"{stage}_call_ms_sd"] = _of_any(_call_sd, times)
    return figures


def _of_any(
    figure: Callable[[Sequence[StageTimes]], float], times: Sequence[StageTimes]
) -> float | None:
    return figure(times) if times else None


def _mean_total(times: Sequence[StageTimes]) -> float:
    return statistics.fmean(each.total_ms for each in times)


def _call_mean(times: Sequence[StageTimes]) -> float:
    # Not from the totals, which may be extrapolated.
    return sum(each.calls * each.mean_ms for each in times) / sum(each.calls for each in times)


def _call_sd(times: Sequence[StageTimes]) -> float:
    """Return the standard deviation over the calls of all runs, from those of each run."""
    mean = _call_mean(times)
    squares = sum(each.calls * (each.sd_ms**2 + (each.mean_ms - mean) ** 2) for each in times)
    return float((squares / sum(each.calls for each in times)) ** 0.5)


def _costs(measurement: WorkloadMeasurement) -> dict[str, float | None]:
    return {
        "import_ms": measurement.import_ms,
        "load_ms": measurement.load_ms,
        "build_ms": measurement.build_ms,
        "first_call_ms": measurement.first_call_ms,
        "peak_rss_mib": measurement.peak_rss_mib,
        "others_cpu_share": measurement.others_cpu_share,
    }
