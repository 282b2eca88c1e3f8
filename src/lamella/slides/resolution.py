"""From microns per pixel to a level of the pyramid and a read size."""

from collections.abc import Sequence
from dataclasses import dataclass

from lamella.errors import ResolutionUnknownError
from lamella.units import Level0Pixels, LevelPixels, Mpp

FINEST_MPP = 0.05
COARSEST_MPP = 20.0
"""Resolutions outside these are no microscope's; they come from wrong resolution tags."""

MOST_ANISOTROPY = 0.1
"""Largest relative difference between the microns per pixel in x and y."""


@dataclass(frozen=True)
class ReadPlan:
    """How a square patch of a requested resolution is read.

    Attributes:
        level: Level of the pyramid.
        mpp_read: Microns per pixel of that level.
        read_px: Edge length that is read at that level.
        edge_l0: Edge length in level-0 pixels.
        size_px: Edge length of the finished patch; resampled when it differs from ``read_px``.
    """

    level: int
    mpp_read: Mpp
    read_px: LevelPixels
    edge_l0: Level0Pixels
    size_px: int

    @property
    def mpp_effective(self) -> Mpp:
        """Microns that a pixel of the finished patch measures."""
        return Mpp(self.mpp_read * self.read_px / self.size_px)


def checked_mpp(mpp_x: float | None, mpp_y: float | None, where: str) -> Mpp:
    """Return the microns per pixel of a slide's level 0: the mean of x and y.

    Raises:
        ResolutionUnknownError: a value is missing or implausible. It is never guessed.
    """
    remedy = "Write the true microns per pixel into column `mpp` of the slide table"
    if mpp_x is None or mpp_y is None:
        raise ResolutionUnknownError("the file does not say its microns per pixel", where, remedy)
    for mpp in (mpp_x, mpp_y):
        if not FINEST_MPP <= mpp <= COARSEST_MPP:
            raise ResolutionUnknownError(
                f"{mpp:g} microns per pixel are implausible "
                f"(not within {FINEST_MPP:g} to {COARSEST_MPP:g})",
                where,
                remedy,
            )
    if abs(mpp_x - mpp_y) > MOST_ANISOTROPY * max(mpp_x, mpp_y):
        raise ResolutionUnknownError(
            f"pixels are not square: {mpp_x:g} by {mpp_y:g} microns", where, remedy
        )
    return Mpp((mpp_x + mpp_y) / 2)


def plan_read(
    level_downsamples: Sequence[float],
    mpp_l0: Mpp,
    *,
    mpp: Mpp,
    size_px: int,
    tolerance: float,
    where: str,
) -> ReadPlan:
    """Choose the coarsest level that is not coarser than requested.

    Args:
        level_downsamples: Downsample factor of each level, ascending, the first is 1.
        mpp_l0: Microns per pixel of level 0.
        mpp: Requested microns per pixel.
        size_px: Edge length of the finished patch.
        tolerance: Share by which a level may differ from the request and is still read as it is.
        where: The slide, for the error.

    Returns:
        The plan; a finer level than requested is resampled.

    Raises:
        ResolutionUnknownError: level 0 is coarser than requested; pixels are not invented.
    """
    limit = mpp * (1 + tolerance)
    fine_enough = [
        level for level, factor in enumerate(level_downsamples) if mpp_l0 * factor <= limit
    ]
    if not fine_enough:
        raise ResolutionUnknownError(
            f"the slide has {mpp_l0:g} microns per pixel at best, {mpp:g} are asked for",
            where,
            "Ask for a coarser `patches.mpp`, or leave the slide out",
        )
    level = fine_enough[-1]
    mpp_read = mpp_l0 * level_downsamples[level]
    exact = abs(mpp_read - mpp) <= tolerance * mpp
    read_px = size_px if exact else max(1, round(size_px * mpp / mpp_read))
    edge_l0 = max(1, round(read_px * level_downsamples[level]))
    return ReadPlan(level, Mpp(mpp_read), LevelPixels(read_px), Level0Pixels(edge_l0), size_px)
