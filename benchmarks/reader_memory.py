"""Measure the memory that reading takes: on a very wide slide, and over many slides.

    python benchmarks/reader_memory.py --width 100000 --height 2048 --slides 200

Draws a wide and a small slide, then reads all 224-pixel patches of the small one, of the wide one,
and of the small one again and again, in one process that did not draw. Prints its resident memory
after each, and its peak.
"""

import argparse
import multiprocessing
import resource
import tempfile
from pathlib import Path

import numpy as np

from lamella.drawing.plan import SlideSpec
from lamella.drawing.slide import draw_slide
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING

PATCH_PX = 224
MIB = 2**20


def read_all(path: Path) -> None:
    with SlideReader(path, DEFAULT_READING) as reader:
        plan = reader.plan(mpp=float(reader.mpp_l0), size_px=PATCH_PX)
        patch = np.empty((PATCH_PX, PATCH_PX, 3), dtype=np.uint8)
        width, height = reader.size_l0
        for y in range(0, height - PATCH_PX + 1, PATCH_PX):
            for x in range(0, width - PATCH_PX + 1, PATCH_PX):
                reader.read_patch_into(patch, x, y, plan)


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(wide: Path, small: Path, slides: int) -> None:
    read_all(small)
    print(f"after a small slide: {resident_mib():.0f} MiB, at most {peak_mib():.0f} MiB")
    read_all(wide)
    print(f"after the wide slide: {resident_mib():.0f} MiB, at most {peak_mib():.0f} MiB")
    for count in range(1, slides + 1):
        read_all(small)
        if count in {1, slides // 2, slides}:
            print(f"after {count} more small slides: {resident_mib():.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=100_000, help="pixels of the wide slide")
    parser.add_argument("--height", type=int, default=2048, help="pixels of the wide slide")
    parser.add_argument("--slides", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wide, small = Path(folder) / "wide.svs", Path(folder) / "small.svs"
        draw_slide(wide, SlideSpec(arguments.width * 0.25, arguments.height * 0.25))
        draw_slide(small, SlideSpec(300, 300))
        reading = multiprocessing.get_context("spawn").Process(
            target=measure, args=(wide, small, arguments.slides)
        )
        reading.start()
        reading.join()


if __name__ == "__main__":
    main()
