"""Probabilities or numbers as colours over the picture of a slide."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from lamella.stores.atomic import replacing
from lamella.stores.json_files import digest

LONGEST_PX = 800
"""Longest side of a slide's picture."""

LEGEND_PX = 44
"""Height of the legend below it."""

_KEY = "lamella"
_COLOURS = (colormaps["RdYlBu_r"](np.linspace(0.0, 1.0, 256))[:, :3] * 255).round().astype(np.uint8)
_OUTLINE = (40, 40, 40)
_OPACITY = 0.62
_MARGIN_PX = 12


@dataclass(frozen=True)
class Overview:
    """The whole slide, small.

    Attributes:
        thumbnail: RGB picture of the area that the mask covers.
        mask: ``[y, x]`` bool, True = tissue.
        cell_l0: Edge length of a mask pixel in level-0 pixels.
    """

    thumbnail: Image.Image
    mask: NDArray[np.bool_]
    cell_l0: int

    @property
    def size_l0(self) -> tuple[int, int]:
        """Width and height of the area in level-0 pixels."""
        rows, columns = self.mask.shape
        return columns * self.cell_l0, rows * self.cell_l0

    def size_px(self, longest: int) -> tuple[int, int]:
        """Return width and height of a picture with the given longest side."""
        width, height = self.size_l0
        scale = longest / max(width, height)
        return max(1, round(width * scale)), max(1, round(height * scale))


@dataclass(frozen=True)
class ColourScale:
    """What the colours of a map mean.

    Attributes:
        low: Value of the first colour, and of all that is lower.
        high: Value of the last colour, and of all that is higher.
        caption: What the values are, before the name of the target.
    """

    low: float
    high: float
    caption: str

    def colours(self, values: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return the colour of each value, ``(…, 3)``."""
        shares = (values - self.low) / (self.high - self.low)
        colours: NDArray[np.uint8] = _COLOURS[
            np.clip(np.rint(shares * 255), 0, 255).astype(np.int64)
        ]
        return colours


PROBABILITIES = ColourScale(0.0, 1.0, "probability of ")


def heatmap_fingerprint(predictions: str, *, target: str) -> str:
    """Return the digest of all that makes a heatmap.

    Args:
        predictions: Fingerprint of the predictions; those of mask and patches are part of it.
        target: Class, label or number that is drawn.
    """
    return digest({"predictions": predictions, "target": target})


def write_heatmap(path: Path, picture: Image.Image, *, fingerprint: str) -> None:
    """Write a heatmap as PNG, its fingerprint in the text chunk ``lamella``, in one step."""
    text = PngInfo()
    text.add_text(_KEY, json.dumps({"fingerprint": fingerprint}))
    with replacing(path) as temporary:
        picture.save(temporary, pnginfo=text, optimize=True)


def read_heatmap_fingerprint(path: Path) -> str | None:
    """Return the fingerprint of a heatmap; ``None`` where it is absent or damaged."""
    try:
        with Image.open(path) as image:
            image.load()
            return str(json.loads(image.info[_KEY])["fingerprint"])
    except (OSError, KeyError, ValueError):
        return None


def mean_map(
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    values: NDArray[np.float32],
    *,
    edge_l0: float,
    size_l0: tuple[int, int],
    size_px: tuple[int, int],
) -> NDArray[np.float64]:
    """Return the mean of the values of the squares that cover each pixel.

    Args:
        x: ``(n,)`` left borders of the squares in level-0 pixels.
        y: ``(n,)`` top borders in level-0 pixels.
        values: ``(n,)``.
        edge_l0: Edge length of a square in level-0 pixels.
        size_l0: Width and height of the area in level-0 pixels.
        size_px: Width and height of the map in pixels.

    Returns:
        ``[y, x]``, ``size_px`` turned round; NaN where no square is.

    Source:
        Sums of boxes by differences at their corners: the summed-area table of Crow, SIGGRAPH
        1984, doi:10.1145/800031.808600, backwards.
    """
    left, right = _pixels(x, edge_l0, size_l0[0], size_px[0])
    top, bottom = _pixels(y, edge_l0, size_l0[1], size_px[1])
    sums = np.zeros((2, size_px[1] + 1, size_px[0] + 1))
    weights = np.stack([values, np.ones_like(values)]).astype(np.float64)
    for total, weight in zip(sums, weights, strict=True):
        np.add.at(total, (top, left), weight)
        np.add.at(total, (bottom, right), weight)
        np.add.at(total, (top, right), -weight)
        np.add.at(total, (bottom, left), -weight)
    total, count = sums.cumsum(axis=1).cumsum(axis=2)[:, :-1, :-1]
    count = count.round()
    covered: NDArray[np.float64] = np.divide(
        total, count, out=np.full(total.shape, np.nan), where=count > 0
    )
    return covered


def _pixels(
    start_l0: NDArray[np.int64], edge_l0: float, length_l0: int, length_px: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first pixel and end of each square along one axis, at least one pixel each."""
    scale = length_px / length_l0
    # Neighbours round their common border alike: they neither overlap nor leave a gap.
    first = np.clip(np.rint(start_l0 * scale).astype(np.int64), 0, length_px - 1)
    end = np.clip(np.rint((start_l0 + edge_l0) * scale).astype(np.int64), 0, length_px)
    return first, np.maximum(end, first + 1)


def draw_outline(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return an RGB picture ``[y, x, channel]`` with the border of the mask drawn into it."""
    height, width = picture.shape[:2]
    large = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    drawn = picture.copy()
    drawn[large & ~ndimage.binary_erosion(large)] = _OUTLINE
    return drawn


def draw_heatmap(
    overview: Overview,
    values: NDArray[np.float64],
    *,
    target: str,
    scale: ColourScale = PROBABILITIES,
) -> Image.Image:
    """Return the slide in grey with values in colour, the tissue's outline and a legend.

    Args:
        overview: The slide.
        values: ``[y, x]`` of any size, NaN where nothing was predicted.
        target: Class, label or number that the values are of.
        scale: What the colours mean.
    """
    height, width = values.shape
    grey = np.asarray(overview.thumbnail.convert("L").resize((width, height)), dtype=np.float64)
    base = np.repeat((0.6 * grey + 0.4 * 255)[:, :, None], 3, axis=2)
    seen = np.isfinite(values)
    base[seen] = (1 - _OPACITY) * base[seen] + _OPACITY * scale.colours(values[seen])
    picture = draw_outline(base.round().astype(np.uint8), overview.mask)
    return _with_legend(Image.fromarray(picture), target, scale)


def _with_legend(picture: Image.Image, target: str, scale: ColourScale) -> Image.Image:
    width = max(picture.width, 360)
    page = Image.new("RGB", (width, picture.height + LEGEND_PX), "white")
    page.paste(picture, ((width - picture.width) // 2, 0))
    bar = np.repeat(scale.colours(np.linspace(scale.low, scale.high, 180))[None], 12, axis=0)
    top = picture.height + 9
    page.paste(Image.fromarray(bar), (_MARGIN_PX, top))
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(13)
    for share, anchor in ((0.0, "la"), (0.5, "ma"), (1.0, "ra")):
        at = (_MARGIN_PX + share * 180, top + 15)
        value = scale.low + share * (scale.high - scale.low)
        draw.text(at, f"{value:.3g}", fill=_OUTLINE, font=font, anchor=anchor)
    draw.text((_MARGIN_PX + 194, top - 2), scale.caption + target, fill=_OUTLINE, font=font)
    draw.text((_MARGIN_PX + 194, top + 14), "grey: not predicted", fill=(110, 110, 110), font=font)
    return page
