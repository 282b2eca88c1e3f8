"""The run of the whole workflow, under which the runs of its jobs nest.

Nothing here talks to MLflow: the workflow run is a record like any other, and the first job that
sends one sends its workflow run before it.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lamella.errors import TrackingError
from lamella.stores.json_files import digest, read_json, write_json
from lamella.tracking.provenance import provenance
from lamella.tracking.record import Record, RunStatus, identify, now_ms, read_record, write_record

logger = logging.getLogger(__name__)

STORE_FOLDER = Path("results/mlflow")
"""Where the tracking store and its bookkeeping lie, relative to the working folder."""

CURRENT = STORE_FOLDER / "workflow_run.json"
"""Names the workflow run that is going on; absent when none is."""

FALLBACK_EXPERIMENT = "lamella"
"""Experiment of jobs that run by hand, outside any workflow run."""


def workflow_folder(run: str) -> Path:
    """Return the folder of a workflow run's record.

    Args:
        run: The record's ``id``.
    """
    return STORE_FOLDER / "workflow_runs" / run


def start_workflow_run(study: str, config: dict[str, Any]) -> str:
    """Note that a workflow run begins; the jobs that follow nest under it.

    A run that never ended, because its process was killed, is marked as killed.

    Args:
        study: Name of the study, which is the name of the experiment.
        config: The whole configuration, JSON values; its digest becomes a tag.

    Returns:
        The ``id`` of the run's record.
    """
    _end_current(RunStatus.KILLED)
    tags = {**provenance(), "lamella.config_fingerprint": digest(config)}
    begun = time.strftime("%Y-%m-%d %H:%M:%S")
    # The time in nanoseconds keeps two runs apart that begin in the same second.
    params = {"begun": begun, "begun_ns": str(time.time_ns())}
    record = Record(
        kind="workflow",
        name=f"workflow {begun}",
        params=params,
        tags=tags,
        experiment=study,
        status=RunStatus.RUNNING,
    )
    record.id = identify(record, STORE_FOLDER)
    record.artifacts = ["config.json"]
    folder = workflow_folder(record.id)
    write_json(folder / "config.json", config)
    write_record(record, folder)
    current = {
        "id": record.id,
        "study": study,
        "config_fingerprint": tags["lamella.config_fingerprint"],
    }
    write_json(CURRENT, current)
    return record.id


def finish_workflow_run(*, succeeded: bool) -> None:
    """Note that the workflow run has ended; ``sync_tracking`` tells MLflow."""
    _end_current(RunStatus.FINISHED if succeeded else RunStatus.FAILED)


def begun_s() -> float | None:
    """Return when the current workflow run began, seconds since 1970; ``None`` without one.

    Raises:
        TrackingError: its record is damaged.
    """
    current = current_workflow_run()
    if not current:
        return None
    return read_record(workflow_folder(current["id"])).started_ms / 1000


def add_to_workflow_run(metrics: Mapping[str, float], artifacts: Sequence[str]) -> None:
    """Add figures and files to the record of the current workflow run; nothing without one.

    Args:
        metrics: Figures by name.
        artifacts: Files in the record's folder, already there.

    Raises:
        TrackingError: its record is damaged.
    """
    current = current_workflow_run()
    if not current:
        return
    folder = workflow_folder(current["id"])
    record = read_record(folder)
    known = {metric.key for metric in record.metrics}
    record.add_metrics({key: value for key, value in metrics.items() if key not in known})
    record.artifacts += [name for name in artifacts if name not in record.artifacts]
    write_record(record, folder)


def current_workflow_run() -> dict[str, str]:
    """Return ``id``, ``study`` and ``config_fingerprint`` of the current run; empty without one."""
    if not CURRENT.exists():
        return {}
    current: dict[str, str] = read_json(CURRENT)
    return current


def _end_current(status: RunStatus) -> None:
    current = current_workflow_run()
    if not current:
        return
    folder = workflow_folder(current["id"])
    try:
        record = read_record(folder)
    except TrackingError as error:
        # What an earlier run has lost must not keep the next one from starting.
        logger.warning("%s", error)
    else:
        record.status, record.ended_ms = status, now_ms()
        write_record(record, folder)
    CURRENT.unlink()
