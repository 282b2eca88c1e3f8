"""Pixels to fit a stain to."""

import numpy as np

from lamella.patches.tissue_pixels import tissue_pixels
from lamella.slides.resolution import ReadPlan
from lamella.tissue.mask import TissueMask
from lamella.units import Level0Pixels, LevelPixels, Mpp

# Patches of 16 pixels, read as such from a level of half the size.
PLAN = ReadPlan(1, Mpp(0.5), LevelPixels(16), Level0Pixels(32), 16)


class Drawn:
    """A slide whose red and green are x and y in level-0 pixels, and which counts its reads."""

    def __init__(self, width: int, height: int) -> None:
        self.size_l0 = (width, height)
        self.reads: list[tuple[int, int]] = []

    def read_patch(self, x: int, y: int, plan: ReadPlan) -> np.ndarray:
        self.reads.append((x, y))
        step = plan.edge_l0 // plan.size_px
        patch = np.zeros((plan.size_px, plan.size_px, 3), dtype=np.uint8)
        patch[..., 0] = (x + np.arange(plan.size_px) * step)[None, :] % 256
        patch[..., 1] = (y + np.arange(plan.size_px) * step)[:, None] % 256
        return patch


def test_only_pixels_of_the_mask_are_taken_x_across_y_down() -> None:
    # Tissue from x = 40 to 59 and y = 0 to 9, in cells of 10.
    mask = TissueMask(np.zeros((7, 13), dtype=bool), Level0Pixels(10))
    mask.pixels[0, 4:6] = True
    slide = Drawn(130, 70)
    found = tissue_pixels(slide, mask, PLAN)
    assert slide.reads == [(32, 0)]
    assert sorted(set(found[:, 0].tolist())) == list(range(40, 60, 2))
    assert sorted(set(found[:, 1].tolist())) == [0, 2, 4, 6, 8]
    assert len(found) == 10 * 5


def test_large_tissue_is_seen_by_windows_spread_over_all_of_it() -> None:
    mask = TissueMask(np.ones((64, 96), dtype=bool), Level0Pixels(32))
    slide = Drawn(96 * 32, 64 * 32)
    tissue_pixels(slide, mask, PLAN)
    reads = np.array(slide.reads)
    assert len(set(slide.reads)) == 64
    assert (np.ptp(reads, axis=0) > np.array(slide.size_l0) * 0.8).all()
    again = Drawn(*slide.size_l0)
    tissue_pixels(again, mask, PLAN)
    assert again.reads == slide.reads


def test_slide_without_tissue_gives_no_pixels_and_reads_nothing() -> None:
    mask = TissueMask(np.zeros((7, 13), dtype=bool), Level0Pixels(10))
    slide = Drawn(130, 70)
    assert tissue_pixels(slide, mask, PLAN).shape == (0, 3)
    assert slide.reads == []
