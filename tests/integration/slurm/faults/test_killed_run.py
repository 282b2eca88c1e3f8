"""Snakemake is killed or interrupted, and started again."""

import os
import signal
import subprocess


def kill(run: "subprocess.Popen[bytes]") -> None:
    os.kill(run.pid, signal.SIGKILL)
    run.wait()


def test_start_after_a_killed_run_waits_for_its_job_and_runs_none_beside_it(cluster, study):
    study.train_long()
    killed = study.start()
    first = study.job_under_way()
    kill(killed)
    again = study.start()
    study.trainings.wait_for(lambda: "scancel" in study.said or study.ended(), "the new start")
    assert study.jobs() == [first], study.said
    assert study.end_of(again) == 0, study.said
    assert study.is_complete
    assert f"waiting for them to end (stop them with: scancel {first})" in study.said
    assert "taking away the lock" in study.said
    # What the job has made is whole, and none was submitted in its place.
    assert "Nothing to be done" in study.said
    assert cluster.facts(first)["JobState"] == "COMPLETED"


def test_start_after_a_killed_run_cancels_its_job_that_has_not_begun(cluster, study):
    cluster.ask("scontrol", "update", "PartitionName=cpu", "State=DOWN")
    try:
        killed = study.start()
        study.trainings.wait_for(lambda: study.jobs() or study.ended(), "a job")
        (waiting,) = study.jobs()
        kill(killed)
    finally:
        cluster.ask("scontrol", "update", "PartitionName=cpu", "State=UP")
        cluster.ask("scontrol", "hold", waiting)
    assert study.run() == 0, study.said
    assert f"jobs of an earlier run that had not begun: {waiting}" in study.said
    assert cluster.facts(waiting)["JobState"] == "CANCELLED"
    assert study.is_complete


def test_snakemake_by_itself_does_not_start_beside_a_job_of_a_killed_run(study):
    study.train_long()
    killed = study.start()
    job = study.job_under_way()
    kill(killed)
    for file in (study.folder / ".snakemake/locks").iterdir():
        # What `snakemake --unlock` does.
        file.unlink()
    assert study.start(script=False).wait(100) == 1
    assert f"jobs of an earlier run are still in SLURM ({job})" in study.said
    assert study.jobs() == [job]


def test_interrupted_run_cancels_its_job_and_a_second_start_completes(cluster, study):
    study.train_long()
    run = study.start()
    job = study.job_under_way()
    run.send_signal(signal.SIGINT)
    assert run.wait(100) == 1
    study.trainings.wait_for(lambda: study.jobs() == [], "end of the job")
    assert cluster.facts(job)["JobState"] == "CANCELLED"
    assert study.run() == 0, study.said
    assert study.is_complete
