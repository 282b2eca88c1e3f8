"""What a job of the doctor says of the scratch folder of its node."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lamella.stores.json_files import read_json


@pytest.fixture
def scratch_on_node(tmp_path):
    """Return what is said of a folder: its name, and its free space."""

    def ask(scratch: str) -> tuple[str, float | None]:
        answer = tmp_path / "answer.json"
        words = [sys.executable, "-m", "lamella.slurm.node_check", answer, "--scratch", scratch]
        subprocess.run(words, env={**os.environ, "DISK": str(tmp_path)}, check=True)
        found = read_json(answer)
        return found["scratch"], found["scratch_free_gib"]

    return ask


def test_variables_are_the_node_s_and_what_is_missing_is_made_and_taken_away(
    tmp_path, scratch_on_node
):
    name, free_gib = scratch_on_node("$DISK/local/root")
    assert name == f"{tmp_path}/local/root"
    assert free_gib is not None
    assert free_gib > 0
    assert not (tmp_path / "local").exists()


def test_folder_that_is_there_stays(tmp_path, scratch_on_node):
    (tmp_path / "local").mkdir()
    assert scratch_on_node("$DISK/local")[1] is not None
    assert list((tmp_path / "local").iterdir()) == []


@pytest.mark.parametrize("scratch", ["$DISK/file/root", "$NONE_SUCH/root", "/proc/none"])
def test_folder_that_cannot_be_made_is_told(tmp_path, scratch_on_node, scratch):
    (tmp_path / "file").touch()
    assert scratch_on_node(scratch)[1] is None
    assert not Path("$NONE_SUCH").exists()
