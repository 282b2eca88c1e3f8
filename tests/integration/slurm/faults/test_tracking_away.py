"""The nodes of the cluster do not reach the tracking server."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

REPOSITORY = Path(__file__).parents[4]


@pytest.fixture
def server(tmp_path):
    """Return a real MLflow server, which has not been started."""
    drawing = runpy.run_path(str(REPOSITORY / "tests/unit/tracking/conftest.py"))
    folder = tmp_path / "server"
    folder.mkdir()
    made = drawing["Server"](folder, f"sqlite:///{folder}/server.db", drawing["free_port"]())
    yield made
    made.stop()


def runs_at(server) -> list[str]:
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("slurm")
    return sorted(run.info.run_name for run in client.search_runs([experiment.experiment_id]))


def test_record_of_a_job_that_reaches_no_tracking_server_is_sent_later_and_once(study, server):
    study.tracking = server.uri
    study.configure(epochs=2)
    assert study.run() == 0, study.said
    assert study.is_complete
    record = study.folder / "results/train/tiny/seed1/record.json"
    assert record.exists()
    assert not record.with_name("record.sent.json").exists()

    server.start()
    send = [Path(sys.executable).with_name("lamella"), "sync-tracking", "results"]
    for again in (False, True):
        ended = subprocess.run(send, cwd=study.folder, check=True, capture_output=True, text=True)
        assert ("sync_tracking: 0 records sent, 0 remain" in ended.stderr) == again
        assert len(runs_at(server)) == 2
    assert "tiny seed 1" in runs_at(server)
