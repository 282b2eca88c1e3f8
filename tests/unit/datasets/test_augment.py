from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from pydantic import ValidationError

import lamella.datasets.augment
from lamella.datasets.augment import Stream, augmented
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


def test_jitter_is_drawn_for_each_sample_and_leaves_the_views_as_they_are():
    plain, jittered = variants(np.arange(30)), variants(np.arange(30), hed_jitter=0.05)
    assert not np.array_equal(plain, jittered)
    assert np.abs(plain.astype(int) - jittered).max() < 40
    assert np.array_equal(jittered[7], variants(np.array([7]), hed_jitter=0.05)[0])
    stains = variants(np.arange(30), flip=False, turn=False, hed_jitter=0.05)
    assert len({each.tobytes() for each in stains}) == 30


KINDS = {
    "hed_jitter": 0.1,
    "rotation_deg": 70.0,
    "scale_jitter": 0.3,
    "elastic_px": 8.0,
    "brightness_jitter": 0.2,
    "contrast_jitter": 0.4,
    "saturation_jitter": 0.5,
    "hue_deg": 25.0,
    "blur_px": 2.0,
    "noise_levels": 9.0,
    "jpeg_quality_min": 30,
    "dropout_holes": 4,
}


@dataclass
class Recorded:
    """A generator that notes what it gives."""

    generator: np.random.Generator
    given: list[object]

    def __getattr__(self, name: str) -> Callable:
        draw = getattr(self.generator, name)

        def note(*args: object, **options: object) -> object:
            self.given.append(np.asarray(result := draw(*args, **options)).tolist())
            return result

        return note


def large_patches(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(90, 160, (n, 64, 64, 3)).astype(np.uint8)


def changed(samples: np.ndarray, **settings: float) -> np.ndarray:
    images = large_patches(max(samples) + 1)[samples]
    return augmented(images, samples, seed=3, epoch=2, settings=AugmentSettings(**settings))


def drawn(monkeypatch: pytest.MonkeyPatch, **settings: float) -> dict[str, list[object]]:
    """Return what each stream gave for sample 5; nothing where all it gave is 0."""
    found: dict[str, list[object]] = {}
    real = lamella.datasets.augment._generator

    def recorded(seed: int, epoch: int, sample: int, stream: Stream) -> Recorded:
        return Recorded(real(seed, epoch, sample, stream), found.setdefault(stream.name, []))

    with monkeypatch.context() as patch:
        patch.setattr(lamella.datasets.augment, "_generator", recorded)
        changed(np.array([5]), **settings)
    return {name: given for name, given in found.items() if given != [0.0]}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_setting_draws_does_not_depend_on_the_others(kind, monkeypatch):
    alone = drawn(monkeypatch, **{kind: KINDS[kind]})
    together = drawn(monkeypatch, **KINDS)
    assert len(together) == len(Stream)
    for stream, given in alone.items():
        # Stains are drawn after the view, from its stream.
        assert together[stream][: len(given)] == given


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_the_picture_and_none_does_by_default(kind):
    still = {"flip": False, "turn": False}
    samples = np.arange(4)
    assert np.array_equal(changed(samples, **still), large_patches(4))
    assert not np.array_equal(changed(samples, **still, **{kind: KINDS[kind]}), large_patches(4))


def test_everything_at_once_is_alike_whatever_batch_a_sample_is_in():
    whole = changed(np.arange(6), **KINDS)
    assert np.array_equal(whole[::-1], changed(np.arange(6)[::-1], **KINDS))
    assert np.array_equal(whole[4], changed(np.array([4]), **KINDS)[0])
    assert len({each.tobytes() for each in changed(np.zeros(3, dtype=np.int64), **KINDS)}) == 1


def test_the_views_of_a_seed_stay_those_of_earlier_versions():
    for sample, found in enumerate(variants(np.arange(12))):
        generator = np.random.default_rng([3, 2, sample, 2])
        mirrored = PATCH[:, ::-1] if generator.integers(2) else PATCH
        assert np.array_equal(found, np.rot90(mirrored, generator.integers(4)))


def test_numbers_are_drawn_over_the_whole_range_and_not_beyond(monkeypatch):
    found: dict[str, list[float]] = {}

    def note(planes: np.ndarray, **change: float) -> np.ndarray:
        for name, value in change.items():
            found.setdefault(name, []).append(value)
        return planes

    def note_view(angle_deg: float, factor: float) -> np.ndarray:
        note(PATCH, angle_deg=angle_deg, factor=factor)
        return np.eye(2)

    def note_blur(planes: np.ndarray, deviation_px: float) -> np.ndarray:
        return note(planes, deviation_px=deviation_px)

    for name, spy in (("recoloured", note), ("turn_and_scale", note_view), ("blurred", note_blur)):
        monkeypatch.setattr(lamella.datasets.augment, name, spy)
    variants(np.arange(400), **{**KINDS, "jpeg_quality_min": None, "noise_levels": 0})
    for name, least, most in (
        ("brightness", 0.8, 1.2),
        ("contrast", 0.6, 1.4),
        ("saturation", 0.5, 1.5),
        ("hue_deg", -25, 25),
        ("angle_deg", -70, 70),
        ("factor", 1 / 1.3, 1.3),
        ("deviation_px", 0, 2),
    ):
        reach = (most - least) * 0.02
        assert least <= min(found[name]) < least + reach
        assert most - reach < max(found[name]) <= most
    assert np.median(np.log(found["factor"])) == pytest.approx(0, abs=0.03)


def test_holes_are_squares_inside_the_patch_and_at_most_as_many_as_asked_for():
    settings = {"flip": False, "turn": False, "dropout_holes": 2, "dropout_share": 0.25}
    images, found = large_patches(60), []
    for image, each in zip(images, changed(np.arange(60), **settings), strict=True):
        hole = (each != image).any(axis=2)
        # Pixels that have the mean colour already are too few to matter.
        found.append(round(hole.sum() / 256 + 0.1))
    assert set(found) == {0, 1, 2}


def test_deformation_that_could_fold_tissue_over_is_refused():
    AugmentSettings(elastic_px=9.6, elastic_spacing_px=20)
    with pytest.raises(ValidationError, match="fold"):
        AugmentSettings(elastic_px=9.7, elastic_spacing_px=20)


def test_tissue_is_deformed_and_then_turned_in_one_resampling(monkeypatch):
    found: list[np.ndarray] = []

    def note(planes: np.ndarray, places: np.ndarray) -> np.ndarray:
        found.append(places)
        return planes

    monkeypatch.setattr(lamella.datasets.augment, "resampled", note)
    turn = np.array([[0.0, -2.0], [0.5, 0.0]])
    for matrix in (np.eye(2), turn):
        monkeypatch.setattr(lamella.datasets.augment, "turn_and_scale", lambda *_, m=matrix: m)
        changed(np.array([5]), rotation_deg=9, scale_jitter=0.1, elastic_px=8)
    deformed, turned = (each - 31.5 for each in found)
    assert turned[0] == pytest.approx(-2.0 * deformed[1], abs=1e-3)
    assert turned[1] == pytest.approx(0.5 * deformed[0], abs=1e-3)
    assert np.abs(deformed[0] - np.arange(64) + 31.5).max() > 1
