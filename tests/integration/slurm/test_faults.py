"""What a cluster deals out to a workflow: it ends complete, or says why and can start again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slurm,
    pytest.mark.alone,
    pytest.mark.faults,
    pytest.mark.timeout(600),
]

REPOSITORY = Path(__file__).parents[3]
METRICS = "results/train/tiny/seed1/metrics.json"
CHECKPOINT = "results/train/tiny/seed1/state/checkpoint.pt"


class Study:
    """A folder whose one training is run by Snakemake on the cluster."""

    def __init__(self, folder: Path, cluster, trainings) -> None:
        self.folder, self.cluster, self.trainings = folder, cluster, trainings
        self.runs: list[subprocess.Popen[bytes]] = []
        (folder / "config").mkdir()
        table = "slide\tpath\tpatient\tlabel\na\ta.tiff\tp\tnormal\n"
        (folder / "config/slides.tsv").write_text(table)
        trainings.draw(folder / "results/patches")
        (folder / "results/mlflow").mkdir()
        (folder / "results/mlflow/ready.json").write_text("{}")
        self.configure(epochs=40)

    def configure(self, *, epochs: int, **training: object) -> None:
        run = {"model": "test_resnet", "epochs": epochs, "batch_size": 4, "learning_rate": 0.01}
        alone = {"backend": "none", "processes": 1, "checkpoint_minutes": 1e-9}
        settings = {
            "study": "slurm",
            "site": {"account": "lab", "partition": "cpu"},
            "training": {**alone, **training, "runs": {"tiny": run}},
            # Nobody is there: the record stays beside the results.
            "tracking": {"uri": "http://127.0.0.1:1", "retries": 0, "timeout_s": 1},
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

    def end_of(self, run: "subprocess.Popen[bytes]") -> int:
        """Wait for the end of a run and return its exit code."""
        try:
            return run.wait(240)
        except subprocess.TimeoutExpired:
            jobs = self.cluster.ask("squeue", "--states=all", "--format=%A %T %r %N")
            pytest.fail(f"it does not end\n{jobs}\n{self.said}")

    @property
    def said(self) -> str:
        return (self.folder / "output").read_text()

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


def has_ended(process: int) -> bool:
    """Return whether a process is gone, or dead and not buried yet."""
    status = Path(f"/proc/{process}/status")
    return not status.exists() or "State:\tZ" in status.read_text()


def stop_controller(cluster, trainings) -> None:
    number = int((cluster.folder / "run/slurmctld.pid").read_text())
    os.kill(number, signal.SIGTERM)
    trainings.wait_for(lambda: has_ended(number), "the end of slurmctld")


def start_controller(cluster) -> None:
    """Start what is missing; nodes and jobs are as they were."""
    subprocess.run([Path(__file__).with_name("start.sh"), cluster.folder], check=True)


def bring_back(cluster, node: str) -> None:
    """Make a node usable; one that is down may have come back by itself."""
    state = cluster.ask("sinfo", "--noheader", "--nodes", node, "--format", "%T")
    if state.startswith(("down", "drain")):
        cluster.ask("scontrol", "update", f"NodeName={node}", "State=RESUME")


def kill(run: "subprocess.Popen[bytes]") -> None:
    os.kill(run.pid, signal.SIGKILL)
    run.wait()


def test_start_after_a_killed_run_waits_for_its_job_and_runs_none_beside_it(cluster, study):
    killed = study.start()
    first = study.job_under_way()
    kill(killed)
    again = study.start()
    study.trainings.wait_for(lambda: "scancel" in study.said or study.ended(), "the new start")
    assert study.jobs() == [first], study.said
    assert study.end_of(again) == 0, study.said
    assert study.is_complete
    assert f"waiting for them to end (stop them with: scancel {first})" in study.said
    assert "taking away the lock" in study.said
    # What the job has made is whole, and none was submitted in its place.
    assert "Nothing to be done" in study.said
    assert cluster.facts(first)["JobState"] == "COMPLETED"


def test_start_after_a_killed_run_cancels_its_job_that_has_not_begun(cluster, study):
    cluster.ask("scontrol", "update", "PartitionName=cpu", "State=DOWN")
    try:
        killed = study.start()
        study.trainings.wait_for(lambda: study.jobs() or study.ended(), "a job")
        (waiting,) = study.jobs()
        kill(killed)
    finally:
        cluster.ask("scontrol", "update", "PartitionName=cpu", "State=UP")
        cluster.ask("scontrol", "hold", waiting)
    assert study.run() == 0, study.said
    assert f"jobs of an earlier run that had not begun: {waiting}" in study.said
    assert cluster.facts(waiting)["JobState"] == "CANCELLED"
    assert study.is_complete


def test_snakemake_by_itself_does_not_start_beside_a_job_of_a_killed_run(study):
    killed = study.start()
    job = study.job_under_way()
    kill(killed)
    for file in (study.folder / ".snakemake/locks").iterdir():
        # What `snakemake --unlock` does.
        file.unlink()
    assert study.start(script=False).wait(100) == 1
    assert f"jobs of an earlier run are still in SLURM ({job})" in study.said
    assert study.jobs() == [job]


def test_interrupted_run_cancels_its_job_and_a_second_start_completes(cluster, study):
    run = study.start()
    job = study.job_under_way()
    run.send_signal(signal.SIGINT)
    assert run.wait(100) == 1
    study.trainings.wait_for(lambda: study.jobs() == [], "end of the job")
    assert cluster.facts(job)["JobState"] == "CANCELLED"
    assert study.run() == 0, study.said
    assert study.is_complete


MORE_EACH_TIME = "3000 if attempt == 2 else 500"


def stop_processes_of(job: str) -> None:
    """Stop a job's training as a hang would, so that it cannot watch its time."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            variables = (process / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"lamella.training" in words[:3] and f"SLURM_JOB_ID={job}".encode() in variables:
            os.kill(int(process.name), signal.SIGSTOP)


def reasons(study: Study) -> list[str]:
    return [line for line in study.said.splitlines() if line.startswith("train_model tiny, 1 (")]


def test_job_out_of_memory_gets_more_and_the_run_ends_complete(study):
    assert study.run(MORE_EACH_TIME, retries=1) == 0, study.said
    assert study.is_complete
    assert study.said.count("has been submitted") == 2
    assert reasons(study) == []


def test_job_out_of_memory_again_is_told_so_in_one_line_and_a_second_start_completes(study):
    assert study.run("500", retries=1) == 1
    (reason,) = reasons(study)
    assert ", attempt 2): out of memory, with mem_mb=500. Ask for more: " in reason
    assert study.run() == 0, study.said
    assert study.is_complete


def test_job_at_its_time_limit_is_told_so_in_one_line_and_a_second_start_completes(study):
    run = study.start("3000", "1")
    stop_processes_of(study.job_under_way())
    assert study.end_of(run) == 1
    (reason,) = reasons(study)
    assert ", attempt 1): time limit reached, with runtime=1. " in reason
    assert study.run() == 0, study.said
    assert study.is_complete


def test_cancelled_job_is_told_so_in_one_line_and_a_second_start_completes(cluster, study):
    run = study.start()
    job = study.job_under_way()
    cluster.ask("scancel", job)
    assert study.end_of(run) == 1
    (reason,) = reasons(study)
    assert f"(SLURM job {job}, attempt 1): cancelled by somebody. Start again" in reason
    assert study.run() == 0, study.said
    assert study.is_complete


def test_run_outlives_a_controller_that_is_away(cluster, study):
    run = study.start()
    job = study.job_under_way()
    stop_controller(cluster, study.trainings)
    # Snakemake asks after 12, 22 and 32 seconds at the latest, in vain.
    time.sleep(40)
    assert not study.ended(), study.said
    start_controller(cluster)
    assert study.end_of(run) == 0, study.said
    assert study.is_complete
    assert study.said.count("has been submitted") == 1
    assert cluster.facts(job)["JobState"] == "COMPLETED"


def test_submission_waits_while_the_controller_is_away(cluster, study):
    if "slurmdbd" not in cluster.ask("scontrol", "show", "config"):
        pytest.skip("Snakemake asks for the account first: set LAMELLA_SLURM_ACCOUNTING=1")
    stop_controller(cluster, study.trainings)
    run = study.start()
    log = study.folder / "results/logs/submit.log"
    study.trainings.wait_for(lambda: log.exists() or study.ended(), "a refused submission")
    start_controller(cluster)
    assert study.end_of(run) == 0, study.said
    assert study.is_complete
    assert "asking again in 1 s: sbatch: error: " in log.read_text()


def test_job_on_a_node_that_goes_down_is_queued_again_and_goes_on(cluster, study):
    run = study.start()
    job = study.job_under_way()
    node = cluster.facts(job)["NodeList"]
    try:
        cluster.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
        cluster.hasten(job)
        assert study.end_of(run) == 0, study.said
    finally:
        bring_back(cluster, node)
    assert study.is_complete
    # The node may be back before the job starts again, and take it once more.
    assert cluster.facts(job)["Restarts"] == "1"
    assert study.said.count("has been submitted") == 1


def test_job_on_a_node_that_is_drained_ends_there(cluster, study):
    run = study.start()
    job = study.job_under_way()
    node = cluster.facts(job)["NodeList"]
    try:
        cluster.ask("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
        assert study.end_of(run) == 0, study.said
    finally:
        bring_back(cluster, node)
    assert study.is_complete
    assert cluster.facts(job)["Restarts"] == "0"
