"""The store is made once, whole, and survives a killed first attempt."""

import sqlite3
from pathlib import Path

from lamella.stores.json_files import read_json
from lamella.tracking.settings import TrackingSettings
from lamella.tracking.store import prepare_tracking

READY = Path("results/mlflow/ready.json")


def tables_of(store: Path) -> set[str]:
    with sqlite3.connect(store) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    connection.close()
    return {str(name) for (name,) in rows}


def test_a_store_that_lacks_its_last_migrations_gets_them_and_keeps_its_content(
    working_folder: Path, sqlite_store: TrackingSettings
) -> None:
    store = Path("results/mlflow/mlflow.db")
    whole = tables_of(store)
    with sqlite3.connect(store) as connection:
        (head,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("DELETE FROM alembic_version")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (head,))
        connection.execute(
            "INSERT INTO experiments (name, lifecycle_stage) VALUES ('kept', 'active')"
        )
    connection.close()
    prepare_tracking(sqlite_store, READY)
    assert tables_of(store) == whole
    with sqlite3.connect(store) as connection:
        names = connection.execute("SELECT name FROM experiments").fetchall()
    connection.close()
    assert ("kept",) in names
    assert read_json(READY) == {"store": "results/mlflow"}


def test_a_leftover_of_a_killed_first_start_does_not_harm(working_folder: Path) -> None:
    leftover = Path("results/mlflow/.mlflow.elsewhere.1.db")
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half a database")
    prepare_tracking(TrackingSettings(), READY)
    assert "runs" in tables_of(Path("results/mlflow/mlflow.db"))


def test_a_server_that_does_not_answer_does_not_stop_the_workflow(working_folder: Path) -> None:
    settings = TrackingSettings(uri="http://127.0.0.1:9", retries=0, timeout_s=1)
    prepare_tracking(settings, READY)
    assert read_json(READY) == {"store": "http://127.0.0.1:9"}
