"""Check the slide table before any other job: every file must be there."""

import logging
from collections.abc import Iterator
from pathlib import Path

from lamella.cohort.table import Slide, read_slides, write_slides
from lamella.errors import CohortError, CohortErrors

logger = logging.getLogger(__name__)


def check_cohort(*, table: Path, output: Path) -> None:
    """Write the slide table with absolute paths and all columns.

    Raises:
        CohortErrors: rows are malformed or files are missing; all of them are named at once.
    """
    slides = read_slides(table)
    errors = [error for slide in slides for error in _missing_files(slide, table)]
    if errors:
        raise CohortErrors(errors)
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


def _fault(path: Path) -> str | None:
    try:
        path.stat()
    except OSError as error:
        return error.strerror
    return None
