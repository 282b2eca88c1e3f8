"""What Dask and SLURM say of the end of a worker."""

from types import SimpleNamespace

import pytest
from distributed import KilledWorker
from distributed.core import Status
from distributed.scheduler import WorkerState

from lamella.fleet.lost_workers import was_job_out_of_memory, was_out_of_memory

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


class Dask:
    """Knows, some time after it was first asked, of workers that it has ended for their memory."""

    def __init__(self, *addresses: str, silent: int = 1) -> None:
        self._silent = silent
        self._known = [(0.0, {"worker": address, "rss": 2**30}) for address in addresses]
        self._asked = 0

    def get_events(self, topic):
        assert topic == "worker-restart-memory"
        self._asked += 1
        return self._known if self._asked > self._silent else []


@pytest.fixture
def pauses(monkeypatch):
    found = []
    monkeypatch.setattr("lamella.fleet.lost_workers.time", SimpleNamespace(sleep=found.append))
    return found


def test_worker_that_dask_has_ended_is_known_also_where_it_tells_late(pauses):
    assert was_out_of_memory(Dask(LOST.last_worker.address, silent=2), LOST)
    assert pauses == [0, 1, 2]
    assert not was_out_of_memory(Dask("tls://10.0.0.7:4002"), LOST)


@pytest.mark.parametrize(
    ("state", "said"), [("OUT_OF_MEMORY", ""), ("FAILED", KILLED), ("", KILLED)]
)
def test_job_out_of_memory_is_known_by_its_state_or_its_log(
    tmp_path, squeue_says, pauses, state, said
):
    squeue_says(state)
    (tmp_path / "4711.log").write_text(said)
    assert was_job_out_of_memory(Dask(), LOST, tmp_path)
    assert pauses == [0.0]


@pytest.mark.parametrize(("state", "waits_s"), [("RUNNING", 3), ("COMPLETING", 15), ("", 15)])
def test_job_that_has_another_worker_is_not_waited_for(
    tmp_path, squeue_says, pauses, caplog, state, waits_s
):
    squeue_says(state)
    assert not was_job_out_of_memory(Dask(), LOST, tmp_path)
    assert sum(pauses) == waits_s
    assert f"{tmp_path}/4711.log does not say why" in caplog.text
