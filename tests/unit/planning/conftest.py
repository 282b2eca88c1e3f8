"""Two drawn slides of known size, made once."""

from pathlib import Path

import pytest

from lamella.cohort.table import Slide, read_slides
from lamella.drawing.cohort import draw_cohort
from lamella.drawing.settings import DrawingSettings


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """A table of two slides of 400 by 200 microns."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_cohort(folder, DrawingSettings(slides=2, width_um=400, height_um=200))
    return folder / "slides.tsv"


@pytest.fixture
def slides(drawn) -> list[Slide]:
    return read_slides(drawn)
