"""Jobs in a container, with Apptainer itself.

The image is a folder that has nothing of its own but a Python that notes what it runs: system and
environment are this machine's, laid over it. So the engine is real, and no image of gigabytes needs
to be built; ``make containers`` does that.
"""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lamella.drawing.cohort import draw_cohort
from lamella.drawing.settings import DrawingSettings
from lamella.stores.json_files import read_json
from lamella.training.settings import Backend
from lamella.training.stopping import EXIT_STOPPED

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slurm,
    pytest.mark.alone,
    pytest.mark.faults,
    pytest.mark.skipif(
        shutil.which("apptainer") is None,
        reason="no apptainer here; Debian 12 and 13 have none, its next release has",
    ),
]

REPOSITORY = Path(__file__).parents[3]
SUMMARY = "results/train/summary.tsv"


@dataclass(frozen=True)
class Image:
    """A folder as an image."""

    path: Path
    notes: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return variables by which this machine's system and environment are laid over it."""
        folders = ("/usr", REPOSITORY, sys.base_prefix, Path(sys.prefix).resolve())
        # Root may lack a privilege here that the engine would give to it.
        return {"APPTAINER_BIND": ",".join(map(str, folders)), "APPTAINER_NO_PRIVS": "true"}

    def started(self) -> list[str]:
        """Return what the image's Python has been told to run, without the arguments."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return sorted(" ".join(line.split()[:2]) for line in lines)


@pytest.fixture
def image(tmp_path):
    path, notes = tmp_path / "image", tmp_path / "notes"
    folders = ("dev", "etc", "home", "mnt", "opt/lamella/bin", "proc", "root", "sys", "tmp", "usr")
    for name in folders:
        (path / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (path / name).symlink_to(f"usr/{name}")
    for name in ("group", "hosts", "localtime", "passwd", "resolv.conf"):
        (path / "etc" / name).touch()
    (path / "opt/lamella/envs").mkdir()
    shutil.copy(REPOSITORY / "envs/lamella.lock", path / "opt/lamella/envs")
    python = path / "opt/lamella/bin/python"
    python.write_text(f'#!/bin/sh\necho "$@" >>{notes}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    scripts = path / ".singularity.d/env"
    scripts.mkdir(parents=True)
    (scripts / "90-environment.sh").write_text("export PATH=/opt/lamella/bin:/usr/bin:/bin\n")
    # Every built image has it; behind it the engine adds what APPTAINERENV_ variables say.
    (scripts / "99-base.sh").touch()
    return Image(path, notes)


def write_study(folder: Path, image: Image) -> None:
    drawing = DrawingSettings(slides=6, slides_per_patient=1, width_um=900, height_um=700)
    draw_cohort(folder, drawing)
    run = {"model": "test_resnet", "epochs": 1, "batch_size": 8}
    config = {
        "slides": "slides.tsv",
        "patches": {"size_px": 64, "mpp": 1.0},
        "fleet": {"cluster": "slurm", "max_workers": 2, "worker_memory_mib": 1024},
        "training": {"backend": "torch", "processes": 2, "nodes": 2, "runs": {"tiny": run}},
    }
    site = {"account": "lab", "partition": "cpu", "interface": "lo", "limit_min": 60}
    site |= {"container": str(image.path), "walltime_min": 10}
    (folder / "config").mkdir()
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config))
    (folder / "config/site.yaml").write_text(yaml.safe_dump({"site": site}))


def script_of(line: str) -> str:
    """Return the name of the rule whose script a line names; Snakemake runs a copy of it."""
    return line.rpartition("/")[2].split(".")[1] if line.endswith(".py") else line


@pytest.mark.timeout(600)
def test_jobs_workers_and_ranks_of_a_study_run_in_the_container(cluster, image, tmp_path):
    study = tmp_path / "study"
    write_study(study, image)
    variables = {**cluster.environment, **image.environment}
    variables["PATH"] = f"{Path(sys.executable).parent}:{variables['PATH']}"
    ended = subprocess.run(
        [
            *("snakemake", "--snakefile", REPOSITORY / "Snakefile"),
            *("--profile", REPOSITORY / "profiles/slurm", "--latency-wait", "5"),
            *("--slurm-init-seconds-before-status-checks", "5"),
            *("--set-resources", "train_model:mem_mb=3000", "--", SUMMARY),
        ],
        cwd=study,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    started = [script_of(line) for line in image.started()]
    rules = {"prepare_tracking", "check_cohort", "split_cohort", "join_cohort", "summarise_runs"}
    # Stages and launcher, which ask SLURM, are not among them.
    assert set(started) == rules | {"-m distributed.cli.dask_worker", "-m lamella.training.rank"}
    assert started.count("-m lamella.training.rank") == 2
    assert read_json(study / "results/train/tiny/seed1/metrics.json")["test"]["n"] > 0
    cluster.wait_until_empty()


def test_doctor_tries_the_container_on_a_node(cluster, image, tmp_path):
    (tmp_path / "config").mkdir()
    site = {"partition": "cpu", "limit_min": 60, "walltime_min": 60, "container": str(image.path)}
    (tmp_path / "config/site.yaml").write_text(yaml.safe_dump({"site": site}))

    def ask() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [Path(sys.executable).with_name("lamella"), "doctor", "--slurm"],
            cwd=tmp_path,
            env={**cluster.environment, **image.environment},
            capture_output=True,
            text=True,
            check=False,
        )

    told = ask()
    assert "ok    container on cpu1: has this checkout's environment" in told.stdout, told.stderr
    assert told.returncode == 0
    (image.path / "opt/lamella/envs/lamella.lock").write_text("another\n")
    told = ask()
    assert f"FAIL  container on cpu1: {image.path} was made from another envs/lam" in told.stdout
    assert told.returncode == 1


def ranks_in(folder: Path) -> list[int]:
    """Return the ranks that train into a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"rank" in words[:3] and str(folder).encode() in words:
            found.append(int(process.name))
    return found


@pytest.mark.parametrize("count", [1, 2])
def test_ranks_in_a_container_stop_when_asked_and_end_with_their_launcher(
    trainings, image, tmp_path, count
):
    folder = tmp_path / "trained"
    folder.mkdir()
    words = trainings.command(folder, Backend.TORCH, nodes=1, epochs=2000)
    words.remove("--requeue")
    if count == 1:
        alone = '"backend":"none","processes":1'
        words = [word.replace('"backend":"torch","processes":2', alone) for word in words]
    variables = {**os.environ, **image.environment}

    def start():
        with (folder / "said").open("ab") as said:
            launcher = subprocess.Popen(
                [*words, "--container", image.path], env=variables, stdout=said, stderr=said
            )
        trainings.wait_for(lambda: trains() or launcher.poll() is not None, "ranks at work")
        assert launcher.poll() is None, (folder / "said").read_text()
        return launcher

    def trains():
        return len(ranks_in(folder)) == count and any((folder / "state").glob("*"))

    launcher = start()
    launcher.send_signal(signal.SIGUSR1)
    assert launcher.wait(60) == EXIT_STOPPED, (folder / "said").read_text()
    assert ranks_in(folder) == []
    launcher = start()
    launcher.kill()
    launcher.wait()
    trainings.wait_for(lambda: not ranks_in(folder), "the end of the ranks")
