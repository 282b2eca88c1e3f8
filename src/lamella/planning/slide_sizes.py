"""How large the slides of a study are: a few are opened, their pixels are not read."""

from collections.abc import Sequence
from dataclasses import dataclass

from lamella.cohort.table import Slide
from lamella.errors import SlideError
from lamella.slides.open import open_source
from lamella.slides.resolution import checked_mpp
from lamella.slides.settings import ReaderName

MOST_OPENED = 200
"""Slides that are opened; of more, every so many-th in the order of the table."""


@dataclass(frozen=True)
class SlideSize:
    """How large a slide is.

    Attributes:
        slide: Its name.
        gigapixels: Pixels of its finest level, 10^9.
        area_mm2: What it shows, glass and tissue.
    """

    slide: str
    gigapixels: float
    area_mm2: float


def slide_sizes(
    slides: Sequence[Slide], reader: ReaderName, *, most: int = MOST_OPENED
) -> tuple[list[SlideSize], list[SlideError]]:
    """Return the sizes of some slides, and why others of them cannot be opened.

    Args:
        slides: All slides.
        reader: The reader that the study reads them with.
        most: Most slides that are opened.
    """
    step = -(-len(slides) // most)
    sizes, errors = [], []
    for slide in slides[::step]:
        try:
            sizes.append(_size(slide, reader))
        except SlideError as error:
            errors.append(error)
    return sizes, errors


def _size(slide: Slide, reader: ReaderName) -> SlideSize:
    source = open_source(slide.path, reader)
    try:
        width, height = source.level_sizes[0]
        told = (slide.mpp, slide.mpp) if slide.mpp is not None else source.mpp
        mpp = checked_mpp(*told, str(slide.path))
    finally:
        source.close()
    pixels = width * height
    return SlideSize(slide.slide, pixels / 1e9, pixels * mpp**2 / 1e6)
