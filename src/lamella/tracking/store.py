"""Make the tracking store ready, once, before any job logs to it."""

import logging
from pathlib import Path

from lamella.errors import TrackingError
from lamella.stores.json_files import write_json
from lamella.tracking.settings import TrackingSettings

logger = logging.getLogger(__name__)


def prepare_tracking(settings: TrackingSettings, ready: Path) -> None:
    """Make or migrate the SQLite store, or look whether the named store answers.

    A store that does not answer costs one warning: records stay unsent until it does. A database
    or server named by ``tracking.uri`` belongs to others and is never migrated from here.

    Args:
        settings: Where the store is.
        ready: Marker to write when done; declared as the output of the rule.
    """
    # Importing MLflow takes seconds; only this job and the sending of a record need it.
    from lamella.tracking.mlflow_store import MlflowStore
    from lamella.tracking.sqlite_store import make_sqlite_store

    if settings.uri is None:
        make_sqlite_store()
    else:
        try:
            MlflowStore(settings)
        except TrackingError as error:
            logger.warning("%s", error)
    logger.info("prepare_tracking: %s", settings.store_name)
    write_json(ready, {"store": settings.store_name})
