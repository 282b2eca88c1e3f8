"""A training in a job with a time limit, of one process and without torch."""

import shlex
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slurm,
    pytest.mark.alone,
    pytest.mark.faults,
]

PROGRAM = Path(__file__).parent / "programs" / "until_stopped.py"


def script(trainings, folder: Path, margin_s: int) -> Path:
    words = [sys.executable, str(PROGRAM), str(folder), str(margin_s)]
    return trainings.write(folder, f"exec {shlex.join(words)}")


def test_job_is_queued_again_that_many_seconds_before_its_time_limit(cluster, trainings, tmp_path):
    job = cluster.submit(script(trainings, tmp_path, 40), "--time=2")
    cluster.hasten(job)
    assert float((tmp_path / "waited").read_text()) == pytest.approx(80, abs=10)
    assert cluster.wait(job) == "0:0"
    assert cluster.facts(job)["Restarts"] == "1"


def test_job_that_may_not_be_queued_again_ends_with_the_code_that_says_so(
    cluster, trainings, tmp_path
):
    job = cluster.submit(script(trainings, tmp_path, 100), "--time=1", "--no-requeue")
    # Half of the time, since 100 s are more than there are.
    assert cluster.wait(job) == "75:0"
    assert (
        f"SLURM job {job} is not queued again: it may not be" in (tmp_path / "job.log").read_text()
    )


def test_cancelled_job_is_not_queued_again(cluster, trainings, tmp_path):
    job = cluster.submit(script(trainings, tmp_path, 40), "--time=10")
    trainings.wait_for((tmp_path / "listens").exists, "the program")
    cluster.ask("scancel", job)
    cluster.wait(job)
    trainings.wait_for((tmp_path / "waited").exists, "the stop")
    facts = cluster.facts(job)
    assert (facts["JobState"], facts["Restarts"]) == ("CANCELLED", "0")
    said = f"SLURM job {job} is not queued again: it is being ended"
    trainings.wait_for(lambda: said in (tmp_path / "job.log").read_text(), said)
