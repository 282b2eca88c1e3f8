"""Measure what a stage costs beside its work, and what a run with nothing to do costs.

    python benchmarks/fleet_overhead.py --slides 10000

Every slide is a stub of 256 KiB whose work writes a patch file with one tiny patch. The same work
three times: in a plain loop, through the fleet with ``--workers`` processes, and again through the
fleet, which then only computes every slide's identity and reads every fingerprint.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamella.fleet.fingerprint import fingerprint
from lamella.fleet.run import SlideTask, run_stage
from lamella.fleet.settings import FleetSettings
from lamella.slides.identity import slide_identities
from lamella.stores.codec import Codec
from lamella.stores.shards import PatchColumns, read_stored, write_shard

SLIDE_BYTES = 256 * 1024
PATCH_PX = 16
STAGE = "write_stub"


@dataclass(frozen=True)
class Job:
    """The work of one slide."""

    shard: Path
    fingerprint: str


def write_stub(job: Job) -> int:
    one = np.zeros(1)
    columns = PatchColumns(
        one.astype(np.int64),
        one.astype(np.int64),
        one.astype(np.float32),
        one.astype(np.float32),
        one.astype(np.int16),
    )
    pixels = np.zeros((1, PATCH_PX, PATCH_PX, 3), dtype=np.uint8)
    about = {"fingerprint": job.fingerprint}
    write_shard(job.shard, columns, [pixels], patch_px=PATCH_PX, codec=Codec.NONE, attributes=about)
    return 1


def plan(slides: list[Path], folder: Path) -> list[SlideTask]:
    tasks = []
    for path, identity in zip(slides, slide_identities(slides), strict=True):
        made_of = fingerprint(STAGE, 1, FleetSettings(), identity=str(identity))
        shard = folder / "slides" / f"{path.stem}.h5"
        tasks.append(SlideTask(path.stem, SLIDE_BYTES, shard, made_of, Job(shard, made_of)))
    return tasks


def loop(slides: list[Path], folder: Path) -> None:
    for task in plan(slides, folder):
        write_stub(task.job)


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds on the clock and seconds of processor time, of all processes."""
    before, started = cpu_s(), time.perf_counter()
    work()
    return time.perf_counter() - started, cpu_s() - before


def cpu_s() -> float:
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    fleet = FleetSettings(max_workers=arguments.workers)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        slides = [root / f"slide{i}.svs" for i in range(arguments.slides)]
        for path in slides:
            path.write_bytes(os.urandom(SLIDE_BYTES))

        def stage() -> None:
            folder = root / "fleet"
            run_stage(
                STAGE,
                write_stub,
                plan(slides, folder),
                manifest=folder / "manifest.tsv",
                stored=read_stored,
                settings=fleet,
            )

        runs = {"plain loop": cost(lambda: loop(slides, root / "loop"))}
        runs["fleet"] = cost(stage)
        runs["nothing to do"] = cost(stage)
    print(f"{arguments.slides} stub slides, {arguments.workers} workers")
    for what, (wall, cpu) in runs.items():
        print(f"{what:14} {wall:6.1f} s, {cpu:6.1f} s of processor time")
    overhead_ms = (runs["fleet"][1] - runs["plain loop"][1]) / arguments.slides * 1000
    print(f"fleet beside its work: {overhead_ms:.1f} ms of processor time per slide")


if __name__ == "__main__":
    main()
