import numpy as np
import pytest
import torch
from skimage.color import hed2rgb, rgb2hed, rgb2yiq
from torchvision.transforms.v2 import functional

from lamella.datasets.colours import recoloured, restained

NEUTRAL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue_deg": 0.0}


def mid_tones() -> np.ndarray:
    """Planes ``(3, 4, 5)`` whose changes stay between black and white."""
    return np.random.default_rng(0).uniform(80, 170, (3, 4, 5)).astype(np.float32)


def changed(**change: float) -> np.ndarray:
    return recoloured(mid_tones(), **{**NEUTRAL, **change})


def by_torchvision(planes: np.ndarray, change: str, factor: float) -> np.ndarray:
    adjust = getattr(functional, f"adjust_{change}")
    return adjust(torch.from_numpy(planes / 255), factor).numpy() * 255


@pytest.mark.parametrize("change", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_each_change_is_that_of_torchvision(change, factor):
    # Its weights of red, green and blue are rounded to four digits.
    expected = by_torchvision(mid_tones(), change, factor)
    assert changed(**{change: factor}) == pytest.approx(expected, abs=0.05)


def test_changes_are_made_one_after_the_other():
    expected = mid_tones()
    factors = {"brightness": 0.9, "contrast": 1.3, "saturation": 0.6}
    for change, factor in factors.items():
        expected = by_torchvision(expected, change, factor)
    assert changed(**factors) == pytest.approx(expected, abs=0.05)


def test_hue_turns_colours_and_keeps_their_grey():
    before, after = (
        rgb2yiq(np.moveaxis(each, 0, -1)) for each in (mid_tones(), changed(hue_deg=50))
    )
    assert after[..., 0] == pytest.approx(before[..., 0], rel=1e-4)
    turned = (before[..., 1] + 1j * before[..., 2]) * np.exp(1j * np.deg2rad(50))
    assert after[..., 1] + 1j * after[..., 2] == pytest.approx(turned, abs=0.01)


def test_nothing_is_changed_by_nothing():
    assert changed() == pytest.approx(mid_tones(), abs=1e-3)


def test_restaining_is_the_deconvolution_of_scikit_image():
    colours = np.array([[200, 120, 160], [120, 80, 150], [230, 190, 210], [90, 60, 120]])
    image = colours.astype(np.uint8).reshape(2, 2, 3)
    changed = restained(image, np.array([1.2, 0.9, 1.0]), np.zeros(3))
    # scikit-image's white is 255 and its stains are not of unit length: neither matters here.
    amounts = rgb2hed(image) * [1.2, 0.9, 1.0]
    expected = np.rint(hed2rgb(amounts) * 255)
    assert np.abs(changed - expected).max() <= 3
    assert np.abs(changed - image.astype(float)).max() > 8


def test_restaining_with_nothing_changes_nothing():
    image = np.arange(256 * 3, dtype=np.int64).reshape(16, 16, 3).astype(np.uint8)
    assert np.array_equal(restained(image, np.ones(3), np.zeros(3)), image)


def test_shift_of_a_stain_takes_its_colour_of_light():
    white = np.full((1, 1, 3), 255, dtype=np.uint8)
    changed = restained(white, np.ones(3), np.array([0.0, 0.5, 0.0]))[0, 0]
    eosin = np.array([0.07, 0.99, 0.11]) / np.linalg.norm([0.07, 0.99, 0.11])
    assert changed == pytest.approx(256 * np.exp(-0.5 * eosin) - 1, abs=0.5)
