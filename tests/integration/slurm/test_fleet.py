"""A stage whose workers are SLURM jobs."""

import os
import platform
import re
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from lamella.drawing.cohort import draw_cohort
from lamella.drawing.settings import DrawingSettings
from lamella.fleet.manifest import ManifestRow, Status, read_manifest
from lamella.fleet.settings import ClusterKind, FleetSettings
from lamella.patches.extract import extract_patches
from lamella.patches.settings import PatchSettings
from lamella.slides.settings import ReadingSettings
from lamella.slurm.settings import SiteSettings
from lamella.stores.tables import read_table
from lamella.tissue.segment import segment_tissue
from lamella.tissue.settings import TissueSettings

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slurm,
    pytest.mark.alone,
    pytest.mark.timeout(900),
]

REPOSITORY = Path(__file__).parents[3]
STAGE = Path(__file__).parent / "programs" / "stub_stage.py"
SITE = SiteSettings(partition="cpu", interface="lo", walltime_min=5)
FLEET = FleetSettings(
    cluster=ClusterKind.SLURM, max_workers=2, workers_per_job=2, worker_memory_mib=1024
)


@pytest.fixture
def inside(cluster, tmp_path, monkeypatch):
    """Let this process talk to the cluster, and write its logs below the test's folder."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster.environment[name])
    monkeypatch.chdir(tmp_path)


def make_patches(
    cohort: Path, folder: Path, fleet: FleetSettings, site: SiteSettings = SITE
) -> None:
    masks, manifest = folder / "masks/manifest.tsv", folder / "patches/manifest.tsv"
    tissue, reading = TissueSettings(), ReadingSettings()
    segment_tissue(
        slides=cohort,
        manifest=masks,
        quality=folder / "masks/quality.tsv",
        settings=tissue,
        fleet=fleet,
        reading=reading,
        site=site,
    )
    extract_patches(
        slides=cohort,
        masks=masks,
        mask_mpp=tissue.mpp,
        manifest=manifest,
        settings=PatchSettings(mpp=1.0, size_px=64),
        fleet=fleet,
        reading=reading,
        site=site,
    )


def contents(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: dataset[()] for name, dataset in file.items()}


@pytest.mark.usefixtures("inside")
def test_worker_jobs_make_what_processes_of_this_machine_make(cluster, tmp_path):
    draw_cohort(tmp_path / "drawn", DrawingSettings(slides=3, width_um=700, height_um=500))
    table = tmp_path / "drawn/slides.tsv"
    local = FLEET.model_copy(update={"cluster": ClusterKind.LOCAL})
    make_patches(table, tmp_path / "local", local)
    # Copied to the nodes, too: into a folder that this machine's processes do not use.
    site = SITE.model_copy(update={"scratch": tmp_path / "scratch"})
    staging = FLEET.model_copy(update={"stage_slides": True})
    make_patches(table, tmp_path / "slurm", staging, site)
    for manifest in ("masks/manifest.tsv", "masks/quality.tsv", "patches/manifest.tsv"):
        there = (tmp_path / "slurm" / manifest).read_bytes()
        assert there == (tmp_path / "local" / manifest).read_bytes()
    shards = sorted((tmp_path / "local/patches/slides").glob("*.h5"))
    assert len(shards) == 3
    for shard in shards:
        here, there = contents(shard), contents(tmp_path / "slurm/patches/slides" / shard.name)
        assert here.keys() == there.keys()
        assert all(here[name].tobytes() == there[name].tobytes() for name in here)
        assert len(here["x"]) > 0
    cluster.wait_until_empty()
    assert list((tmp_path / "scratch").iterdir()) == []
    logs = [path.parent.name for path in (tmp_path / "results/logs/slurm/fleet").glob("*/*.log")]
    assert sorted(logs) == ["extract_patches", "segment_tissue"]


@pytest.mark.faults
@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("free_kib", [0, 64])
def test_slides_for_which_the_nodes_scratch_has_no_room_are_read_where_they_are(
    cluster, tmp_path, mounted, free_kib
):
    draw_cohort(tmp_path / "drawn", DrawingSettings(slides=3, width_um=700, height_um=500))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    staging = FLEET.model_copy(update={"stage_slides": True})
    with mounted(scratch, "size=1m"):
        (scratch / "others").write_bytes(bytes(2**20 - free_kib * 2**10))
        try:
            site = SITE.model_copy(update={"scratch": scratch})
            make_patches(tmp_path / "drawn/slides.tsv", tmp_path / "made", staging, site)
        finally:
            # A worker that still runs would keep it.
            cluster.wait_until_empty()
        assert [path.name for path in scratch.iterdir()] == ["others"]
    rows = read_manifest(tmp_path / "made/patches/manifest.tsv")
    assert [row.status for row in rows.values()] == [Status.DONE] * 3
    (log,) = (tmp_path / "results/logs/slurm/fleet/extract_patches").glob("*.log")
    for row in read_table(tmp_path / "drawn/slides.tsv"):
        said = f"{tmp_path / 'drawn' / row['path']} is read where it is: it has 0.0 GiB, and 0.0"
        assert said in log.read_text()


class Stage:
    """A stub stage in a process of its own."""

    def __init__(self, cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder

    def start(
        self,
        slides: int,
        seconds: float,
        *share: str,
        site: SiteSettings = SITE,
        fleet: FleetSettings = FLEET,
        **variables: str,
    ) -> None:
        words = [
            *(sys.executable, STAGE, self.folder, slides, seconds),
            *(fleet.model_dump_json(), site.model_dump_json(), *share),
        ]
        self.process = subprocess.Popen(
            list(map(str, words)),
            cwd=self.folder,
            env={**self.cluster.environment, "HOME": str(self.folder), **variables},
            stderr=subprocess.DEVNULL,
        )

    def begun(self) -> list[tuple[str, str]]:
        """Return slide and job of every beginning."""
        path = self.folder / "slides/begun"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(slide, job) for slide, job in (line.split() for line in lines)]

    def log(self) -> str:
        path = self.folder / "stage.log"
        return path.read_text() if path.exists() else ""

    def error(self) -> str:
        """Return the one line that says why the stage ended."""
        assert self.end() == 1
        (line,) = [line for line in self.log().splitlines() if "ERROR" in line]
        return line

    def end(self) -> int:
        return self.process.wait(timeout=240)

    def rows(self) -> dict[str, ManifestRow]:
        return read_manifest(self.folder / "manifest.tsv")

    def statuses(self) -> Counter[Status]:
        return Counter(row.status for row in self.rows().values())


@pytest.fixture
def stage(cluster, tmp_path):
    stage = Stage(cluster, tmp_path)
    yield stage
    if stage.process.poll() is None:
        stage.process.kill()
        stage.process.wait()


def test_cancelled_worker_job_is_replaced_and_its_slides_are_done_again(cluster, stage):
    stage.start(8, 0.1, STUB_HOLD="1")
    cluster.wait_for(stage.begun, "a slide at work")
    (job,) = cluster.jobs()
    cluster.ask("scancel", job)
    assert_done_again(stage, job)
    cluster.wait_until_empty()
    # Dask-jobqueue would have left its defaults in the user's home.
    assert not (stage.folder / ".config").exists()


def assert_done_again(stage: Stage, lost: str) -> None:
    """Assert that all slides are done, those that a lost job had at work by another one."""
    assert stage.end() == 0, stage.log()
    assert stage.statuses() == {Status.DONE: 8}
    jobs = {number for _, number in stage.begun()}
    assert len(jobs) == 2
    assert lost in jobs
    begun = Counter(slide for slide, _ in stage.begun())
    assert 1 <= sum(times == 2 for times in begun.values()) <= 2


@pytest.mark.faults
def test_worker_job_whose_node_is_lost_is_replaced_and_its_slides_are_done_again(
    cluster, stage, lost_nodes
):
    stage.start(8, 0.1, STUB_HOLD="1")
    cluster.wait_for(stage.begun, "a slide at work")
    (job,) = cluster.jobs()
    node = cluster.facts(job)["NodeList"]
    # Its workers do not say that they are gone.
    lost_nodes.freeze(node)
    cluster.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    assert_done_again(stage, job)
    assert f"worker job {job} has ended (NODE_FAIL)" in stage.log()
    lost_nodes.bring_back()
    cluster.wait_until_empty()


@pytest.mark.faults
def test_preempted_worker_job_is_replaced_and_its_slides_are_done_again(cluster, stage, preempt):
    stage.start(8, 0.1, STUB_HOLD="1")
    cluster.wait_for(stage.begun, "a slide at work")
    (job,) = cluster.jobs()
    preempt()
    assert_done_again(stage, job)
    assert cluster.facts(job)["JobState"] == "PREEMPTED"


@pytest.mark.faults
@pytest.mark.parametrize(
    ("eater", "logged"),
    [
        # Dask ends a worker before SLURM ends its job, but does not see what a worker has started.
        ("worker", r"a worker was out of memory, with 1?\d\d\d of 768 MiB"),
        ("child", ""),
    ],
)
def test_slide_that_is_too_large_for_its_worker_is_told_so(cluster, stage, eater, logged):
    shape = {"max_workers": 1, "workers_per_job": 1, "worker_memory_mib": 768, "attempts": 1}
    stage.start(3, 0.1, fleet=FLEET.model_copy(update=shape), STUB_EATER=eater)
    assert stage.end() == 0, stage.log()
    assert stage.statuses() == {Status.DONE: 2, Status.FAILED: 1}
    said = stage.rows()["0"].error
    assert re.search(r"killed 2 times, .* at work, at last out of memory\. If it was out", said), (
        said
    )
    assert re.search(logged, stage.log())
    cluster.wait_until_empty()


@pytest.mark.faults
def test_worker_ends_its_slide_before_its_lifetime_ends_it(cluster, stage):
    # Of five minutes: a worker lives for seven or eight seconds. Dask itself waits for 30 more.
    stage.start(3, 40.0, "0.025")
    assert stage.end() == 0, stage.log()
    assert stage.statuses() == {Status.DONE: 3}
    assert max(Counter(slide for slide, _ in stage.begun()).values()) == 1
    assert len({job for _, job in stage.begun()}) >= 2
    cluster.wait_until_empty()


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_stage_takes_its_worker_jobs_back(cluster, stage, number):
    stage.start(40, 1.0)
    cluster.wait_for(stage.begun, "a slide at work")
    stage.process.send_signal(number)
    assert stage.end() != 0
    cluster.wait_until_empty()


@pytest.mark.faults
def test_start_after_a_killed_stage_ends_its_worker_job_before_it_has_slides_done_again(
    cluster, stage
):
    # A worker whose stage is gone waits for its slide, for half a minute or so.
    stage.start(6, 60.0)
    cluster.wait_for(stage.begun, "a slide at work")
    (left,) = cluster.jobs()
    stage.process.kill()
    stage.process.wait()
    # Of the same name, but of another study.
    name = cluster.facts(left)["JobName"]
    small = ("--chdir=/", "--mem=100", "--output=/dev/null")
    other = cluster.ask("sbatch", "--parsable", f"--job-name={name}", *small, "--wrap=sleep 600")
    try:
        stage.start(6, 1.0)
        assert stage.end() == 0, stage.log()
        assert cluster.jobs() == [other]
    finally:
        cluster.ask("scancel", other)
    cluster.wait_until_empty()
    assert stage.statuses() == {Status.DONE: 6}
    assert f"left when it was killed: {left}\n" in stage.log()
    before, after = cluster.facts(left), cluster.facts(stage.begun()[-1][1])
    assert before["JobState"] == "CANCELLED"
    assert int(before["EndTime"]) <= int(after["StartTime"])
    assert {job for _, job in stage.begun()} == {left, after["JobId"]}


@pytest.mark.faults
def test_stage_asks_less_and_less_often_for_jobs_that_slurm_does_not_take(cluster, allow, stage):
    allow(1)
    site = SITE.model_copy(update={"account": "lab"})
    stage.start(20, 2.0, site=site, fleet=FLEET.model_copy(update={"workers_per_job": 1}))
    cluster.wait_for(
        lambda: "Tried again in 20 s" in stage.log() or stage.process.poll() is not None,
        "the second refusal",
    )
    # Its place is free: what takes it is not waited for so long.
    (job,) = cluster.jobs()
    cluster.ask("scancel", job)
    assert stage.end() == 0, stage.log()
    assert stage.log().count("Tried again in 10 s") > 1
    assert stage.statuses() == {Status.DONE: 20}
    cluster.wait_until_empty()


@pytest.mark.faults
def test_workers_are_shown_where_the_log_says(cluster, stage):
    stage.start(4, 3.0)
    cluster.wait_for(stage.begun, "a slide at work")
    shown = re.search(r"http://127\.0\.0\.1:(\d+)/\S+", stage.log())
    assert shown is not None
    with urllib.request.urlopen(shown[0]) as page:
        assert "job-0-0" in page.read().decode()
    assert f"`ssh -N -L {shown[1]}:127.0.0.1:{shown[1]} {platform.node()}`" in stage.log()
    assert stage.end() == 0, stage.log()
    cluster.wait_until_empty()


@pytest.mark.faults
def test_what_sbatch_refuses_is_said_in_one_line(cluster, stage):
    stage.start(1, 0.0, site=SITE.model_copy(update={"partition": "nowhere"}))
    refused = "sbatch: SLURM refuses a worker job (invalid partition specified: nowhere"
    assert refused in stage.error()
    assert cluster.jobs() == []


@pytest.mark.faults
def test_jobs_that_end_without_a_worker_stop_the_stage(cluster, stage):
    stage.start(1, 0.0, site=SITE.model_copy(update={"scratch": Path("/proc/none")}))
    assert "3 worker jobs in a row ended before a worker reported" in stage.error()
    cluster.wait_until_empty()


@pytest.mark.faults
def test_stage_that_gets_no_node_says_what_its_jobs_wait_for(cluster, stage):
    other = cluster.ask(
        "sbatch", "--parsable", "-N2", "--exclusive", "-o/dev/null", "--wrap", "sleep 600"
    )
    try:
        stage.start(1, 0.0, fleet=FLEET.model_copy(update={"queue_limit_min": 1}))
        said = "there was no worker in 1 min: 1 worker jobs wait in the queue (1 for Resources)"
        assert said in stage.error()
        assert cluster.jobs() == [other]
    finally:
        cluster.ask("scancel", other)
    cluster.wait_until_empty()


@pytest.mark.faults
def test_stage_outlives_a_controller_that_is_away_for_a_while(cluster, stage):
    os.kill(int((cluster.folder / "run/slurmctld.pid").read_text()), signal.SIGTERM)
    try:
        cluster.wait_for(lambda: not answers(cluster), "the controller's end")
        stage.start(4, 0.5)
        cluster.wait_for(lambda: "Tried again" in stage.log(), "a stage that notices it")
    finally:
        cluster.start_missing()
    assert stage.end() == 0, stage.log()
    assert stage.statuses() == {Status.DONE: 4}
    cluster.wait_until_empty()


def answers(cluster) -> bool:
    """Return whether SLURM's controller is there."""
    words = ["scontrol", "ping"]
    ended = subprocess.run(words, env=cluster.environment, capture_output=True, check=False)
    return ended.returncode == 0


@pytest.mark.faults
def test_workflow_runs_stages_beside_itself_and_their_workers_on_the_cluster(cluster, tmp_path):
    draw_cohort(tmp_path / "drawn", DrawingSettings(slides=6, width_um=700, height_um=500))
    settings = {
        "slides": "drawn/slides.tsv",
        "fleet": FLEET.as_params(),
        "site": SITE.as_params(),
        "patches": {"mpp": 1.0, "size_px": 64},
        "tracking": {"uri": "http://127.0.0.1:1", "retries": 0, "timeout_s": 1},
    }
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(settings))
    words = [
        *(Path(sys.executable).with_name("snakemake"), "--snakefile", REPOSITORY / "Snakefile"),
        *("--profile", REPOSITORY / "profiles/slurm", "--latency-wait", "5"),
        *("--", "results/patches/manifest.tsv"),
    ]
    # As in an activated environment.
    path = f"{Path(sys.executable).parent}:{cluster.environment['PATH']}"
    ended = subprocess.run(
        list(map(str, words)),
        cwd=tmp_path,
        env={**cluster.environment, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    for rule in ("segment_tissue", "extract_patches"):
        assert f"localrule {rule}:" in ended.stdout
        log = (tmp_path / f"results/logs/{rule}.log").read_text()
        assert f"2 in each SLURM job named lamella-{rule}-" in log
    statuses = {
        row.status for row in read_manifest(tmp_path / "results/patches/manifest.tsv").values()
    }
    assert statuses == {Status.DONE}
    cluster.wait_until_empty()
