"""Reads plain images that are no slide files: PNG, JPEG, TIFF without tiles."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lamella.slides.settings import ReaderName
from lamella.slides.source import Bounds, MppXy, part_inside, unreadable

_FORMATS = ("PNG", "JPEG", "TIFF")
# While it is decoded, an image takes several bytes a pixel, a progressive JPEG the most.
_MOST_PIXELS = 90_000_000
_STRIP_ROWS = 256
_WHITE = 255
# What comes out of Pillow where a file is damaged; its error for unknown formats is an OSError.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError)
_REMEDY = "Convert it to RGB with 8 bits per channel, or remove its row"


def is_image(path: Path) -> bool:
    """Tell whether a file is a plain image, of any size or kind."""
    try:
        with _open(path):
            return True
    except _DAMAGE:
        return False


class ImageSource:
    """A plain image; a ``SlideSource`` with one level.

    Its pixels are kept decoded. Resolution tags of such files are those of screens and printers;
    its microns per pixel come from the slide table alone.

    Raises:
        SlideUnreadableError: the file is no image, damaged, too large, or not 8-bit RGB.
    """

    reader = ReaderName.IMAGE
    bounds: Bounds | None = None
    mpp: MppXy = (None, None)
    level_downsamples: tuple[float, ...] = (1.0,)

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with _open(path) as image:
                _refuse_others(image, path)
                self.vendor = str(image.format).lower()
                self._pixels = _decoded(image)
        except UnidentifiedImageError as error:
            raise unreadable("it is no PNG, JPEG or TIFF image", path) from error
        except _DAMAGE as error:
            raise unreadable(f"the image cannot be decoded ({error})", path) from error
        self.level_sizes: tuple[tuple[int, int], ...] = (
            (self._pixels.shape[1], self._pixels.shape[0]),
        )

    def close(self) -> None:
        """Free the pixels."""
        self._pixels = np.empty((0, 0, 3), np.uint8)

    def read_into(self, pixels: NDArray[np.uint8], x: int, y: int, level: int) -> None:
        """Fill an array with a region; see ``SlideSource``."""
        part, left, top = part_inside(self, pixels, (x, y), level, background=_WHITE)
        height, width = part.shape[:2]
        part[:] = self._pixels[top : top + height, left : left + width]


def _open(path: Path) -> Image.Image:
    # Its limit against decompression bombs warns; ours, below, is an error.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(path, formats=_FORMATS)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _refuse_others(image: Image.Image, path: Path) -> None:
    width, height = image.size
    if width * height > _MOST_PIXELS:
        raise unreadable(
            f"an image of {width} x {height} pixels is read as a whole and too large for that",
            path,
            "Convert it to a tiled pyramid, such as with `vips tiffsave --tile --pyramid`",
        )
    if getattr(image, "n_frames", 1) > 1:
        raise unreadable("the file holds several images, but no tiles", path, _REMEDY)
    raw = [part[3] for part in getattr(image, "tile", [])]
    if image.mode not in ("RGB", "RGBA") or any("16" in str(mode) for mode in raw):
        raise unreadable(
            f"it is no 8-bit RGB image (its mode is {image.mode}); only brightfield slides are "
            "read, no fluorescence and no multi-channel images",
            path,
            _REMEDY,
        )


def _decoded(image: Image.Image) -> NDArray[np.uint8]:
    """Return ``[y, x, channel]``, copied out of Pillow in strips: it never holds two copies."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, image.height)
        part = image.crop((0, top, image.width, bottom))
        pixels[top:bottom] = np.asarray(_on_white(part))
    return pixels


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    canvas = Image.new("RGB", image.size, (_WHITE,) * 3)
    canvas.paste(image, mask=image.getchannel("A"))
    return canvas
