"""Put all benchmark results into one table."""

import logging
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

from lamella.benchmark.cell import (
    BatchResult,
    BenchmarkCell,
    EngineCell,
    Measurement,
    ScenarioResult,
    read_cell,
)
from lamella.benchmark.track import track_tables
from lamella.engines.settings import EngineName, Precision
from lamella.engines.verdict import Verdict
from lamella.stores.tables import write_table, written
from lamella.tracking.settings import TrackingSettings

_log = logging.getLogger(__name__)

COLUMNS = (
    "case",
    "engine",
    "device",
    "precision",
    "threads",
    "batch_size",
    "verdict",
    "reason",
    "comparable",
    "patches_per_s",
    "speed_against_torch",
    "latency_ms_median",
    "latency_ms_p90",
    "latency_ms_p99",
    "latency_ms_mean",
    "latency_ms_sd",
    "first_call_ms",
    "cpu_ms_per_patch",
    "joules_per_patch",
    "import_ms",
    "load_ms",
    "build_ms",
    "rss_before_mib",
    "peak_rss_mib",
    "gpu_memory_mib",
    "others_cpu_share",
    "repeat_speedup",
    "energy_source",
    "max_abs_difference",
    "limit",
    "warmup",
    "iterations",
    "pool",
    "run",
    "seed",
    "version",
    "host",
    "cpu",
    "gpu",
    "driver",
)
"""Columns of ``summary.tsv``: one row a case, engine, precision and batch size; one row where an
engine is unavailable, and those of batch sizes that it failed at have no figures.
``speed_against_torch`` is the engine's throughput over that of torch in f32 with the same case,
model, device, threads, batch size and models of CPU and GPU; empty without such a row."""

SCENARIO_COLUMNS = (
    "case",
    "engine",
    "device",
    "precision",
    "threads",
    "scenario",
    "verdict",
    "reason",
    "comparable",
    "figure",
    "value",
    "bound_ms",
    "patches_per_query",
    "queries",
    "trials",
    "max_abs_difference",
    "limit",
    "pool",
    "run",
    "seed",
    "version",
    "host",
    "cpu",
    "gpu",
    "driver",
)
"""Columns of ``scenarios.tsv``: one row a case, engine, precision and scenario of MLPerf; one row
where they are unavailable. ``value`` is in the unit of ``figure``, and empty where the queries are
too few for its quantile, or the engine failed."""

_Peer = tuple[object, ...]


def summarise_benchmark(
    *, results: Sequence[Path], output: Path, scenarios: Path, tracking: TrackingSettings
) -> None:
    """Write ``summary.tsv`` and ``scenarios.tsv``.

    Args:
        results: The JSON files of ``benchmark_engine``, in the order of the rows.
        output: The table of the batch sizes.
        scenarios: The table of MLPerf's scenarios.
        tracking: Where results and tables are tracked.
    """
    cells = [read_cell(path, BenchmarkCell) for path in results]
    rows = summarise_cells(cells)
    write_table(output, COLUMNS, rows)
    write_table(scenarios, SCENARIO_COLUMNS, scenario_rows(cells))
    track_tables("benchmark patches", results, [output, scenarios], tracking)
    _log.info("%d rows of %d results", len(rows), len(results))


def summarise_cells(cells: Sequence[BenchmarkCell]) -> list[dict[str, object]]:
    """Return the rows of the table, in the order of the cells and by batch size."""
    torch = {
        _peer(cell, batch): batch.patches_per_s
        for cell in cells
        if cell.engine is EngineName.TORCH and cell.precision is Precision.F32
        if cell.measurement is not None
        for batch in cell.measurement.batches
    }
    rows: list[dict[str, object]] = []
    for cell in cells:
        measurement = cell.measurement
        if measurement is None:
            rows.append(_shared(cell))
            continue
        measured = [
            (batch.batch_size, _row(cell, measurement, batch, torch.get(_peer(cell, batch))))
            for batch in measurement.batches
        ]
        failed = [
            (size, _failed(cell, measurement, reason) | {"batch_size": size})
            for size, reason in measurement.batch_failures.items()
        ]
        rows += [row for _, row in sorted(measured + failed, key=itemgetter(0))]
    return rows


def scenario_rows(cells: Sequence[BenchmarkCell]) -> list[dict[str, object]]:
    """Return the rows of the table of scenarios, in the order of the cells."""
    rows: list[dict[str, object]] = []
    for cell in cells:
        if cell.measurement is None:
            rows.append(_shared(cell))
            continue
        rows += [_scenario(cell, cell.measurement, each) for each in cell.measurement.scenarios]
        for scenario, reason in cell.measurement.scenario_failures.items():
            rows.append(_failed(cell, cell.measurement, reason) | {"scenario": scenario})
    return rows


def _peer(cell: BenchmarkCell, batch: BatchResult) -> _Peer:
    """Return what two measurements must have in common to be compared."""
    return (
        cell.case,
        cell.run,
        cell.seed,
        cell.device,
        cell.threads,
        cell.patch_px,
        cell.host["cpu"],
        cell.host.get("gpu"),
        batch.batch_size,
    )


def engine_columns(cell: EngineCell) -> dict[str, object]:
    """Return what the rows of all tables say of an engine."""
    return {
        "case": cell.case,
        "engine": cell.engine,
        "device": cell.device,
        "precision": cell.precision,
        "threads": cell.threads,
        "verdict": cell.verdict,
        "reason": cell.reason,
        "comparable": "; ".join(f"no: {rule}" for rule in cell.not_comparable) or "yes",
        "limit": f"{cell.limit:g}",
        "host": cell.host["name"],
        "cpu": cell.host["cpu"],
        "gpu": cell.host.get("gpu"),
        "driver": cell.host.get("driver"),
    }


def unavailable(reason: str, version: str) -> dict[str, object]:
    """Return what a row says of a part that the engine failed at."""
    return {"verdict": Verdict.UNAVAILABLE, "reason": reason, "version": version}


def _failed(cell: BenchmarkCell, measurement: Measurement, reason: str) -> dict[str, object]:
    return _shared(cell) | unavailable(reason, measurement.version)


def _shared(cell: BenchmarkCell) -> dict[str, object]:
    return {**engine_columns(cell), "pool": cell.pool, "run": cell.run, "seed": cell.seed}


def _row(
    cell: BenchmarkCell, measurement: Measurement, batch: BatchResult, torch: float | None
) -> dict[str, object]:
    figures = {
        "patches_per_s": batch.patches_per_s,
        "speed_against_torch": None if torch is None else batch.patches_per_s / torch,
        "latency_ms_median": batch.latency_ms_median,
        "latency_ms_p90": batch.latency_ms_p90,
        "latency_ms_p99": batch.latency_ms_p99,
        "latency_ms_mean": batch.latency_ms_mean,
        "latency_ms_sd": batch.latency_ms_sd,
        "first_call_ms": batch.first_call_ms,
        "cpu_ms_per_patch": batch.cpu_ms_per_patch,
        "joules_per_patch": batch.joules_per_patch,
        "import_ms": measurement.import_ms,
        "load_ms": measurement.load_ms,
        "build_ms": measurement.build_ms,
        "rss_before_mib": measurement.rss_before_mib,
        "peak_rss_mib": measurement.peak_rss_mib,
        "gpu_memory_mib": measurement.gpu_memory_mib,
        "others_cpu_share": measurement.others_cpu_share,
        "repeat_speedup": measurement.repeat_speedup,
    }
    return {
        **_shared(cell),
        **{key: written(value, ".3f") for key, value in figures.items()},
        "batch_size": batch.batch_size,
        "energy_source": measurement.energy_source,
        "max_abs_difference": written(batch.max_abs_difference, ".3e"),
        "warmup": batch.warmup,
        "iterations": batch.iterations,
        "version": measurement.version,
    }


def _scenario(
    cell: BenchmarkCell, measurement: Measurement, result: ScenarioResult
) -> dict[str, object]:
    return {
        **_shared(cell),
        "scenario": result.scenario,
        "figure": result.figure,
        "value": written(result.value, ".3f"),
        "bound_ms": written(result.bound_ms, "g"),
        "patches_per_query": result.patches_per_query,
        "queries": result.queries,
        "trials": len(result.trials) or None,
        "max_abs_difference": written(result.max_abs_difference, ".3e"),
        "version": measurement.version,
    }
