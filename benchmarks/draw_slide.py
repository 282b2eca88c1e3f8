"""Measure speed and memory of drawing one slide of a given size.

    python benchmarks/draw_slide.py --width 20000 --height 16000

Memory is the peak of the process; the baseline is what the process holds after it drew a small
slide, so the difference is what size costs.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from lamella.drawing.plan import SlideSpec
from lamella.drawing.scanners import SCANNERS
from lamella.drawing.settings import Scanner
from lamella.drawing.slide import draw_slide


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=20_000, help="pixels of level 0")
    parser.add_argument("--height", type=int, default=16_000, help="pixels of level 0")
    parser.add_argument("--scanner", type=Scanner, choices=list(Scanner), default=Scanner.APERIO)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--block", type=int, default=1024, help="edge of a block in pixels")
    parser.add_argument("--artefacts", action="store_true", help="pen mark, fold and blur too")
    parser.add_argument("--keep", type=Path, help="write the slide here and keep it")
    arguments = parser.parse_args()

    mpp = SCANNERS[arguments.scanner].mpp
    spec = SlideSpec(
        width_um=arguments.width * mpp,
        height_um=arguments.height * mpp,
        scanner=arguments.scanner,
        seed=arguments.seed,
        pen=arguments.artefacts,
        fold=arguments.artefacts,
        blur=arguments.artefacts,
    )
    with tempfile.TemporaryDirectory() as folder:
        draw_slide(Path(folder) / "small.svs", SlideSpec(600, 500, scanner=arguments.scanner))
        baseline_mib = peak_mib()
        path = arguments.keep or Path(folder) / f"slide{spec.model.suffix}"
        start = time.perf_counter()
        draw_slide(path, spec, block_px=arguments.block)
        seconds = time.perf_counter() - start
        size_mib = path.stat().st_size / 2**20
    gigapixels = arguments.width * arguments.height / 1e9
    print(f"{arguments.width} x {arguments.height} pixels, {arguments.scanner}, mpp {mpp}")
    print(f"{seconds:.1f} s, {gigapixels * 1000 / seconds:.1f} megapixels/s, ", end="")
    print(f"{seconds / gigapixels:.0f} s/gigapixel")
    print(f"peak memory {peak_mib():.0f} MiB (after a small slide: {baseline_mib:.0f} MiB)")
    print(f"file {size_mib:.0f} MiB")


if __name__ == "__main__":
    main()
