"""Draw a cohort: slides, annotations and the table that names them."""

import logging
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from lamella.drawing.annotation import annotation_xml
from lamella.drawing.plan import SlideSpec, plan_slide
from lamella.drawing.settings import DrawingSettings, Scanner
from lamella.drawing.slide import draw_slide
from lamella.drawing.tiffs import stored_fingerprint
from lamella.stores.atomic import write_text
from lamella.stores.tables import write_table

COLUMNS = ("slide", "path", "patient", "label", "annotation", "centre")

_SLIDE_STREAM = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DrawnSlide:
    """One row of a drawn cohort.

    Attributes:
        name: Unique name.
        patient: Whose slide it is.
        centre: Where it was scanned.
        spec: What it shows.
    """

    name: str
    patient: str
    centre: str
    spec: SlideSpec

    @property
    def path(self) -> str:
        """The slide's file, relative to the cohort's folder."""
        return f"slides/{self.name}{self.spec.model.suffix}"

    @property
    def label(self) -> str:
        """The slide's class."""
        return "tumor" if self.spec.tumor else "normal"

    @property
    def annotation(self) -> str:
        """The annotation file, relative to the cohort's folder; empty without tumour."""
        return f"annotations/{self.name}.xml" if self.spec.tumor else ""


def draw_cohort(folder: Path, settings: DrawingSettings) -> None:
    """Draw slides, annotations and ``slides.tsv`` into a folder.

    Slides that are there already and were drawn from the same settings are kept, so a run that
    was killed goes on where it stopped. The table is written last, with paths relative to it.

    Args:
        folder: Made when absent.
        settings: What to draw.
    """
    slides = plan_cohort(settings)
    missing = [slide for slide in slides if _is_missing(folder, slide)]
    logger.info("%d of %d slides to draw in %s", len(missing), len(slides), folder)
    for slide in slides:
        if slide.spec.tumor:
            _write_annotation(folder, slide)
    _draw_all(folder, missing, settings.processes)
    write_table(folder / "slides.tsv", COLUMNS, (_row(slide) for slide in slides))


def plan_cohort(settings: DrawingSettings) -> list[DrawnSlide]:
    """Decide which slides a cohort has.

    Patients take turns among the centres; within each centre the wanted share of them has
    tumour, so that neither stain nor resolution tells the label.
    """
    return [_plan_one(number, settings) for number in range(settings.slides)]


def _plan_one(number: int, settings: DrawingSettings) -> DrawnSlide:
    patient = number // settings.slides_per_patient
    centre, turn = patient % settings.centres, patient // settings.centres
    rng = np.random.default_rng((settings.seed, _SLIDE_STREAM, number, 0))
    pen, fold, blur = rng.random(3) < (settings.pen_share, settings.fold_share, settings.blur_share)
    spec = SlideSpec(
        width_um=settings.width_um,
        height_um=settings.height_um,
        scanner=tuple(Scanner)[centre % len(Scanner)],
        seed=int(rng.integers(2**32)),
        tumor=_has_tumor(turn, centre, settings),
        pen=bool(pen),
        fold=bool(fold),
        blur=bool(blur),
        tile_px=settings.tile_px,
        jpeg_quality=settings.jpeg_quality,
    )
    return DrawnSlide(
        f"slide-{number + 1:03d}", f"patient-{patient + 1:03d}", f"centre-{centre + 1}", spec
    )


def _has_tumor(turn: int, centre: int, settings: DrawingSettings) -> bool:
    # Evenly spread over the turns; every other centre starts half a step later.
    start = 0.5 * ((centre + 1) % 2)
    share = settings.tumor_share
    return int((turn + 1) * share + start) > int(turn * share + start)


def _is_missing(folder: Path, slide: DrawnSlide) -> bool:
    return stored_fingerprint(folder / slide.path) != slide.spec.fingerprint


def _write_annotation(folder: Path, slide: DrawnSlide) -> None:
    path, text = folder / slide.annotation, annotation_xml(plan_slide(slide.spec))
    # An equal file keeps its time of change: nothing that depends on it is made again.
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _draw_all(folder: Path, slides: list[DrawnSlide], processes: int) -> None:
    if processes == 1 or len(slides) < 2:
        lines = (_draw_one(folder, slide) for slide in slides)
        _report(lines, len(slides))
        return
    workers = min(processes, len(slides))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        _report(pool.map(_draw_one, [folder] * len(slides), slides), len(slides))


def _draw_one(folder: Path, slide: DrawnSlide) -> str:
    """Draw one slide; return what to say about it."""
    start = time.perf_counter()
    draw_slide(folder / slide.path, slide.spec)
    width, height = slide.spec.field_px
    return (
        f"drew {slide.path}: {slide.label}, {width * height / 1e6:.1f} megapixels,"
        f" {time.perf_counter() - start:.1f} s"
    )


def _report(lines: Iterable[str], total: int) -> None:
    for number, line in enumerate(lines, start=1):
        logger.info("%s (%d of %d)", line, number, total)


def _row(slide: DrawnSlide) -> dict[str, str]:
    return {
        "slide": slide.name,
        "path": slide.path,
        "patient": slide.patient,
        "label": slide.label,
        "annotation": slide.annotation,
        "centre": slide.centre,
    }
