"""The last word of a run: which slides were quarantined, and whether that is too many."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lamella.errors import FailedSlidesError
from lamella.fleet.manifest import ManifestRow, Status, read_manifest
from lamella.fleet.settings import FleetSettings
from lamella.stores.tables import write_table

logger = logging.getLogger(__name__)


def check_failures(*, manifests: Sequence[Path], table: Path, settings: FleetSettings) -> None:
    """Write the table of quarantined slides; fail when their share is above the limit.

    Args:
        manifests: Manifests of the stages, in running order.
        table: Where ``slide stage error`` goes, one row per quarantined slide, without rows where
            all is well.
        settings: ``max_failed_share`` is the limit.

    Raises:
        FailedSlidesError: more slides failed than allowed. The table is written all the same.
    """
    first_failures: dict[str, ManifestRow] = {}
    slides: set[str] = set()
    for path in manifests:
        rows = read_manifest(path)
        slides |= rows.keys()
        for row in rows.values():
            if row.status is Status.FAILED:
                first_failures.setdefault(row.slide, row)
    write_table(table, ("slide", "stage", "error"), map(asdict, first_failures.values()))
    for row in first_failures.values():
        logger.warning("%s failed in %s: %s", row.slide, row.stage, row.error)
    share = len(first_failures) / len(slides) if slides else 0.0
    if share > settings.max_failed_share:
        raise FailedSlidesError(
            f"{len(first_failures)} of {len(slides)} slides failed; "
            f"fleet.max_failed_share allows a share of {settings.max_failed_share:g}",
            str(table),
            "Mend these slides and run `lamella retry`, or remove their rows, or raise "
            "fleet.max_failed_share; then run again. All other results are complete",
        )
