"""Write the record of a job and send it, once."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lamella.errors import TrackingError
from lamella.stores.json_files import digest, read_json, write_json
from lamella.tracking.locks import alone
from lamella.tracking.provenance import provenance
from lamella.tracking.record import (
    RECORD_NAME,
    Record,
    check_files,
    identify,
    read_record,
    write_record,
)
from lamella.tracking.settings import TrackingSettings
from lamella.tracking.workflow import FALLBACK_EXPERIMENT, current_workflow_run, workflow_folder

logger = logging.getLogger(__name__)

_SENT_NAME = "record.sent.json"
_LOCK_NAME = ".record.lock"


class Sent(NamedTuple):
    """What a record that was sent has become.

    Attributes:
        record: Digest of the whole record as it was sent.
        store: The store it was sent to.
        run_id: The run in that store.
    """

    record: str
    store: str
    run_id: str


def track(record: Record, folder: Path, settings: TrackingSettings) -> None:
    """Write ``folder/record.json``, then send it.

    An MLflow that cannot be reached costs one warning: the record stays beside the results, and
    ``sync_tracking`` sends it later.

    Args:
        record: As ``keep_record``.
        folder: As ``keep_record``.
        settings: Where to send it.

    Raises:
        TrackingError: a file that the record names is absent.
    """
    keep_record(record, folder)
    try:
        send_record(folder, settings)
    except TrackingError as error:
        logger.warning("%s", error)


def keep_record(record: Record, folder: Path) -> None:
    """Write ``folder/record.json``, to be sent later.

    Call it when the files that the record names are there.

    Args:
        record: What to track; tags of provenance, experiment, parent and id are filled in.
        folder: Folder of the record; its artifacts are relative to it. One record per folder.

    Raises:
        TrackingError: a file that the record names is absent.
    """
    folder.mkdir(parents=True, exist_ok=True)  # else "../file" names nothing
    check_files(record, folder)
    _complete(record, folder)
    write_record(record, folder)


def send_records(
    folders: Iterable[Path], settings: TrackingSettings
) -> tuple[int, list[TrackingError]]:
    """Send the records of folders in their order; stop at the first that finds the store away.

    Returns:
        How many were sent now, and an error for each that was tried and failed.
    """
    sent, errors = 0, []
    for folder in folders:
        try:
            sent += send_record(folder, settings)
        except TrackingError as error:
            errors.append(error)
            if error.where == settings.store_name:  # the store is away: so it is for the others
                break
    return sent, errors


def send_record(folder: Path, settings: TrackingSettings) -> bool:
    """Send the record of a folder, and before it that of its workflow run, unless they were sent.

    Returns:
        Whether there was anything to send.

    Raises:
        TrackingError: the record cannot be read, or MLflow does not take it.
    """
    with alone(folder / _LOCK_NAME):
        record = read_record(folder)
        if is_sent(record, folder, settings):
            return False
        check_files(record, folder)
        parent_run_id = _send_parent(record, settings)
        # Importing MLflow takes seconds, which jobs whose record is sent should not pay.
        from lamella.tracking.mlflow_store import MlflowStore

        run_id = MlflowStore(settings).send(record, folder, parent_run_id)
        sent = Sent(_digest(record), settings.store_name, run_id)
        write_json(folder / _SENT_NAME, sent._asdict())
    return True


def is_sent(record: Record, folder: Path, settings: TrackingSettings) -> bool:
    """Return whether exactly this record is in the store that the settings name."""
    sent = _read_sent(folder)
    return sent is not None and (sent.record, sent.store) == (_digest(record), settings.store_name)


def _complete(record: Record, folder: Path) -> None:
    """Fill in what only the moment of writing knows."""
    workflow = current_workflow_run()
    record.tags = {**provenance(), **record.tags}
    record.experiment = workflow.get("study", FALLBACK_EXPERIMENT)
    if workflow:
        record.parent = workflow["id"]
        record.tags["lamella.config_fingerprint"] = workflow["config_fingerprint"]
    record.id = identify(record, folder)


def _send_parent(record: Record, settings: TrackingSettings) -> str | None:
    """Return the MLflow run of the record's workflow run, made now if it has none yet.

    ``None`` for a record without one, and where it cannot be made.
    """
    if record.parent is None:
        return None
    folder = workflow_folder(record.parent)
    if not (folder / RECORD_NAME).exists():
        logger.warning("%s: the workflow run %s is gone", record.name, record.parent[:12])
        return None
    try:
        read_record(folder)
    except TrackingError as error:
        # It may have been sent before it was damaged; it keeps no other record from being sent.
        logger.warning("%s", error)
    else:
        send_record(folder, settings)
    sent = _read_sent(folder)
    return sent.run_id if sent is not None else None


def _read_sent(folder: Path) -> Sent | None:
    path = folder / _SENT_NAME
    return Sent(**read_json(path)) if path.exists() else None


def _digest(record: Record) -> str:
    return digest(record.model_dump(mode="json"))
