"""An open slide: its resolution, patches and overview."""

import math
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lamella.slides.open import open_source
from lamella.slides.resolution import ReadPlan, checked_mpp, plan_read
from lamella.slides.settings import ReadingSettings, Resampling
from lamella.slides.source import CACHE_BYTES, Bounds, level_position
from lamella.units import Level0Pixels, Mpp

_BAND_PIXELS = 16_000_000
_FILTERS = {
    Resampling.LANCZOS: Image.Resampling.LANCZOS,
    Resampling.BICUBIC: Image.Resampling.BICUBIC,
    Resampling.BILINEAR: Image.Resampling.BILINEAR,
    Resampling.HAMMING: Image.Resampling.HAMMING,
    Resampling.BOX: Image.Resampling.BOX,
}


class SlideReader:
    """An open slide.

    All positions are level-0 pixels of the full canvas; bounds offsets are never added.

    Args:
        path: The slide file.
        settings: Which reader is used, and how levels are chosen.
        mpp: Microns per pixel of level 0, where the file's own are to be overridden.
        cache_bytes: Most bytes of decoded tiles that are kept.
        copy: A copy of the file that is read in its place.

    Attributes:
        path: The slide file.
        source: The file, open in the reader that was chosen for it.

    Raises:
        SlideUnreadableError: no reader opens the file, or not the one that was asked for.
    """

    def __init__(
        self,
        path: Path,
        settings: ReadingSettings,
        *,
        mpp: float | None = None,
        cache_bytes: int = CACHE_BYTES,
        copy: Path | None = None,
    ) -> None:
        self.path = path
        self.source = open_source(copy or path, settings.reader, cache_bytes=cache_bytes)
        self._settings = settings
        self._mpp_override = mpp

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.source.close()

    @property
    def size_l0(self) -> tuple[Level0Pixels, Level0Pixels]:
        """Width and height of the full canvas."""
        width, height = self.source.level_sizes[0]
        return Level0Pixels(width), Level0Pixels(height)

    @property
    def vendor(self) -> str:
        """The file's format, by OpenSlide's name where it has one."""
        return self.source.vendor

    @property
    def bounds(self) -> Bounds | None:
        """The scanned area ``(x, y, width, height)`` in level-0 pixels, where the file says it."""
        return self.source.bounds

    @property
    def mpp_source(self) -> str:
        """Where the resolution comes from: ``file`` or ``table``."""
        return "file" if self._mpp_override is None else "table"

    @property
    def mpp_l0(self) -> Mpp:
        """Microns per pixel of level 0.

        Raises:
            ResolutionUnknownError: missing or implausible.
        """
        override = self._mpp_override
        mpp_x, mpp_y = self.source.mpp if override is None else (override, override)
        return checked_mpp(mpp_x, mpp_y, str(self.path))

    def plan(self, *, mpp: float, size_px: int) -> ReadPlan:
        """Return how square patches of ``size_px`` at ``mpp`` are read from this slide."""
        return plan_read(
            self.source.level_downsamples,
            self.mpp_l0,
            mpp=Mpp(mpp),
            size_px=size_px,
            tolerance=self._settings.level_tolerance,
            where=str(self.path),
        )

    def read_patch(self, x: int, y: int, plan: ReadPlan) -> NDArray[np.uint8]:
        """Return one patch.

        Args:
            x: Left border in level-0 pixels.
            y: Top border in level-0 pixels.
            plan: From ``plan``.

        Returns:
            ``(size_px, size_px, 3)`` uint8, RGB. Where the slide has no pixels it shows its
            background colour.

        Raises:
            SlideUnreadableError: pixels cannot be decoded.
        """
        patch = np.empty((plan.size_px, plan.size_px, 3), dtype=np.uint8)
        self.read_patch_into(patch, x, y, plan)
        return patch

    def read_patch_into(self, patch: NDArray[np.uint8], x: int, y: int, plan: ReadPlan) -> None:
        """Read one patch into an array, such as its place in a batch; see ``read_patch``."""
        if plan.read_px == plan.size_px:
            self.source.read_into(patch, x, y, plan.level)
            return
        pixels = np.empty((plan.read_px, plan.read_px, 3), dtype=np.uint8)
        self.source.read_into(pixels, x, y, plan.level)
        resized = Image.fromarray(pixels).resize(
            (plan.size_px, plan.size_px), _FILTERS[self._settings.resampling]
        )
        patch[:] = np.asarray(resized)

    def read_overview(self, cell_l0: Level0Pixels) -> NDArray[np.uint8]:
        """Return the whole slide at low resolution, each pixel the mean of a square cell.

        The level that is read is the coarsest whose pixels are not larger than a cell; it is
        read in bands, so that memory stays bounded on slides without a pyramid.

        Args:
            cell_l0: Edge length of a cell in level-0 pixels.

        Returns:
            ``(rows, columns, 3)`` uint8, RGB; cells over the right or bottom border are
            filled up with the background colour.
        """
        rows, columns = self._overview_shape(cell_l0)
        overview = np.empty((rows, columns, 3), dtype=np.uint8)
        for band in self.overview_bands(cell_l0):
            overview[band.start : band.stop] = self.read_overview_band(cell_l0, band)
        return overview

    def overview_bands(self, cell_l0: Level0Pixels, *, fewest: int = 1) -> list[range]:
        """Return the rows of each band of the overview.

        Args:
            cell_l0: Edge length of a cell in level-0 pixels.
            fewest: Bands that are wanted at least, as for several readers, where there are as many
                rows.

        Returns:
            Rows of the overview, from top to bottom.
        """
        rows, columns = self._overview_shape(cell_l0)
        cell_lv = cell_l0 / self.source.level_downsamples[self._overview_level(cell_l0)]
        most = int(_BAND_PIXELS / (math.ceil(columns * cell_lv) * cell_lv))
        band_rows = max(1, min(most, rows // fewest))
        return [range(top, min(top + band_rows, rows)) for top in range(0, rows, band_rows)]

    def read_overview_band(self, cell_l0: Level0Pixels, rows: range) -> NDArray[np.uint8]:
        """Return some rows of the overview, ``(len(rows), columns, 3)``; see ``read_overview``.

        Args:
            cell_l0: Edge length of a cell in level-0 pixels.
            rows: Which rows of the overview.
        """
        level = self._overview_level(cell_l0)
        factor = self.source.level_downsamples[level]
        cell_lv = cell_l0 / factor
        _, columns = self._overview_shape(cell_l0)
        # One pixel more above: a band may begin between two pixels of the level.
        start_l0 = max(0, rows.start * cell_l0 - math.ceil(factor))
        above = rows.start * cell_lv - level_position(start_l0, factor)
        end = above + len(rows) * cell_lv
        band = np.empty((math.ceil(end), math.ceil(columns * cell_lv), 3), dtype=np.uint8)
        self.source.read_into(band, 0, start_l0, level)
        small = Image.fromarray(band).resize(
            (columns, len(rows)), Image.Resampling.BOX, box=(0.0, above, columns * cell_lv, end)
        )
        return np.asarray(small)

    def _overview_shape(self, cell_l0: Level0Pixels) -> tuple[int, int]:
        width, height = self.size_l0
        return math.ceil(height / cell_l0), math.ceil(width / cell_l0)

    def _overview_level(self, cell_l0: Level0Pixels) -> int:
        factors = self.source.level_downsamples
        return max((i for i, factor in enumerate(factors) if factor <= cell_l0), default=0)
