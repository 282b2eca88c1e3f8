"""A rank in a container ends with its launcher, which is not its parent there."""

import os
import signal
import subprocess
import sys

import pytest

from lamella.training.lifeline import LAUNCHER_VARIABLE

RANK = """
import time
from lamella.training.lifeline import end_with_launcher
end_with_launcher()
print("at work", flush=True)
time.sleep(120)
"""

OTHER_HAS_ITS_NUMBER = """
from lamella.training import lifeline
begun = iter([7])
lifeline._begun = lambda _: next(begun, 8)
"""


@pytest.fixture
def launcher():
    process = subprocess.Popen(["sleep", "120"])
    yield process
    process.kill()
    process.wait()


def start_rank(launcher, before="", **variables):
    """Start a process as a rank of a launcher; this one is its parent, as the engine would be."""
    return subprocess.Popen(
        [sys.executable, "-c", before + RANK],
        env={**os.environ, LAUNCHER_VARIABLE: str(launcher.pid), **variables},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("engine", ["APPTAINER", "SINGULARITY"])
def test_rank_in_a_container_works_while_its_launcher_lives_and_ends_with_it(launcher, engine):
    with start_rank(launcher, **{f"{engine}_CONTAINER": "/shared/lamella.sif"}) as rank:
        assert rank.stdout.readline() == "at work\n"
        assert rank.poll() is None
        launcher.kill()
        launcher.wait()
        assert rank.wait(30) == -signal.SIGKILL


def test_rank_in_a_container_ends_also_when_its_launcher_was_gone_before_it(launcher):
    launcher.kill()
    launcher.wait()
    with start_rank(launcher, APPTAINER_CONTAINER="/shared/lamella.sif") as rank:
        assert rank.wait(30) == -signal.SIGKILL


def test_rank_in_a_container_ends_also_where_another_process_has_its_launchers_number(launcher):
    container = {"APPTAINER_CONTAINER": "/shared/lamella.sif"}
    with start_rank(launcher, OTHER_HAS_ITS_NUMBER, **container) as rank:
        try:
            assert rank.wait(60) == -signal.SIGKILL
        finally:
            rank.kill()


def test_rank_outside_a_container_whose_parent_is_not_the_launcher_is_an_orphan(launcher):
    with start_rank(launcher) as rank:
        assert rank.wait(30) == -signal.SIGKILL
        assert rank.stdout.read() == ""
