"""The one module that talks to OpenSlide."""

from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image, ImageColor

from lamella.slides.settings import ReaderName
from lamella.slides.source import CACHE_BYTES, Bounds, level0_position, part_inside, unreadable

OPENSLIDE_VERSION: str = openslide.__library_version__

# OpenSlide reads larger regions in pieces whose positions it rounds in level 0.
_PIECE_PX = 4096
_OPAQUE = 255
_TILE_PX = 256
# OpenSlide's own default.
_LEAST_CACHE_BYTES = 32 * 2**20


def detect_vendor(path: Path) -> str | None:
    """Return OpenSlide's name of a file's format; ``None`` where it knows none.

    Raises:
        SlideUnreadableError: the file is damaged.
    """
    try:
        return openslide.OpenSlide.detect_format(path)
    except openslide.OpenSlideError as error:
        raise unreadable(f"OpenSlide cannot open it ({error})", path) from error


class OpenSlideSource:
    """A slide that OpenSlide reads; a ``SlideSource``.

    OpenSlide is asked for positions in level 0. Where a level's downsample is no whole number,
    no such position may meet a pixel of the level exactly; OpenSlide then mixes neighbouring
    pixels, for a shift of at most half a pixel of level 0.

    Args:
        path: The file.
        cache_bytes: Most bytes of decoded tiles that are kept.

    Raises:
        SlideUnreadableError: OpenSlide does not open the file.
    """

    reader = ReaderName.OPENSLIDE

    def __init__(self, path: Path, *, cache_bytes: int = CACHE_BYTES) -> None:
        self.path = path
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise unreadable(
                "OpenSlide does not know this format",
                path,
                "Check that the file is complete, convert it, or remove its row",
            ) from error
        except (openslide.OpenSlideError, OSError) as error:
            raise unreadable(f"OpenSlide cannot open it ({error})", path) from error
        properties = self._slide.properties
        background = properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, "ffffff")
        self._background = ImageColor.getrgb(f"#{background}")
        self.vendor = str(properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"))
        self.level_sizes = tuple(self._slide.level_dimensions)
        self.level_downsamples = tuple(self._slide.level_downsamples)
        self._slide.set_cache(
            openslide.OpenSlideCache(min(self._wanted_cache_bytes(), cache_bytes))
        )
        self.bounds = self._bounds()
        self.mpp = (
            self._number(openslide.PROPERTY_NAME_MPP_X),
            self._number(openslide.PROPERTY_NAME_MPP_Y),
        )

    def close(self) -> None:
        """Close the file."""
        self._slide.close()

    def read_into(self, pixels: NDArray[np.uint8], x: int, y: int, level: int) -> None:
        """Fill an array with a region of a level; see ``SlideSource``."""
        part, left, top = part_inside(self, pixels, (x, y), level, background=self._background)
        for down in range(0, part.shape[0], _PIECE_PX):
            for across in range(0, part.shape[1], _PIECE_PX):
                piece = part[down : down + _PIECE_PX, across : across + _PIECE_PX]
                self._read_piece(piece, left + across, top + down, level)

    def _read_piece(self, part: NDArray[np.uint8], left: int, top: int, level: int) -> None:
        factor = self.level_downsamples[level]
        corner = (level0_position(left, factor), level0_position(top, factor))
        try:
            region = self._slide.read_region(corner, level, (part.shape[1], part.shape[0]))
        except openslide.OpenSlideError as error:
            raise unreadable(
                f"pixels at x={corner[0]}, y={corner[1]}, level {level} cannot be decoded "
                f"({error})",
                self.path,
            ) from error
        alpha = region.getchannel("A")
        if alpha.getextrema()[0] == _OPAQUE:
            canvas = region.convert("RGB")
        else:
            canvas = Image.new("RGB", region.size, self._background)
            canvas.paste(region, mask=alpha)
        part[:] = np.asarray(canvas)

    def _wanted_cache_bytes(self) -> int:
        """Return what three rows of tiles need, as patches are read row by row."""
        tile = int(self._slide.properties.get("openslide.level[0].tile-height", _TILE_PX))
        row = self.level_sizes[0][0] * tile * 4
        return max(3 * row, _LEAST_CACHE_BYTES)

    def _bounds(self) -> Bounds | None:
        names = (
            openslide.PROPERTY_NAME_BOUNDS_X,
            openslide.PROPERTY_NAME_BOUNDS_Y,
            openslide.PROPERTY_NAME_BOUNDS_WIDTH,
            openslide.PROPERTY_NAME_BOUNDS_HEIGHT,
        )
        properties = self._slide.properties
        if not all(name in properties for name in names):
            return None
        x, y, width, height = (int(properties[name]) for name in names)
        return x, y, width, height

    def _number(self, name: str) -> float | None:
        return float(self._slide.properties[name]) if name in self._slide.properties else None
