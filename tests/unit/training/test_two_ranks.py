"""Whole trainings by two ranks, through the real launcher."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lamella.stores.json_files import read_json
from lamella.stores.tables import read_table
from lamella.training.settings import Backend, RunSettings, TrainingSettings

PROGRAM = Path(__file__).parent / "programs" / "untracked.py"
RUN = RunSettings(model="test_resnet", epochs=8, batch_size=4, learning_rate=0.01)


def start(index: Path, folder: Path, backend: Backend) -> "subprocess.Popen[bytes]":
    training = TrainingSettings(backend=backend, processes=2, runs={"tiny": RUN})
    words = [
        *("--index", str(index), "--output", str(folder), "--run", "tiny", "--seed", "5"),
        *("--settings", training.model_dump_json(), "--log", str(folder / "log")),
    ]
    return subprocess.Popen([sys.executable, str(PROGRAM), "launch", *words])


@pytest.fixture(scope="module", params=[Backend.HOROVOD, Backend.TORCH])
def backend(request) -> Backend:
    return request.param


@pytest.fixture(scope="module")
def undisturbed(cohort: Path, tmp_path_factory: pytest.TempPathFactory, backend) -> Path:
    folder = tmp_path_factory.mktemp("two-ranks")
    assert start(cohort, folder, backend).wait() == 0, (folder / "log").read_text()
    return folder


def curves(folder: Path) -> list[dict[str, str]]:
    timings = ("seconds", "samples_per_s")
    rows = read_table(folder / "history.tsv")
    return [{key: value for key, value in row.items() if key not in timings} for row in rows]


def test_two_ranks_judge_every_patch_of_validation_and_test(undisturbed):
    metrics = read_json(undisturbed / "metrics.json")
    assert metrics["world_size"] == 2
    assert (metrics["validation"]["n"], metrics["test"]["n"]) == (17, 16)
    assert "rank 0: epoch 8/8 done" in (undisturbed / "log").read_text()


def test_killed_with_sigkill_and_started_again_it_ends_in_the_same_bits(
    cohort, tmp_path, undisturbed, backend
):
    launcher = start(cohort, tmp_path, backend)
    checkpoint = tmp_path / "state" / "checkpoint.pt"
    while not checkpoint.exists():
        assert launcher.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.005)
    os.kill(launcher.pid, signal.SIGKILL)
    assert launcher.wait() == -signal.SIGKILL
    assert not (tmp_path / "metrics.json").exists()

    assert start(cohort, tmp_path, backend).wait() == 0, (tmp_path / "log").read_text()
    assert "going on after epoch" in (tmp_path / "log").read_text()
    assert (tmp_path / "best.pt").read_bytes() == (undisturbed / "best.pt").read_bytes()
    assert curves(tmp_path) == curves(undisturbed)
