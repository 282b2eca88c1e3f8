"""A training on two nodes as a job of Snakemake's, through profiles/slurm."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lamella.stores.json_files import read_json

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slurm,
    pytest.mark.alone,
    pytest.mark.faults,
]

REPOSITORY = Path(__file__).parents[3]
METRICS = "results/train/tiny/seed1/metrics.json"


def write_config(folder: Path) -> None:
    (folder / "config").mkdir()
    run = {"model": "test_resnet", "epochs": 250, "batch_size": 4, "learning_rate": 0.01}
    training = {"backend": "torch", "processes": 2, "nodes": 2, "runs": {"tiny": run}}
    settings = {
        "study": "slurm",
        "training": {**training, "stop_before_limit_s": 70},
        # Nobody is there: the record stays beside the results.
        "tracking": {"uri": "http://127.0.0.1:1", "retries": 0, "timeout_s": 1},
    }
    (folder / "config/config.yaml").write_text(yaml.safe_dump(settings))
    site = {"account": "lab", "partition": "cpu"}
    (folder / "config/site.yaml").write_text(yaml.safe_dump({"site": site}))
    table = "slide\tpath\tpatient\tlabel\na\ta.tiff\tp\tnormal\n"
    (folder / "config/slides.tsv").write_text(table)


def start(cluster, folder: Path) -> "subprocess.Popen[bytes]":
    words = [
        *(Path(sys.executable).with_name("snakemake"), "--snakefile", REPOSITORY / "Snakefile"),
        *("--profile", REPOSITORY / "profiles/slurm", "--latency-wait", "5"),
        # The least that the rule takes.
        *("--set-resources", "train_model:mem_mb=3000", "train_model:runtime=2"),
        *("--slurm-init-seconds-before-status-checks", "5"),
        *("--allowed-rules", "train_model", "--", METRICS),
    ]
    # As in an activated environment.
    path = f"{Path(sys.executable).parent}:{cluster.environment['PATH']}"
    with (folder / "snakemake.log").open("wb") as log:
        return subprocess.Popen(
            list(map(str, words)),
            cwd=folder,
            env={**cluster.environment, "PATH": path},
            stdout=log,
            stderr=log,
        )


@pytest.mark.timeout(600)
def test_job_stops_before_its_time_limit_is_queued_again_and_ends_in_one_attempt(
    cluster, trainings, tmp_path
):
    write_config(tmp_path)
    trainings.draw(tmp_path / "results/patches")
    (tmp_path / "results/mlflow").mkdir()
    (tmp_path / "results/mlflow/ready.json").write_text("{}")
    workflow = start(cluster, tmp_path)
    try:
        trainings.wait_for(lambda: cluster.jobs() or workflow.poll() is not None, "a job")
        assert workflow.poll() is None, (tmp_path / "snakemake.log").read_text()
        (job,) = cluster.jobs()
        while workflow.poll() is None:
            cluster.start_soon(job)
            time.sleep(1)
        assert workflow.returncode == 0, (tmp_path / "snakemake.log").read_text()
    finally:
        workflow.kill()
        workflow.wait()
    facts = cluster.facts(job)
    assert (facts["NodeList"], facts["NumTasks"]) == ("cpu[1-2]", "2")
    assert int(facts["Restarts"]) >= 1
    assert (tmp_path / "snakemake.log").read_text().count("has been submitted") == 1
    log = (tmp_path / "results/logs/train_model/tiny/seed1.log").read_text()
    assert "rank 0: going on after epoch" in log
    assert read_json(tmp_path / METRICS)["world_size"] == 2
