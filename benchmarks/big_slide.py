"""Measure memory and time of tissue and patches on one very large slide.

    python benchmarks/big_slide.py --width 100000 --height 80000

Draws the slide, then finds its tissue and cuts patches in the slide's own tiles, as a worker of
the workflow does it, in a process that did not draw. Prints seconds and the peak memory of each.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lamella.cohort.table import Slide
from lamella.drawing.plan import SlideSpec
from lamella.drawing.slide import draw_slide
from lamella.patches.extract import ExtractJob, extract_slide
from lamella.patches.settings import PatchSettings
from lamella.slides.settings import DEFAULT_READING
from lamella.stores.codec import Storage
from lamella.tissue.segment import SegmentJob, segment_slide
from lamella.tissue.settings import TissueSettings


def report(what: str, work: Callable[[], object]) -> None:
    began = time.perf_counter()
    n = work()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.perf_counter() - began
    print(f"{what}: {n}, {seconds:.0f} s, at most {peak_mib:.0f} MiB until here", flush=True)


def preprocess(path: Path) -> None:
    slide, mask = Slide("big", path, "big"), path.parent / "slides" / "big.png"
    tissue = SegmentJob(slide, TissueSettings(), mask, "made", DEFAULT_READING)
    report("tissue pixels", lambda: segment_slide(tissue))
    settings = PatchSettings(size_px=256, mpp=0.25, storage=Storage.PASSTHROUGH)
    patches = ExtractJob(slide, settings, mask, path.with_name("big.h5"), "made", DEFAULT_READING)
    report("patches", lambda: extract_slide(patches))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=100_000, help="pixels of level 0")
    parser.add_argument("--height", type=int, default=80_000, help="pixels of level 0")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.svs"
        spec = SlideSpec(arguments.width * 0.25, arguments.height * 0.25)
        report("drawn", lambda: draw_slide(path, spec))
        working = multiprocessing.get_context("spawn").Process(target=preprocess, args=(path,))
        working.start()
        working.join()


if __name__ == "__main__":
    main()
