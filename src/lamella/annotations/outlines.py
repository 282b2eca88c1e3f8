"""Outlines with their groups, whatever file they come from, and what they add up to."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from lamella.annotations.settings import AnnotationSettings
from lamella.errors import AnnotationError

logger = logging.getLogger(__name__)

UNGROUPED = "none"
"""Group of an outline that has none."""


@dataclass(frozen=True)
class Outline:
    """One drawn area.

    Attributes:
        name: What the user called it; may be empty.
        group: Its group or class; ``none`` where it has none.
        area: The area in the file's own coordinates, ``(x, y)``, valid.
    """

    name: str
    group: str
    area: BaseGeometry


def tumor_area(
    outlines: Iterable[Outline], settings: AnnotationSettings, path: Path
) -> BaseGeometry:
    """Return the union of the tumour's outlines without the excluded ones.

    Raises:
        AnnotationError: an outline is of an unknown group.
    """
    tumor: list[BaseGeometry] = []
    excluded: list[BaseGeometry] = []
    for outline in outlines:
        group = outline.group.strip().lower()
        if group in _lower(settings.tumor_groups):
            tumor.append(outline.area)
        elif group in _lower(settings.exclusion_groups):
            excluded.append(outline.area)
        elif group not in _lower(settings.ignored_groups):
            raise _unknown_group(outline, path)
    return shapely.union_all(tumor).difference(shapely.union_all(excluded))


def valid_area(geometry: BaseGeometry) -> BaseGeometry:
    """Return the areas of a geometry; a self-intersecting outline is made valid by its linework."""
    areas = shapely.make_valid(shapely.force_2d(geometry), method="structure")
    return areas if isinstance(areas, Polygon | MultiPolygon) else MultiPolygon()


def report_left_out(path: Path, kinds: Sequence[str]) -> None:
    """Warn, in one line, of objects that are no areas."""
    if kinds:
        counted = ", ".join(f"{n} {kind}" for kind, n in sorted(Counter(kinds).items()))
        logger.warning("%s: left out, because they outline no area: %s", path, counted)


def _lower(groups: Iterable[str]) -> set[str]:
    return {group.lower() for group in groups}


def _unknown_group(outline: Outline, path: Path) -> AnnotationError:
    return AnnotationError(
        f"outline {outline.name!r} is of the unknown group {outline.group!r}",
        str(path),
        "Name the group in `patches.annotation`: tumor_groups, exclusion_groups or ignored_groups",
    )
