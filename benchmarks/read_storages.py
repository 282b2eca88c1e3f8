"""Compare how long a patch takes to read, and how much room it takes, by storage.

    python benchmarks/read_storages.py --width 6000 --height 6000

Draws one slide and cuts it into shards of every storage, with the same windows. Then reads all
patches in one random order, batches of 32, the storages in turns, several times; warm file cache,
one thread. ``plain`` is ``h5py`` by hand, ``patches[i]`` one after the other: the floor. Prints
medians of the processor time per patch, their ratio to ``plain``, and the size of the file.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from lamella.cohort.table import Slide
from lamella.drawing.plan import SlideSpec
from lamella.drawing.slide import draw_slide
from lamella.patches.extract import ExtractJob, extract_slide
from lamella.patches.pixels import open_patches
from lamella.patches.settings import PatchSettings
from lamella.slides.settings import DEFAULT_READING
from lamella.tissue.mask import TissueMask, write_mask
from lamella.units import Level0Pixels

BATCH = 32
STORAGES = {
    "pixels": {},
    "pixels, zstd": {"codec": "zstd"},
    "jpeg": {"storage": "jpeg"},
    "coordinates": {"storage": "coordinates"},
}


def read_plain(path: Path, order: np.ndarray) -> None:
    with h5py.File(path) as file:
        patches = file["patches"]
        for start in range(0, len(order), BATCH):
            np.stack([patches[i] for i in order[start : start + BATCH].tolist()])


def read_ours(path: Path, order: np.ndarray) -> None:
    with open_patches(path) as shard:
        for start in range(0, len(order), BATCH):
            shard.read(order[start : start + BATCH])


def cpu_ms(work: Callable[[], object], patches: int) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1000 / patches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=6000, help="pixels of level 0")
    parser.add_argument("--height", type=int, default=6000, help="pixels of level 0")
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slide = folder / "slide.svs"
        draw_slide(slide, SlideSpec(arguments.width * 0.25, arguments.height * 0.25))
        cells = (-(-arguments.height // 32), -(-arguments.width // 32))
        mask = TissueMask(np.ones(cells, dtype=bool), Level0Pixels(32))
        write_mask(folder / "mask.png", mask, fingerprint="all")
        jobs = {
            storage: ExtractJob(
                Slide("slide", slide, "slide"),
                PatchSettings(size_px=arguments.size_px, mpp=0.25, **changes),
                folder / "mask.png",
                folder / f"{storage}.h5",
                "made",
                DEFAULT_READING,
            )
            for storage, changes in STORAGES.items()
        }
        (count,) = {extract_slide(job) for job in jobs.values()}
        order = np.random.default_rng(0).permutation(count)
        works = {"plain": lambda: read_plain(jobs["pixels"].shard, order)} | {
            storage: lambda path=job.shard: read_ours(path, order) for storage, job in jobs.items()
        }
        times: dict[str, list[float]] = {storage: [] for storage in works}
        for _ in range(arguments.runs):
            for storage, work in works.items():
                times[storage].append(cpu_ms(work, count))
        sizes = {storage: job.shard.stat().st_size / count / 1024 for storage, job in jobs.items()}
    print(f"{count} patches of {arguments.size_px} px, batches of {BATCH}, {arguments.runs} turns")
    plain = statistics.median(times["plain"])
    for storage, each in times.items():
        median = statistics.median(each)
        print(
            f"{storage:14} {median:.3f} ms a patch (from {min(each):.3f} to {max(each):.3f}), "
            f"{median / plain:.2f} x plain, {sizes.get(storage, sizes['pixels']):.1f} KiB a patch"
        )


if __name__ == "__main__":
    main()
