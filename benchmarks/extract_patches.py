"""Compare what a patch costs through the whole step into HDF5 with what it must cost.

    python benchmarks/extract_patches.py --width 8000 --height 8000

Draws one slide with tissue everywhere, then measures in turns, several times: OpenSlide's
``read_region`` patch by patch, without storing anything; the floor (every tile that the patches
touch decoded once, and as many raw patches written by h5py: by slices, the usual way, also with
the flush to the disk that keeps them over a power cut; and chunk by chunk, as the step does); and
``extract_slide``, the step as the workflow does it, for each storage. Processor time of one thread,
warm file cache, medians. Then the step on two slides, by one process after the other and by two at
a time.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
import openslide
from read_patches import BATCH_PATCHES, decode, openslide_patches, touched_tiles

from lamella.cohort.table import Slide
from lamella.drawing.plan import SlideSpec
from lamella.drawing.slide import draw_slide
from lamella.patches.extract import ExtractJob, extract_slide
from lamella.patches.settings import PatchSettings
from lamella.slides.open import open_source
from lamella.slides.settings import DEFAULT_READING
from lamella.slides.tile_source import TileSource
from lamella.stores.codec import Storage
from lamella.tissue.mask import TissueMask, write_mask
from lamella.units import Level0Pixels

MASK_CELL_L0 = 32


def write_raw(path: Path, patches: int, size_px: int) -> None:
    """Write patches as ``extract_patches`` stores them, without reading any."""
    batch = np.zeros((BATCH_PATCHES, size_px, size_px, 3), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        shape = (patches, size_px, size_px, 3)
        data = file.create_dataset("patches", shape, np.uint8, chunks=(1, *shape[1:]))
        for start in range(0, patches, BATCH_PATCHES):
            data[start : start + BATCH_PATCHES] = batch[: patches - start]


def write_raw_chunks(path: Path, patches: int, size_px: int) -> None:
    """Write the same past HDF5's cache of chunks."""
    batch = np.zeros((BATCH_PATCHES, size_px, size_px, 3), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        shape = (patches, size_px, size_px, 3)
        data = file.create_dataset("patches", shape, np.uint8, chunks=(1, *shape[1:]))
        for row in range(patches):
            data.id.write_direct_chunk((row, 0, 0, 0), batch[row % BATCH_PATCHES])


def write_raw_to_disk(path: Path, patches: int, size_px: int) -> None:
    write_raw(path, patches, size_px)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def cpu_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def step_cpu_s(job: ExtractJob) -> float:
    return cpu_s(lambda: extract_slide(job))


def job_of(slide: Path, size_px: int, storage: Storage) -> ExtractJob:
    with openslide.OpenSlide(slide) as opened:
        width, height = opened.dimensions
    cells = (-(-height // MASK_CELL_L0), -(-width // MASK_CELL_L0))
    mask = slide.with_name("mask.png")
    tissue = TissueMask(np.ones(cells, dtype=bool), Level0Pixels(MASK_CELL_L0))
    write_mask(mask, tissue, fingerprint="all")
    settings = PatchSettings(size_px=size_px, mpp=0.25, storage=storage)
    shard = slide.with_name(f"{storage}.h5")
    return ExtractJob(
        Slide("slide", slide, "slide"), settings, mask, shard, "made", DEFAULT_READING
    )


def tile_px(slide: Path) -> int:
    source = open_source(slide)
    assert isinstance(source, TileSource)
    width = source.tile_grid(0).width
    source.close()
    return width


def measure(slide: Path, size_px: int, runs: int) -> None:
    jobs = {
        f"step, {storage}": job_of(slide, edge, storage)
        for storage, edge in (
            (Storage.PIXELS, size_px),
            (Storage.JPEG, size_px),
            (Storage.COORDINATES, size_px),
            (Storage.PASSTHROUGH, tile_px(slide)),
        )
    }
    counts = {name: extract_slide(job) for name, job in jobs.items()}
    pixels = counts[f"step, {Storage.PIXELS}"]
    tiles, shape = touched_tiles(slide, size_px)
    raw = slide.with_name("raw.h5")
    ways: dict[str, Callable[[], object]] = {
        "OpenSlide, nothing stored": lambda: openslide_patches(slide, size_px),
        "floor: decode": lambda: decode(tiles, shape),
        "floor: write": lambda: write_raw(raw, pixels, size_px),
        "floor: write chunks": lambda: write_raw_chunks(raw, pixels, size_px),
        "floor: write and flush": lambda: write_raw_to_disk(raw, pixels, size_px),
        **{name: lambda job=job: extract_slide(job) for name, job in jobs.items()},
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, work in ways.items():
            times[name].append(cpu_s(work) * 1000 / counts.get(name, pixels))
    print(f"{pixels} patches of {size_px} px, tiles of {shape[0]} px, {runs} runs in turns")
    for name, found in times.items():
        print(
            f"{name:26} {statistics.median(found):.3f} ms of processor time per patch"
            f" ({min(found):.3f} to {max(found):.3f})"
        )
    step = times[f"step, {Storage.PIXELS}"]
    bare = times["OpenSlide, nothing stored"]
    for write in ("floor: write", "floor: write chunks", "floor: write and flush"):
        floor = [sum(both) for both in zip(times["floor: decode"], times[write], strict=True)]
        print(f"step into raw HDF5 / floor with {write[7:]}: {ratio(step, floor):.2f}")
    print(f"step into raw HDF5 / OpenSlide, nothing stored: {ratio(step, bare):.2f}")


def ratio(mine: list[float], others: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(mine, others, strict=True))


def measure_company(slide: Path, size_px: int, runs: int) -> None:
    """Print the processor time of two slides, two at a time over one after the other."""
    first = job_of(slide, size_px, Storage.PIXELS)
    pair = [first, replace(first, shard=slide.with_name("second.h5"))]
    alone, together = [], []
    spawned = get_context("spawn")
    with ProcessPoolExecutor(1, spawned) as one, ProcessPoolExecutor(2, spawned) as two:
        for pool in (one, two):
            list(pool.map(step_cpu_s, pair))
        for _ in range(runs):
            alone.append(sum(one.map(step_cpu_s, pair)))
            together.append(sum(two.map(step_cpu_s, pair)))
    print(f"two workers / one, the same work: {ratio(together, alone):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=8000, help="pixels of level 0")
    parser.add_argument("--height", type=int, default=8000, help="pixels of level 0")
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slide = Path(folder) / "slide.svs"
        draw_slide(slide, SlideSpec(arguments.width * 0.25, arguments.height * 0.25))
        measure(slide, arguments.size_px, arguments.runs)
        measure_company(slide, arguments.size_px, arguments.runs)


if __name__ == "__main__":
    main()
