"""Stain normalisation against published results and slow obvious computations."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamella.errors import SettingsError
from lamella.stain import reinhard
from lamella.stain.normalise import Normaliser, fit_normaliser, read_target
from lamella.stain.settings import StainMethod

DATA = Path(os.environ.get("LAMELLA_TEST_DATA", "../shared/data")) / "patches"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="LAMELLA_TEST_DATA has no patches")

H, E = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def drawn_tissue(haematoxylin: float = 1.0, eosin: float = 1.0, *, seed: int = 0) -> np.ndarray:
    """Return ``(40, 60, 3)`` tissue of two stains whose amounts vary from pixel to pixel."""
    amounts = np.random.default_rng(seed).gamma(2.0, 0.4, (40, 60, 2))
    density = amounts[..., :1] * haematoxylin * H + amounts[..., 1:] * eosin * E
    return np.clip(240 * np.exp(-density) - 1, 0, 255).round().astype(np.uint8)


@needs_data
def test_macenko_gives_the_published_result() -> None:
    example = picture(DATA / "macenko/example1.png")
    published = picture(DATA / "macenko/norm1.png").astype(np.float64)
    found = fit_normaliser(StainMethod.MACENKO, example.reshape(-1, 3)).colours(example)
    # The published picture was cut off to whole grey levels, and what was above 255 became 254.
    difference = np.where(found > 255, 254, found) - published
    assert np.abs(difference).max() < 1.0001
    assert np.abs(example - published).mean() > 10


def test_macenko_makes_two_stainings_of_one_tissue_alike() -> None:
    pale, dark = drawn_tissue(0.7, 1.3), drawn_tissue(1.2, 0.8)
    before = np.abs(pale.astype(float) - dark).mean()
    for image in (pale, dark):
        fit_normaliser(StainMethod.MACENKO, image.reshape(-1, 3)).apply(image)
    assert before > 15
    assert np.abs(pale.astype(float) - dark).mean() < 2


def lab_by_hand(pixels: np.ndarray) -> np.ndarray:
    """The formulas of the paper, pixel by pixel."""
    rows = []
    for red, green, blue in pixels.reshape(-1, 3).astype(float).tolist():
        long = 0.3811 * red + 0.5783 * green + 0.0402 * blue
        medium = 0.1967 * red + 0.7244 * green + 0.0782 * blue
        short = 0.0241 * red + 0.1288 * green + 0.8444 * blue
        logs = np.log([long, medium, short])
        rows.append(
            [
                (logs[0] + logs[1] + logs[2]) / np.sqrt(3),
                (logs[0] + logs[1] - 2 * logs[2]) / np.sqrt(6),
                (logs[0] - logs[1]) / np.sqrt(2),
            ]
        )
    return np.array(rows)


def test_reinhard_gives_the_tissue_mean_and_spread_of_the_reference() -> None:
    image, other = drawn_tissue(), drawn_tissue(0.6, 1.1, seed=1)
    target = reinhard.estimate_colours(other.reshape(-1, 3))
    assert target is not None
    wanted = lab_by_hand(other)
    assert target.mean == pytest.approx(wanted.mean(axis=0))
    assert target.spread == pytest.approx(wanted.std(axis=0))
    normaliser = fit_normaliser(StainMethod.REINHARD, image.reshape(-1, 3), target)
    found = lab_by_hand(normaliser.colours(image))
    assert found.mean(axis=0) == pytest.approx(wanted.mean(axis=0), abs=1e-3)
    assert found.std(axis=0) == pytest.approx(wanted.std(axis=0), abs=1e-3)
    # Each axis by itself: the order of two pixels along it stays.
    assert np.corrcoef(lab_by_hand(image)[:, 2], found[:, 2])[0, 1] > 0.999


def test_reference_image_is_taken_in_place_of_the_constants(tmp_path: Path) -> None:
    image, other = drawn_tissue(0.7, 1.3), drawn_tissue(1.2, 0.8)
    Image.fromarray(other).save(tmp_path / "reference.png")
    for method in (StainMethod.MACENKO, StainMethod.REINHARD):
        target = read_target(method, tmp_path / "reference.png")
        changed = image.copy()
        fit_normaliser(method, image.reshape(-1, 3), target).apply(changed)
        means = [each.mean(axis=(0, 1)) for each in (image, changed, other)]
        assert np.abs(means[1] - means[2]).max() < 5
        assert np.abs(means[0] - means[2]).max() > 15


@pytest.mark.parametrize("method", [StainMethod.MACENKO, StainMethod.REINHARD])
def test_too_little_tissue_changes_nothing_and_says_so(method: StainMethod) -> None:
    image = drawn_tissue()
    normaliser = fit_normaliser(method, image.reshape(-1, 3)[:800])
    assert normaliser.outcome.startswith("none: too few tissue pixels (")
    before = image.copy()
    normaliser.apply(image)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("method", [StainMethod.MACENKO, StainMethod.REINHARD])
def test_tissue_of_one_colour_has_no_fit(method: StainMethod) -> None:
    alike = np.full((5000, 3), (150, 80, 140), dtype=np.uint8)
    assert "cannot be told apart" in fit_normaliser(method, alike).outcome


def test_glass_is_no_tissue_for_macenko() -> None:
    glass = np.full((5000, 3), 235, dtype=np.uint8)
    assert fit_normaliser(StainMethod.MACENKO, glass).outcome == ("none: too few tissue pixels (0)")


@pytest.mark.parametrize("method", list(StainMethod))
def test_normaliser_survives_the_attributes_of_a_shard(method: StainMethod) -> None:
    image = drawn_tissue()
    normaliser = fit_normaliser(method, image.reshape(-1, 3))
    again = Normaliser.from_attributes(normaliser.attributes)
    first, second = image.copy(), image.copy()
    normaliser.apply(first)
    again.apply(second)
    assert np.array_equal(first, second)
    assert np.array_equal(first, image) == (method is StainMethod.NONE)
    # Several patches at once are changed like each of them.
    both = np.stack([image, image[::-1]])
    normaliser.apply(both)
    assert np.array_equal(both[0], first)
    assert np.array_equal(both[1], first[::-1])


def test_unusable_reference_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    Image.new("RGB", (50, 50), "white").save(tmp_path / "white.png")
    for name in ("text.png", "white.png", "absent.png"):
        with pytest.raises(SettingsError, match="stain reference"):
            read_target(StainMethod.MACENKO, tmp_path / name)


def test_reference_image_beyond_pillow_s_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(drawn_tissue()).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(SettingsError, match=r"large\.png: .* a piece of some"):
        read_target(StainMethod.MACENKO, tmp_path / "large.png")
