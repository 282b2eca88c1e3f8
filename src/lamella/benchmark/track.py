"""What is tracked of measurements, and when it is sent."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from lamella.benchmark.cell import BenchmarkCell, EngineCell, Measurement
from lamella.engines.verdict import Verdict
from lamella.tracking.record import Dataset, Record
from lamella.tracking.send import keep_record, send_records
from lamella.tracking.settings import TrackingSettings

_log = logging.getLogger(__name__)

_NO_FIGURES = {"batch_size", "warmup", "iterations", "latency_ms_seeds"}


def record_of(cell: BenchmarkCell, *, artifact: str, started_ms: int) -> Record:
    """Return what is tracked: one nested run per cell.

    Args:
        cell: The result.
        artifact: Its file, relative to the record.
        started_ms: When the measurement began.
    """
    record = Record(
        kind="benchmark",
        name=f"{cell.case} {cell.engine} {cell.precision}",
        params=engine_facts(
            cell,
            run=cell.run,
            version="" if cell.measurement is None else cell.measurement.version,
            **_failures(cell.measurement),
        ),
        artifacts=[artifact],
        datasets=[
            Dataset(
                name="patches",
                digest=cell.index_digest,
                source="results/patches/index.parquet",
                context="inference",
            )
        ],
        started_ms=started_ms,
    )
    if cell.measurement is not None:
        record.add_metrics(_figures(cell.measurement))
    return record


def batch_failures(failures: Mapping[int, str]) -> dict[str, str]:
    """Return what is tracked of batch sizes that an engine failed at."""
    return {f"batch_{size}": f"{Verdict.UNAVAILABLE}: {why}" for size, why in failures.items()}


def track_tables(
    name: str, results: Sequence[Path], files: Sequence[Path], settings: TrackingSettings
) -> None:
    """Send the records that the results have beside them, and one of the tables of them.

    Jobs that measure do not send them: importing MLflow takes seconds, which would be a good part
    of the time of a short cell.

    Args:
        name: Name of the run of the tables.
        results: Files of the cells; each has its record in the folder of its name.
        files: Tables and pictures of one folder.
        settings: Where to send them.
    """
    folder = files[0].with_suffix("")
    record = Record(kind="benchmark", name=name, artifacts=[f"../{each.name}" for each in files])
    keep_record(record, folder)
    _, errors = send_records([*(each.with_suffix("") for each in results), folder], settings)
    for error in errors:
        _log.warning("%s", error)


def engine_facts(cell: EngineCell, **more: object) -> dict[str, str]:
    """Return what is tracked of an engine, and more; what is empty is left out."""
    facts = {
        "case": cell.case,
        "engine": cell.engine,
        "device": cell.device,
        "precision": cell.precision,
        "threads": cell.threads,
        "verdict": cell.verdict,
        "reason": cell.reason,
        "not_comparable": "; ".join(cell.not_comparable),
        "cpu": cell.host["cpu"],
        **more,
    }
    return {key: str(value) for key, value in facts.items() if value != ""}


def _failures(measurement: Measurement | None) -> dict[str, str]:
    if measurement is None:
        return {}
    scenarios = measurement.scenario_failures.items()
    return batch_failures(measurement.batch_failures) | {
        str(scenario): f"{Verdict.UNAVAILABLE}: {why}" for scenario, why in scenarios
    }


def _figures(measurement: Measurement) -> dict[str, float]:
    figures = {
        "import_ms": measurement.import_ms,
        "load_ms": measurement.load_ms,
        "peak_rss_mib": measurement.peak_rss_mib,
        "others_cpu_share": measurement.others_cpu_share,
        "repeat_speedup": measurement.repeat_speedup,
    }
    not_everywhere = {
        "build_ms": measurement.build_ms,
        "gpu_memory_mib": measurement.gpu_memory_mib,
    }
    figures |= {name: value for name, value in not_everywhere.items() if value is not None}
    for batch in measurement.batches:
        for key, value in batch.model_dump(exclude=_NO_FIGURES).items():
            if value is not None:
                figures[f"batch_{batch.batch_size}/{key}"] = value
    for result in measurement.scenarios:
        if result.value is not None:
            figures[f"{result.scenario}/{result.figure}"] = result.value
    return figures
