"""Jobs of an earlier run, among all that SLURM has."""

from pathlib import Path

from lamella.slurm.left_behind import LeftJob, read_jobs

RUN = "2a813e0f-6dbe-4d5f-8cd8-08b181be2bf7"
SAID = (
    f"12|PENDING|lamella_{RUN}|/lab/my|study\n"
    f"9|RUNNING|{RUN}|/lab/my|study\n"
    f"10|RUNNING|lamella_{RUN}|/lab/other\n"
    "11|RUNNING|lamella-worker|/lab/my|study\n"
    f"13|COMPLETING|a-b_c_{RUN}|/lab/my|study\n"
)


def test_jobs_of_a_folder_are_those_with_the_name_of_a_run_and_this_working_folder():
    assert read_jobs(SAID, Path("/lab/my|study")) == [
        LeftJob("9", has_begun=True),
        LeftJob("12", has_begun=False),
        LeftJob("13", has_begun=True),
    ]
    assert read_jobs("", Path("/lab/my|study")) == []
