"""Tissue masks: exact shares, and a PNG that holds its fingerprint."""

from pathlib import Path

import numpy as np
import pytest

from lamella.errors import StoreError
from lamella.tissue.mask import TissueMask, read_mask, read_stored_mask, thumbnail_path, write_mask
from lamella.units import Level0Pixels


def mask_of(*rows: str, cell_l0: int = 10) -> TissueMask:
    return TissueMask(np.array([[c == "#" for c in row] for row in rows]), Level0Pixels(cell_l0))


def test_shares_equal_counting_every_level_0_pixel() -> None:
    draw = np.random.default_rng(3)
    mask = TissueMask(draw.random((7, 11)) < 0.4, Level0Pixels(6))
    full = np.kron(mask.pixels, np.ones((6, 6), dtype=bool))
    x, y = draw.integers(0, 60, 50), draw.integers(0, 36, 50)
    counted = [full[b : b + 13, a : a + 13].sum() / 169 for a, b in zip(x, y, strict=True)]
    assert mask.shares(x, y, Level0Pixels(13)).tolist() == counted


def test_window_over_the_border_counts_the_outside_as_glass() -> None:
    mask = mask_of("..#", "..#")
    assert mask.shares(np.array([20]), np.array([10]), Level0Pixels(20)).tolist() == [0.25]


def test_mask_and_fingerprint_come_back_from_the_png(tmp_path: Path) -> None:
    mask = mask_of("....##", "##....", "#.....")
    path = tmp_path / "slides/a.png"
    write_mask(path, mask, fingerprint="f1")
    again = read_mask(path)
    assert np.array_equal(again.pixels, mask.pixels)
    assert again.cell_l0 == 10
    assert read_stored_mask(path) is None
    thumbnail = thumbnail_path(path)
    thumbnail.parent.mkdir()
    thumbnail.touch()
    stored = read_stored_mask(path)
    assert stored is not None
    assert (stored.fingerprint, stored.n) == ("f1", 5)


def test_damaged_png_is_not_taken_for_a_mask(tmp_path: Path) -> None:
    path = tmp_path / "slides/a.png"
    thumbnail_path(path).parent.mkdir()
    thumbnail_path(path).touch()
    write_mask(
        path,
        TissueMask(np.random.default_rng(0).random((99, 80)) < 0.5, Level0Pixels(4)),
        fingerprint="f",
    )
    path.write_bytes(path.read_bytes()[:300])
    assert read_stored_mask(path) is None
    with pytest.raises(StoreError, match="tissue mask cannot be read"):
        read_mask(path)
    assert read_stored_mask(tmp_path / "none.png") is None


def test_png_whose_chunks_have_lost_their_names_is_not_taken_for_a_mask(tmp_path: Path) -> None:
    path = tmp_path / "slides/a.png"
    thumbnail_path(path).parent.mkdir()
    thumbnail_path(path).touch()
    write_mask(path, mask_of("#.", ".#"), fingerprint="f")
    octets = path.read_bytes()
    # The length of the pixels' chunk: what follows it is no chunk.
    place = octets.index(b"IDAT") - 1
    path.write_bytes(octets[:place] + b"\x01" + octets[place + 1 :])
    assert read_stored_mask(path) is None
    with pytest.raises(StoreError, match="tissue mask cannot be read"):
        read_mask(path)
