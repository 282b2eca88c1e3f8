"""The pixels of patches, whatever storage their shard has."""

import json
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import StoreError
from lamella.slides.identity import slide_identity
from lamella.slides.reader import SlideReader
from lamella.slides.resolution import ReadPlan
from lamella.slides.settings import ReadingSettings
from lamella.stain.normalise import Normaliser
from lamella.stores.codec import Storage
from lamella.stores.shards import ShardReader, naming_damage
from lamella.units import Level0Pixels, LevelPixels, Mpp

# Patches are read in random order, so that a cache helps little, from many slides at a time.
_CACHE_BYTES = 16 * 2**20


def open_patches(path: Path, slide: Path | None = None) -> ShardReader:
    """Return an open shard that reads its patches, from the slide where it holds coordinates only.

    Args:
        path: The shard.
        slide: Where the slide lies now, as the slide table says; ``None``: where it lay when the
            patches were chosen. Only asked for with storage ``coordinates``.

    Raises:
        StoreError: the shard is missing, damaged or of another layout; when its patches are read:
            the slide is not there or is another one.
    """
    reader = ShardReader(path)
    if reader.storage is not Storage.COORDINATES:
        return reader
    reader.close()
    return SlideShard(path, slide)


class SlideShard(ShardReader):
    """A shard of coordinates; its slide is opened when the first patch is read."""

    def __init__(self, path: Path, slide: Path | None) -> None:
        super().__init__(path)
        with naming_damage(path):
            self._slide_path = slide or Path(str(self.attributes["slide_path"]))
            self._plan = stored_plan(self)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return patches by row number, as ``ShardReader.read`` does."""
        size = self._plan.size_px
        pixels = np.empty((len(rows), size, size, 3), dtype=np.uint8)
        # Neighbours share tiles, so rows are read in their order.
        for place in np.argsort(rows, kind="stable"):
            x, y = int(self._x[rows[place]]), int(self._y[rows[place]])
            pixels[place] = self._slide.read_patch(x, y, self._plan)
            self._normaliser.apply(pixels[place])
        return pixels

    def check_slide(self) -> None:
        """Look whether the slide is there, and the one that the patches were chosen on.

        Raises:
            SlideUnreadableError: it is not there.
            StoreError: it is another one.
        """
        if slide_identity(self._slide_path) != self.attributes["slide_identity"]:
            raise StoreError(
                f"the slide {self._slide_path} is not the one that its patches were chosen on",
                str(self.path),
                "Name the right file in the slide table, or run the workflow again",
            )

    def close(self) -> None:
        """Close the file, and the slide where it was opened."""
        super().close()
        if "_slide" in self.__dict__:
            self._slide.__exit__(None, None, None)

    @cached_property
    def _slide(self) -> SlideReader:
        self.check_slide()
        about = self.attributes
        # As its patches were chosen: with the same reader, whatever `auto` would take today.
        reading = ReadingSettings(**{**json.loads(about["reading"]), "reader": about["reader"]})
        return SlideReader(
            self._slide_path, reading, mpp=float(about["mpp_l0"]), cache_bytes=_CACHE_BYTES
        )

    @cached_property
    def _normaliser(self) -> Normaliser:
        return Normaliser.from_attributes(self.attributes)

    @cached_property
    def _x(self) -> NDArray[np.int64]:
        return self.column("x")

    @cached_property
    def _y(self) -> NDArray[np.int64]:
        return self.column("y")


def stored_plan(shard: ShardReader) -> ReadPlan:
    """Return how the patches of a shard were, or are, read from the slide."""
    about = shard.attributes
    return ReadPlan(
        level=int(about["level"]),
        mpp_read=Mpp(float(about["mpp_read"])),
        read_px=LevelPixels(int(about["read_px"])),
        edge_l0=Level0Pixels(int(about["edge_l0"])),
        size_px=int(about["patch_px"]),
    )
