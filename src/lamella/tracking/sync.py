"""Send the records that the store does not have yet."""

import logging
from pathlib import Path

from lamella.errors import TrackingError
from lamella.tracking.record import RECORD_NAME, read_record
from lamella.tracking.send import is_sent, send_records
from lamella.tracking.settings import TrackingSettings
from lamella.tracking.workflow import finish_workflow_run

logger = logging.getLogger(__name__)


def sync_tracking(root: Path, settings: TrackingSettings) -> int:
    """Send every record below a folder that the store does not have yet, oldest first.

    Args:
        root: Folder to search, usually ``results``.
        settings: Where to send them.

    Returns:
        How many records were sent now; 0 when all had been sent before.

    Raises:
        TrackingError: records remain that could not be sent; the others have been.
    """
    folders, errors = unsent_records(root, settings)
    found = len(folders) + len(errors)
    sent, failures = send_records(folders, settings)
    errors += failures
    for each in errors:
        logger.warning("%s", each)
    logger.info("sync_tracking: %d records sent, %d remain", sent, found - sent)
    if errors:
        raise TrackingError(
            f"{found - sent} of {found} records were not sent ({errors[-1].what})",
            ", ".join(each.where for each in errors),
            "Run `lamella sync-tracking` again when the cause is gone",
        )
    return sent


def close_workflow_run(root: Path, settings: TrackingSettings, *, succeeded: bool) -> None:
    """Note that the workflow run has ended, and send what is unsent; a warning where that fails.

    Args:
        root: Folder to search, usually ``results``.
        settings: Where to send it.
        succeeded: How the workflow ended.
    """
    finish_workflow_run(succeeded=succeeded)
    try:
        sync_tracking(root, settings)
    except TrackingError as error:
        logger.warning("%s", error)


def unsent_records(
    root: Path, settings: TrackingSettings
) -> tuple[list[Path], list[TrackingError]]:
    """Return the folders of records that the store does not have, and why others are unreadable.

    Returns:
        The folders, oldest record first, and one error per file that is not a record.
    """
    unsent, errors = [], []
    for path in sorted(root.rglob(RECORD_NAME)):
        try:
            record = read_record(path.parent)
        except TrackingError as error:
            errors.append(error)
            continue
        if not is_sent(record, path.parent, settings):
            unsent.append((record.started_ms, path.parent))
    return [folder for _, folder in sorted(unsent)], errors
