"""Run one stage over all slides: skip what is done, quarantine what fails, write the manifest."""

import errno
import logging
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Future, KilledWorker

from lamella.errors import DamagedFileError, LamellaError, StoreError, WorkerLostError
from lamella.fleet.cluster import Crew, workers
from lamella.fleet.guard import GuardedReader
from lamella.fleet.manifest import ManifestRow, Status, write_manifest
from lamella.fleet.progress import StageProgress
from lamella.fleet.settings import FleetSettings
from lamella.slurm.settings import DEFAULT_SITE, SiteSettings
from lamella.stores.atomic import remove_leftovers
from lamella.stores.stored import Stored
from lamella.stores.tables import write_table

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlideTask:
    """One slide's share of a stage.

    Attributes:
        slide: Name of the slide.
        size: Amount of work in any unit; the biggest tasks start first.
        output: The file that the work writes, in one step, with the fingerprint inside.
        fingerprint: Digest of all that makes the output; the same one is inside a finished output.
        job: Argument of the stage's ``work``; must survive pickling.
        output_bytes: About how large the output will be at most; 0 where it is of no account.
    """

    slide: str
    size: int
    output: Path
    fingerprint: str
    job: Any
    output_bytes: int = 0


@dataclass(frozen=True)
class _Ended:
    n: int
    seconds: float
    peak_memory_mib: float


_FAULTS_OF_THE_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}
)
# How often it is looked whether workers that say nothing are still there.
_CHECK_S = 5.0
_Work = Callable[[Any], int]
_Stored = Callable[[Path], Stored | None]
_Result = _Ended | BaseException
_Completed = SimpleQueue[Future[Any]]


def run_stage(
    stage: str,
    work: _Work,
    plan: Sequence[SlideTask | ManifestRow],
    *,
    manifest: Path,
    stored: _Stored,
    settings: FleetSettings,
    site: SiteSettings = DEFAULT_SITE,
) -> list[ManifestRow]:
    """Do the work of every slide whose output is not there yet, then write the manifest.

    A slide whose work raises is quarantined: its row says ``failed`` and why, and the others
    go on. A killed worker is replaced and its slide tried again, ``settings.attempts`` times.

    Args:
        stage: Name of the stage, for log lines and rows.
        work: Makes one output from a task's ``job`` in a worker process and returns how many
            things it holds. Must be importable by name.
        plan: In table order: a task, or the row of a slide that an earlier stage or the
            planning itself has given up.
        manifest: Where the manifest goes; ``timings.tsv`` lies beside it. Outputs are below
            its folder.
        stored: Reads fingerprint and count from a finished output. Must be importable by name.
        settings: Workers and limits.
        site: The cluster, where the workers are SLURM jobs.

    Returns:
        The rows of the manifest, in the order of ``plan``.

    Raises:
        StoreError: nothing can be written, or an output cannot be read for want of its file system.
        SlurmError: SLURM gives no workers.
        WorkerLostError: no worker process is left on this machine, and none can be started.
    """
    tasks = [entry for entry in plan if isinstance(entry, SlideTask)]
    rows = {entry.slide: entry for entry in plan if isinstance(entry, ManifestRow)}
    finished = _finished(tasks, stored, settings)
    rows |= {task.slide: _done_row(task, n, manifest.parent) for task, n in finished}
    pending = [task for task in tasks if task.slide not in rows]
    logger.info("%s: %d slides to do, %d already done", stage, len(pending), len(rows))
    timings = []
    if pending:
        _require_space(stage, pending, manifest)
        for folder in {task.output.parent for task in pending} | _subfolders(manifest.parent):
            remove_leftovers(folder)
        job = _Measured(work, stored)
        hired = workers(stage, manifest, settings, site, len(pending))
        for task, result in _work_off(stage, job, pending, settings, hired):
            _stop_where_nothing_can_be_written(stage, result, manifest)
            rows[task.slide] = _row(stage, task, result, manifest.parent)
            timings.append({"slide": task.slide, **_timing(result)})
        _write_timings(manifest.with_name("timings.tsv"), timings)
    ordered = [rows[entry.slide] for entry in plan]
    write_manifest(manifest, ordered)
    _log_outcome(stage, ordered)
    return ordered


def _finished(
    tasks: list[SlideTask], stored: _Stored, settings: FleetSettings
) -> Iterator[tuple[SlideTask, int]]:
    """Yield the tasks whose output is there already, with its count; set damaged ones aside."""
    with GuardedReader(stored, settings.read_limit_s) as reader:
        # Where there is none, no process need be started to find that out.
        for task in (task for task in tasks if task.output.exists()):
            try:
                found = reader.read(task.output)
            except DamagedFileError as error:
                # Whoever read it next, such as the worker that makes it anew, would not come back.
                aside = task.output.replace(f"{task.output}.damaged")
                logger.warning("%s: %s; made anew, kept as %s", error.where, error.what, aside.name)
                continue
            if found is not None and found.fingerprint == task.fingerprint:
                yield task, found.n


def _require_space(stage: str, pending: list[SlideTask], manifest: Path) -> None:
    """Refuse to start what cannot end for want of disk space."""
    manifest.parent.mkdir(parents=True, exist_ok=True)
    needed = sum(max(0, task.output_bytes - _size(task.output)) for task in pending)
    free = shutil.disk_usage(manifest.parent).free
    if needed > free:
        raise StoreError(
            f"{stage} needs about {needed / 2**30:.1f} GiB for {len(pending)} slides, "
            f"but {free / 2**30:.1f} GiB are free",
            str(manifest.parent),
            "Make room, choose a smaller storage or fewer patches; finished slides are kept",
        )


def _size(path: Path) -> int:
    """Return the size of a file that will be replaced; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def _subfolders(folder: Path) -> set[Path]:
    return {path for path in folder.glob("*") if path.is_dir()}


def _work_off(
    stage: str,
    job: "_Measured",
    tasks: list[SlideTask],
    settings: FleetSettings,
    hired: AbstractContextManager[Crew],
) -> Iterator[tuple[SlideTask, _Result]]:
    """Yield each task with its result or the exception that ended it, as they come in.

    When a worker is killed, Dask suspects every task that it held. So the suspects get one
    more try, each alone: only who is killed alone has killed.
    """
    suspects = []
    with hired as crew:
        # The clock starts now: starting workers says nothing about the rate.
        progress = StageProgress(stage, len(tasks))
        for task, result in _in_company(crew, stage, job, tasks):
            if isinstance(result, KilledWorker):
                suspects.append(task)
            else:
                progress.slide_ended(failed=isinstance(result, BaseException))
                yield task, result
            crew.want(len(tasks) - progress.done)
        for task in suspects:
            result = _alone(crew, stage, job, task)
            progress.slide_ended(failed=isinstance(result, BaseException))
            yield task, _verdict(crew, result, task, settings)
        progress.stop()


def _in_company(
    crew: Crew, stage: str, job: "_Measured", tasks: list[SlideTask]
) -> Iterator[tuple[SlideTask, _Result]]:
    waiting = iter(sorted(tasks, key=lambda task: (-task.size, task.slide)))
    running: dict[str, SlideTask] = {}
    completed: _Completed = SimpleQueue()

    def submit_next() -> None:
        task = next(waiting, None)
        if task is not None:
            future = _submit(crew, stage, job, task, completed)
            running[str(future.key)] = task

    # Twice the workers: each finds its next slide waiting, and memory stays bounded.
    for _ in range(2 * crew.count):
        submit_next()
    while running:
        future = _next_completed(completed, crew)
        task = running.pop(str(future.key))
        result = _result(future)
        submit_next()
        yield task, result


def _alone(crew: Crew, stage: str, job: "_Measured", task: SlideTask) -> _Result:
    completed: _Completed = SimpleQueue()
    _submit(crew, f"{stage}-alone", job, task, completed)
    return _result(_next_completed(completed, crew))


def _submit(
    crew: Crew, stage: str, job: "_Measured", task: SlideTask, completed: _Completed
) -> Future[Any]:
    key = f"{stage}-{task.slide}-{task.fingerprint[:8]}"
    future = crew.client.submit(job, task, key=key, pure=False)
    future.add_done_callback(completed.put)
    return future


def _next_completed(completed: _Completed, crew: Crew) -> Future[Any]:
    """Wait for the next task to end, as long as there are workers to end it."""
    while True:
        try:
            return completed.get(timeout=_CHECK_S)
        except Empty:
            crew.check()


@dataclass(frozen=True)
class _Measured:
    """Does a task in a worker process and measures it."""

    work: _Work
    stored: _Stored

    def __call__(self, task: SlideTask) -> _Ended:
        found = self.stored(task.output)
        if found is not None and found.fingerprint == task.fingerprint:
            # Done before, but the worker was lost before it could say so.
            return _Ended(found.n, 0.0, 0.0)
        started = time.monotonic()
        n = self.work(task.job)
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return _Ended(n, time.monotonic() - started, peak_mib)


def _result(future: Future[Any]) -> _Result:
    # Its worker may be lost before the result is here, and with it the result: Dask then has it
    # made again, and what the future says of its state and its error is not of one moment.
    found = future.client.gather([future], errors="skip")
    result: _Result = found[0] if found else future.exception()
    future.release()
    return result


def _verdict(crew: Crew, result: _Result, task: SlideTask, settings: FleetSettings) -> _Result:
    if not isinstance(result, KilledWorker):
        return result
    # Nothing here that another run would say otherwise: what the manifest says is planned by.
    reason = ", at last out of memory" if crew.was_out_of_memory(result) else ""
    return WorkerLostError(
        f"its worker process was killed {2 * settings.attempts} times, half of them with no other "
        f"slide at work{reason}",
        task.slide,
        "If it was out of memory, raise `fleet.worker_memory_mib` and run `lamella retry`; "
        "or leave the slide out",
    )


def _stop_where_nothing_can_be_written(stage: str, result: _Result, manifest: Path) -> None:
    """Raise for a fault of the machine, which would quarantine every slide that follows."""
    if isinstance(result, OSError) and result.errno in _FAULTS_OF_THE_MACHINE:
        raise StoreError(
            f"{stage} cannot go on ({result.strerror})",
            str(manifest.parent),
            "Make room or mend the file system, then run again; finished slides are kept",
        ) from result


def _row(stage: str, task: SlideTask, result: _Result, folder: Path) -> ManifestRow:
    if isinstance(result, _Ended):
        return _done_row(task, result.n, folder)
    if not isinstance(result, LamellaError):
        logger.error("%s: unexpected error", task.slide, exc_info=result)
    return failed_row(stage, task.slide, result)


def failed_row(stage: str, slide: str, error: BaseException) -> ManifestRow:
    """Return the row of a quarantined slide."""
    text = str(error) if isinstance(error, LamellaError) else f"{type(error).__name__}: {error}"
    return ManifestRow(slide, Status.FAILED, error=text, stage=stage)


def _done_row(task: SlideTask, n: int, folder: Path) -> ManifestRow:
    return ManifestRow(
        task.slide,
        Status.DONE if n else Status.EMPTY,
        path=os.path.relpath(task.output, folder),
        n=n,
        fingerprint=task.fingerprint,
    )


def _timing(result: _Result) -> dict[str, str]:
    if not isinstance(result, _Ended):
        return {}
    return {
        "seconds": f"{result.seconds:.3f}",
        "peak_memory_mib": f"{result.peak_memory_mib:.0f}",
    }


def _write_timings(path: Path, timings: list[dict[str, str]]) -> None:
    write_table(path, ("slide", "seconds", "peak_memory_mib"), timings)


def _log_outcome(stage: str, rows: list[ManifestRow]) -> None:
    counts = {status: sum(row.status is status for row in rows) for status in Status}
    logger.info("%s: %s", stage, ", ".join(f"{n} {status}" for status, n in counts.items()))
    for row in rows:
        if row.status is Status.FAILED and row.stage == stage:
            logger.warning("%s is quarantined: %s", row.slide, row.error)
