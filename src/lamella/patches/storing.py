"""Write the patches of one slide in the storage that was chosen."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.patches.passthrough import WholeTiles, encoded_tiles
from lamella.patches.settings import PatchSettings, Sampling
from lamella.slides.identity import slide_identity
from lamella.slides.reader import SlideReader
from lamella.slides.resolution import ReadPlan
from lamella.stain.normalise import Normaliser
from lamella.stores.codec import Codec, Storage
from lamella.stores.jpeg import SUBSAMPLING, encode_jpeg
from lamella.stores.shards import PatchColumns, write_coordinates, write_encoded_shard, write_shard

_BATCH_PATCHES = 64
# Dense H&E: zstd packs it to a third, JPEG of quality 95 to a quarter.
_ZSTD_SHARE = 1 / 3
_JPEG_SHARE = 1 / 4


@dataclass(frozen=True)
class SlidePatches:
    """The chosen patches of an open slide.

    Attributes:
        reader: The slide.
        plan: How its patches are read.
        columns: Where they lie, and what is known of them.
        normaliser: What is done to their colours.
        tiles: The slide's own tiles where these are the patches.
    """

    reader: SlideReader
    plan: ReadPlan
    columns: PatchColumns
    normaliser: Normaliser
    tiles: WholeTiles | None

    def batches(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the pixels in the order of the columns.

        Yields:
            ``(k, size_px, size_px, 3)`` uint8, RGB; the next batch overwrites it.
        """
        size, x, y = self.plan.size_px, self.columns.x.tolist(), self.columns.y.tolist()
        pixels = np.empty((_BATCH_PATCHES, size, size, 3), dtype=np.uint8)
        for start in range(0, len(x), _BATCH_PATCHES):
            rows = range(start, min(start + _BATCH_PATCHES, len(x)))
            batch = pixels[: len(rows)]
            for patch, row in zip(batch, rows, strict=True):
                self.reader.read_patch_into(patch, x[row], y[row], self.plan)
            self.normaliser.apply(batch)
            yield batch


def store_patches(
    shard: Path, patches: SlidePatches, settings: PatchSettings, attributes: Mapping[str, Any]
) -> None:
    """Write a shard.

    Args:
        shard: The final path.
        patches: What is stored.
        settings: Which storage, and how.
        attributes: Root attributes beyond those that say what the file holds.

    Raises:
        SlideError: pixels or tiles cannot be read.
    """
    about = {**attributes, **patches.normaliser.attributes}
    size, columns = settings.size_px, patches.columns
    if settings.storage is Storage.PIXELS:
        write_shard(
            shard,
            columns,
            patches.batches(),
            patch_px=size,
            codec=settings.codec,
            attributes=about,
        )
    elif settings.storage is Storage.COORDINATES:
        path = patches.reader.path
        where = {"slide_path": str(path), "slide_identity": slide_identity(path)}
        write_coordinates(shard, columns, patch_px=size, attributes={**about, **where})
    else:
        if settings.storage is Storage.JPEG:
            about |= {"jpeg_quality": settings.jpeg_quality, "jpeg_subsampling": SUBSAMPLING}
        write_encoded_shard(
            shard,
            columns,
            _encoded(patches, settings),
            storage=settings.storage,
            patch_px=size,
            attributes=about,
        )


def _encoded(patches: SlidePatches, settings: PatchSettings) -> Iterator[bytes]:
    if patches.tiles is not None:
        yield from encoded_tiles(patches.tiles, patches.columns)
        return
    for batch in patches.batches():
        for patch in batch:
            yield encode_jpeg(patch, settings.jpeg_quality)


def estimated_bytes(settings: PatchSettings, *, tissue_um2: float, slide_bytes: int) -> int:
    """Return about how large the shard of a slide will be.

    Args:
        settings: What is cut and how it is stored.
        tissue_um2: The slide's tissue in square microns.
        slide_bytes: Size of the slide file.
    """
    if settings.storage is Storage.COORDINATES:
        return 0
    patches = tissue_um2 / (settings.step_px * settings.mpp) ** 2
    if settings.sampling in {Sampling.RANDOM, Sampling.BALANCED}:
        patches = min(patches, settings.per_class * (len(settings.classes) + 1))
    pixels = patches * settings.size_px**2 * 3
    if settings.storage is Storage.PIXELS:
        return round(pixels * (1.0 if settings.codec is Codec.NONE else _ZSTD_SHARE))
    if settings.storage is Storage.PASSTHROUGH:
        return min(round(pixels * _JPEG_SHARE), slide_bytes)
    return round(pixels * _JPEG_SHARE)
