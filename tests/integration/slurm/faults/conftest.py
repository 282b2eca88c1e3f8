"""A study whose one training is run by Snakemake on the cluster, and is dealt out faults."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[4]
METRICS = "results/train/tiny/seed1/metrics.json"
CHECKPOINT = "results/train/tiny/seed1/state/checkpoint.pt"
LIMIT_S = 400.0
"""No run of these tests takes longer, whatever becomes of its job."""

MARKS = (
    *(pytest.mark.integration, pytest.mark.slurm, pytest.mark.alone, pytest.mark.faults),
    pytest.mark.timeout(900),
)


# First, so that pytest chooses by them.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for mark in MARKS:
                item.add_marker(mark)


class Study:
    """A folder whose one training is run by Snakemake on the cluster."""

    tracking = "http://127.0.0.1:1"

    def __init__(self, folder: Path, cluster, trainings) -> None:
        self.folder, self.cluster, self.trainings = folder, cluster, trainings
        self.runs: list[subprocess.Popen[bytes]] = []
        (folder / "config").mkdir()
        table = "slide\tpath\tpatient\tlabel\na\ta.tiff\tp\tnormal\n"
        (folder / "config/slides.tsv").write_text(table)
        trainings.draw(folder / "results/patches")
        (folder / "results/mlflow").mkdir()
        (folder / "results/mlflow/ready.json").write_text("{}")
        self.configure(epochs=4)

    def held_job(self) -> str:
        """Return the number of the run's job, once SLURM holds it after a failed start."""
        wait_for = self.trainings.wait_for
        wait_for(lambda: self.jobs() or self.ended(), "a job")
        (job,) = self.jobs()
        held = "launch_failed_requeued_held"
        wait_for(lambda: self.cluster.facts(job)["Reason"] == held, "a failed start")
        return job

    def train_long(self) -> None:
        """Have the training last so long that something can happen to it."""
        self.configure(epochs=40)

    def configure(self, *, epochs: int, nodes: int = 1, **site: str) -> None:
        run = {"model": "test_resnet", "epochs": epochs, "batch_size": 4, "learning_rate": 0.01}
        ranks = {"backend": "none" if nodes == 1 else "torch", "processes": nodes, "nodes": nodes}
        settings = {
            "study": "slurm",
            "site": {"account": "lab", "partition": "cpu", **site},
            "training": {**ranks, "checkpoint_minutes": 1e-9, "runs": {"tiny": run}},
            # Nobody is there: the record stays beside the results.
            "tracking": {"uri": self.tracking, "retries": 0, "timeout_s": 1},
        }
        (self.folder / "config/config.yaml").write_text(yaml.safe_dump(settings))

    def start(
        self, memory: str = "3000", runtime: str = "20", *, retries: int = 0, script: bool = True
    ) -> "subprocess.Popen[bytes]":
        """Start the workflow; memory in MB and runtime in minutes may depend on ``attempt``."""
        snakemake = Path(sys.executable).with_name("snakemake")
        words = [
            REPOSITORY / "scripts/run_workflow.sh" if script else snakemake,
            *("--snakefile", REPOSITORY / "Snakefile"),
            *("--profile", REPOSITORY / "profiles/slurm", "--latency-wait", "5"),
            "--set-resources",
            *(f"train_model:mem_mb={memory}", f"train_model:runtime={runtime}"),
            *("--retries", retries, "--slurm-init-seconds-before-status-checks", "2"),
            *("--allowed-rules", "train_model", "--", METRICS),
        ]
        path = f"{Path(sys.executable).parent}:{self.cluster.environment['PATH']}"
        with (self.folder / "output").open("wb") as output:
            run = subprocess.Popen(
                list(map(str, words)),
                cwd=self.folder,
                env={
                    **self.cluster.environment,
                    "PATH": path,
                    "LAMELLA_SLURM_POLL_S": "1",
                    "LAMELLA_SUBMIT_WAIT_S": "1",
                },
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.runs.append(run)
        return run

    def run(self, *resources: str, retries: int = 0) -> int:
        """Run the workflow to its end and return its exit code."""
        return self.end_of(self.start(*resources, retries=retries))

    def end_of(self, run: "subprocess.Popen[bytes]", *, hastening: str | None = None) -> int:
        """Wait for the end of a run and return its exit code.

        Args:
            run: The run.
            hastening: A job that SLURM would let wait for two minutes each time that it is queued
                again.
        """
        deadline = time.monotonic() + LIMIT_S
        while run.poll() is None:
            if time.monotonic() > deadline:
                jobs = self.cluster.ask("squeue", "--states=all", "--format=%A %T %r %N")
                pytest.fail(f"it does not end\n{jobs}\n{self.said}")
            if hastening is not None:
                self.cluster.start_soon(hastening)
            time.sleep(0.5)
        return run.returncode

    @property
    def said(self) -> str:
        return (self.folder / "output").read_text()

    @property
    def reasons(self) -> list[str]:
        """The lines that say why the training failed."""
        lines = self.said.splitlines()
        return [line for line in lines if line.startswith("train_model tiny, 1 (")]

    @property
    def is_complete(self) -> bool:
        return (self.folder / METRICS).exists()

    def jobs(self) -> list[str]:
        """Return the jobs of this folder that wait or run."""
        form = ("--noheader", "--format", "%A|%Z")
        lines = self.cluster.ask("squeue", *form).splitlines()
        return [line.split("|")[0] for line in lines if line.endswith(f"|{self.folder}")]

    def job_under_way(self, *, but: str = "") -> str:
        """Wait until a job trains, and return its number."""
        checkpoint = self.folder / CHECKPOINT

        def under_way() -> bool:
            return set(self.jobs()) - {but} != set() and checkpoint.exists()

        self.trainings.wait_for(lambda: under_way() or self.ended(), "a training")
        assert not self.ended(), self.said
        (job,) = set(self.jobs()) - {but}
        return job

    def ended(self) -> bool:
        return self.runs[-1].poll() is not None

    def end(self) -> None:
        for run in self.runs:
            run.kill()
            run.wait()
        jobs = self.jobs()
        if jobs:
            self.cluster.ask("scancel", *jobs)
            self.trainings.wait_for(lambda: self.jobs() == [], "end of the jobs")


@pytest.fixture
def study(cluster, trainings, tmp_path) -> Iterator[Study]:
    made = Study(tmp_path, cluster, trainings)
    yield made
    made.end()
