"""What a slide shows, decided before the first pixel is drawn: the truth of the slide."""

from dataclasses import asdict, dataclass

import numpy as np

from lamella.drawing import REVISION
from lamella.drawing.polygons import Points, signed_distance, wobbly_ellipse
from lamella.drawing.scanners import SCANNERS, ScannerModel
from lamella.drawing.settings import Scanner
from lamella.stores.json_files import digest

Ink = tuple[int, int, int]

INKS: tuple[Ink, ...] = ((32, 52, 150), (22, 110, 72), (40, 40, 44))
"""Colours of pens: blue, green, black."""

_PLAN_STREAM = 0
_TUMOR_SIZES = (0.62, 0.34, 0.22)
_CANDIDATES = 64


@dataclass(frozen=True)
class SlideSpec:
    """All that decides the bytes of one drawn slide.

    Attributes:
        width_um: Width of the field in microns, at least 200.
        height_um: Height of the field in microns, at least 200.
        scanner: The scanner that the slide seems to come from.
        seed: Seed of the content, in ``[0, 2**32)``.
        tumor: Whether the slide shows tumour.
        pen: Whether a pen mark crosses the slide.
        fold: Whether the tissue is folded.
        blur: Whether a part is out of focus.
        tile_px: Edge length of a tile, a multiple of 16.
        jpeg_quality: Quality of the JPEG tiles.
    """

    width_um: float
    height_um: float
    scanner: Scanner = Scanner.APERIO
    seed: int = 0
    tumor: bool = True
    pen: bool = False
    fold: bool = False
    blur: bool = False
    tile_px: int = 256
    jpeg_quality: int = 85

    @property
    def model(self) -> ScannerModel:
        """The scanner's settings."""
        return SCANNERS[self.scanner]

    @property
    def field_px(self) -> tuple[int, int]:
        """Width and height of the field in level-0 pixels."""
        return round(self.width_um / self.model.mpp), round(self.height_um / self.model.mpp)

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits: slides with equal ones are equal to the bit."""
        return digest({"revision": REVISION, **asdict(self)})


@dataclass(frozen=True)
class Stroke:
    """A line with a width.

    Attributes:
        line: ``(n, 2)`` vertices in microns.
        half_width_um: Half the width of the line.
        ink: Colour of a pen; of no meaning for a fold.
    """

    line: Points
    half_width_um: float
    ink: Ink = (0, 0, 0)


@dataclass(frozen=True)
class Disc:
    """A round area: centre ``(2,)`` and radius in microns."""

    centre: Points
    radius_um: float


@dataclass(frozen=True)
class SlidePlan:
    """The truth of a slide, in microns from the top-left corner of the field.

    Attributes:
        spec: What was asked for.
        tissue: Outline of the tissue (the drawn border wobbles around it by up to 10 microns).
        tumors: Outlines of the tumours; empty for a slide without tumour.
        exclusions: Outlines of normal tissue inside tumours.
        pen: Pen mark, if any.
        fold: Fold, if any.
        blur: Area out of focus, if any.
    """

    spec: SlideSpec
    tissue: Points
    tumors: tuple[Points, ...]
    exclusions: tuple[Points, ...]
    pen: Stroke | None
    fold: Stroke | None
    blur: Disc | None

    def level0(self, points_um: Points) -> Points:
        """Return points in level-0 pixels of the full canvas, bounds offset included."""
        return np.asarray(points_um / self.spec.model.mpp + self.spec.model.offset_px)


def plan_slide(spec: SlideSpec) -> SlidePlan:
    """Decide what a slide shows.

    The tissue lies left of and below the middle; the first tumour, the largest, holds the
    exclusion.
    """
    rng = np.random.default_rng((spec.seed, _PLAN_STREAM, 0, 0))
    field = np.array([spec.width_um, spec.height_um])
    centre = field * (np.array([0.43, 0.55]) + rng.uniform(-0.03, 0.03, 2))
    tissue = wobbly_ellipse(centre, field * (0.40, 0.41), rng, wobble=0.24, vertices=96)
    tumors = _tumors(tissue, rng)
    exclusion = _exclusion(tumors[0], rng)
    pen, fold, blur = _pen(field, rng), _fold(tissue, rng), _blur(tissue, rng)
    return SlidePlan(
        spec=spec,
        tissue=tissue,
        tumors=tumors if spec.tumor else (),
        exclusions=(exclusion,) if spec.tumor else (),
        pen=pen if spec.pen else None,
        fold=fold if spec.fold else None,
        blur=blur if spec.blur else None,
    )


def _tumors(tissue: Points, rng: np.random.Generator) -> tuple[Points, ...]:
    low, high = tissue.min(axis=0), tissue.max(axis=0)
    radius_um = float((high - low).min() / 2)
    found: list[Points] = []
    for size in _TUMOR_SIZES[: int(rng.integers(1, len(_TUMOR_SIZES) + 1))]:
        candidates = rng.uniform(low, high, (_CANDIDATES, 2))
        depth = signed_distance(tissue, candidates)
        for other in found:
            depth = np.minimum(depth, -signed_distance(other, candidates))
        best = int(depth.argmax())
        # The largest tumour goes where there is room; the rest of the depth stays normal tissue.
        semi_axes = min(size * radius_um, 0.85 * float(depth[best])) * np.array([1.15, 0.85])
        found.append(wobbly_ellipse(candidates[best], semi_axes, rng, wobble=0.28, vertices=64))
    return tuple(found)


def _exclusion(tumor: Points, rng: np.random.Generator) -> Points:
    low, high = tumor.min(axis=0), tumor.max(axis=0)
    candidates = rng.uniform(low, high, (_CANDIDATES, 2))
    depth = signed_distance(tumor, candidates)
    best = int(depth.argmax())
    semi_axes = 0.55 * float(depth[best]) * np.array([1.0, 0.8])
    return wobbly_ellipse(candidates[best], semi_axes, rng, wobble=0.15, vertices=40)


def _pen(field: Points, rng: np.random.Generator) -> Stroke:
    start = field * rng.uniform((0.05, 0.05), (0.25, 0.3))
    end = field * rng.uniform((0.75, 0.2), (0.95, 0.6))
    bend = (start + end) / 2 + field * rng.uniform(-0.25, 0.25, 2)
    half_width_um = float(np.clip(0.018 * field.min(), 8.0, 120.0))
    return Stroke(_bow(start, bend, end), half_width_um, INKS[int(rng.integers(len(INKS)))])


def _fold(tissue: Points, rng: np.random.Generator) -> Stroke:
    first = int(rng.integers(len(tissue)))
    start, end = tissue[first], tissue[(first + len(tissue) * 3 // 8) % len(tissue)]
    bend = (start + end) / 2 + (tissue.mean(axis=0) - (start + end) / 2) * rng.uniform(0.0, 0.6)
    extent_um = float(np.ptp(tissue, axis=0).min())
    return Stroke(_bow(start, bend, end), float(np.clip(0.018 * extent_um, 6.0, 60.0)))


def _blur(tissue: Points, rng: np.random.Generator) -> Disc:
    low, high = tissue.min(axis=0), tissue.max(axis=0)
    candidates = rng.uniform(low, high, (_CANDIDATES, 2))
    depth = signed_distance(tissue, candidates)
    well_inside = candidates[depth >= 0.5 * depth.max()]
    return Disc(well_inside[0], float(0.2 * (high - low).min()))


def _bow(start: Points, bend: Points, end: Points) -> Points:
    t = np.linspace(0.0, 1.0, 13)[:, None]
    return np.asarray((1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end)
