"""SLURM takes no job because of a limit of the account."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from lamella.drawing.cohort import draw_cohort
from lamella.drawing.settings import DrawingSettings
from lamella.fleet.manifest import Status, read_manifest

REPOSITORY = Path(__file__).parents[4]
REFUSED = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.fixture
def other(cluster) -> Iterator[str]:
    """Return the number of another job of this user, which goes on until the test ends."""
    small = ("--account=lab", "--mem=100", "--output=/dev/null")
    number = cluster.ask("sbatch", "--parsable", *small, "--wrap=sleep 600")
    yield number
    cluster.ask("scancel", "--quiet", number)
    cluster.wait_until_empty()


@pytest.fixture
def brief(cluster) -> Iterator[str]:
    """Return the name of a quality of service that refuses jobs of more than ten minutes."""
    if not cluster.has_accounts:
        pytest.skip("there are limits with accounting only: set LAMELLA_SLURM_ACCOUNTING=1")
    limit = ("MaxWall=10", "Flags=DenyOnLimit")
    user = ("modify", "user", "root", "where", "account=lab", "set")
    cluster.ask("sacctmgr", "--immediate", "add", "qos", "brief", *limit)
    cluster.ask("sacctmgr", "--immediate", *user, "qos+=brief")
    yield "brief"
    cluster.ask("sacctmgr", "--immediate", *user, "qos-=brief")
    cluster.ask("sacctmgr", "--immediate", "delete", "qos", "brief")


def test_submission_waits_for_the_end_of_another_job_where_the_account_may_have_one(
    cluster, study, allow, other
):
    allow(1)
    log = study.folder / "results/logs/submit.log"
    run = study.start()
    study.trainings.wait_for(
        lambda: (log.exists() and "in 2 s" in log.read_text()) or study.ended(), "two refusals"
    )
    assert study.jobs() == [], study.said
    cluster.ask("scancel", other)
    assert study.end_of(run) == 0, study.said
    assert study.is_complete
    first, second, *_ = log.read_text().splitlines()
    said = f"AssocMaxSubmitJobLimit Batch job submission failed: {REFUSED}"
    assert first.endswith(f"asking again in 1 s: sbatch: error: {said}")
    assert "asking again in 2 s: " in second


def test_account_that_may_have_no_job_is_told_in_one_line_and_a_second_start_completes(
    study, allow
):
    allow(0)
    assert study.run() == 1
    (reason,) = study.reasons
    assert "attempt 1): SLURM did not take it (sbatch: error: AssocMaxSubmitJobLimit). " in reason
    allow(-1)
    assert study.run() == 0, study.said
    assert study.is_complete


@pytest.mark.usefixtures("other")
def test_job_above_a_time_limit_is_refused_at_once_also_where_another_job_will_end(study, brief):
    study.configure(epochs=4, qos=brief)
    assert study.run() == 1
    (reason,) = study.reasons
    limit = "QOSMaxWallDurationPerJobLimit"
    assert f"attempt 1): SLURM did not take it (sbatch: error: {limit}). " in reason
    assert not (study.folder / "results/logs/submit.log").exists()


def test_job_that_was_taken_by_a_controller_that_did_not_answer_in_time_is_not_submitted_twice(
    cluster, tmp_path
):
    settings = (cluster.folder / "etc-lamella-slurm/slurm.conf").read_text()
    (tmp_path / "slurm.conf").write_text(settings.replace("MessageTimeout=60", "MessageTimeout=5"))
    controller = int((cluster.folder / "run/slurmctld.pid").read_text())
    words = ("--parsable", "--job-name", "run-of-this-test", "--comment", "rule_a b")
    rest = ("--account=lab", "--mem=100", "--output=/dev/null", "--wrap=sleep 60")
    log = tmp_path / "results/logs/submit.log"
    # The real sbatch, before which the controller stops.
    stops = tmp_path / "bin" / "sbatch"
    stops.parent.mkdir()
    stops.write_text(f'#!/bin/sh\nkill -STOP {controller}\nexec {shutil.which("sbatch")} "$@"\n')
    stops.chmod(0o755)
    with subprocess.Popen(
        [REPOSITORY / "scripts/slurm/sbatch", *words, *rest],
        cwd=tmp_path,
        env={
            **cluster.environment,
            "SLURM_CONF": str(tmp_path / "slurm.conf"),
            "PATH": f"{stops.parent}:{cluster.environment['PATH']}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as submission:
        try:
            cluster.wait_for(lambda: log.exists() or submission.poll() is not None, "a time-out")
            os.kill(controller, signal.SIGCONT)
            job, said = submission.communicate(timeout=200)
            assert (submission.returncode, said) == (0, "")
            assert "Socket timed out" in log.read_text()
            assert cluster.jobs() == [job.strip()]
        finally:
            os.kill(controller, signal.SIGCONT)
            submission.kill()
            cluster.ask("scancel", "--user=root")
            cluster.wait_until_empty()


@contextmanager
def stage_of_two_jobs(cluster, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a stage through profiles/slurm that wants two worker jobs, and end it in any case."""
    draw_cohort(folder / "drawn", DrawingSettings(slides=6, width_um=700, height_um=500))
    jobs = {"max_workers": 2, "workers_per_job": 1, "worker_memory_mib": 1024}
    settings = {
        "slides": "drawn/slides.tsv",
        "fleet": {"cluster": "slurm", **jobs},
        "site": {"account": "lab", "partition": "cpu", "interface": "lo", "walltime_min": 5},
        "tracking": {"uri": "http://127.0.0.1:1", "retries": 0, "timeout_s": 1},
    }
    (folder / "config").mkdir()
    (folder / "config/config.yaml").write_text(yaml.safe_dump(settings))
    words = [
        *(Path(sys.executable).with_name("snakemake"), "--snakefile", REPOSITORY / "Snakefile"),
        *("--profile", REPOSITORY / "profiles/slurm", "--", "results/masks/manifest.tsv"),
    ]
    path = f"{Path(sys.executable).parent}:{cluster.environment['PATH']}"
    with (folder / "output").open("wb") as output:
        run = subprocess.Popen(
            list(map(str, words)),
            cwd=folder,
            env={**cluster.environment, "PATH": path},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield run
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            cluster.ask("scancel", "--user=root")
        cluster.wait_until_empty()


def test_stage_that_may_have_fewer_worker_jobs_than_it_wants_ends_with_those_it_gets(
    cluster, tmp_path, allow
):
    allow(1)
    # Of its lifetime a worker has four minutes.
    with stage_of_two_jobs(cluster, tmp_path) as run:
        assert run.wait(timeout=200) == 0, (tmp_path / "output").read_text()
    log = (tmp_path / "results/logs/segment_tissue.log").read_text()
    assert "SLURM refuses a worker job (AssocMaxSubmitJobLimit; " in log
    assert "Tried again in 10 s" in log
    assert not (tmp_path / "results/logs/submit.log").exists()
    rows = read_manifest(tmp_path / "results/masks/manifest.tsv").values()
    assert [row.status for row in rows] == [Status.DONE] * 6
