"""``scripts/slurm/sbatch`` where SLURM's answer gets lost; stubs stand for SLURM's own programs."""

import os
import subprocess
from pathlib import Path

import pytest

SBATCH = Path(__file__).parents[3] / "scripts" / "slurm" / "sbatch"

FAR = ("--clusters", "far")

# The first question has no answer.
SQUEUE_STUB = """#!/bin/sh
echo "$@" >> questions
if [ $(wc -l < questions) -eq 1 ]; then
    echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2
    exit 1
fi
cat jobs
"""
# The first call has no answer; whether the job is there nevertheless, the test says.
SBATCH_STUB = """#!/bin/sh
echo called >> calls
if [ $(wc -l < calls) -eq 1 ]; then
    cat taken >> jobs
    echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2
    exit 1
fi
echo 4712
"""


@pytest.mark.parametrize(
    ("taken", "answer", "calls"),
    [("4711 rule_train wildcards 1\n", "4711\n", 1), ("", "4712\n", 2)],
)
def test_a_job_that_was_taken_before_the_answer_got_lost_is_not_submitted_again(
    tmp_path, taken, answer, calls
):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, program in (("sbatch", SBATCH_STUB), ("squeue", SQUEUE_STUB)):
        (programs / name).write_text(program)
        (programs / name).chmod(0o755)
    # A former attempt of the same job, and another job of the run.
    (tmp_path / "jobs").write_text("4000 rule_train wildcards 1\n4001 rule_train wildcards 2\n")
    (tmp_path / "taken").write_text(taken)
    path = os.pathsep.join([str(SBATCH.parent), str(programs), os.environ["PATH"]])
    ended = subprocess.run(
        [SBATCH, "--parsable", "--job-name", "run", "--comment", "rule_train wildcards 1", *FAR],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "LAMELLA_SUBMIT_WAIT_S": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    # Snakemake takes "submission failed" for a failure, whatever else it is told.
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, answer, "")
    assert (tmp_path / "calls").read_text().count("called") == calls
    questions = (tmp_path / "questions").read_text().splitlines()
    assert all(question.startswith(" ".join(FAR)) for question in questions)
    away, lost, *_ = (tmp_path / "results/logs/submit.log").read_text().splitlines()
    assert "asking again in 0 s: slurm_load_jobs error: Unable to contact" in away
    assert "asking again in 0 s: sbatch: error: Batch job submission failed: Socket" in lost
