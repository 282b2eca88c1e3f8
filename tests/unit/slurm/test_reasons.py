"""What SLURM has done to a job, from its word and the job's log."""

import pytest

from lamella.slurm.reasons import Cause, cause_of

LOST = "slurmstepd: *** JOB 6 ON n1 CANCELLED AT 2026-11-26T03:43:12 DUE TO NODE FAILURE ***\n"
HELD = "SLURM job 6 was held by SLURM and is cancelled: launch failed requeued held\n"


@pytest.mark.parametrize(
    ("state", "said", "cause"),
    [
        ("TIMEOUT", "", Cause.TIMEOUT),
        ("FAILED", "*** STEP 6.0 ON n1 CANCELLED AT 2026 DUE TO TIME LIMIT ***", Cause.TIMEOUT),
        ("FAILED", "StepId=6.0 exceeded memory limit (2 > 1), being killed", Cause.OUT_OF_MEMORY),
        ("CANCELLED", "", Cause.CANCELLED),
        ("CANCELLED", LOST + HELD, Cause.HELD),
        ("", LOST, Cause.NODE_FAIL),
        ("FAILED", "ValueError: no", None),
        # The log is that of the next attempt.
        ("REQUEUED", LOST, None),
        ("NODE_FAIL", HELD, Cause.NODE_FAIL),
    ],
)
def test_log_tells_what_the_word_of_slurm_leaves_open(state, said, cause):
    assert cause_of(state, said) is cause
