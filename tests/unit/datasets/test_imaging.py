from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import gaussian_blur

from lamella.datasets.imaging import blurred, noisy, recompressed, with_holes


def speckled() -> np.ndarray:
    """An image ``(20, 32, 3)``, brighter to the right, with random colours."""
    noise = np.random.default_rng(0).integers(0, 90, (20, 32, 3))
    return (noise + np.arange(32)[:, None] * 5).astype(np.uint8)


def test_blur_is_that_of_torchvision():
    planes = np.ascontiguousarray(np.moveaxis(speckled(), -1, 0)).astype(np.float32)
    # 3 x 1.2 pixels to each side. At the border it mirrors without the border pixel.
    expected = gaussian_blur(torch.from_numpy(planes), [9, 9], [1.2, 1.2]).numpy()
    assert blurred(planes, 1.2)[:, 4:-4, 4:-4] == pytest.approx(expected[:, 4:-4, 4:-4], abs=0.1)


def test_blur_leaves_an_even_patch_and_colours_apart():
    planes = np.stack([np.full((9, 9), level, dtype=np.float32) for level in (10, 100, 200)])
    assert blurred(planes, 2.5) == pytest.approx(planes, abs=1e-3)


def test_noise_has_its_standard_deviation_and_differs_between_colours():
    planes = np.full((3, 200, 200), 50, dtype=np.float32)
    noise = noisy(planes, 7.0, np.random.default_rng(1)) - 50
    # The mean of 40,000 draws of deviation 7 is within 0.035, one deviation, of 0.
    assert np.abs(noise.mean(axis=(1, 2))).max() < 0.15
    assert noise.std(axis=(1, 2)) == pytest.approx([7, 7, 7], rel=0.02)
    assert np.abs(np.corrcoef(noise.reshape(3, -1)) - np.eye(3)).max() < 0.03


@pytest.mark.parametrize("quality", [15, 60, 100])
def test_compression_is_that_of_another_program(quality):
    file = BytesIO()
    Image.fromarray(speckled()).save(file, "jpeg", quality=quality, subsampling="4:2:0")
    expected = np.asarray(Image.open(file)).astype(int)
    assert np.abs(recompressed(speckled(), quality) - expected).max() <= 2


def test_holes_have_the_mean_colour_and_the_rest_stays():
    image = np.zeros((8, 10, 3), dtype=np.uint8)
    image[:, 5:] = (40, 100, 201)
    changed = with_holes(image, np.array([[1, 4], [6, 0]]), 3)
    hole = np.zeros((8, 10), dtype=bool)
    hole[4:7, 1:4] = hole[0:3, 6:9] = True
    assert (changed[hole] == (20, 50, 100)).all()
    assert np.array_equal(changed[~hole], image[~hole])
