"""SLURM's controller is away."""

import os
import signal
import time

import pytest


def stop_controller(cluster) -> None:
    number = int((cluster.folder / "run/slurmctld.pid").read_text())
    os.kill(number, signal.SIGTERM)
    cluster.wait_for(lambda: cluster.has_ended(number), "the end of slurmctld")


def test_run_outlives_a_controller_that_is_away(cluster, study):
    study.train_long()
    run = study.start()
    job = study.job_under_way()
    stop_controller(cluster)
    # Snakemake asks after 12, 22 and 32 seconds at the latest, in vain.
    time.sleep(40)
    assert not study.ended(), study.said
    cluster.start_missing()
    assert study.end_of(run) == 0, study.said
    assert study.is_complete
    assert study.said.count("has been submitted") == 1
    assert cluster.facts(job)["JobState"] == "COMPLETED"


def test_submission_waits_while_the_controller_is_away(cluster, study):
    if not cluster.has_accounts:
        pytest.skip("Snakemake asks for the account first: set LAMELLA_SLURM_ACCOUNTING=1")
    stop_controller(cluster)
    run = study.start()
    log = study.folder / "results/logs/submit.log"
    study.trainings.wait_for(lambda: log.exists() or study.ended(), "a refused submission")
    cluster.start_missing()
    assert study.end_of(run) == 0, study.said
    assert study.is_complete
    assert "asking again in 1 s: slurm_load_jobs error: Unable to contact" in log.read_text()
