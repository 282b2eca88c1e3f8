"""What every reader of slide files offers, and where its pixels lie."""

import math
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lamella.errors import SlideUnreadableError
from lamella.slides.settings import ReaderName

CACHE_BYTES = 384 * 2**20
"""Decoded pixels that a reader keeps: two rows of 512-pixel tiles of a slide 100,000 wide."""

Bounds = tuple[int, int, int, int]
"""The scanned area ``(x, y, width, height)`` in level-0 pixels."""

MppXy = tuple[float | None, float | None]
"""Microns per pixel in x and y; ``None`` where a file does not say."""


class SlideSource(Protocol):
    """An open slide file.

    Attributes:
        reader: Which reader this is.
        vendor: The file's format, by OpenSlide's names where it knows it.
        level_sizes: ``(width, height)`` of every level in its own pixels, finest first.
        level_downsamples: Level-0 pixels per pixel of each level.
        bounds: The scanned area, where the file says it. Never added to a position.
        mpp: Microns per pixel of level 0 in x and y as the file says them; ``None`` where it
            does not.
    """

    reader: ReaderName
    vendor: str
    level_sizes: tuple[tuple[int, int], ...]
    level_downsamples: tuple[float, ...]
    bounds: Bounds | None
    mpp: MppXy

    def read_into(self, pixels: NDArray[np.uint8], x: int, y: int, level: int) -> None:
        """Fill an array with a region of a level.

        Its first pixel is the one at ``level_position`` of ``(x, y)``; no level is read between
        its pixels.

        Args:
            pixels: ``(height, width, 3)`` uint8, RGB, any strides; filled completely. Where
                the file has no pixels it shows the background, white if the file names none.
            x: Left border in level-0 pixels of the full canvas; may lie outside.
            y: Top border.
            level: Level of the pyramid.

        Raises:
            SlideUnreadableError: pixels cannot be decoded.
        """
        ...

    def close(self) -> None:
        """Close the file and free what was kept of it."""
        ...


def part_inside(
    source: SlideSource,
    pixels: NDArray[np.uint8],
    corner_l0: tuple[int, int],
    level: int,
    *,
    background: int | tuple[int, ...],
) -> tuple[NDArray[np.uint8], int, int]:
    """Place a region in a level; its pixels outside the level show the background.

    Args:
        source: The file.
        pixels: What ``read_into`` is to fill.
        corner_l0: Its left and top border in level-0 pixels.
        level: Level of the pyramid.
        background: Grey or RGB.

    Returns:
        The part of ``pixels`` that lies inside, empty where none does, and the pixel
        ``(left, top)`` of the level where it begins.
    """
    factor, (width, height) = source.level_downsamples[level], source.level_sizes[level]
    left, top = level_position(corner_l0[0], factor), level_position(corner_l0[1], factor)
    right, bottom = left + pixels.shape[1], top + pixels.shape[0]
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return pixels, left, top
    pixels[:] = background
    x0, y0 = max(left, 0), max(top, 0)
    part = pixels[y0 - top : max(min(bottom, height) - top, 0)]
    return part[:, x0 - left : max(min(right, width) - left, 0)], x0, y0


def level_position(position_l0: int, downsample: float) -> int:
    """Return the pixel of a level that is nearest to a position in level 0; halves go up."""
    return math.floor(position_l0 / downsample + 0.5)


def level0_position(position: int, downsample: float) -> int:
    """Return the position in level 0 that is nearest to a pixel of a level; halves go up."""
    return math.floor(position * downsample + 0.5)


def downsamples(sizes: tuple[tuple[int, int], ...]) -> tuple[float, ...]:
    """Return the level-0 pixels per pixel of each level: the mean of x and y, as in OpenSlide."""
    width, height = sizes[0]
    return tuple((height / size[1] + width / size[0]) / 2 for size in sizes)


def unreadable(what: str, path: Path, remedy: str | None = None) -> SlideUnreadableError:
    """Return the error of a file that cannot be read."""
    return SlideUnreadableError(what, str(path), remedy or "Copy the file anew, or remove its row")
