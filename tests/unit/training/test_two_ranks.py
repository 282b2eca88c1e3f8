"""Whole trainings by two ranks, through the real launcher."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lamella.models.settings import HeadSettings
from lamella.stores.json_files import read_json
from lamella.stores.tables import read_table
from lamella.training.settings import Backend, RunSettings, TrainingSettings

PROGRAM = Path(__file__).parent / "programs" / "untracked.py"
RUN = RunSettings(
    model="test_resnet",
    epochs=8,
    batch_size=4,
    accumulate=2,
    learning_rate=0.01,
    head=HeadSettings(hidden=(16,), dropout=0.5),
)
OFTEN = 1e-9
"""Minutes between checkpoints: every step is one."""


def start(
    index: Path,
    folder: Path,
    backend: Backend,
    launcher: str | None = None,
    *,
    hold: str = "",
) -> "subprocess.Popen[bytes]":
    training = TrainingSettings(
        backend=backend, processes=2, runs={"tiny": RUN}, checkpoint_minutes=OFTEN
    )
    words = [
        *("--index", str(index), "--output", str(folder), "--run", "tiny", "--seed", "5"),
        *("--settings", training.model_dump_json(), "--log", str(folder / "log")),
    ]
    environment = os.environ | ({"HOLD": f"{hold}:{folder / 'held'}"} if hold else {})
    how = ["launch", *words] if launcher is None else ["site", *words, "--launcher", launcher]
    return subprocess.Popen([sys.executable, str(PROGRAM), *how], env=environment)


@pytest.fixture(scope="module", params=[Backend.HOROVOD, Backend.TORCH])
def backend(request) -> Backend:
    return request.param


@pytest.fixture(scope="module")
def undisturbed(cohort: Path, tmp_path_factory: pytest.TempPathFactory, backend) -> Path:
    folder = tmp_path_factory.mktemp("two-ranks")
    assert start(cohort, folder, backend).wait() == 0, (folder / "log").read_text()
    return folder


def curves(folder: Path) -> list[dict[str, str]]:
    timings = ("seconds", "samples_per_s", "loader_wait_share")
    rows = read_table(folder / "history.tsv")
    return [{key: value for key, value in row.items() if key not in timings} for row in rows]


def test_two_ranks_judge_every_patch_of_validation_and_test(undisturbed):
    metrics = read_json(undisturbed / "metrics.json")
    assert metrics["world_size"] == 2
    assert (metrics["validation"]["n"], metrics["test"]["n"]) == (17, 16)
    assert "rank 0: epoch 8/8 done" in (undisturbed / "log").read_text()


def stop_within_an_epoch(launcher: "subprocess.Popen[bytes]", folder: Path, number: int) -> int:
    """Send a signal once the training holds in an epoch, and return the exit code."""
    while not (folder / "held").exists():
        assert launcher.poll() is None, (folder / "log").read_text()
        time.sleep(0.05)
    (folder / "held").unlink()
    os.kill(launcher.pid, number)
    return launcher.wait()


# Four starts of two ranks.
@pytest.mark.timeout(900)
def test_ended_again_and_again_and_started_again_it_ends_in_the_same_bits(
    cohort, tmp_path, undisturbed, backend
):
    moments = ((signal.SIGKILL, "1:1"), (signal.SIGUSR1, "3:2"), (signal.SIGKILL, "5:2"))
    codes = [
        stop_within_an_epoch(start(cohort, tmp_path, backend, hold=hold), tmp_path, number)
        for number, hold in moments
    ]
    assert codes == [-signal.SIGKILL, 75, -signal.SIGKILL]
    assert not (tmp_path / "metrics.json").exists()

    assert start(cohort, tmp_path, backend).wait() == 0, (tmp_path / "log").read_text()
    assert "going on after epoch" in (tmp_path / "log").read_text()
    assert (tmp_path / "best.pt").read_bytes() == (undisturbed / "best.pt").read_bytes()
    assert curves(tmp_path) == curves(undisturbed)


@pytest.mark.alone
@pytest.mark.faults
# It loads torch and TensorFlow before it starts the ranks.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", [Backend.HOROVOD], indirect=True)
def test_ranks_that_horovodrun_starts_end_in_the_same_bits(cohort, tmp_path, undisturbed, backend):
    running = start(cohort, tmp_path, backend, launcher="horovodrun")
    assert running.wait() == 0, (tmp_path / "log").read_text()
    assert "rank 1: sits on localhost, network lo" in (tmp_path / "log").read_text()
    assert (tmp_path / "best.pt").read_bytes() == (undisturbed / "best.pt").read_bytes()
    assert curves(tmp_path) == curves(undisturbed)
