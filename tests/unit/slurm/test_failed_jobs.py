"""Why jobs failed, from what Snakemake has logged."""

from pathlib import Path

import pytest

from lamella.slurm.failed_jobs import failed_jobs, reasons_of

BEGUN = """
rule train_model:
    output: results/train/tiny/seed1/metrics.json
    log: results/logs/train_model/tiny/seed1.log
    jobid: {job}
    wildcards: run=tiny, seed={job}
    resources: tmpdir=<TBD>, mem_mb=500, mem=500 MB, runtime=20
"""
FAILED = """[Thu Nov 26 00:01:44 2026]
Error in rule train_model:
    message: SLURM-job '6' failed, SLURM status is: '{state}'. Detailed failure reason unavailable.
    jobid: {job}
    log: {own}, {slurm} (check log file(s) for error details)
    shell:
        python -m lamella.training
        (command exited with non-zero exit code)
    external_jobid: 6
"""
SHOWN = """Logfile results/logs/slurm/rule_train_model/6.log:
================================================================================

localrule train_model:
    jobid: 0
    wildcards: run=other, seed=9

Error in rule train_model:
    message: None
    jobid: 0
================================================================================
"""


@pytest.fixture
def reasons(tmp_path):
    def reasons(state: str, *, slurm: str = "", own: str = "") -> list[str]:
        (tmp_path / "6.log").write_text(slurm)
        (tmp_path / "own.log").write_text(own)
        logs = {"own": tmp_path / "own.log", "slurm": tmp_path / "6.log"}
        log = tmp_path / "snakemake.log"
        log.write_text(BEGUN.format(job=1) + FAILED.format(job=1, state=state, **logs) + SHOWN)
        return [line.replace(str(tmp_path), "") for line in reasons_of(log)]

    return reasons


@pytest.mark.parametrize(
    ("state", "slurm", "reason"),
    [
        (
            "FAILED",
            "StepId=6.0 exceeded memory limit (602546176 > 524288000), being killed",
            "out of memory, with mem_mb=500. Ask for more: --set-resources train_model:mem_mb=…",
        ),
        (
            "OUT_OF_MEMORY",
            "",
            "out of memory, with mem_mb=500. Ask for more: --set-resources train_model:mem_mb=…",
        ),
        (
            "FAILED",
            "*** STEP 6.0 ON n1 CANCELLED AT 2026-11-25T23:43:50 DUE TO TIME LIMIT ***",
            "time limit reached, with runtime=20."
            " Ask for more minutes: --set-resources train_model:runtime=…",
        ),
        ("CANCELLED", "", "cancelled by somebody. Start again"),
        (
            "CANCELLED",
            "SLURM job 6 was held by SLURM and is cancelled: launch failed requeued held",
            "its nodes failed to start it, again and again."
            " Start again; if it keeps on, have the cluster's staff look at results/logs/held.log",
        ),
        ("NODE_FAIL", "", "its node failed. Start again"),
    ],
)
def test_what_slurm_did_to_a_job_is_told_in_one_line(reasons, state, slurm, reason):
    assert reasons(state, slurm=slurm) == [
        f"train_model tiny, 1 (SLURM job 6, attempt 1): {reason}. Log: /6.log"
    ]


def test_error_that_a_job_has_logged_is_its_reason(reasons):
    own = (
        "2026-11-26 00:01:36,977 ERROR lamella: a.h5: it is damaged. Make it anew.\n"
        "2026-11-26 00:01:36,990 INFO lamella.training: the end\n"
    )
    (reason,) = reasons("FAILED", own=own)
    assert "attempt 1): a.h5: it is damaged. Make it anew. Start again when" in reason
    (reason,) = reasons("FAILED", own="Traceback\nOSError: [Errno 28] No space left on device\n")
    assert "attempt 1): OSError: [Errno 28] No space left on device. Start again" in reason


def test_last_words_of_a_rank_that_died_are_the_reason_and_not_those_of_the_others(reasons):
    own = (
        "2026-11-26 00:01:36,977 ERROR lamella.training.launch: rank 1: a.pt: no room. Make some.\n"
        "2026-11-26 00:01:37,977 INFO lamella.training.launch: rank 0: connection closed by peer\n"
        "2026-11-26 00:01:38,990 ERROR lamella: rank 1 of 2 on n2: ended with exit code 1."
        " Its last lines above say why; the other ranks were ended. Started again, it goes on.\n"
    )
    (reason,) = reasons("FAILED", own=own)
    assert "attempt 1): rank 1 of 2 on n2: a.pt: no room. Make some. Start again when" in reason
    (silent,) = reasons("FAILED", own=own.splitlines()[-1])
    assert "attempt 1): rank 1 of 2 on n2: ended with exit code 1. Its last lines" in silent


@pytest.mark.parametrize(
    "message",
    [
        "SLURM sbatch failed. The error message was 'sbatch: error: Job violates policy'.",
        "Job submission failed with exception: sbatch: error: Job violates policy",
    ],
)
def test_job_that_slurm_did_not_take_is_told_with_its_answer(tmp_path, message):
    said = (
        f"Error in rule train_model:\n    message: {message}\nThe next line of it.\n"
        "    jobid: 1\n    shell:\n        python\n"
    )
    (tmp_path / "log").write_text(BEGUN.format(job=1) + said)
    assert list(reasons_of(tmp_path / "log")) == [
        "train_model tiny, 1 (attempt 1): SLURM did not take it"
        " (sbatch: error: Job violates policy). Start again when it does."
        " Log: results/logs/train_model/tiny/seed1.log"
    ]


def test_job_that_has_logged_nothing_is_not_taken_for_a_cancelled_one(reasons):
    (reason,) = reasons("FAILED")
    assert "attempt 1): it has logged nothing. " in reason


def test_job_that_a_later_attempt_has_finished_did_not_fail():
    logs = {"state": "FAILED", "own": Path("a"), "slurm": Path("b")}
    first = BEGUN.format(job=1) + FAILED.format(job=1, **logs)
    second = BEGUN.format(job=2) + FAILED.format(job=2, **logs)
    again = first + second + first
    assert [job.attempts for job in failed_jobs(again)] == [2, 1]
    (job,) = failed_jobs(again + "Finished jobid: 1 (Rule: train_model)\n")
    assert job.facts["wildcards"] == "run=tiny, seed=2"
