"""What a job of workers runs, before SLURM sees it."""

import asyncio
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lamella.fleet.settings import FleetSettings
from lamella.fleet.slurm_cluster import _job_options
from lamella.slurm.settings import SiteSettings
from lamella.slurm.submit import have_submissions_wait

FLEET = FleetSettings(workers_per_job=2)


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Have Apptainer on the PATH; here it is only looked for."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "apptainer").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.delenv("APPTAINER_BIND", raising=False)


def worker_job(site: SiteSettings, logs: Path) -> Any:
    """Return a job as dask-jobqueue would submit it."""
    from lamella.fleet.worker_jobs import _WorkerJob

    options = _job_options(FLEET.jobs_for(2), site, logs)
    for name in ("interface", "scheduler_options", "silence_logs"):
        del options[name]
    return _WorkerJob("tls://10.0.0.1:1", "job-0", cores=2, processes=2, **options)


def job_script(site: SiteSettings, logs: Path) -> str:
    """Return the script that dask-jobqueue would submit."""
    script: str = worker_job(site, logs).job_script()
    return script


def worker_call(script: str) -> list[str]:
    (line,) = (line for line in script.splitlines() if "dask_worker" in line)
    words = shlex.split(line)
    return words[: words.index("distributed.cli.dask_worker") + 1]


def test_workers_of_a_site_with_a_container_start_in_it(tmp_path, engine):
    image = tmp_path / "lamella.sif"
    image.touch()
    call = worker_call(job_script(SiteSettings(container=image), tmp_path))
    python = ["apptainer", "exec", str(image), "python"]
    assert call == [*python, "-m", "distributed.cli.dask_worker"]


def test_workers_of_other_sites_start_in_this_environment(tmp_path):
    script = job_script(SiteSettings(), tmp_path)
    assert worker_call(script) == [sys.executable, "-m", "distributed.cli.dask_worker"]
    assert "APPTAINER" not in script


@pytest.mark.parametrize("before", ["", "/gpfs,/my data"])
def test_job_tells_the_container_of_scratch_and_of_what_the_stage_was_told(
    tmp_path, monkeypatch, engine, before
):
    if before:
        monkeypatch.setenv("APPTAINER_BIND", before)
    monkeypatch.setenv("APPTAINERENV_PYTHONPATH", "/gpfs/lamella/src")
    image = tmp_path / "lamella.sif"
    image.touch()
    script = job_script(SiteSettings(container=image, scratch=tmp_path / "disk"), tmp_path)
    prologue = script.partition("\n/")[0].rpartition("apptainer exec")[0]
    asked = subprocess.run(
        ["bash", "-c", prologue + '\necho "$APPTAINER_BIND|$APPTAINERENV_PYTHONPATH"'],
        env={"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    shown = ",".join(filter(None, [before, f"{tmp_path}/disk/lamella-7"]))
    assert asked.stdout == f"{shown}|/gpfs/lamella/src\n"


REFUSED = (
    "SLURM refuses a worker job ({}Batch job submission failed: Job violates accounting/QOS policy "
    "(job submit limit, user's size and/or time limits))"
)


@pytest.mark.parametrize(
    ("limit", "may"),
    [
        ("", True),
        ("AssocMaxSubmitJobLimit; ", True),
        ("QOSMaxSubmitJobPerUserLimit; ", True),
        ("QOSMaxWallDurationPerJobLimit; ", False),
        ("AssocMaxCpuPerJobLimit; ", False),
    ],
)
def test_refusal_passes_unless_slurm_names_a_limit_that_the_job_is_above_by_itself(limit, may):
    from lamella.fleet.worker_jobs import may_pass

    assert may_pass(REFUSED.format(limit)) is may


def test_worker_jobs_are_submitted_past_the_program_that_waits(tmp_path, monkeypatch):
    for name in ("waiting", "site"):
        (tmp_path / name).mkdir()
        program = tmp_path / name / "sbatch"
        program.write_text(f"#!/bin/sh\necho {name} $1")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "site"), prepend=":")
    monkeypatch.setenv("LAMELLA_SLURM_PROGRAMS", "")
    have_submissions_wait(tmp_path / "waiting")
    assert subprocess.check_output(["sbatch", "script"], text=True) == "waiting script\n"
    job = worker_job(SiteSettings(), tmp_path)
    assert asyncio.run(job._submit_job("script")) == "site script\n"
