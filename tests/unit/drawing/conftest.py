"""Two drawn slides that many tests look at: one of each scanner, wider than high."""

from pathlib import Path

import pytest

from lamella.drawing.plan import SlideSpec
from lamella.drawing.settings import Scanner
from lamella.drawing.slide import draw_slide

SEED = 5


@pytest.fixture(scope="session", params=list(Scanner), ids=str)
def spec(request):
    return SlideSpec(600.0, 420.0, scanner=request.param, seed=SEED)


@pytest.fixture(scope="session")
def slide_path(spec, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("drawn") / f"slide{spec.model.suffix}"
    draw_slide(path, spec)
    return path
