"""Areas that were painted: images whose pixels that are not zero mean something."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lamella.annotations.frame import Frame
from lamella.errors import AnnotationError

MOST_PIXELS = 100_000_000
"""Larger images are refused, or read at a lower level where they have one: with it every area is
exact in 64 bits, and the table of its sums, of 4 bytes a pixel, fits a worker."""

_STRIP_PX = 4_000_000

Table = NDArray[np.signedinteger[Any]]

_PNG = (b"\x89PNG",)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class Raster:
    """A painted area.

    Attributes:
        pixels: ``[y, x]`` bool, stretched over the frame.
        frame: The rectangle of the slide that the image covers.
    """

    pixels: NDArray[np.bool_]
    frame: Frame

    @property
    def is_empty(self) -> bool:
        """Whether no pixel is painted."""
        return not self.pixels.any()

    def shares(
        self, x: NDArray[np.int64], y: NDArray[np.int64], edge_l0: int
    ) -> NDArray[np.float64]:
        """Return the share of square windows that is painted.

        Args:
            x: ``(n,)`` left borders in level-0 pixels.
            y: ``(n,)`` top borders.
            edge_l0: Edge length of the windows.

        Returns:
            ``(n,)`` shares in ``[0, 1]``; outside of the frame nothing is painted.
        """
        shares: NDArray[np.float64] = self.areas(x, y, edge_l0) / self.window_area(edge_l0)
        return shares

    def areas(self, x: NDArray[np.int64], y: NDArray[np.int64], edge_l0: int) -> NDArray[np.int64]:
        """Return the painted area of square windows, exactly.

        Areas are integers, whatever the ratio of pixels to level-0 pixels: lengths are counted in
        parts of a level-0 pixel, as many as the image has columns or rows.

        Returns:
            ``(n,)`` areas, of which ``window_area`` is a whole window.
        """
        rows, columns = self.pixels.shape
        left, top = (x - self.frame.x) * columns, (y - self.frame.y) * rows
        return covered_areas(
            self._table,
            (self.frame.width, self.frame.height),
            corners=(left, top),
            size=(int(edge_l0) * columns, int(edge_l0) * rows),
        )

    @cached_property
    def _table(self) -> Table:
        return summed_areas(self.pixels)

    def window_area(self, edge_l0: int) -> int:
        """Return the area of a window in the unit of ``areas``."""
        rows, columns = self.pixels.shape
        area: int = int(edge_l0) ** 2 * columns * rows
        return area


def summed_areas(pixels: NDArray[np.bool_]) -> Table:
    """Return for every corner of cells how many cells above and left of it are set.

    Args:
        pixels: ``[y, x]`` cells.

    Returns:
        ``[y, x]``, two more each way than cells: the last ones are never reached by an area.

    Source:
        Summed-area table: Crow, SIGGRAPH 1984, doi:10.1145/800031.808600.
    """
    rows, columns = pixels.shape
    narrow = pixels.size <= np.iinfo(np.int32).max
    table: Table = np.zeros((rows + 2, columns + 2), dtype=np.int32 if narrow else np.int64)
    table[1:-1, 1:-1] = pixels
    # In place: images of 100 megapixels come here.
    np.cumsum(table, axis=0, out=table)
    np.cumsum(table, axis=1, out=table)
    return table


def covered_areas(
    table: Table,
    cell: tuple[int, int],
    *,
    corners: tuple[NDArray[np.int64], NDArray[np.int64]],
    size: tuple[int, int],
) -> NDArray[np.int64]:
    """Return the area of set cells in each of many equal windows, exactly.

    Args:
        table: ``summed_areas`` of the cells; the first one's corner is at (0, 0).
        cell: Width and height of a cell, in any unit.
        corners: ``(n,)`` left and ``(n,)`` top borders of the windows, in the same unit.
        size: Width and height of the windows.

    Returns:
        ``(n,)`` areas; what lies outside the cells counts nothing.
    """
    rows, columns = (extent - 2 for extent in table.shape)
    width, height = cell

    def area_before(right: NDArray[np.int64], bottom: NDArray[np.int64]) -> NDArray[np.int64]:
        i, part_y = np.divmod(np.clip(bottom, 0, rows * height), height)
        j, part_x = np.divmod(np.clip(right, 0, columns * width), width)
        # Counts fit 32 bits, areas do not.
        whole, below, beside, corner = (
            table[row, column].astype(np.int64)
            for row, column in ((i, j), (i + 1, j), (i, j + 1), (i + 1, j + 1))
        )
        inside: NDArray[np.int64] = (
            whole * (width * height)
            + (below - whole) * part_y * width
            + (beside - whole) * part_x * height
            + (corner - below - beside + whole) * part_x * part_y
        )
        return inside

    (left, top), (window_width, window_height) = corners, size
    right, bottom = left + window_width, top + window_height
    # A step over 2**63 on the way would not matter: the difference is small and exact again.
    return (
        area_before(right, bottom)
        - area_before(left, bottom)
        - area_before(right, top)
        + area_before(left, top)
    )


def is_raster(path: Path) -> bool:
    """Return whether a file begins like a PNG or TIFF image; False where it cannot be read."""
    return _begins_with(path, _PNG + _TIFF)


def read_raster(path: Path, frame: Frame) -> Raster:
    """Return a painted image.

    Args:
        path: As for ``read_pixels``.
        frame: What the image covers; its aspect ratio must be the image's, to one pixel.

    Raises:
        AnnotationError: the file cannot be read, is too large, or has another aspect ratio.
    """
    pixels = read_pixels(path)
    rows, columns = pixels.shape
    if abs(columns * frame.height - rows * frame.width) > max(frame.width, frame.height):
        raise AnnotationError(
            f"the image of {columns} x {rows} pixels has not the aspect ratio of the slide's "
            f"{frame.width} x {frame.height}",
            str(path),
            "Export it over the whole slide, or see the setting of its origin",
        )
    return Raster(pixels, frame)


def read_pixels(path: Path) -> NDArray[np.bool_]:
    """Return which pixels of an image are painted, ``[y, x]``.

    Args:
        path: PNG or TIFF. A pixel is painted when any of its channels but alpha is not zero; of
            a palette the numbers count, not the colours. Of a pyramid the finest level of at
            most 100 megapixels is read.

    Raises:
        AnnotationError: the file cannot be read or is too large.
    """
    return _read_tiff(path) if _begins_with(path, _TIFF) else _read_png(path)


def _begins_with(path: Path, magic: tuple[bytes, ...]) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(magic)
    except OSError:
        return False


def _read_png(path: Path) -> NDArray[np.bool_]:
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; the limit here is another one.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise _too_large(path)
                return np.concatenate(
                    [
                        _painted(np.asarray(image.crop((0, top, image.width, bottom))))
                        for top, bottom in _strips(image.height, image.width)
                    ]
                )
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except (OSError, SyntaxError, UnidentifiedImageError) as error:
        raise _unreadable(path, str(error)) from error


def _read_tiff(path: Path) -> NDArray[np.bool_]:
    try:
        with tifffile.TiffFile(path) as file:
            for level in file.series[0].levels:
                if level.sizes["height"] * level.sizes["width"] <= MOST_PIXELS:
                    pixels = _channels_last(level, path)
                    strips = _strips(*pixels.shape[:2])
                    return np.concatenate([_painted(pixels[top:end]) for top, end in strips])
    except (OSError, KeyError, ValueError, tifffile.TiffFileError) as error:
        raise _unreadable(path, str(error)) from error
    raise _too_large(path)


def _channels_last(level: tifffile.TiffPageSeries, path: Path) -> NDArray[np.generic]:
    pixels: NDArray[np.generic] = np.asarray(level.asarray())
    others = level.axes.replace("Y", "").replace("X", "")
    if others not in {"", "S"}:
        raise _unreadable(path, f"it has the axes {level.axes}")
    return np.moveaxis(pixels, level.axes.index("S"), -1) if others else pixels


def _strips(height: int, width: int) -> list[tuple[int, int]]:
    """Return first and last row of parts of an image, so that no copy is of all of it."""
    rows = max(1, _STRIP_PX // width)
    return [(top, min(top + rows, height)) for top in range(0, height, rows)]


def _painted(pixels: NDArray[np.generic]) -> NDArray[np.bool_]:
    if pixels.ndim == 2:
        return np.asarray(pixels != 0)
    colours = pixels.shape[2] - (pixels.shape[2] in {2, 4})
    return np.asarray((pixels[:, :, :colours] != 0).any(axis=2))


def _unreadable(path: Path, why: str) -> AnnotationError:
    return AnnotationError(
        f"the image cannot be read ({why})", str(path), "Save it again as PNG or TIFF"
    )


def _too_large(path: Path) -> AnnotationError:
    return AnnotationError(
        f"the image has more than {MOST_PIXELS // 1_000_000} million pixels",
        str(path),
        "Save it smaller, at any size with the aspect ratio of the slide",
    )
