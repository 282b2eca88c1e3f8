"""Pictures that travel inside the page."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from lamella.predict.heatmap import LEGEND_PX, draw_outline
from lamella.tissue.mask import read_mask

_THUMBNAIL_PX = 200
_JPEG_QUALITY = 82


def picture(image: Image.Image) -> str:
    """Return an image as a data URI, JPEG."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def small_picture(path: Path, *, width_px: int) -> str:
    """Return a picture file as a data URI, at most ``width_px`` wide."""
    with Image.open(path) as image:
        shown = image.convert("RGB")
    shown.thumbnail((width_px, 4 * width_px), Image.Resampling.LANCZOS)
    return picture(shown)


def heatmap_picture(path: Path, *, width_px: int) -> str:
    """Return a heatmap without its legend as a data URI; the page has one legend for all."""
    with Image.open(path) as image:
        shown = image.convert("RGB").crop((0, 0, image.width, image.height - LEGEND_PX))
    shown.thumbnail((width_px, 4 * width_px), Image.Resampling.LANCZOS)
    return picture(shown)


def outlined_thumbnail(thumbnail: Path, mask: Path) -> str:
    """Return a slide's thumbnail with the outline of its tissue, as a data URI."""
    with Image.open(thumbnail) as image:
        shown = image.convert("RGB")
    shown.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.LANCZOS)
    outlined = draw_outline(np.asarray(shown), read_mask(mask).pixels)
    return picture(Image.fromarray(outlined))
