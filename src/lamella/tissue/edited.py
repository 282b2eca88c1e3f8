"""Masks that the user drew or edited, on the grid of our own."""

from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.coords import CoordinateSequence
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry
from skimage.draw import polygon

from lamella.annotations.frame import Frame
from lamella.annotations.raster import Raster, is_raster, read_pixels, read_raster
from lamella.annotations.read import read_outlines
from lamella.tissue.overview import Area
from lamella.units import Level0Pixels


def read_edited(path: Path, shape: tuple[int, int], cell_l0: Level0Pixels, *, frame: Frame) -> Area:
    """Return the tissue of a mask that the user made: cells whose middle is in it.

    Args:
        path: PNG or TIFF, whose pixels that are not zero are tissue, or the outlines of QuPath or
            ASAP, whatever their class.
        shape: Rows and columns of the slide's grid.
        cell_l0: Edge length of a cell.
        frame: What the file covers.

    Returns:
        ``[y, x]``. A mask of exactly our own size, such as one of ours with some pixels painted
        over, is taken pixel by pixel.

    Raises:
        AnnotationError: the file cannot be read, or is of another aspect ratio.
    """
    if not is_raster(path):
        outlined = shapely.union_all([drawn.area for drawn in read_outlines(path)])
        return _filled(outlined, shape, cell_l0, frame)
    if (frame.x, frame.y) == (0, 0) and (pixels := read_pixels(path)).shape == shape:
        return pixels
    return _sampled(read_raster(path, frame), shape, cell_l0)


def _sampled(drawn: Raster, shape: tuple[int, int], cell_l0: Level0Pixels) -> Area:
    frame, size = drawn.frame, drawn.pixels.shape
    at, inside = [], []
    for cells, start, extent, pixels in zip(
        shape, (frame.y, frame.x), (frame.height, frame.width), size, strict=True
    ):
        middle = (2 * np.arange(cells, dtype=np.int64) + 1) * cell_l0 - 2 * start
        pixel = middle * pixels // (2 * extent)
        at.append(np.clip(pixel, 0, pixels - 1))
        inside.append((pixel >= 0) & (pixel < pixels))
    return np.asarray(drawn.pixels[np.ix_(*at)] & np.logical_and.outer(*inside))


def _filled(
    area: BaseGeometry, shape: tuple[int, int], cell_l0: Level0Pixels, frame: Frame
) -> Area:
    grid = shapely.transform(
        area, lambda points: (np.add(points, (frame.x, frame.y))) / cell_l0 - (0.5, 0.5)
    )
    filled = np.zeros(shape, dtype=bool)
    # Polygons do not overlap; one that lies in the hole of another is smaller and comes later.
    for part in sorted(shapely.get_parts(grid), key=_outer_area, reverse=True):
        filled[_inside(part.exterior.coords, shape)] = True
        for hole in part.interiors:
            filled[_inside(hole.coords, shape)] = False
    return filled


def _outer_area(part: Polygon) -> float:
    return float(Polygon(part.exterior).area)


def _inside(ring: CoordinateSequence, shape: tuple[int, int]) -> tuple[NDArray[np.int64], ...]:
    x, y = np.asarray(ring).T
    return polygon(y, x, shape)  # type: ignore[no-any-return]
