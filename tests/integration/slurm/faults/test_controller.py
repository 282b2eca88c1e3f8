"""SLURM's controller is away."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest


def has_ended(process: int) -> bool:
    """Return whether a process is gone, or dead and not buried yet."""
    status = Path(f"/proc/{process}/status")
    return not status.exists() or "State:\tZ" in status.read_text()


def stop_controller(cluster, trainings) -> None:
    number = int((cluster.folder / "run/slurmctld.pid").read_text())
    os.kill(number, signal.SIGTERM)
    trainings.wait_for(lambda: has_ended(number), "the end of slurmctld")


def start_controller(cluster) -> None:
    """Start what is missing; nodes and jobs are as they were."""
    subprocess.run([Path(__file__).parents[1] / "start.sh", cluster.folder], check=True)


def test_run_outlives_a_controller_that_is_away(cluster, study):
    study.train_long()
    run = study.start()
    job = study.job_under_way()
    stop_controller(cluster, study.trainings)
    # Snakemake asks after 12, 22 and 32 seconds at the latest, in vain.
    time.sleep(40)
    assert not study.ended(), study.said
    start_controller(cluster)
    assert study.end_of(run) == 0, study.said
    assert study.is_complete
    assert study.said.count("has been submitted") == 1
    assert cluster.facts(job)["JobState"] == "COMPLETED"


def test_submission_waits_while_the_controller_is_away(cluster, study):
    if not cluster.has_accounts:
        pytest.skip("Snakemake asks for the account first: set LAMELLA_SLURM_ACCOUNTING=1")
    stop_controller(cluster, study.trainings)
    run = study.start()
    log = study.folder / "results/logs/submit.log"
    study.trainings.wait_for(lambda: log.exists() or study.ended(), "a refused submission")
    start_controller(cluster)
    assert study.end_of(run) == 0, study.said
    assert study.is_complete
    assert "asking again in 1 s: sbatch: error: " in log.read_text()
