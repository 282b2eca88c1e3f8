"""Check the slide table before any other job: every file must be there, and be one patient's."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from lamella.cohort.table import Slide, read_slides, write_slides
from lamella.errors import CohortError, CohortErrors
from lamella.slides.identity import content_identities

logger = logging.getLogger(__name__)


def check_cohort(*, table: Path, output: Path) -> None:
    """Write the slide table with absolute paths and all columns.

    Raises:
        CohortErrors: rows are malformed or files are missing; all of them are named at once. Or
            two patients have the same slide: maybe a copy of its file under another name.
    """
    slides = read_slides(table)
    errors = [error for slide in slides for error in _missing_files(slide, table)]
    if errors:
        raise CohortErrors(errors)
    _refuse_copies(slides, table)
    write_slides(output, slides)
    patients = {slide.patient for slide in slides}
    logger.info("%d slides of %d patients", len(slides), len(patients))


def _missing_files(slide: Slide, table: Path) -> Iterator[CohortError]:
    files = {"slide": slide.path, "annotation": slide.annotation, "mask": slide.mask}
    for kind, path in files.items():
        fault = _fault(path) if path is not None else None
        if fault is not None:
            yield CohortError(
                f"the {kind} file {path} of {slide.slide!r} cannot be found ({fault})",
                f"{table}:{slide.line}",
                "Correct the path; relative paths start at the table's folder",
            )


def _refuse_copies(slides: Sequence[Slide], table: Path) -> None:
    errors = []
    for slide, first in _copies(slides):
        if slide.patient == first.patient:
            logger.warning("%s and %s are one file: it counts twice", first.slide, slide.slide)
            continue
        errors.append(
            CohortError(
                f"slide {slide.slide!r} of patient {slide.patient!r} has the same content as "
                f"{first.slide!r} of patient {first.patient!r} in line {first.line}",
                f"{table}:{slide.line}",
                "Remove one of the rows, or give both the same patient",
            )
        )
    if errors:
        raise CohortErrors(errors)


def _copies(slides: Sequence[Slide]) -> Iterator[tuple[Slide, Slide]]:
    """Yield each slide whose content came before, and the first slide with that content."""
    firsts: dict[str, Slide] = {}
    identities = content_identities(slide.path for slide in slides)
    for slide, identity in zip(slides, identities, strict=True):
        # A file that cannot be read is quarantined later, and nothing is learned from it.
        if isinstance(identity, str):
            first = firsts.setdefault(identity, slide)
            if first is not slide:
                yield slide, first


def _fault(path: Path) -> str | None:
    try:
        path.stat()
    except OSError as error:
        return error.strerror
    return None
