import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lamella.errors import TrainingError
from lamella.training.launch import launch_training

PROGRAMS = Path(__file__).parent / "programs"


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
    code = "import os; print('WARNING hot', os.environ['HOROVOD_RANK'], os.environ['HOROVOD_SIZE'])"
    with caplog.at_level(logging.INFO):
        launch_training([sys.executable, "-c", code], 2)
    lines = {(r.levelname, r.getMessage()) for r in caplog.records}
    assert ("WARNING", "rank 0: hot 0 2") in lines
    assert ("WARNING", "rank 1: hot 1 2") in lines


def test_rank_that_fails_ends_the_others_at_once_and_is_named():
    code = (
        "import os, sys, time\n"
        "sys.exit(3) if os.environ['HOROVOD_RANK'] == '1' else time.sleep(600)"
    )
    start = time.monotonic()
    with pytest.raises(TrainingError, match="rank 1 of 2: ended with exit code 3"):
        launch_training([sys.executable, "-c", code], 2)
    assert time.monotonic() - start < 30


def test_rank_killed_between_two_exchanges_is_the_cause_that_is_told():
    start = time.monotonic()
    with pytest.raises(TrainingError, match=r"rank 1 of 2: was killed by SIGKILL"):
        launch_training([sys.executable, str(PROGRAMS / "lost_rank.py")], 2)
    assert time.monotonic() - start < 120


def test_exchange_that_one_rank_stays_away_from_is_given_up(caplog):
    program = str(PROGRAMS / "absent_rank.py")
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(TrainingError, match="rank 0 of 2: ended with exit code 1"),
    ):
        launch_training([sys.executable, program], 2, exchange_limit_s=1)
    assert "Timeout (0:00:01)!" in caplog.text
    assert "in gather" in caplog.text


def test_loss_that_is_no_number_on_one_rank_is_an_error_on_all(caplog):
    with caplog.at_level(logging.INFO):
        launch_training([sys.executable, str(PROGRAMS / "infinite_loss.py")], 2)
    for rank in (0, 1):
        assert f"rank {rank}: epoch 2, step 3: the loss is infinite or not a number" in caplog.text
    assert "step 2" not in caplog.text


# These ranks do not listen: after SIGTERM the launcher waits until its limit.
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ranks_end_with_the_launcher(tmp_path, number):
    program = str(PROGRAMS / "sleeping_ranks.py")
    launcher = subprocess.Popen([sys.executable, program, str(tmp_path)])
    files = [tmp_path / "0", tmp_path / "1"]
    wait_for(lambda: all(file.exists() and file.read_text() for file in files))
    ranks = [int(file.read_text()) for file in files]
    assert all(map(is_alive, ranks))
    os.kill(launcher.pid, number)
    assert launcher.wait(60) == (-9 if number == signal.SIGKILL else 128 + number)
    wait_for(lambda: not any(map(is_alive, ranks)), seconds=20)
