"""``scripts/run_workflow.sh`` starts again after any kill."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

RUN_WORKFLOW = Path(__file__).parents[2] / "scripts" / "run_workflow.sh"

SNAKEFILE = """
rule all:
    input: "made"

rule make:
    output: "made"
    shell: "echo started >> starts; sleep 6; echo made > {output}"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "study.smk").write_text(SNAKEFILE)
    return tmp_path


def start(folder):
    """Start a run that writes what it says into ``output``."""
    with (folder / "output").open("w") as output:
        return subprocess.Popen(
            [RUN_WORKFLOW, "--snakefile", "study.smk", "--cores", "1", "--rerun-incomplete"],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def run(folder):
    """Run to the end and return exit code and what was said."""
    returncode = start(folder).wait(timeout=150)
    return returncode, (folder / "output").read_text()


def wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.05)


def test_new_start_waits_for_jobs_of_a_killed_run_then_takes_its_lock_away(folder):
    killed = start(folder)
    wait_for(folder / "starts")
    os.kill(killed.pid, signal.SIGKILL)  # the script has become Snakemake; its job goes on
    killed.wait()
    assert list((folder / ".snakemake" / "locks").iterdir())
    returncode, output = run(folder)
    assert returncode == 0
    assert "an earlier run still has processes here" in output
    assert "taking away the lock" in output
    # Once by the killed run, once by the new one.
    assert (folder / "starts").read_text() == "started\nstarted\n"
    assert (folder / "made").read_text() == "made\n"


def test_second_run_has_nothing_to_do(folder):
    assert run(folder)[0] == 0
    returncode, output = run(folder)
    assert returncode == 0
    assert "Nothing to be done" in output


def test_start_beside_a_living_run_waits_for_its_end(folder):
    first = start(folder)
    wait_for(folder / "starts")
    returncode, output = run(folder)
    assert returncode == first.wait(timeout=10) == 0
    assert "another run is at work in this folder" in output
    assert "Nothing to be done" in output
    assert (folder / "starts").read_text() == "started\n"


def test_lock_of_a_run_on_another_machine_is_left_alone(folder):
    killed = start(folder)
    wait_for(folder / "starts")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    (folder / ".snakemake" / "lamella-run").write_text("elsewhere\n")
    returncode, output = run(folder)
    assert returncode == 1
    assert "locked by a run on elsewhere" in output
    assert list((folder / ".snakemake" / "locks").iterdir())
    # What it says to do does it, from where the study is.
    command = output.partition(f"take the lock away, in {folder}, with: ")[2]
    subprocess.run(["bash", "-c", command], cwd=folder, check=True)
    assert not list(folder.glob(".snakemake/locks/*"))
