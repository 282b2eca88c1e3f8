"""The bytes of a tile become pixels, exactly those that OpenSlide shows."""

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from lamella.slides.jpeg_streams import decode_stream, is_ycbcr
from lamella.slides.tiff_layout import (
    DEFLATE,
    JP2K_RGB,
    JP2K_YCBCR,
    JPEG,
    LZW,
    UNCOMPRESSED,
    YCBCR,
    TiledLevel,
)

Decode = Callable[[bytes, NDArray[np.uint8]], None]
"""Fills an array ``(height, width, 3)`` with a tile in RGB; ValueError where it cannot."""

_PREDICTOR_DIFFERENCES = 2


def decoder(level: TiledLevel) -> Decode:
    """Return what decodes the tiles of a level."""
    if level.compression == JPEG:
        return _jpeg(level)
    if level.compression in (JP2K_RGB, JP2K_YCBCR):
        return _jpeg2000_ycbcr if level.compression == JP2K_YCBCR else _jpeg2000
    unpack: dict[int, Callable[[bytes], bytes | bytearray]] = {
        UNCOMPRESSED: bytes,
        LZW: imagecodecs.lzw_decode,
        **dict.fromkeys(DEFLATE, imagecodecs.zlib_decode),
    }
    return _plain(unpack[level.compression], differences=level.predictor == _PREDICTOR_DIFFERENCES)


def _jpeg(level: TiledLevel) -> Decode:
    def decode(data: bytes, out: NDArray[np.uint8]) -> None:
        ycbcr = level.photometric == YCBCR or is_ycbcr(data)
        decode_stream(data, level.tables, ycbcr=ycbcr, out=out)

    return decode


def _plain(unpack: Callable[[bytes], bytes | bytearray], *, differences: bool) -> Decode:
    def decode(data: bytes, out: NDArray[np.uint8]) -> None:
        try:
            flat = np.frombuffer(unpack(data), dtype=np.uint8)
        except (imagecodecs.LzwError, imagecodecs.ZlibError) as error:
            raise ValueError(str(error)) from error
        if flat.size < out.size:
            raise ValueError(f"it holds {flat.size} of {out.size} bytes")
        pixels = flat[: out.size].reshape(out.shape)
        if differences:
            # Sums wrap around at 256, as the differences did.
            np.cumsum(pixels, axis=1, dtype=np.uint8, out=out)
        else:
            out[:] = pixels

    return decode


def _jpeg2000(data: bytes, out: NDArray[np.uint8]) -> None:
    try:
        pixels = imagecodecs.jpeg2k_decode(data)
    except imagecodecs.Jpeg2kError as error:
        raise ValueError(str(error)) from error
    if pixels.shape != out.shape or pixels.dtype != np.uint8:
        raise ValueError(f"it is an image of {pixels.shape} {pixels.dtype}")
    out[:] = pixels


def _jpeg2000_ycbcr(data: bytes, out: NDArray[np.uint8]) -> None:
    _jpeg2000(data, out)
    y, cb, cr = (out[..., channel] for channel in range(3))
    luma = y.astype(np.int32)
    red = luma + _RED_OF_CR[cr]
    green = luma + ((_GREEN_OF_CB[cb] + _GREEN_OF_CR[cr]) >> _GREEN_BITS)
    blue = luma + _BLUE_OF_CB[cb]
    for channel, values in enumerate((red, green, blue)):
        out[..., channel] = np.clip(values, 0, 255)


def _rounded(values: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
    """Round halves away from zero."""
    rounded: NDArray[np.int32] = np.copysign(np.floor(np.abs(values) + 0.5), values).astype(
        np.int32
    )
    return rounded


_GREEN_BITS = 16
_CHROMA = np.arange(256) - 128.0
_RED_OF_CR = _rounded(1.402 * _CHROMA)
_BLUE_OF_CB = _rounded(1.772 * _CHROMA)
_GREEN_OF_CB = _rounded((0.5 - 0.34414 * _CHROMA) * 2**_GREEN_BITS)
_GREEN_OF_CR = _rounded(-0.71414 * _CHROMA * 2**_GREEN_BITS)
"""Parts of the colours from full-range YCbCr, rounded as OpenSlide rounds them.

Source:
    ITU-T T.871 (JFIF), section 7.
"""
