"""Read an annotation, whatever its format: the file's content tells, not its name."""

from pathlib import Path

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from lamella.annotations.asap import read_asap
from lamella.annotations.frame import Frame
from lamella.annotations.outlines import Outline, tumor_area
from lamella.annotations.qupath import read_qupath
from lamella.annotations.raster import Raster, is_raster, read_raster
from lamella.annotations.settings import AnnotationSettings


def read_tumor(path: Path, settings: AnnotationSettings, *, frame: Frame) -> BaseGeometry | Raster:
    """Return the annotated tumour of a slide.

    Args:
        path: ASAP XML, QuPath GeoJSON, or a PNG or TIFF image whose pixels that are not zero are
            tumour.
        settings: Which groups are tumour, and which are cut out of it.
        frame: What the file covers, ``settings.origin`` considered.

    Returns:
        Polygons in level-0 pixels of the full canvas, or the image; empty when nothing is drawn.

    Raises:
        AnnotationError: the file cannot be used; it says why.
    """
    if is_raster(path):
        return read_raster(path, frame)
    area = tumor_area(read_outlines(path), settings, path)
    return shapely.transform(area, lambda points: np.add(points, (frame.x, frame.y)))


def read_outlines(path: Path) -> list[Outline]:
    """Return the outlines of an ASAP or QuPath file, in the file's own coordinates.

    Raises:
        AnnotationError: the file is neither, or cannot be read.
    """
    return read_qupath(path) if _is_json(path) else read_asap(path)


def _is_json(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(256).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in {b"{", b"["}
    except OSError:
        return False
