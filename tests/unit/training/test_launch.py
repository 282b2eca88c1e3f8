import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from lamella.errors import TrainingError
from lamella.training import launch
from lamella.training.launch import launch_training
from lamella.training.settings import Backend

PROGRAMS = Path(__file__).parent / "programs"

each_backend = pytest.mark.parametrize("backend", [Backend.HOROVOD, Backend.TORCH])


def program(name: str, backend: Backend) -> list[str]:
    return [sys.executable, str(PROGRAMS / name), backend]


def wait_for(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        # An orphan that init has not yet reaped is dead.
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_ranks_print_is_logged_with_their_number_and_level(caplog):
    code = "import os; print('WARNING hot', os.environ['RANK'], os.environ['WORLD_SIZE'])"
    with caplog.at_level(logging.INFO):
        launch_training([sys.executable, "-c", code], 2, backend=Backend.TORCH)
    lines = {(r.levelname, r.getMessage()) for r in caplog.records}
    assert ("WARNING", "rank 0: hot 0 2") in lines
    assert ("WARNING", "rank 1: hot 1 2") in lines


def test_rank_that_fails_ends_the_others_and_is_named():
    # Longer than a test may take.
    code = "import os, sys, time\nsys.exit(3) if os.environ['RANK'] == '1' else time.sleep(600)"
    with pytest.raises(TrainingError, match="rank 1 of 2: ended with exit code 3"):
        launch_training([sys.executable, "-c", code], 2, backend=Backend.TORCH)


@pytest.fixture
def patient(monkeypatch):
    """Have the launcher wait for the cause also where the machine halts in between."""
    monkeypatch.setattr("lamella.training.launch._CAUSE_S", 60.0)


@each_backend
@pytest.mark.usefixtures("patient")
def test_rank_killed_between_two_exchanges_is_the_cause_that_is_told(backend):
    with pytest.raises(TrainingError, match=r"rank 1 of 2: was killed by SIGKILL"):
        launch_training(program("lost_rank.py", backend), 2, backend=backend)


@pytest.mark.usefixtures("patient")
def test_rank_that_is_seen_to_be_killed_after_another_has_failed_is_the_cause(tmp_path):
    code = (
        "import os, pathlib, signal, sys, time\n"
        "lost = pathlib.Path(sys.argv[1])\n"
        "if os.environ['RANK'] == '0':\n"
        "    lost.touch()\n"
        "    sys.exit(1)\n"
        "while not lost.exists():\n"
        "    time.sleep(0.05)\n"
        "time.sleep(1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lost")]
    with pytest.raises(TrainingError, match=r"rank 1 of 2: was killed by SIGKILL"):
        launch_training(command, 2, backend=Backend.TORCH)


@pytest.mark.parametrize(
    ("later", "told"),
    [([1, 3], [None, 3]), ([-9, 3], [-9, 3])],
    ids=["it was the first to fail", "the other was killed"],
)
def test_rank_that_fails_by_another_is_not_told_in_its_place(later, told):
    # The second has failed already; the first loses it, or has been killed.
    ranks = [
        SimpleNamespace(process=SimpleNamespace(poll=lambda code=code: code)) for code in later
    ]
    assert launch._with_the_cause(ranks, [None, 3]) == told


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (Backend.HOROVOD, "Timeout (0:00:01)!"),
        (Backend.TORCH, "Timed out waiting 1000ms for"),
    ],
)
def test_exchange_that_one_rank_stays_away_from_is_given_up(caplog, backend, said):
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(TrainingError, match="rank 0 of 2: ended with exit code 1"),
    ):
        launch_training(program("absent_rank.py", backend), 2, backend=backend, exchange_limit_s=1)
    assert said in caplog.text
    assert "in gather" in caplog.text


@each_backend
def test_loss_that_is_no_number_on_one_rank_is_an_error_on_all(caplog, backend):
    with caplog.at_level(logging.INFO):
        launch_training(program("infinite_loss.py", backend), 2, backend=backend)
    for rank in (0, 1):
        assert f"rank {rank}: epoch 2, step 3: the loss is infinite or not a number" in caplog.text
    assert "step 2" not in caplog.text


# These ranks do not listen: after SIGTERM the launcher waits until its limit.
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ranks_end_with_the_launcher(tmp_path, number):
    command = [sys.executable, str(PROGRAMS / "sleeping_ranks.py"), str(tmp_path)]
    launcher = subprocess.Popen(command)
    files = [tmp_path / "0", tmp_path / "1"]
    wait_for(lambda: all(file.exists() and file.read_text() for file in files))
    ranks = [int(file.read_text()) for file in files]
    assert all(map(is_alive, ranks))
    os.kill(launcher.pid, number)
    assert launcher.wait(60) == (-9 if number == signal.SIGKILL else 128 + number)
    wait_for(lambda: not any(map(is_alive, ranks)), seconds=20)


def test_the_torch_backend_needs_no_horovod():
    code = (
        "import sys; sys.modules['horovod'] = None\n"
        "from lamella.training.launch import launch_training\n"
        "from lamella.training.settings import Backend\n"
        "import lamella.training.torch_group\n"
        "launch_training([sys.executable, '-c', 'pass'], 2, backend=Backend.TORCH)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
