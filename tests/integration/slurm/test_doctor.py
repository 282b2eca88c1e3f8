"""The doctor asks a real cluster, and what it writes is what a workflow needs."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lamella.config import load_config

pytestmark = [pytest.mark.integration, pytest.mark.slurm, pytest.mark.alone]


def ask_doctor(cluster, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [Path(sys.executable).with_name("lamella"), "doctor", "--slurm", *words],
        cwd=folder,
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_first_site_is_written_and_the_missing_gpu_is_told(cluster, tmp_path):
    told = ask_doctor(cluster, tmp_path, "--tracking", "http://127.0.0.1:1")
    assert "ok    a job in cpu: ran on cpu1, sees this folder and the environment" in told.stdout
    assert "http://127.0.0.1:1 does not answer" in told.stdout
    # The test cluster's GPUs are false.
    assert "FAIL  GPU on gpu1: torch sees none" in told.stdout
    assert (told.returncode, told.stderr.count("1 checks failed")) == (1, 1)
    written = tmp_path / "config" / "site.yaml"
    config = load_config(yaml.safe_load(written.read_text()), [written])
    site, fleet = config.site, config.fleet
    assert (site.partition, site.gpu_partition) == ("cpu", "gpu")
    assert (site.limit_min, site.walltime_min) == (60, 60)
    # Of 4 cores and 6000 MiB.
    assert (fleet.cluster, fleet.workers_per_job) == ("slurm", 2)
    assert cluster.jobs() == []


def test_site_that_is_there_is_asked_for_and_stays(cluster, tmp_path):
    (tmp_path / "config").mkdir()
    written = tmp_path / "config" / "site.yaml"
    written.write_text("site: {partition: cpu}\n")
    told = ask_doctor(cluster, tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    assert "a job in gpu" not in told.stdout
    written.write_text("site: {partition: cpus}\n")
    told = ask_doctor(cluster, tmp_path)
    assert told.returncode == 1
    assert "FAIL  site.partition: there is no partition 'cpus'. Known here: cpu, gpu" in told.stdout
    assert written.read_text() == "site: {partition: cpus}\n"


def test_job_that_does_not_start_in_time_is_taken_back_and_the_reason_told(cluster, tmp_path):
    cluster.ask("scontrol", "update", "partition=cpu", "state=down")
    try:
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "site.yaml").write_text("site: {partition: cpu}\n")
        told = ask_doctor(cluster, tmp_path, "--wait", "3")
    finally:
        cluster.ask("scontrol", "update", "partition=cpu", "state=up")
    assert told.returncode == 1
    assert "it has not started in 3 s (PartitionDown), and was cancelled" in told.stdout
    assert cluster.jobs() == []
