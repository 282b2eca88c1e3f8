"""The tissue of a slide as a raster, and exact areas of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lamella.annotations.raster import covered_areas, summed_areas
from lamella.errors import StoreError
from lamella.fleet.manifest import MANIFEST_NAME
from lamella.stores.atomic import replacing
from lamella.stores.stored import Stored
from lamella.units import Level0Pixels

_KEY = "lamella"
# What comes out of Pillow and of reading its text where a PNG is damaged.
_DAMAGE = (OSError, SyntaxError, LookupError, ValueError, TypeError)


@dataclass(frozen=True)
class TissueMask:
    """Tissue of the whole slide.

    Attributes:
        pixels: ``[y, x]`` bool, True = tissue; each pixel is a square cell of the slide.
        cell_l0: Edge length of a cell in level-0 pixels.
    """

    pixels: NDArray[np.bool_]
    cell_l0: Level0Pixels

    def shares(
        self, x: NDArray[np.int64], y: NDArray[np.int64], edge_l0: Level0Pixels
    ) -> NDArray[np.float64]:
        """Return the share of tissue in square windows.

        Areas are exact integers, also where windows and cells are not aligned.

        Args:
            x: ``(n,)`` left borders in level-0 pixels.
            y: ``(n,)`` top borders.
            edge_l0: Edge length of the windows.

        Returns:
            ``(n,)`` shares in ``[0, 1]``; what lies outside the mask is no tissue.
        """
        cell, edge = int(self.cell_l0), int(edge_l0)
        table = summed_areas(self.pixels)
        covered = covered_areas(table, (cell, cell), corners=(x, y), size=(edge, edge))
        return covered / edge**2

    @property
    def share(self) -> float:
        """Share of the slide that is tissue."""
        return float(self.pixels.mean())


def write_mask(
    path: Path, mask: TissueMask, *, fingerprint: str, quality: Mapping[str, str] | None = None
) -> None:
    """Write a mask as a 1-bit PNG, white = tissue, that any viewer opens.

    Args:
        path: The final path.
        mask: The tissue.
        fingerprint: Digest of all that made it.
        quality: The slide's row in the table of qualities.
    """
    about = {
        "cell_l0": mask.cell_l0,
        "fingerprint": fingerprint,
        "n": int(mask.pixels.sum()),
        "quality": dict(quality or {}),
    }
    text = PngInfo()
    text.add_text(_KEY, json.dumps(about, sort_keys=True))
    with replacing(path) as temporary:
        Image.fromarray(mask.pixels).save(temporary, pnginfo=text, optimize=True)


def read_mask(path: Path) -> TissueMask:
    """Return the mask that ``write_mask`` wrote.

    Raises:
        StoreError: the file is missing, damaged or was not written by Lamella.
    """
    try:
        with Image.open(path) as image:
            about = json.loads(image.info[_KEY])
            return TissueMask(np.array(image, dtype=bool), Level0Pixels(about["cell_l0"]))
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def read_quality(path: Path) -> dict[str, str]:
    """Return the qualities that ``write_mask`` wrote beside the mask.

    Raises:
        StoreError: the file is missing, damaged or was not written by Lamella.
    """
    try:
        with Image.open(path) as image:
            quality: dict[str, str] = json.loads(image.info[_KEY])["quality"]
            return quality
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def read_stored_mask(path: Path) -> Stored | None:
    """Return fingerprint and number of tissue pixels.

    Returns:
        ``None`` where the mask is absent or damaged, or has no thumbnail.
    """
    if not thumbnail_path(path).exists():
        return None
    try:
        with Image.open(path) as image:
            image.load()
            about = json.loads(image.info[_KEY])
            return Stored(about["fingerprint"], about["n"])
    except _DAMAGE:
        return None


def thumbnail_path(mask: Path) -> Path:
    """Return where the thumbnail of a mask's slide lies."""
    return mask.parent.parent / "thumbnails" / f"{mask.stem}.jpg"


def read_thumbnail(mask: Path) -> Image.Image:
    """Return the slide's picture, RGB, of the area that its mask covers.

    Raises:
        StoreError: the thumbnail is missing or damaged.
    """
    path = thumbnail_path(mask)
    try:
        with Image.open(path) as thumbnail:
            return thumbnail.convert("RGB")
    except OSError as error:
        raise StoreError(
            f"the slide's thumbnail cannot be read ({error})",
            str(path),
            f"Delete it and {path.parent.with_name(MANIFEST_NAME)}, then run the workflow; only "
            "this slide's is made anew",
        ) from error


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"the tissue mask cannot be read ({error})",
        str(path),
        "Delete it, then run `lamella retry` and the workflow",
    )
