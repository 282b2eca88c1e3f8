"""Patches of a volume."""

import numpy as np
import pytest

from lamella.workloads.chest import AIR_HU, Chest, crop, patch_corners, stitch
from lamella.workloads.labels import NOT_ASKED
from lamella.workloads.stages import StageClock


def volume_of(*shape):
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def test_patches_lie_side_by_side_and_the_last_ones_reach_beyond_the_border():
    assert patch_corners((3, 4, 5), (2, 4, 3)) == [(0, 0, 0), (0, 0, 3), (2, 0, 0), (2, 0, 3)]


@pytest.mark.parametrize("shape", [(3, 4, 5), (5, 7, 3), (1, 1, 1), (4, 4, 4)])
def test_stitched_patches_are_the_volume(shape):
    volume = volume_of(*shape)
    found = np.full(shape, 255, dtype=np.uint8)
    for corner in patch_corners(shape, (2, 4, 3)):
        stitch(found, crop(volume, corner, (2, 4, 3)).astype(np.uint8), corner)
    np.testing.assert_array_equal(found, volume)


def test_beyond_the_border_is_air():
    patch = crop(volume_of(3, 4, 5), (2, 0, 3), (2, 4, 3))
    assert (patch[1] == AIR_HU).all()
    assert (patch[0, :, 2] == AIR_HU).all()
    np.testing.assert_array_equal(patch[0, :, :2], volume_of(3, 4, 5)[2, :, 3:])


class Second:
    """An engine of two classes that answers the second everywhere."""

    def run(self, inputs):
        (patch,) = inputs
        return (np.broadcast_to(np.float32([0.25, 0.75]), (*patch.shape, 2)),)


def test_where_a_run_has_no_patch_there_is_no_class(tmp_path):
    np.save(tmp_path / "volume.npy", volume_of(3, 4, 5))
    labels = Chest(tmp_path / "volume.npy", (2, 4, 3), run_items=2).run(
        Second(), StageClock(), batch_size=1
    )
    assert (labels[:2] == 1).all()
    assert (labels[2] == NOT_ASKED).all()
