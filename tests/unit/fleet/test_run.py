"""A stage over many slides: resume, quarantine, lost workers."""

import errno
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import dask
import pytest
from distributed import Future, LocalCluster
from distributed.nanny import WorkerProcess

from lamella.errors import FailedSlidesError, SlideError, StoreError, WorkerLostError
from lamella.fleet.failures import check_failures
from lamella.fleet.manifest import ManifestRow, Status, read_manifest, write_manifest
from lamella.fleet.retry import forget_unfinished
from lamella.fleet.run import SlideTask, run_stage
from lamella.fleet.settings import FleetSettings
from lamella.stores.atomic import write_text
from lamella.stores.stored import Stored

FLEET = FleetSettings(max_workers=2, attempts=2, worker_memory_mib=512, read_limit_s=5)


@dataclass(frozen=True)
class Job:
    output: Path
    fingerprint: str
    n: int = 1
    fault: str = ""


def work(job: Job) -> int:
    """Write what ``stored`` reads; count the calls in a file of their own."""
    with (job.output.parent / "calls").open("a") as calls:
        calls.write(f"{job.output.stem}\n")
    if job.fault == "bad":
        raise SlideError("its pixels are torn", job.output.stem, "Copy it anew")
    if job.fault == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if job.fault == "bug":
        raise ZeroDivisionError("oops")
    if job.fault == "killed" or (job.fault == "killed once" and _first_call(job)):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.fault == "hungry":
        eaten = b"x" * (600 * 2**20)
        time.sleep(len(eaten))
    write_text(job.output, f"{job.fingerprint} {job.n}")
    return job.n


def _first_call(job: Job) -> bool:
    return calls(job.output.parent).count(job.output.stem) == 1


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().split() if path.exists() else []


def stored(path: Path) -> Stored | None:
    if not path.exists():
        return None
    text = path.read_text()
    while text == "circle":
        pass
    fingerprint, n = text.split()
    return Stored(fingerprint, int(n))


def task(folder: Path, slide: str, fingerprint: str = "f1", **job: object) -> SlideTask:
    folder.mkdir(exist_ok=True)
    output = folder / f"{slide}.txt"
    return SlideTask(slide, 1, output, fingerprint, Job(output, fingerprint, **job))  # type: ignore[arg-type]


def run(
    folder: Path, *plan: SlideTask | ManifestRow, settings: FleetSettings = FLEET
) -> dict[str, ManifestRow]:
    manifest = folder / "manifest.tsv"
    run_stage("stage", work, plan, manifest=manifest, stored=stored, settings=settings)
    return read_manifest(manifest)


def test_bad_slides_are_quarantined_and_the_others_are_done(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    rows = run(
        tmp_path,
        task(folder, "a"),
        task(folder, "torn", fault="bad"),
        ManifestRow("earlier", Status.FAILED, error="why", stage="first"),
        task(folder, "empty", n=0),
        task(folder, "bug", fault="bug"),
        task(folder, "killer", fault="killed"),
        task(folder, "unlucky", fault="killed once"),
    )
    assert [(row.slide, row.status.value) for row in rows.values()] == [
        ("a", "done"),
        ("torn", "failed"),
        ("earlier", "failed"),
        ("empty", "empty"),
        ("bug", "failed"),
        ("killer", "failed"),
        ("unlucky", "done"),
    ]
    assert rows["torn"].error == "torn: its pixels are torn. Copy it anew."
    assert rows["bug"].error == "ZeroDivisionError: oops"
    assert "its worker process was killed 4 times" in rows["killer"].error
    # Twice alone; in company it may have waited behind another that killed the worker.
    assert 2 <= calls(folder).count("killer") <= 4
    assert (rows["earlier"].error, rows["earlier"].stage) == ("why", "first")
    assert rows["a"].path == "out/a.txt"
    assert calls(folder).count("unlucky") == 2


def test_slide_whose_worker_needs_too_much_memory_is_told_so(tmp_path: Path) -> None:
    once = FLEET.model_copy(update={"attempts": 1})
    rows = run(tmp_path, task(tmp_path / "out", "large", fault="hungry"), settings=once)
    assert (
        "killed 2 times, half of them with no other slide at work, at last out of memory. If"
        in (rows["large"].error)
    )


def test_slide_whose_worker_is_lost_before_its_result_is_fetched_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = vars(Future)["status"].fget

    def status(future: Future[object]) -> object:
        # The worker is lost when the stage asks, and no longer when Dask does.
        asks = sys._getframe(1).f_globals["__name__"]
        return "lost" if asks == "lamella.fleet.run" else known(future)

    monkeypatch.setattr(Future, "status", property(status))
    assert run(tmp_path, task(tmp_path / "out", "a"))["a"].status is Status.DONE


def test_worker_that_takes_long_to_restart_is_waited_for(tmp_path: Path) -> None:
    # No worker restarts as fast as Dask is told to wait here.
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1 ms"}):
        rows = run(tmp_path, task(tmp_path / "out", "unlucky", fault="killed once"))
    assert rows["unlucky"].status is Status.DONE


def test_stage_whose_workers_cannot_be_started_anew_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, started = WorkerProcess.start, []

    async def start_once(process: WorkerProcess) -> object:
        if started:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        started.append(process)
        return await start(process)

    monkeypatch.setattr(WorkerProcess, "start", start_once)
    monkeypatch.setattr("lamella.fleet.run._CHECK_S", 0.1)
    with pytest.raises(WorkerLostError, match=r"^stage: no worker process is left: all 1 ended"):
        run(tmp_path, task(tmp_path / "out", "killer", fault="killed"))


def test_worker_that_is_slow_to_end_costs_a_warning_and_no_slide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    close = LocalCluster.close

    def close_late(cluster: LocalCluster) -> None:
        close(cluster)
        raise TimeoutError

    monkeypatch.setattr(LocalCluster, "close", close_late)
    assert run(tmp_path, task(tmp_path / "out", "a"))["a"].status is Status.DONE
    (warning,) = caplog.records
    assert "stage: a worker process was killed and has not ended" in warning.getMessage()


def test_only_what_changed_is_done_again(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    plan = [task(folder, name) for name in "abc"]
    run(tmp_path, *plan)
    first = (tmp_path / "manifest.tsv").read_bytes()
    (folder / "calls").unlink()

    run(tmp_path, *plan)
    assert calls(folder) == []
    assert (tmp_path / "manifest.tsv").read_bytes() == first

    (folder / "a.txt").unlink()
    rows = run(tmp_path, *plan[:2], task(folder, "c", fingerprint="f2"), task(folder, "d"))
    assert sorted(calls(folder)) == ["a", "c", "d"]
    assert rows["c"].fingerprint == "f2"


def test_the_share_of_failed_slides_decides_in_the_end(tmp_path: Path) -> None:
    rows = run(tmp_path, task(tmp_path / "out", "a"), task(tmp_path / "out", "b", fault="bad"))
    assert rows["b"].status is Status.FAILED
    manifests, table = [tmp_path / "manifest.tsv"] * 2, tmp_path / "failures.tsv"
    with pytest.raises(FailedSlidesError, match="1 of 2 slides failed"):
        check_failures(manifests=manifests, table=table, settings=FLEET)
    lines = table.read_text().splitlines()
    assert lines == ["slide\tstage\terror", "b\tstage\tb: its pixels are torn. Copy it anew."]
    check_failures(
        manifests=manifests,
        table=table,
        settings=FLEET.model_copy(update={"max_failed_share": 0.5}),
    )


def test_a_full_disk_stops_the_stage_and_quarantines_nobody(tmp_path: Path) -> None:
    plan = [task(tmp_path / "out", "a"), task(tmp_path / "out", "b", fault="full")]
    with pytest.raises(StoreError, match=r"stage cannot go on \(No space left on device\)"):
        run(tmp_path, *plan)
    assert not (tmp_path / "manifest.tsv").exists()


def test_room_of_the_file_that_is_replaced_counts_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = task(tmp_path / "out", "a")
    old.output.write_text("f0 " + "1" * 1000)
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr("lamella.fleet.run.shutil.disk_usage", lambda _: usage)
    rows = run(tmp_path, replace(old, output_bytes=1000))
    assert rows["a"].fingerprint == "f1"
    with pytest.raises(StoreError, match="finished slides are kept"):
        run(tmp_path, replace(task(tmp_path / "out", "b"), output_bytes=1000))


def test_retry_forgets_manifests_with_failed_slides_or_missing_files(tmp_path: Path) -> None:
    for name in ("whole", "failed", "missing"):
        row = ManifestRow("a", Status.DONE, path="a.txt", n=1, fingerprint="f")
        if name == "failed":
            row = ManifestRow("a", Status.FAILED, error="why", stage="stage")
        write_manifest(tmp_path / name / "manifest.tsv", [row])
    (tmp_path / "whole/a.txt").touch()
    forgotten = dict(forget_unfinished(tmp_path))
    assert {path.parent.name: slides for path, slides in forgotten.items()} == {
        "failed": 1,
        "missing": 1,
    }
    assert [path.parent.name for path in tmp_path.rglob("manifest.tsv")] == ["whole"]


def test_stage_that_cannot_fit_on_the_disk_is_refused_before_it_starts(tmp_path: Path) -> None:
    huge = replace(task(tmp_path / "out", "a"), output_bytes=2**60)
    with pytest.raises(StoreError, match="needs about 1073741824"):
        run(tmp_path, huge)
    assert calls(tmp_path / "out") == []
    assert not (tmp_path / "manifest.tsv").exists()


def test_an_output_that_nobody_can_read_to_its_end_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    plan = [task(folder, name) for name in "abc"]
    run(tmp_path, *plan)
    (folder / "calls").unlink()
    (folder / "b.txt").write_text("circle")
    rows = run(tmp_path, *plan)
    assert calls(folder) == ["b"]
    assert [row.status for row in rows.values()] == [Status.DONE] * 3
    assert (folder / "b.txt").read_text() == "f1 1"
    assert (folder / "b.txt.damaged").read_text() == "circle"


def test_nothing_is_started_to_read_outputs_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    rows = run(tmp_path, task(tmp_path / "out", "a"))
    assert rows["a"].status is Status.DONE
    with pytest.raises(FileNotFoundError, match="nothing"):
        run(tmp_path, task(tmp_path / "out", "a"))


def test_a_file_system_that_does_not_answer_stops_the_stage_and_changes_nothing(
    tmp_path: Path,
) -> None:
    plan = [task(tmp_path / "out", "a")]
    os.mkfifo(plan[0].output)
    with pytest.raises(StoreError, match=r"a\.txt: .*no answer from its file system"):
        run(tmp_path, *plan)
    assert plan[0].output.exists()
    assert calls(tmp_path / "out") == []
    assert not (tmp_path / "manifest.tsv").exists()
