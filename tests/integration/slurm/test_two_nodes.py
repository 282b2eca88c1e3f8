"""Trainings on two nodes of a real SLURM."""

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamella.slurm.settings import Launcher
from lamella.stores.tables import read_table
from lamella.training.settings import Backend

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slurm,
    pytest.mark.alone,
    pytest.mark.timeout(600),
]

each_launcher = pytest.mark.parametrize(
    "launcher",
    [
        Launcher.SRUN,
        pytest.param(
            Launcher.MPIRUN,
            marks=[
                pytest.mark.faults,
                pytest.mark.skipif(
                    shutil.which("mpirun") is None,
                    reason="mpirun of Open MPI is not installed (openmpi-bin)",
                ),
            ],
        ),
    ],
)

LONG = 2000
"""Epochs of a training that does not end by itself while a test lasts."""

RUNNABLE = ("PENDING", "CONFIGURING", "RUNNING")


def curves(folder: Path) -> list[dict[str, str]]:
    timings = ("seconds", "samples_per_s", "loader_wait_share")
    rows = read_table(folder / "history.tsv")
    return [{key: value for key, value in row.items() if key not in timings} for row in rows]


def await_checkpoint(cluster, job: str, folder: Path) -> None:
    """Wait until a job trains; one that ends before that is told at once."""

    def under_way() -> bool:
        assert cluster.facts(job)["JobState"] in RUNNABLE, (folder / "log").read_text()
        return (folder / "state" / "checkpoint.pt").exists()

    cluster.wait_for(under_way, "a checkpoint")


@pytest.fixture(scope="module", params=[Backend.HOROVOD, Backend.TORCH])
def local(request, trainings, tmp_path_factory) -> tuple[Backend, Path]:
    """A backend, and the results of two ranks on one node, outside SLURM."""
    folder = tmp_path_factory.mktemp("local")
    subprocess.run(trainings.command(folder, request.param, nodes=1), check=True)
    return request.param, folder


def is_same(folder: Path, other: Path) -> bool:
    same_bits = (folder / "best.pt").read_bytes() == (other / "best.pt").read_bytes()
    return same_bits and curves(folder) == curves(other)


@each_launcher
def test_two_nodes_train_the_same_network_as_two_local_processes(
    cluster, trainings, tmp_path, local, launcher
):
    backend, results = local
    job = cluster.submit(trainings.script(tmp_path, backend, launcher=launcher))
    assert cluster.wait(job) == "0:0", (tmp_path / "log").read_text()
    log = (tmp_path / "log").read_text()
    assert "rank 0: sits on cpu1, network lo" in log
    assert "rank 1: sits on cpu2, network lo" in log
    assert is_same(tmp_path, results)


@pytest.mark.faults
def test_two_tasks_on_one_node_train_the_same_network_as_two_nodes_and_two_local_processes(
    cluster, trainings, tmp_path, local
):
    backend, results = local
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    on_one = trainings.write(one, shlex.join(trainings.command(one, backend, nodes=1)))
    shape = ("--nodes=1", "--ntasks-per-node=2", "--mem=5000")
    job = cluster.submit(on_one, *shape)
    assert cluster.wait(job) == "0:0", (one / "log").read_text()
    facts = cluster.facts(job)
    assert (facts["NodeList"], facts["NumTasks"]) == ("cpu1", "2")
    job = cluster.submit(trainings.script(two, backend))
    assert cluster.wait(job) == "0:0", (two / "log").read_text()
    assert is_same(one, two)
    assert is_same(one, results)


@each_launcher
@pytest.mark.parametrize("local", [Backend.HOROVOD], indirect=True)
def test_signal_before_the_time_limit_queues_the_job_again_and_it_ends_in_the_same_bits(
    cluster, trainings, tmp_path, local, launcher
):
    backend, results = local
    job = cluster.submit(trainings.script(tmp_path, backend, launcher=launcher))
    await_checkpoint(cluster, job, tmp_path)
    # What `--signal=B:USR1@…` sends.
    cluster.ask("scancel", "--batch", "--signal=USR1", job)
    cluster.hasten(job)
    stopped = (tmp_path / "log").read_text()
    assert f"SLURM job {job} goes back to the queue" in stopped
    assert not (tmp_path / "metrics.json").exists()

    assert cluster.wait(job) == "0:0", (tmp_path / "log").read_text()
    assert cluster.facts(job)["Restarts"] == "1"
    assert "rank 0: going on after epoch" in (tmp_path / "log").read_text()
    assert is_same(tmp_path, results)


@each_launcher
def test_rank_killed_on_the_second_node_ends_the_other_and_is_named(
    cluster, trainings, tmp_path, launcher
):
    script = trainings.script(tmp_path, Backend.HOROVOD, epochs=LONG, launcher=launcher)
    job = cluster.submit(script)
    await_checkpoint(cluster, job, tmp_path)
    ranks = trainings.ranks(tmp_path)
    # It cannot end by itself, as it would where it hears of the other's end.
    os.kill(ranks[0], signal.SIGSTOP)
    os.kill(ranks[1], signal.SIGKILL)
    assert cluster.wait(job) == "1:0"
    log = (tmp_path / "log").read_text()
    assert "rank 1 of 2 on cpu2: was killed by SIGKILL" in log
    assert "has not ended all ranks" not in log
    trainings.wait_for(lambda: trainings.ranks(tmp_path) == {}, "end of the ranks")


@pytest.mark.faults
@pytest.mark.parametrize("backend", [Backend.HOROVOD, Backend.TORCH])
def test_rank_that_hangs_ends_the_training_when_the_others_have_waited_long_enough(
    cluster, trainings, tmp_path, backend
):
    # On a busy machine ranks that live may be 10 s apart in their first steps.
    script = trainings.script(tmp_path, backend, epochs=LONG, exchange_limit_s=40)
    job = cluster.submit(script)
    await_checkpoint(cluster, job, tmp_path)
    os.kill(trainings.ranks(tmp_path)[1], signal.SIGSTOP)
    assert cluster.wait(job) == "1:0"
    assert "rank 0 of 2 on cpu1: " in (tmp_path / "log").read_text()
    trainings.wait_for(lambda: trainings.ranks(tmp_path) == {}, "end of the ranks")


@pytest.fixture
def long_patience(cluster) -> Iterator[None]:
    """Let SLURM not notice that a node is lost: it waits for longer than a test lasts."""
    settings = cluster.folder / "etc-lamella-slurm" / "slurm.conf"
    before = settings.read_text()
    settings.write_text(before.replace("SlurmdTimeout=60", "SlurmdTimeout=3600"))
    cluster.ask("scontrol", "reconfigure")
    yield
    settings.write_text(before)
    cluster.ask("scontrol", "reconfigure")


@pytest.mark.faults
@pytest.mark.usefixtures("long_patience")
def test_training_that_loses_a_node_ends_in_time_without_slurm_and_a_second_start_completes_it(
    cluster, trainings, tmp_path, lost_nodes
):
    script = trainings.script(tmp_path, Backend.HOROVOD, epochs=40, exchange_limit_s=40)
    job = cluster.submit(script)
    await_checkpoint(cluster, job, tmp_path)
    lost_nodes.freeze("cpu2")
    said = "ERROR lamella: rank 0 of 2 on cpu1: "
    cluster.wait_for(lambda: said in (tmp_path / "log").read_text(), "the end of the training")
    assert 0 not in trainings.ranks(tmp_path)
    lost_nodes.bring_back()
    assert cluster.wait(job) == "1:0"
    again = cluster.submit(script)
    assert cluster.wait(again) == "0:0", (tmp_path / "log").read_text()
    assert "rank 0: going on after epoch" in (tmp_path / "log").read_text()


@pytest.mark.faults
@each_launcher
def test_ranks_end_with_a_killed_launcher_though_its_job_goes_on(
    cluster, trainings, tmp_path, launcher
):
    command = trainings.command(tmp_path, Backend.TORCH, nodes=2, epochs=LONG, launcher=launcher)
    words = shlex.join(command)
    launcher = tmp_path / "launcher"
    script = trainings.write(tmp_path, f"{words} & echo $! > {launcher}; wait; sleep 300")
    job = cluster.submit(script)
    await_checkpoint(cluster, job, tmp_path)
    assert sorted(trainings.ranks(tmp_path)) == [0, 1]
    os.kill(int(launcher.read_text()), signal.SIGKILL)
    trainings.wait_for(lambda: trainings.ranks(tmp_path) == {}, "end of the ranks")
    assert cluster.facts(job)["JobState"] == "RUNNING"
    cluster.ask("scancel", job)


def test_job_with_too_few_nodes_is_told_what_to_ask_for(cluster, trainings, tmp_path):
    job = cluster.submit(trainings.script(tmp_path, Backend.TORCH), "--nodes=1")
    assert cluster.wait(job) == "1:0"
    log = (tmp_path / "log").read_text()
    assert f"SLURM job {job} has 1 nodes and 1 cores, which is less than 2 and 2" in log
    assert "sbatch --nodes 2 --ntasks-per-node 1 --cpus-per-task 1" in log


@pytest.mark.faults
def test_second_cluster_on_this_machine_is_refused_by_name(cluster, trainings, tmp_path):
    start = Path(__file__).with_name("start.sh")
    again = subprocess.run([start, tmp_path], stderr=subprocess.PIPE, text=True, check=False)
    assert again.returncode == 3
    assert f"a test cluster runs already, in {cluster.folder}" in again.stderr
    assert subprocess.run([start, cluster.folder], check=False).returncode == 0
