"""A job is out of memory or time, or cancelled."""

import os
import signal
from pathlib import Path

MORE_EACH_TIME = "3000 if attempt == 2 else 500"


def stop_processes_of(job: str) -> None:
    """Stop a job's training as a hang would, so that it cannot watch its time."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"lamella.training" not in (process / "cmdline").read_bytes().split(b"\0")[:3]:
                continue
            variables = (process / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"SLURM_JOB_ID={job}".encode() in variables:
            os.kill(int(process.name), signal.SIGSTOP)


def test_job_out_of_memory_gets_more_and_the_run_ends_complete(study):
    assert study.run(MORE_EACH_TIME, retries=1) == 0, study.said
    assert study.is_complete
    assert study.said.count("has been submitted") == 2
    assert study.reasons == []


def test_job_out_of_memory_again_is_told_so_in_one_line_and_a_second_start_completes(study):
    assert study.run("500", retries=1) == 1
    (reason,) = study.reasons
    assert ", attempt 2): out of memory, with mem_mb=500. Ask for more: " in reason
    assert study.run() == 0, study.said
    assert study.is_complete


def test_job_at_its_time_limit_is_told_so_in_one_line_and_a_second_start_completes(study):
    study.train_long()
    run = study.start("3000", "1")
    stop_processes_of(study.job_under_way())
    assert study.end_of(run) == 1
    (reason,) = study.reasons
    assert ", attempt 1): time limit reached, with runtime=1. " in reason
    assert study.run() == 0, study.said
    assert study.is_complete


def test_cancelled_job_is_told_so_in_one_line_and_a_second_start_completes(cluster, study):
    study.train_long()
    run = study.start()
    job = study.job_under_way()
    cluster.ask("scancel", job)
    assert study.end_of(run) == 1
    (reason,) = study.reasons
    assert f"(SLURM job {job}, attempt 1): cancelled by somebody. Start again" in reason
    assert study.run() == 0, study.said
    assert study.is_complete
