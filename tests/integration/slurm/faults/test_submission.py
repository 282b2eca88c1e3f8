"""SLURM takes no job because of a limit of the account."""

from collections.abc import Iterator

import pytest

REFUSED = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.fixture
def allow(cluster) -> Iterator[None]:
    """Return what sets how many jobs the account may have at a time."""
    if not cluster.has_accounts:
        pytest.skip("there are limits with accounting only: set LAMELLA_SLURM_ACCOUNTING=1")

    def allow(jobs: int) -> None:
        where = ("user", "root", "where", "account=lab")
        cluster.ask("sacctmgr", "--immediate", "modify", *where, "set", f"MaxSubmitJobs={jobs}")

    yield allow
    # No limit.
    allow(-1)


def test_submission_waits_for_the_end_of_another_job_where_the_account_may_have_one(
    cluster, study, allow
):
    allow(1)
    small = ("--account=lab", "--mem=100", "--output=/dev/null")
    other = cluster.ask("sbatch", "--parsable", *small, "--wrap=sleep 600")
    log = study.folder / "results/logs/submit.log"
    try:
        run = study.start()
        study.trainings.wait_for(
            lambda: (log.exists() and "in 2 s" in log.read_text()) or study.ended(), "two refusals"
        )
        assert study.jobs() == [], study.said
    finally:
        cluster.ask("scancel", other)
    assert study.end_of(run) == 0, study.said
    assert study.is_complete
    first, second, *_ = log.read_text().splitlines()
    assert first.endswith(
        f"asking again in 1 s: sbatch: error: Batch job submission failed: {REFUSED}"
    )
    assert "asking again in 2 s: " in second


def test_account_that_may_have_no_job_is_told_in_one_line_and_a_second_start_completes(
    study, allow
):
    allow(0)
    assert study.run() == 1
    (reason,) = study.reasons
    assert "attempt 1): SLURM did not take it (sbatch: error: AssocMaxSubmitJobLimit). " in reason
    allow(-1)
    assert study.run() == 0, study.said
    assert study.is_complete
