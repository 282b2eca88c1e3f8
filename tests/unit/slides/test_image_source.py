"""Plain images are decoded with few copies, and refused where even that is too much."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamella.errors import SlideUnreadableError
from lamella.slides.image_source import ImageSource


def drawn(channels: int) -> np.ndarray:
    pixels = np.full((3000, 4000, channels), 255, dtype=np.uint8)
    pixels[100:1300, 1700:] = (180, 90, 160, 255)[:channels]
    return pixels


@pytest.mark.parametrize("channels", [3, 4])
def test_an_image_is_decoded_with_one_copy_beside_that_of_pillow(
    tmp_path: Path, channels: int
) -> None:
    pixels, path = drawn(channels), tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    tracemalloc.start()
    source = ImageSource(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    found = np.empty((3000, 4000, 3), dtype=np.uint8)
    source.read_into(found, 0, 0, 0)
    assert np.array_equal(found, pixels[:, :, :3])
    # The copies of a strip come on top, and what other threads allocate meanwhile.
    assert peak < 1.7 * found.nbytes


def test_an_image_that_a_worker_cannot_hold_is_refused_and_the_error_says_what_to_do(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.png"
    Image.new("1", (10_000, 9_001)).save(path)
    with pytest.raises(SlideUnreadableError, match=r"10000 x 9001 pixels.*tiled pyramid"):
        ImageSource(path)
