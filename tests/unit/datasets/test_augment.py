import numpy as np
import pytest
from skimage.color import hed2rgb, rgb2hed

from lamella.datasets.augment import augmented
from lamella.datasets.colours import restained
from lamella.datasets.settings import AugmentSettings

PATCH = np.arange(5 * 5 * 3, dtype=np.uint8).reshape(5, 5, 3)


def variants(samples: np.ndarray, **settings: float) -> np.ndarray:
    images = np.stack([PATCH] * len(samples))
    return augmented(images, samples, seed=3, epoch=2, settings=AugmentSettings(**settings))


def test_a_sample_is_changed_alike_whatever_batch_it_is_in():
    whole = variants(np.arange(40))
    backwards = variants(np.arange(40)[::-1])
    assert np.array_equal(whole, backwards[::-1])
    assert np.array_equal(whole[17], variants(np.array([17]))[0])


def test_all_eight_views_of_a_patch_occur_and_nothing_else():
    found = {each.tobytes() for each in variants(np.arange(200))}
    mirrored = PATCH[:, ::-1]
    expected = {np.rot90(each, k).tobytes() for each in (PATCH, mirrored) for k in range(4)}
    assert found == expected


def test_epochs_differ():
    images = np.stack([PATCH] * 40)
    first, second = (
        augmented(images, np.arange(40), seed=3, epoch=epoch, settings=AugmentSettings())
        for epoch in (1, 2)
    )
    assert not np.array_equal(first, second)


def test_only_what_is_asked_for_is_done():
    assert np.array_equal(variants(np.arange(9), flip=False, turn=False), np.stack([PATCH] * 9))
    flipped = {each.tobytes() for each in variants(np.arange(40), turn=False)}
    assert flipped == {PATCH.tobytes(), PATCH[:, ::-1].tobytes()}


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


def test_jitter_is_drawn_for_each_sample_and_leaves_the_views_as_they_are():
    plain, jittered = variants(np.arange(30)), variants(np.arange(30), hed_jitter=0.05)
    assert not np.array_equal(plain, jittered)
    assert np.abs(plain.astype(int) - jittered).max() < 40
    assert np.array_equal(jittered[7], variants(np.array([7]), hed_jitter=0.05)[0])
    stains = variants(np.arange(30), flip=False, turn=False, hed_jitter=0.05)
    assert len({each.tobytes() for each in stains}) == 30
