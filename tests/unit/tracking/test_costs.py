"""What jobs cost reaches MLflow with the run of the workflow, once."""

import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lamella.report.costs import tell_run_costs
from lamella.stores.tables import read_table
from lamella.tracking.record import RunStatus, read_record
from lamella.tracking.settings import TrackingSettings
from lamella.tracking.sync import close_workflow_run, sync_tracking
from lamella.tracking.workflow import (
    add_to_workflow_run,
    begun_s,
    start_workflow_run,
    workflow_folder,
)

HEADER = (
    "JobID|JobName|State|ExitCode|Submit|Start|End|ElapsedRaw|TimelimitRaw|NodeList|NNodes|"
    "AllocCPUS|NTasks|TotalCPU|MaxRSS|ReqMem|AllocTRES|WorkDir|Comment"
)


@pytest.fixture
def sacct(working_folder, monkeypatch):
    """A cluster that has run a job of an earlier run, and two attempts of a job of this one."""
    folder = working_folder / "bin"
    folder.mkdir()
    (working_folder / "results/logs/slurm").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def job(number: int, state: str, submitted_s: float, run: str = "lamella_u") -> list[str]:
        times = f"{submitted_s:.0f}|{submitted_s:.0f}|{submitted_s + 1800:.0f}|1800"
        of_job = f"{number}|{run}|{state}|1:0|{times}|60|gpu1|1|4||01:00:00||4096000K"
        step = f"{number}.batch|batch|{state}|1:0|{times}||gpu1|1|4|1|01:00:00|1024000K|||| "
        return [
            f"{of_job}|cpu=4,gres/gpu=2|{working_folder.resolve()}|rule_train_model_wildcards_a_1",
            step,
        ]

    # The run begins later, nobody knows how much on a busy machine: its jobs surely after it.
    now = time.time()
    lines = [
        HEADER,
        *job(1, "COMPLETED", now - 9000, "lamella_t"),
        *job(2, "FAILED", now + 600),
        *job(3, "COMPLETED", now + 1200),
    ]
    (folder / "answer").write_text("\n".join(lines) + "\n")
    for name, body in (("sacct", f"cat {folder}/answer"), ("scontrol", "exit 1")):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)


def test_run_of_the_workflow_gets_tables_and_figures_of_its_own_jobs_once(
    working_folder: Path, sqlite_store: TrackingSettings, sacct: None
) -> None:
    begun = start_workflow_run("study", {})
    lines = tell_run_costs(Path("results"))
    close_workflow_run(Path("results"), sqlite_store, succeeded=True)
    assert sync_tracking(Path("results"), sqlite_store) == 0

    client = MlflowClient(f"sqlite:///{working_folder}/results/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("study")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics == {
        "jobs/train_model/node_hours": 1.0,
        "jobs/train_model/core_hours": 4.0,
        "jobs/train_model/gpu_hours": 2.0,
        "jobs/train_model/failed_attempts": 1.0,
        "jobs/train_model/cpu_efficiency": 0.5,
        "jobs/all/node_hours": 1.0,
        "jobs/all/core_hours": 4.0,
        "jobs/all/gpu_hours": 2.0,
    }
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"config.json", "jobs.tsv", "rules.tsv"}
    own = read_table(workflow_folder(begun) / "jobs.tsv")
    assert [(row["job"], row["attempt"]) for row in own] == [("2", "1"), ("3", "2")]
    # The table of the folder has the earlier run's job, too.
    assert len(read_table(Path("results/jobs/jobs.tsv"))) == 3
    assert any(line.startswith("train_model a_1, attempt 1, job 2: ") for line in lines)


def test_figures_that_are_there_are_not_added_again(working_folder: Path) -> None:
    begun = start_workflow_run("study", {})
    add_to_workflow_run({"a": 1.0}, ["config.json"])
    add_to_workflow_run({"a": 2.0, "b": 3.0}, ["config.json"])
    record = read_record(workflow_folder(begun))
    assert [(metric.key, metric.value) for metric in record.metrics] == [("a", 1.0), ("b", 3.0)]
    assert record.artifacts == ["config.json"]
    assert (record.id, record.status) == (begun, RunStatus.RUNNING)


def test_outside_a_workflow_run_nothing_is_added(working_folder: Path) -> None:
    add_to_workflow_run({"a": 1.0}, [])
    assert begun_s() is None
    assert not (working_folder / "results").exists()


def test_damaged_record_of_the_run_costs_a_warning(
    working_folder: Path, sacct: None, caplog: pytest.LogCaptureFixture
) -> None:
    begun = start_workflow_run("study", {})
    (workflow_folder(begun) / "record.json").write_text("{")
    assert tell_run_costs(Path("results")) == []
    assert "is not a record" in caplog.text
