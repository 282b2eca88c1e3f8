"""Drawn slides with one fault each, and where on their overview the truth lies."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import tifffile

from lamella.drawing.plan import SlidePlan, SlideSpec, Stroke, plan_slide
from lamella.drawing.polygons import line_distance, signed_distance
from lamella.drawing.settings import Scanner
from lamella.drawing.slide import draw_slide
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.units import Level0Pixels


@dataclass(frozen=True)
class Drawn:
    """A drawn slide, seen in cells of 8 µm."""

    path: Path
    plan: SlidePlan

    @property
    def cell_l0(self) -> Level0Pixels:
        return Level0Pixels(round(8.0 / self.plan.spec.model.mpp))

    @cached_property
    def overview(self) -> np.ndarray:
        with SlideReader(self.path, DEFAULT_READING) as reader:
            return reader.read_overview(self.cell_l0)

    @cached_property
    def middles_um(self) -> np.ndarray:
        """``(cells, 2)`` middles of the cells, microns from the field's corner."""
        model = self.plan.spec.model
        y, x = np.indices(self.overview.shape[:2]).reshape(2, -1)
        return ((np.stack([x, y], 1) + 0.5) * self.cell_l0 - model.offset_px) * model.mpp

    def tissue(self) -> np.ndarray:
        return self._cells(signed_distance(self.plan.tissue, self.middles_um) > 0)

    def stroke(self, stroke: Stroke) -> np.ndarray:
        return self._cells(line_distance(stroke.line, self.middles_um) <= stroke.half_width_um)

    def out_of_focus(self) -> np.ndarray:
        disc = self.plan.blur
        distance = line_distance(np.stack([disc.centre, disc.centre]), self.middles_um)
        return self._cells(distance <= disc.radius_um) & self.tissue()

    def _cells(self, inside: np.ndarray) -> np.ndarray:
        return inside.reshape(self.overview.shape[:2])


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Drawn]:
    """Draws a slide of 2 by 1.5 mm, each one once."""
    folder = tmp_path_factory.mktemp("drawn")
    made: dict[SlideSpec, Drawn] = {}

    def draw(scanner: Scanner, seed: int, **faults: bool) -> Drawn:
        spec = SlideSpec(2000.0, 1500.0, scanner=scanner, seed=seed, **faults)
        if spec not in made:
            path = folder / f"{spec.fingerprint[:12]}{spec.model.suffix}"
            draw_slide(path, spec)
            made[spec] = Drawn(path, plan_slide(spec))
        return made[spec]

    return draw


@pytest.fixture(scope="session")
def agreement() -> Callable[..., tuple[float, float, float]]:
    return _agreement


def _agreement(found: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Return precision, recall and intersection over union."""
    both = (found & truth).sum()
    return both / found.sum(), both / truth.sum(), both / (found | truth).sum()


@pytest.fixture
def flat_slide(tmp_path: Path) -> Callable[..., Path]:
    """Writes pixels as a slide that OpenSlide reads, of one level; lossless."""

    def write(pixels: np.ndarray, *, mpp: float = 0.8) -> Path:
        path = tmp_path / f"flat-{len(list(tmp_path.glob('flat-*')))}.tiff"
        resolution = (1e4 / mpp, 1e4 / mpp)
        tifffile.imwrite(
            path,
            pixels,
            tile=(256, 256),
            photometric="rgb",
            compression="deflate",
            resolution=resolution,
            resolutionunit="CENTIMETER",
        )
        return path

    return write
