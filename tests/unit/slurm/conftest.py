"""What a real SLURM 22.05 has answered about jobs of every kind of end."""

from pathlib import Path

import pytest

ANSWERS = Path(__file__).parent / "answers"


@pytest.fixture
def accounting() -> str:
    return (ANSWERS / "sacct.txt").read_text()


@pytest.fixture
def controller() -> str:
    return (ANSWERS / "scontrol.txt").read_text()


@pytest.fixture
def slurm_says(tmp_path, monkeypatch):
    """Give the programs of SLURM, by name, an answer; with ``None`` they fail.

    ``config`` is what ``scontrol show config`` answers; GPUs are counted unless it is given.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "config.txt").write_text("AccountingStorageTRES   = cpu,mem,billing,gres/gpu\n")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def say(**answers):
        for name, answer in answers.items():
            (folder / f"{name}.txt").write_text(answer or "")
            failing = "echo 'Slurm accounting storage is disabled' >&2; exit 1"
            body = failing if answer is None else f"cat {folder}/{name}.txt"
            if name == "scontrol":
                body = f"[ $2 = config ] && exec cat {folder}/config.txt\n{body}"
            (folder / name).write_text(f"#!/bin/sh\n{body}\n")
            (folder / name).chmod(0o755)

    return say
