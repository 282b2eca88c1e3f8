"""The SQLite store beside the results, for who names no other."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import (
    _initialize_tables,
    _is_empty_database,
    _upgrade_db,
    _verify_schema,
    create_sqlalchemy_engine_with_retry,
)
from sqlalchemy.engine import Engine

from lamella.stores.atomic import replacing
from lamella.tracking.locks import alone
from lamella.tracking.workflow import STORE_FOLDER


def make_sqlite_store() -> None:
    """Make the SQLite store, or bring one of an older MLflow to the present layout.

    Migrations are not transactions: they run on a copy, which then takes the store's place.
    """
    store = STORE_FOLDER / "mlflow.db"
    with alone(STORE_FOLDER / ".store.lock"):
        if store.exists() and _has_present_layout(store):
            return
        with replacing(store) as copy:
            if store.exists():
                shutil.copyfile(store, copy)
            _migrate(copy)


def _has_present_layout(store: Path) -> bool:
    with _engine(store) as engine:
        try:
            _verify_schema(engine)
        except MlflowException:
            return False
    return True


def _migrate(store: Path) -> None:
    with _engine(store) as engine:
        if _is_empty_database(engine):
            _initialize_tables(engine)
        else:
            _upgrade_db(engine)


@contextmanager
def _engine(store: Path) -> Iterator[Engine]:
    engine = create_sqlalchemy_engine_with_retry(sqlite_uri(store))
    try:
        yield engine
    finally:
        engine.dispose()


def sqlite_uri(store: Path) -> str:
    """Return the address of a SQLite store for MLflow."""
    return f"sqlite:///{store.resolve()}"
