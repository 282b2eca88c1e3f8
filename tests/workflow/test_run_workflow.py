"""``scripts/run_workflow.sh`` starts again after any kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN_WORKFLOW = Path(__file__).parents[2] / "scripts" / "run_workflow.sh"
LIMIT_S = 240

SNAKEFILE = """
rule all:
    input: "made"

rule make:
    output: "made"
    shell: "echo started >> starts; while [ ! -e go ]; do sleep 0.1; done; echo made > {output}"
"""

# It has no child that would be named, too.
SUBMISSION = """
import sys, time
from pathlib import Path
while not Path("go").exists():
    time.sleep(0.1)
Path("jobs").write_text(sys.argv[1] + "\\n")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "study.smk").write_text(SNAKEFILE)
    yield tmp_path
    # What a test that fails has left ends by it.
    (tmp_path / "go").touch()


def start(folder, said="output", **variables):
    """Start a run that writes what it says into a file."""
    with (folder / said).open("w") as output:
        return subprocess.Popen(
            [RUN_WORKFLOW, "--snakefile", "study.smk", "--cores", "1", "--rerun-incomplete"],
            cwd=folder,
            env={**os.environ, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def run(folder):
    """Run to the end and return exit code and what was said."""
    returncode = start(folder).wait(timeout=LIMIT_S)
    return returncode, (folder / "output").read_text()


def wait_for(path, text=""):
    """Wait until a file is there and says something."""
    deadline = time.monotonic() + LIMIT_S
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline, f"{path} never came, or never said {text!r}"
        time.sleep(0.05)


def test_new_start_waits_for_jobs_of_a_killed_run_then_takes_its_lock_away(folder):
    killed = start(folder)
    wait_for(folder / "starts")
    os.kill(killed.pid, signal.SIGKILL)  # the script has become Snakemake; its job goes on
    killed.wait()
    assert list((folder / ".snakemake" / "locks").iterdir())
    again = start(folder)
    wait_for(folder / "output", "an earlier run still has processes here")
    (folder / "go").touch()
    assert again.wait(timeout=LIMIT_S) == 0
    assert "taking away the lock" in (folder / "output").read_text()
    # Once by the killed run, once by the new one.
    assert (folder / "starts").read_text() == "started\nstarted\n"
    assert (folder / "made").read_text() == "made\n"


def test_new_start_waits_for_a_job_that_the_last_process_of_a_killed_run_submitted(folder):
    killed = start(folder)
    wait_for(folder / "starts")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    (folder / ".snakemake" / "lamella-slurm").touch()
    # SLURM has the jobs that stand in a file; a submission that is under way adds one.
    (folder / "jobs").touch()
    squeue = folder / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text(f"#!/bin/sh\ncat {folder}/jobs\n")
    squeue.chmod(0o755)
    job = f"4711|RUNNING|2a813e0f-6dbe-4d5f-8cd8-08b181be2bf7|{folder}"
    submission = subprocess.Popen(
        [sys.executable, "-c", SUBMISSION, job],
        cwd=folder,
        env={**os.environ, "LAMELLA_RUN_FOLDER": str(folder)},
    )
    # SLURM is asked at once, and not again while this test lasts unless there is a reason.
    variables = {"PATH": f"{squeue.parent}:{os.environ['PATH']}", "LAMELLA_SLURM_POLL_S": "600"}
    again = start(folder, **variables)
    try:
        wait_for(folder / "output", f"stop them with: kill {submission.pid})")
        (folder / "go").touch()
        assert submission.wait(timeout=LIMIT_S) == 0
        wait_for(folder / "output", "SLURM still has jobs of an earlier run")
        assert (folder / "starts").read_text() == "started\n"
    finally:
        for process in (submission, again):
            process.kill()
            process.wait()


def test_second_run_has_nothing_to_do(folder):
    (folder / "go").touch()
    assert run(folder)[0] == 0
    returncode, output = run(folder)
    assert returncode == 0
    assert "Nothing to be done" in output


def test_start_beside_a_living_run_waits_for_its_end(folder):
    first = start(folder)
    wait_for(folder / "starts")
    second = start(folder, "second")
    wait_for(folder / "second", "another run is at work in this folder")
    (folder / "go").touch()
    assert first.wait(timeout=LIMIT_S) == second.wait(timeout=LIMIT_S) == 0
    assert "Nothing to be done" in (folder / "second").read_text()
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
