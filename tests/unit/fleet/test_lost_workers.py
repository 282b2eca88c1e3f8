"""What SLURM says of the end of a worker's job."""

from pathlib import Path

import pytest
from distributed import KilledWorker
from distributed.core import Status
from distributed.scheduler import WorkerState

from lamella.fleet.lost_workers import told_by_slurm

LOST = KilledWorker(
    "stage-a",
    WorkerState(
        address="tls://10.0.0.7:4000",
        status=Status.closed,
        pid=11,
        name="job-3-0",
        server_id="s",
        nthreads=1,
        memory_limit=2**30,
        # A folder of the site's that is called as ours are.
        local_directory="/local/lamella-1/lamella-4711/dask-scratch-space/worker-x",
        nanny="tls://10.0.0.7:4001",
    ),
    0,
)
KILLED = "slurmstepd: error: StepId=4711.batch exceeded memory limit (2147483648 > 1073741824)"


@pytest.fixture
def squeue_says(tmp_path, monkeypatch):
    """Give ``squeue`` the state of job 4711; of others, and without one, it knows nothing."""

    def say(state: str) -> None:
        program = tmp_path / "squeue"
        known = f"case $* in *--jobs=4711*) echo {state}; exit;; esac" if state else ""
        program.write_text(f"#!/bin/sh\n{known}\necho 'Invalid job id specified' >&2; exit 1\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return say


@pytest.mark.parametrize(
    ("state", "said"), [("OUT_OF_MEMORY", ""), ("FAILED", KILLED), ("", KILLED)]
)
def test_job_out_of_memory_is_known_by_its_state_or_its_log(tmp_path, squeue_says, state, said):
    squeue_says(state)
    (tmp_path / "4711.log").write_text(said)
    assert told_by_slurm(tmp_path, LOST) == "at last SLURM job 4711 was out of memory"


@pytest.mark.parametrize("state", ["RUNNING", "CANCELLED", ""])
def test_where_nothing_is_known_the_log_is_named(squeue_says, monkeypatch, state):
    squeue_says(state)
    monkeypatch.setattr("lamella.fleet.lost_workers._SETTLING_S", 0.0)
    assert told_by_slurm(Path("logs"), LOST) == "log: logs/4711.log"
