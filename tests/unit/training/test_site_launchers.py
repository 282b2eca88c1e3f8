"""Ranks that programs of the site's start, on this machine; over SLURM: tests/integration/slurm."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lamella.errors import TrainingError
from lamella.slurm.settings import Launcher
from lamella.training import step
from lamella.training.launch_nodes import launch_on_nodes
from lamella.training.seat import take_seat
from lamella.training.settings import Backend, TrainingSettings
from lamella.training.site_launchers import site_launcher
from lamella.training.step import _told

PROGRAM = Path(__file__).parent / "programs" / "sitting_ranks.py"
TWO_RANKS = TrainingSettings(backend=Backend.HOROVOD, processes=2)
TWO_NODES = TrainingSettings(backend=Backend.HOROVOD, processes=4, nodes=2)

LIMIT_S = 150.0
"""horovodrun takes its time: it loads torch and TensorFlow, to see what it was built with."""

needs_mpirun = pytest.mark.skipif(
    shutil.which("mpirun") is None, reason="mpirun of Open MPI is not installed (openmpi-bin)"
)
each_launcher = pytest.mark.parametrize(
    "launcher",
    [
        # On a busy machine horovodrun at times does not hear from its own helper.
        pytest.param(Launcher.HOROVODRUN, marks=[pytest.mark.alone, pytest.mark.faults]),
        pytest.param(Launcher.MPIRUN, marks=needs_mpirun),
    ],
)


@pytest.fixture(autouse=True)
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    # mpirun wants to be told twice.
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")


def start(
    folder: Path, launcher: Launcher, what: str, backend: Backend = Backend.HOROVOD
) -> "subprocess.Popen[bytes]":
    words = [sys.executable, str(PROGRAM), backend, launcher, what, str(folder)]
    return subprocess.Popen(words)


def wait_for(condition, seconds: float = LIMIT_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def seats(folder: Path) -> list[dict[str, str]]:
    files = [folder / "0", folder / "1"]
    wait_for(lambda: all(file.exists() for file in files))
    return [json.loads(file.read_text()) for file in files]


def is_alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@each_launcher
def test_ranks_sit_beside_each_other_and_stop_as_the_launcher_is_asked_to(tmp_path, launcher):
    running = start(tmp_path, launcher, "wait")
    first, second = seats(tmp_path)
    assert (first["HOROVOD_RANK"], second["HOROVOD_RANK"]) == ("0", "1")
    assert second["HOROVOD_LOCAL_RANK"] == "1"
    for seat in (first, second):
        assert (seat["HOROVOD_SIZE"], seat["HOROVOD_LOCAL_SIZE"]) == ("2", "2")
        assert seat["HOROVOD_CROSS_SIZE"] == "1"
        assert (seat["HOROVOD_CONTROLLER"], seat["HOROVOD_GLOO_IFACE"]) == ("gloo", "lo")
        assert (seat["HOROVOD_GLOO_TIMEOUT_SECONDS"], seat["HOROVOD_CYCLE_TIME"]) == ("300", "25")
        assert seat["OMP_NUM_THREADS"] == "3"
    running.send_signal(signal.SIGUSR1)
    assert running.wait(LIMIT_S) == 75
    log = (tmp_path / "log").read_text()
    for rank in (0, 1):
        assert f"INFO lamella.training.launch: rank {rank}: it sits\n" in log


@needs_mpirun
def test_ranks_of_the_torch_backend_are_numbered_where_mpirun_starts_them(tmp_path):
    running = start(tmp_path, Launcher.MPIRUN, "wait", Backend.TORCH)
    for rank, seat in enumerate(seats(tmp_path)):
        assert (seat["RANK"], seat["WORLD_SIZE"], seat["LOCAL_RANK"]) == (str(rank), "2", str(rank))
        assert seat["GLOO_SOCKET_IFNAME"] == "lo"
    running.terminate()
    assert running.wait(LIMIT_S) == 75


@each_launcher
@pytest.mark.parametrize(
    ("what", "said"), [("fail", "ended with exit code 3"), ("kill", "was killed by SIGKILL")]
)
def test_rank_that_ends_badly_ends_the_other_and_is_named(tmp_path, launcher, what, said):
    running = start(tmp_path, launcher, what)
    assert running.wait(LIMIT_S) == 1
    assert f"ERROR lamella: rank 1 of 2 on localhost: {said}" in (tmp_path / "log").read_text()
    assert not any(is_alive(int(seat["process"])) for seat in seats(tmp_path))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("3", "ended with exit code 3"),
        ("137", "was killed by SIGKILL (out of memory?)"),
        # Of ssh: the node is gone, or what it ran was killed.
        ("255", "ended with exit code 255"),
    ],
)
def test_codes_of_horovodrun_are_told_as_what_they_stand_for(code, said):
    lines = ("Process name: 1", f"Exit code: {code}")
    found = {}
    for line in lines:
        for pattern in site_launcher(Launcher.HOROVODRUN, TWO_RANKS).deaths:
            match = pattern.search(line)
            found |= match.groupdict() if match else {}
    assert (found["rank"], _told(found)) == ("1", said)


@each_launcher
def test_ranks_end_with_a_launcher_that_is_killed(tmp_path, launcher):
    running = start(tmp_path, launcher, "wait")
    ranks = [int(seat["process"]) for seat in seats(tmp_path)]
    assert all(map(is_alive, ranks))
    running.kill()
    running.wait()
    wait_for(lambda: not any(map(is_alive, ranks)))


def test_launcher_that_waits_for_a_lost_node_is_killed_and_the_rank_that_gave_up_is_named(
    monkeypatch, tmp_path
):
    waiting = tmp_path / "srun"
    said = "srun: error: n1: task 0: Exited with exit code 1"
    waiting.write_text(f"#!/bin/sh\ntrap '' TERM\necho '{said}'\nexec sleep 600\n")
    waiting.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(step, "_END_LIMIT_S", 1.0)
    with pytest.raises(TrainingError, match="rank 0 of 2 on n1: ended with exit code 1"):
        launch_on_nodes(["true"], TWO_RANKS, threads=1, launcher=Launcher.SRUN)


def test_horovodrun_is_refused_for_another_backend():
    training = TWO_RANKS.model_copy(update={"backend": Backend.TORCH})
    with pytest.raises(TrainingError) as error:
        launch_on_nodes(["true"], training, threads=1, launcher=Launcher.HOROVODRUN)
    assert str(error.value) == (
        "site.launcher: horovodrun: horovodrun starts processes of backend horovod alone, not of"
        " torch. Set training.backend: horovod, or another launcher."
    )


def test_launcher_that_is_not_here_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TrainingError) as error:
        launch_on_nodes(["true"], TWO_RANKS, threads=1, launcher=Launcher.MPIRUN)
    assert str(error.value) == (
        "site.launcher: mpirun: mpirun is not installed here. Install Open MPI or load its module,"
        " on all nodes, or set another launcher."
    )


def test_mpirun_of_another_mpi_is_refused(monkeypatch, tmp_path):
    other = tmp_path / "mpirun"
    other.write_text("#!/bin/sh\necho HYDRA build details:\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(TrainingError, match="the mpirun that is here is not that of Open MPI"):
        launch_on_nodes(["true"], TWO_RANKS, threads=1, launcher=Launcher.MPIRUN)


def of_mpirun(rank: int, local_rank: int, local_size: int) -> dict[str, str]:
    return {
        "LAMELLA_STARTED_BY": "mpirun",
        "LAMELLA_HOSTS": "n1,n2",
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1",
        "HOROVOD_GLOO_RENDEZVOUS_PORT": "29",
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_SIZE": "4",
        "OMPI_COMM_WORLD_LOCAL_RANK": str(local_rank),
        "OMPI_COMM_WORLD_LOCAL_SIZE": str(local_size),
    }


def test_rank_takes_its_seat_on_the_second_node_from_what_open_mpi_says(monkeypatch):
    environment = of_mpirun(rank=3, local_rank=1, local_size=2)
    monkeypatch.setattr("os.environ", environment)
    take_seat(TWO_NODES)
    taken = {key: value for key, value in environment.items() if key.startswith("HOROVOD_")}
    assert taken == {
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1",
        "HOROVOD_GLOO_RENDEZVOUS_PORT": "29",
        "HOROVOD_RANK": "3",
        "HOROVOD_SIZE": "4",
        "HOROVOD_LOCAL_RANK": "1",
        "HOROVOD_LOCAL_SIZE": "2",
        "HOROVOD_CROSS_RANK": "1",
        "HOROVOD_CROSS_SIZE": "2",
        "HOROVOD_HOSTNAME": "n2",
        "HOROVOD_GLOO_IFACE": "lo",
    }


def test_ranks_that_open_mpi_has_put_on_one_node_are_refused(monkeypatch):
    monkeypatch.setattr("os.environ", of_mpirun(rank=3, local_rank=3, local_size=4))
    with pytest.raises(TrainingError, match="rank 3 of 4 as number 3 of 4 on its node, where 2 of"):
        take_seat(TWO_NODES)
