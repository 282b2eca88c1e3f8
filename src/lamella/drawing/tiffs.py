"""The one module that writes slide files: TIFF pages as OpenSlide expects them of a scanner."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from lamella.drawing.plan import SlideSpec
from lamella.drawing.settings import Scanner

LEICA_NAMESPACE = "http://www.leica-microsystems.com/scn/2010/10/01"

_SOFTWARE_TAG = 305
_SOFTWARE = "Lamella drawing "
_NM_PER_UM = 1000
_UM_PER_CM = 10_000.0
_CLASSIC_LIMIT = 2**32

Sizes = Sequence[tuple[int, int]]
"""Width and height of every level, finest first."""


def encode_tile(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """Return a tile as JPEG: YCbCr, chroma halved along x.

    Args:
        pixels: ``(height, width, 3)`` RGB.
        quality: JPEG quality, 1 … 100.
    """
    return bytes(
        imagecodecs.jpeg8_encode(
            pixels, level=quality, colorspace="RGB", outcolorspace="YCBCR", subsampling="422"
        )
    )


def write_tiff(path: Path, spec: SlideSpec, sizes: Sizes, tiles: Sequence[Iterator[bytes]]) -> None:
    """Write a pyramid, level by level; the tiles of a level are asked for only at its turn.

    Args:
        path: File to write.
        spec: The slide; its fingerprint becomes the Software tag.
        sizes: Width and height of every level.
        tiles: Compressed tiles of every level, row by row.
    """
    width, height = sizes[0]
    with tifffile.TiffWriter(path, bigtiff=3 * width * height > _CLASSIC_LIMIT) as writer:
        for level, (size, encoded) in enumerate(zip(sizes, tiles, strict=True)):
            per_cm = _UM_PER_CM * size[0] / (width * spec.model.mpp)
            writer.write(
                encoded,
                shape=(size[1], size[0], 3),
                dtype=np.uint8,
                tile=(spec.tile_px, spec.tile_px),
                photometric="ycbcr",
                subsampling=(2, 1),
                compression="jpeg",
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                description=_description(spec, sizes) if level == 0 else None,
                software=_SOFTWARE + spec.fingerprint if level == 0 else False,
                metadata=None,
            )


def stored_fingerprint(path: Path) -> str | None:
    """Return the fingerprint of what a drawn slide was drawn from.

    Returns:
        ``None`` for a file that is absent, no TIFF, or not drawn by Lamella.
    """
    if not path.is_file():
        return None
    try:
        with tifffile.TiffFile(path) as file:
            software = str(file.pages.first.tags.valueof(_SOFTWARE_TAG, ""))
    except (tifffile.TiffFileError, IndexError):  # no TIFF; or none of its pages is there
        return None
    return software.removeprefix(_SOFTWARE) if software.startswith(_SOFTWARE) else None


def _description(spec: SlideSpec, sizes: Sizes) -> str:
    describe = {Scanner.APERIO: _aperio_description, Scanner.LEICA: _leica_description}
    return describe[spec.scanner](spec, sizes)


def _aperio_description(spec: SlideSpec, sizes: Sizes) -> str:
    width, height = sizes[0]
    tiles = f"({spec.tile_px}x{spec.tile_px}) JPEG/YCC Q={spec.jpeg_quality}"
    return (
        f"Aperio (drawn by Lamella)\r\n{width}x{height} [0,0 {width}x{height}] {tiles}"
        f"|AppMag = {spec.model.objective}|MPP = {spec.model.mpp}"
    )


def _leica_description(spec: SlideSpec, sizes: Sizes) -> str:
    """Return the collection: lengths in nanometres, the field at its offset on the canvas."""
    nm_per_px = round(spec.model.mpp * _NM_PER_UM)
    width, height = sizes[0]
    offset_x, offset_y = (length * nm_per_px for length in spec.model.offset_px)
    canvas_x, canvas_y = (length * nm_per_px for length in spec.model.canvas_px(sizes[0]))
    dimensions = "".join(
        f'<dimension sizeX="{size[0]}" sizeY="{size[1]}" r="{level}" ifd="{level}"/>'
        for level, size in enumerate(sizes)
    )
    return (
        f'<?xml version="1.0"?><scn xmlns={quoteattr(LEICA_NAMESPACE)}>'
        f'<collection name="drawn" sizeX="{canvas_x}" sizeY="{canvas_y}"><image name="field">'
        "<creationDate>2020-02-29T00:00:00Z</creationDate>"
        '<device model="Lamella drawing" version="1"/>'
        f'<pixels sizeX="{width}" sizeY="{height}">{dimensions}</pixels>'
        f'<view sizeX="{width * nm_per_px}" sizeY="{height * nm_per_px}"'
        f' offsetX="{offset_x}" offsetY="{offset_y}"/>'
        f"<scanSettings><objectiveSettings><objective>{spec.model.objective}</objective>"
        "</objectiveSettings><illuminationSettings><numericalAperture>0.4</numericalAperture>"
        "<illuminationSource>brightfield</illuminationSource></illuminationSettings>"
        "</scanSettings></image></collection></scn>"
    )
