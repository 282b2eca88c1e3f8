"""Twenty jobs at once, and a server that is killed meanwhile, lose nothing and double nothing.

The server is a real one whose store is PostgreSQL, and what it knows is read as a browser reads it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Engine, NullPool, create_engine

from lamella.cli import main
from lamella.tracking.record import ModelArtifact, Record
from lamella.tracking.send import track
from lamella.tracking.settings import TrackingSettings
from lamella.tracking.workflow import start_workflow_run

# A busy machine needs minutes for one of them, and the start of the server counts as well.
pytestmark = pytest.mark.timeout(900)

JOBS = 20
HELD = 5
EPOCHS = 30


class Browser:
    """What the pages of the tracking server ask it for."""

    def __init__(self, uri: str) -> None:
        self._api = f"{uri}/ajax-api/2.0/mlflow"

    def ask(self, path: str, **query: Any) -> Any:
        return self._checked(requests.get(f"{self._api}/{path}", params=query, timeout=120))

    def search(self, path: str, **query: Any) -> Any:
        return self._checked(requests.post(f"{self._api}/{path}", json=query, timeout=120))

    def experiment(self, study: str) -> str:
        found = self.ask("experiments/get-by-name", experiment_name=study)
        return str(found["experiment"]["experiment_id"])

    def runs(self, study: str) -> list[dict[str, Any]]:
        found = self.search("runs/search", experiment_ids=[self.experiment(study)])
        return list(found.get("runs", []))

    @staticmethod
    def _checked(answer: requests.Response) -> Any:
        assert answer.ok, answer.text
        return answer.json()


def running(browser: Browser, study: str) -> set[str]:
    infos = [run["info"] for run in browser.runs(study)]
    return {info["run_name"] for info in infos if info["status"] == "RUNNING"}


def pairs(entries: list[dict[str, str]]) -> dict[str, str]:
    return {each["key"]: each["value"] for each in entries}


@contextmanager
def started_jobs(uri: str, *held: str) -> Iterator["subprocess.Popen[str]"]:
    program = Path(__file__).with_name("crowd.py")
    command = [sys.executable, str(program), uri, str(JOBS), *held]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as jobs:
        try:
            yield jobs
        finally:
            # Mostly they have ended.
            with suppress(ProcessLookupError):
                os.killpg(jobs.pid, signal.SIGKILL)


def waiting_for_locks(database: Engine) -> int:
    with database.connect() as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return int(connection.exec_driver_sql(query).scalar_one())


def check_complete(browser: Browser, study: str) -> None:
    """Check that every job is there exactly once, with all that it logged."""
    runs = {run["info"]["run_name"]: run for run in browser.runs(study)}
    assert len(browser.runs(study)) == len(runs) == JOBS + 1
    jobs = [runs[f"job {job}"] for job in range(JOBS)]
    (workflow,) = [run for name, run in runs.items() if name.startswith("workflow")]

    for job, run in enumerate(jobs):
        check_run(browser, run, job, workflow["info"]["run_id"])

    models = browser.search(
        "logged-models/search", experiment_ids=[browser.experiment(study)], max_results=50
    )["models"]
    sources = {model["info"]["source_run_id"] for model in models}
    assert len(models) == JOBS
    assert sources == {run["info"]["run_id"] for run in jobs}
    assert {model["info"]["status"] for model in models} == {"LOGGED_MODEL_READY"}

    versions = browser.ask("model-versions/search", filter=f"name = '{study}-thin'")
    found = {version["run_id"]: version["version"] for version in versions["model_versions"]}
    assert len(versions["model_versions"]) == JOBS
    assert set(found) == sources
    champion = browser.ask("registered-models/alias", name=f"{study}-thin", alias="champion")
    youngest = jobs[-1]["info"]["run_id"]
    assert champion["model_version"]["run_id"] == youngest


def check_run(browser: Browser, run: dict[str, Any], job: int, parent: str) -> None:
    run_id = run["info"]["run_id"]
    assert run["info"]["status"] == "FINISHED"
    assert pairs(run["data"]["tags"])["mlflow.parentRunId"] == parent
    assert pairs(run["data"]["params"]) == {"job": str(job)}
    for key in ("train_loss", "validation_loss"):
        curve = browser.ask("metrics/get-history", run_id=run_id, metric_key=key)["metrics"]
        expected = [(epoch, job + 1 / (1 + epoch)) for epoch in range(EPOCHS)]
        assert sorted((int(point["step"]), point["value"]) for point in curve) == expected
    (dataset,) = run["inputs"]["dataset_inputs"]
    assert dataset["dataset"]["digest"] == "0123456789abcdef0123456789abcdef0123"
    assert len(run["outputs"]["model_outputs"]) == 1
    files = browser.ask("artifacts/list", run_id=run_id)["files"]
    assert [file["path"] for file in files] == ["history.tsv"]


def test_twenty_jobs_that_log_at_once_are_twenty_nested_runs_with_all_they_logged(
    working_folder: Path, postgres_server: Any
) -> None:
    start_workflow_run("crowd", {"study": "crowd"})
    with started_jobs(postgres_server.uri) as jobs:
        codes, warnings = jobs.communicate(timeout=800)
    assert json.loads(codes) == [0] * JOBS
    assert warnings == ""
    check_complete(Browser(postgres_server.uri), "crowd")


def test_a_dataset_that_another_job_logs_meanwhile_is_an_input_of_both(
    working_folder: Path,
    postgres_server: Any,
    make_record: Callable[..., Record],
    caplog: pytest.LogCaptureFixture,
) -> None:
    start_workflow_run("rivals", {"study": "rivals"})
    requests.post(
        f"{postgres_server.uri}/api/2.0/mlflow/experiments/create",
        json={"name": "rivals"},
        timeout=120,
    )
    browser = Browser(postgres_server.uri)
    folder = working_folder / "results/training/thin"
    record = make_record(folder)
    (dataset,) = record.datasets
    row = (browser.experiment("rivals"), dataset.name, dataset.digest[:36])
    database = create_engine(postgres_server.store, poolclass=NullPool)
    with database.connect() as rival, ThreadPoolExecutor() as pool:
        # Written and not committed: MLflow does not see it, and its own row has to wait for it.
        rival.exec_driver_sql("INSERT INTO datasets VALUES ('id', %s, %s, %s, 'local', '')", row)
        settings = TrackingSettings(uri=postgres_server.uri, timeout_s=120)
        sent = pool.submit(track, record, folder, settings)
        while waiting_for_locks(database) == 0:
            assert not sent.done(), "nothing was logged that waits for the other job"
            time.sleep(0.05)
        rival.commit()
        sent.result(timeout=240)
    assert caplog.records == []
    (run,) = [each for each in browser.runs("rivals") if each["info"]["run_name"] == record.name]
    (used,) = run["inputs"]["dataset_inputs"]
    assert used["dataset"]["name"] == dataset.name


def test_what_was_done_before_its_answer_got_lost_is_not_done_twice(
    working_folder: Path,
    postgres_server: Any,
    losing_answers: Callable[[int, set[str]], AbstractContextManager[str]],
    make_record: Callable[..., Record],
    model_artifact: Callable[[Path], ModelArtifact],
    caplog: pytest.LogCaptureFixture,
) -> None:
    start_workflow_run("lost", {"study": "lost"})
    folder = working_folder / "results/export/thin"
    record = make_record(folder)
    record.model = model_artifact(folder)
    lost = {"experiments/create", "runs/create", "runs/log-inputs", "runs/outputs", "log-batch"}
    lost |= {"mlflow/logged-models", "registered-models/create", "model-versions/create"}
    with losing_answers(postgres_server.port, lost) as uri:
        track(record, folder, TrackingSettings(uri=uri, retries=3))
    assert (lost, caplog.records) == (set(), [])

    browser = Browser(postgres_server.uri)
    runs = {run["info"]["run_name"]: run for run in browser.runs("lost")}
    assert len(browser.runs("lost")) == len(runs) == 2
    (job,) = [run for name, run in runs.items() if not name.startswith("workflow")]
    assert len(job["inputs"]["dataset_inputs"]) == len(job["outputs"]["model_outputs"]) == 1
    run_id = job["info"]["run_id"]
    curve = browser.ask("metrics/get-history", run_id=run_id, metric_key="loss")["metrics"]
    assert len(curve) == 3
    models = browser.search(
        "logged-models/search", experiment_ids=[browser.experiment("lost")], max_results=50
    )["models"]
    versions = browser.ask("model-versions/search", filter="name = 'lost-thin'")["model_versions"]
    assert len(models) == len(versions) == 1


def test_jobs_end_well_when_the_server_is_killed_and_sync_tracking_completes_each_once(
    working_folder: Path, postgres_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    start_workflow_run("killed", {"study": "killed"})
    browser = Browser(postgres_server.uri)
    requests.post(
        f"{postgres_server.uri}/api/2.0/mlflow/experiments/create",
        json={"name": "killed"},
        timeout=120,
    )
    held = {f"job {job}" for job in range(HELD)}
    with started_jobs(postgres_server.uri, str(HELD), "killed") as jobs:
        while not held <= running(browser, "killed"):
            assert jobs.poll() is None, "the jobs are over"
            time.sleep(0.05)
        postgres_server.stop(signal.SIGKILL)
        Path("killed").touch()
        codes, warnings = jobs.communicate(timeout=800)
    assert json.loads(codes) == [0] * JOBS
    assert warnings.count("lamella sync-tracking") >= HELD

    postgres_server.start()
    assert held <= running(browser, "killed"), "no record was half sent"
    Path("config.yaml").write_text(f"tracking: {{uri: '{postgres_server.uri}'}}\n")
    assert main(["sync-tracking", "results", "--configfile", "config.yaml"]) == 0
    check_complete(browser, "killed")
    assert main(["sync-tracking", "results", "--configfile", "config.yaml"]) == 0
    assert len(browser.runs("killed")) == JOBS + 1
