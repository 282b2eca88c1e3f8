"""What is tracked of a workload's measurement."""

import statistics

from lamella.benchmark.track import batch_failures, engine_facts
from lamella.tracking.record import Record
from lamella.workloads.cell import WorkloadCell, WorkloadMeasurement
from lamella.workloads.extrapolate import whole_runs
from lamella.workloads.table import mean_joules


def record_of(cell: WorkloadCell, *, artifacts: list[str], started_ms: int) -> Record:
    """Return what is tracked: one nested run per cell.

    Args:
        cell: The result.
        artifacts: Its files, relative to the record.
        started_ms: When the measurement began.
    """
    record = Record(
        kind="benchmark",
        name=f"{cell.case} {cell.engine} {cell.precision}",
        params=engine_facts(
            cell,
            size=cell.size,
            items=cell.items,
            run_items=cell.run_items,
            source=cell.source,
            **batch_failures(cell.measurement.batch_failures if cell.measurement else {}),
        ),
        artifacts=artifacts,
        started_ms=started_ms,
    )
    if cell.measurement is not None:
        record.add_metrics(_figures(cell, cell.measurement))
    return record


def _figures(cell: WorkloadCell, measurement: WorkloadMeasurement) -> dict[str, float]:
    figures = {
        "load_ms": measurement.load_ms,
        "first_call_ms": measurement.first_call_ms,
        "peak_rss_mib": measurement.peak_rss_mib,
        "max_abs_difference": measurement.max_abs_difference,
    }
    if measurement.build_ms is not None:
        figures["build_ms"] = measurement.build_ms
    for kind in whole_runs(cell):
        totals = [run.total_ms for run in kind.runs]
        name = "total_ms_extrapolated" if cell.extrapolated else "total_ms"
        figures[f"{kind.mode}_batch_{kind.batch_size}/{name}"] = statistics.fmean(totals)
        joules = mean_joules(kind.runs)
        if joules is not None:
            figures[f"{kind.mode}_batch_{kind.batch_size}/joules"] = joules
    return figures
