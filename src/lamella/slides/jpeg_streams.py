"""The JPEG streams inside a TIFF: abbreviated ones completed, damaged ones told apart."""

import re
from collections.abc import Iterator

import imagecodecs
import numpy as np
from numpy.typing import NDArray

_SOI, _EOI, _SOS, _DRI = b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xdd"
_PROGRESSIVE = b"\xff\xc2"
_RESTARTS = {bytes((0xFF, 0xD0 + number)) for number in range(8)}
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_APP0, _APP14 = 0xE0, 0xEE
# Start of the compressed pixels, end of the stream.
_LAST = (0xDA, 0xD9)
# Start of frame, which says the size: baseline, extended, progressive.
_FRAMES = (0xC0, 0xC1, 0xC2)
# Bits that no decoder takes for the end of a block, whatever its tables.
_FILLING = bytes(range(1, 97))
# Where tables know few codes, one filling may be without a meaning; hardly ever all of them.
_FILLINGS = (_FILLING, bytes.fromhex("b76ddb") * 32, bytes(range(96, 0, -1)))
_HOLE = bytes(16)
# The last of the compressed pixels; without them an image is another.
_TAIL_BYTES = 8
# What a decoder shows of blocks that it never reached.
_NEVER_DECODED = bytes((128, 128, 128))


def decode_stream(
    data: bytes, tables: bytes | None, *, ycbcr: bool, out: NDArray[np.uint8]
) -> None:
    """Decode a tile.

    Args:
        data: The stream; it may lack its tables.
        tables: The tables, a stream of its own; ``None`` where ``data`` holds them.
        ycbcr: Whether it holds YCbCr or RGB.
        out: ``(height, width, 3)`` uint8 of exactly the stream's size; filled with RGB.

    Raises:
        ValueError: the stream is damaged, cut off or of another size.
    """
    if _EOI not in data[-16:]:
        raise ValueError("the JPEG stream is cut off")
    _decode(data, tables, ycbcr, out)
    # The decoder does not tell that the stream ended early: it leaves the rest grey, or fills
    # the last block up where zeros in place of the data took its length.
    if out[-1, -1].tobytes() == _NEVER_DECODED or _has_hole(data):
        _check_length(data, tables, ycbcr, out)


def is_ycbcr(data: bytes) -> bool:
    """Tell whether a stream in a TIFF that says RGB holds YCbCr nevertheless, by its markers.

    Some writers, such as Bio-Formats, put whole JFIF files into tiles. OpenSlide shows them in
    false colours. A stream without markers is what the TIFF says.
    """
    if data[2:4] == b"\xff\xe0":
        return data[6:10] == b"JFIF"
    return data[2:4] == b"\xff\xee" and data[6:11] == b"Adobe" and data[17] != 0


def complete_stream(
    data: bytes, tables: bytes | None, *, ycbcr: bool, size: tuple[int, int]
) -> bytes:
    """Return a tile as a JPEG file that every decoder shows in the same colours.

    The compressed pixels are untouched: the tables are put in, and an Adobe marker that says
    YCbCr or RGB stands in place of other markers that could say otherwise. They are decoded only
    where zeros in them, such as those of a sparse copy, make them suspect.

    Args:
        data: The stream; it may lack its tables.
        tables: The tables, a stream of its own; ``None`` where ``data`` holds them.
        ycbcr: Whether it holds YCbCr or RGB.
        size: ``(width, height)`` that it must have.

    Source:
        Adobe Technical Note 5116, "Supporting the DCT Filters in PostScript Level 2", 1992.

    Raises:
        ValueError: the stream is no JPEG, damaged, cut off or of another size.
    """
    if data[:2] != _SOI or _EOI not in data[-16:]:
        raise ValueError("the JPEG stream is cut off")
    if _frame_size(data) != size:
        raise ValueError(f"it is no JPEG stream of {size[0]} x {size[1]} pixels")
    _check_uninterrupted(data)
    if _has_hole(data):
        out = np.empty((size[1], size[0], 3), dtype=np.uint8)
        decode_stream(data, tables, ycbcr=ycbcr, out=out)
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([ycbcr])
    shared = _without_colour_markers(tables).removesuffix(_EOI) if tables else b""
    return _SOI + adobe + shared + _without_colour_markers(data)


def _decode(data: bytes, tables: bytes | None, ycbcr: bool, out: NDArray[np.uint8]) -> None:
    try:
        imagecodecs.jpeg8_decode(
            data,
            tables=tables,
            colorspace="YCBCR" if ycbcr else "RGB",
            outcolorspace="RGB",
            out=out,
        )
    except imagecodecs.Jpeg8Error as error:
        raise ValueError(str(error)) from error


def _has_hole(data: bytes) -> bool:
    return data.find(_HOLE, data.find(_SOS)) >= 0


def _check_length(data: bytes, tables: bytes | None, ycbcr: bool, found: NDArray[np.uint8]) -> None:
    """Refuse a stream that is interrupted, or whose compressed pixels are too few or too many.

    Raises:
        ValueError: it is one of them.
    """
    _check_uninterrupted(data)
    end, other = data.rindex(_EOI), np.empty_like(found)
    _decode(data[:end] + _FILLING + data[end:], tables, ycbcr, other)
    if not np.array_equal(other, found):
        raise ValueError("the JPEG stream ends before its pixels do")
    # The tables of a tile of one colour may know no other one.
    if _PROGRESSIVE in data[: data.find(_SOS)] or (found == found[0, 0]).all():
        return
    # Zeros are blocks, too, and maybe of fewer bytes than those that they stand in place of.
    for filling in _FILLINGS:
        _decode(data[: _tail(data, end)] + filling + data[end:], tables, ycbcr, other)
        if not np.array_equal(other, found):
            return
    raise ValueError("the JPEG stream goes on behind its pixels")


def _check_uninterrupted(data: bytes) -> None:
    """Refuse compressed pixels with a marker among them that has no place there.

    Raises:
        ValueError: there is one.
    """
    start = data.find(_SOS)
    markers = set(_MARKER.findall(data, start + 2, data.rindex(_EOI)))
    if _DRI in data[:start]:
        markers -= _RESTARTS
    # Progressive streams have markers between their scans.
    if markers and _PROGRESSIVE not in data[:start]:
        raise ValueError("the JPEG stream is interrupted")


def _tail(data: bytes, end: int) -> int:
    """Return where the last of the compressed pixels begin, behind all markers."""
    start = data.find(_SOS) + len(_SOS)
    first = start + int.from_bytes(data[start : start + 2], "big")
    ends = [marker.end() for marker in _MARKER.finditer(data, first, end)]
    tail = max(end - _TAIL_BYTES, first, *ends)
    # Half of an escaped 255 would make a marker of what follows it.
    return tail - 1 if data[tail - 1 : tail + 1] == b"\xff\x00" else tail


def _frame_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height; ``None`` where no compressed pixels follow a start of frame."""
    size = None
    for marker, segment in _segments(data):
        if marker in _FRAMES:
            size = int.from_bytes(segment[7:9], "big"), int.from_bytes(segment[5:7], "big")
        if segment.startswith(_SOS):
            return size
    return None


def _without_colour_markers(data: bytes) -> bytes:
    """Return a stream without its first two bytes and its JFIF and Adobe markers."""
    return b"".join(segment for marker, segment in _segments(data) if marker not in (_APP0, _APP14))


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and the bytes of each segment; all from the pixels on is one."""
    start = len(_SOI)
    while start + 4 <= len(data) and data[start + 1] not in _LAST:
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        yield data[start + 1], data[start:end]
        start = end
    if start + 2 <= len(data):
        yield data[start + 1], data[start:]
