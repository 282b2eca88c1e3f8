"""What SLURM says of a job."""

import pytest

from lamella.errors import SlurmError
from lamella.slurm.job import read_job, without_bindings

SAID = (
    "JobId=36 ArrayJobId=36 ArrayTaskId=5 JobName=t JobState=SIGNALING Reason=None Requeue=1"
    " BatchFlag=1 TimeLimit=00:10:00 EndTime=1795632847 NodeList=n[1-2] NumNodes=2 NumCPUs=8\n"
)


def test_job_is_running_while_it_is_given_a_signal():
    job = read_job("36_5", SAID)
    assert (job.ends_s, job.node_list, job.cpus) == (1795632847.0, "n[1-2]", 8)
    assert (job.is_running, job.may_requeue) == (True, True)
    assert not read_job("36", SAID.replace("SIGNALING", "COMPLETING")).is_running


@pytest.mark.parametrize("answer", [SAID + SAID, "", SAID.replace("EndTime", "End")])
def test_answer_about_several_jobs_or_none_is_not_taken_for_that_of_one(answer):
    with pytest.raises(SlurmError, match=r"SLURM job 36: SLURM's answer is not that of one job"):
        read_job("36", answer)


def test_ranks_are_not_bound_to_the_cores_of_the_step_that_starts_them():
    inherited = {"SLURM_CPU_BIND": "mask", "SLURM_CPU_BIND_LIST": "0x1", "SLURM_JOB_ID": "7"}
    assert without_bindings(inherited) == {"SLURM_JOB_ID": "7"}
