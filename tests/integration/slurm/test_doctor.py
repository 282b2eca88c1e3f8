"""The doctor asks a real cluster, and what it writes is what a workflow needs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lamella.config import load_config
from lamella.drawing.cohort import draw_cohort
from lamella.drawing.settings import DrawingSettings
from lamella.stores.tables import read_table

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slurm,
    pytest.mark.alone,
    pytest.mark.timeout(900),
]

REPOSITORY = Path(__file__).parents[3]


def ask_doctor(
    cluster, folder: Path, *words: str, **variables: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [Path(sys.executable).with_name("lamella"), "doctor", "--slurm", *words],
        cwd=folder,
        env={**cluster.environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_first_site_is_written_and_the_missing_gpu_is_told(cluster, tmp_path):
    (tmp_path / "config").mkdir()
    server = "tracking: {uri: 'http://127.0.0.1:1'}\n"
    (tmp_path / "config" / "config.yaml").write_text(server)
    told = ask_doctor(cluster, tmp_path)
    ran = r"ok    a job in cpu: ran on cpu[12], sees this folder and the environment"
    assert re.search(ran, told.stdout)
    assert "http://127.0.0.1:1 does not answer" in told.stdout
    # The test cluster's GPUs are false.
    assert re.search(r"FAIL  GPU on gpu[12]: torch sees none", told.stdout)
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
    # A variable that only jobs have, and a folder that theirs would make.
    disk = tmp_path / "disk"
    written.write_text(f"site: {{partition: cpu, scratch: {disk}/$SLURM_JOB_USER}}\n")
    told = ask_doctor(cluster, tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    assert re.search(rf"ok    scratch on cpu[12]: {disk}/root, ", told.stdout)
    assert not disk.exists()
    assert "a job in gpu" not in told.stdout
    # The partition's own limit is an hour.
    assert "warn  site.limit_min: not there, but 60 min is the most" in told.stdout
    assert "warn  site.walltime_min: 240, but 60 min is the most" in told.stdout
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


def test_gpus_that_a_partition_lacks_are_told_before_any_job(cluster, tmp_path):
    (tmp_path / "config").mkdir()
    written = tmp_path / "config" / "site.yaml"
    written.write_text("site: {partition: cpu, gpu_partition: gpu, gpu_type: a100}\n")
    told = ask_doctor(cluster, tmp_path).stdout
    assert "site.gpu_type: partition 'gpu' has no GPU 'a100'. Known here: false" in told
    written.write_text("site: {partition: cpu, gpu_partition: cpu}\n")
    told = ask_doctor(cluster, tmp_path).stdout
    assert "FAIL  site.gpu_partition: partition 'cpu' has no GPUs" in told
    assert "a job in" not in told


def test_job_that_fails_on_the_node_is_told_with_its_last_words(cluster, tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "site.yaml").write_text("site: {partition: cpu}\n")
    # Python does not start with it.
    variable = "ALL,PYTHONMALLOC=none-such"
    told = ask_doctor(cluster, tmp_path, SBATCH_EXPORT=variable)
    assert told.returncode == 1
    assert "FAIL  a job in cpu: SLURM job" in told.stdout
    assert ": it ended as FAILED (" in told.stdout
    assert "node-0.log" in told.stdout


@pytest.mark.timeout(600)
def test_workflow_runs_with_the_site_that_the_doctor_writes(cluster, tmp_path):
    ask_doctor(cluster, tmp_path)
    draw_cohort(tmp_path, DrawingSettings(slides=6, slides_per_patient=1, seed=1))
    words = [
        *(REPOSITORY / "scripts/run_workflow.sh", "--snakefile", REPOSITORY / "Snakefile"),
        *("--configfile", REPOSITORY / "config/examples/demo.yaml"),
        *("--profile", REPOSITORY / "profiles/slurm", "--latency-wait", "5"),
        *("--slurm-init-seconds-before-status-checks", "5", "patches"),
    ]
    # As in an activated environment.
    path = f"{Path(sys.executable).parent}:{cluster.environment['PATH']}"
    with (tmp_path / "workflow.log").open("wb") as log:
        ended = subprocess.run(
            words,
            cwd=tmp_path,
            env={**cluster.environment, "PATH": path},
            stdout=log,
            stderr=log,
            check=False,
        )
    assert ended.returncode == 0, (tmp_path / "workflow.log").read_text()
    patches = tmp_path / "results/patches"
    assert [row["status"] for row in read_table(patches / "manifest.tsv")] == ["done"] * 6
    assert (patches / "index.parquet").exists()
    assert cluster.jobs() == []
