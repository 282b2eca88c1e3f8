"""JPEG streams that are damaged are told from those that are whole."""

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from lamella.slides.jpeg_streams import complete_stream, decode_stream

SIZE = 64
EOI = b"\xff\xd9"


def noisy() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def blank(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), colour, dtype=np.uint8)


def encoded(pixels: np.ndarray, **options: object) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, **{"level": 90, "subsampling": "420", **options}))


def decoded(data: bytes) -> np.ndarray:
    out = np.empty((SIZE, SIZE, 3), dtype=np.uint8)
    decode_stream(data, None, ycbcr=True, out=out)
    return out


def second_half_zeroed(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(len(data) - middle - len(EOI)) + EOI


def test_zeros_that_decode_into_more_blocks_than_there_are_are_found() -> None:
    whole = encoded(noisy())
    spoilt = second_half_zeroed(whole)
    assert not np.array_equal(imagecodecs.jpeg8_decode(spoilt), imagecodecs.jpeg8_decode(whole))
    with pytest.raises(ValueError, match="goes on behind its pixels"):
        decoded(spoilt)
    with pytest.raises(ValueError, match="goes on behind its pixels"):
        complete_stream(spoilt, None, ycbcr=True, size=(SIZE, SIZE))


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("colour", [(255, 255, 255), (128, 128, 128), (0, 0, 0), (244, 243, 245)])
def test_blank_tiles_full_of_zeros_are_whole(colour: tuple[int, int, int], optimize: bool) -> None:
    speck, half = blank(colour), blank(colour)
    speck[SIZE // 2, SIZE // 2] = 90
    half[: SIZE // 2] = 100
    for pixels in (blank(colour), speck, half):
        data = encoded(pixels, optimize=optimize)
        assert np.array_equal(decoded(data), imagecodecs.jpeg8_decode(data))
        complete_stream(data, None, ycbcr=True, size=(SIZE, SIZE))


def test_restarts_are_no_interruption() -> None:
    grey = noisy()
    grey[40:] = 128
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", restart_marker_blocks=1)
    data = file.getvalue()
    assert b"\xff\xd3" in data
    assert np.array_equal(decoded(data), imagecodecs.jpeg8_decode(data))
    complete_stream(data, None, ycbcr=True, size=(SIZE, SIZE))


def test_streams_that_no_decoder_could_show_are_not_completed() -> None:
    data = encoded(noisy())
    scan = data.index(b"\xff\xda")
    noise = np.random.default_rng(1).integers(0, 256, len(data) - 4, dtype=np.uint8).tobytes()
    for spoilt, match in (
        (data[:2] + noise + EOI, "no JPEG stream of 64 x 64"),
        (data[:2] + bytes(len(data) - 4) + EOI, "no JPEG stream of 64 x 64"),
        (data[:scan] + EOI, "no JPEG stream of 64 x 64"),
        (data[: scan + 200] + noise + EOI, "interrupted"),
    ):
        with pytest.raises(ValueError, match=match):
            complete_stream(spoilt, None, ycbcr=True, size=(SIZE, SIZE))
    with pytest.raises(ValueError, match="no JPEG stream of 64 x 128 pixels"):
        complete_stream(data, None, ycbcr=True, size=(SIZE, 2 * SIZE))
