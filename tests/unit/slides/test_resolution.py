"""Microns per pixel decide which level is read, and how much of it."""

import pytest

from lamella.errors import ResolutionUnknownError
from lamella.slides.resolution import checked_mpp, plan_read
from lamella.units import Mpp

LEVELS = (1.0, 4.0, 16.0)


def plan(mpp: float, size_px: int = 100):
    return plan_read(
        LEVELS, Mpp(0.25), mpp=Mpp(mpp), size_px=size_px, tolerance=0.02, where="a.svs"
    )


@pytest.mark.parametrize(
    ("mpp", "level", "read_px", "edge_l0"),
    [
        (0.25, 0, 100, 100),
        (0.252, 0, 100, 100),
        (0.5, 0, 200, 200),
        (0.99, 1, 100, 400),
        (1.0, 1, 100, 400),
        (2.0, 1, 200, 800),
        (4.0, 2, 100, 1600),
    ],
)
def test_the_coarsest_level_that_is_fine_enough_is_read(
    mpp: float, level: int, read_px: int, edge_l0: int
) -> None:
    found = plan(mpp)
    assert (found.level, found.read_px, found.edge_l0) == (level, read_px, edge_l0)


def test_pixels_are_not_invented() -> None:
    with pytest.raises(ResolutionUnknownError, match=r"0\.25 microns per pixel at best, 0\.2 are"):
        plan(0.2)


@pytest.mark.parametrize(
    ("mpp_x", "mpp_y", "message"),
    [
        (None, None, "does not say"),
        (352.8, 352.8, "implausible"),
        (0.00499, 0.00499, "implausible"),
        (float("nan"), 0.25, "implausible"),
        (0.25, 0.5, "not square"),
    ],
)
def test_missing_and_implausible_resolutions_name_the_column(
    mpp_x: float | None, mpp_y: float | None, message: str
) -> None:
    with pytest.raises(ResolutionUnknownError, match=f"{message}.*column `mpp`"):
        checked_mpp(mpp_x, mpp_y, "a.svs")


def test_x_and_y_may_differ_a_little() -> None:
    assert checked_mpp(0.25, 0.26, "a.svs") == pytest.approx(0.255)
