"""How a TIFF is laid out: the levels of its pyramid, their tiles, its resolution."""

import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from lamella.slides.source import MppXy, downsamples, unreadable
from lamella.slides.tiff_descriptions import (
    aperio_mpp,
    is_ome,
    ome_channels,
    ome_mpp,
    philips_scan,
    tag_mpp,
)

JPEG, JP2K_YCBCR, JP2K_RGB, LZW, UNCOMPRESSED = 7, 33003, 33005, 5, 1
DEFLATE = (8, 32946)
RGB, YCBCR = 2, 6
APERIO, PHILIPS, GENERIC, OME = "aperio", "philips", "generic-tiff", "ome-tiff"

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_COLOURS = {
    JPEG: (RGB, YCBCR),
    JP2K_YCBCR: (RGB, YCBCR),
    JP2K_RGB: (RGB,),
    LZW: (RGB,),
    UNCOMPRESSED: (RGB,),
    **dict.fromkeys(DEFLATE, (RGB,)),
}
# What comes out of tifffile where tags have impossible values, besides its own error.
_DAMAGE = (
    tifffile.TiffFileError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    struct.error,
)
_LARGEST_TILE_PX = 8192
_MOST_TILE_PIXELS = 2**28
_XRESOLUTION, _YRESOLUTION, _RESOLUTION_UNIT, _INCH = 282, 283, 296, 2
_REDUCED = 1
_MOST_ASPECT_ERROR = 0.05


@dataclass(frozen=True)
class TiledLevel:
    """One level of a pyramid, as it lies in the file.

    Attributes:
        size: ``(width, height)`` of the level.
        tile: ``(width, height)`` of a tile.
        columns: Tiles in a row of tiles.
        offsets: ``(tiles,)`` first byte of each tile, row by row.
        byte_counts: ``(tiles,)`` bytes of each tile; 0 where the file leaves a tile out.
        compression: TIFF's number of it.
        photometric: TIFF's number of it.
        predictor: 2 where tiles hold differences along x, else 1.
        tables: Tables that all JPEG streams share.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    columns: int
    offsets: NDArray[np.int64]
    byte_counts: NDArray[np.int64]
    compression: int
    photometric: int
    predictor: int
    tables: bytes | None

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return len(self.offsets) // self.columns


@dataclass(frozen=True)
class TiffLayout:
    """A pyramid of tiles.

    Attributes:
        vendor: OpenSlide's name of the format, or ``ome-tiff``.
        levels: Finest first.
        downsamples: Level-0 pixels per pixel of each level.
        mpp: Microns per pixel of level 0 in x and y; ``None`` where the file does not say.
    """

    vendor: str
    levels: tuple[TiledLevel, ...]
    downsamples: tuple[float, ...]
    mpp: MppXy


def is_tiff(path: Path) -> bool:
    """Tell whether a file begins as TIFF files do."""
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


def read_layout(path: Path, vendor: str | None) -> TiffLayout | str:
    """Return the layout of a TIFF.

    Args:
        path: A TIFF file.
        vendor: What OpenSlide takes it for; ``None`` where OpenSlide does not know it.

    Returns:
        The layout; or, in words, why the tiles of such a file are not read directly.

    Raises:
        SlideUnreadableError: the file is damaged or cut off, or holds no brightfield image in
            8-bit RGB: no reader shall read it.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            pages = list(_pages(tiff))
            _refuse_giant_tiles(pages, path)
            _refuse_truncated(pages, path)
            if vendor not in (None, APERIO, PHILIPS, GENERIC):
                return f"the format {vendor} is for OpenSlide"
            _refuse_other_images(pages[0], path)
            return _layout(pages, vendor)
    except _DAMAGE as error:
        raise unreadable(f"the TIFF is damaged ({error})", path) from error


def _pages(tiff: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    """Yield every image of a file, the smaller versions that hang below the first one too."""
    for index in range(len(tiff.pages)):
        page = tiff.pages.get(index).aspage()
        yield page
        if index == 0 and page.pages is not None:
            yield from (smaller.aspage() for smaller in page.pages)


def _refuse_giant_tiles(pages: Sequence[tifffile.TiffPage], path: Path) -> None:
    """Refuse tiles beyond all memory, at which OpenSlide ends the process."""
    for page in pages:
        if page.is_tiled and int(page.tilewidth) * int(page.tilelength) > _MOST_TILE_PIXELS:
            raise unreadable(
                f"the TIFF is damaged (tiles of {page.tilewidth} x {page.tilelength} pixels)", path
            )


def _refuse_truncated(pages: Sequence[tifffile.TiffPage], path: Path) -> None:
    size = path.stat().st_size
    for page in pages:
        counts = np.array(page.databytecounts, dtype=np.int64)
        behind = int((np.array(page.dataoffsets, dtype=np.int64) + counts > size).sum())
        if page.is_tiled and behind:
            raise unreadable(
                f"the file is cut off: {behind} of the {len(counts)} tiles of its image of "
                f"{page.imagewidth} x {page.imagelength} pixels lie behind its end",
                path,
            )


def _refuse_other_images(page: tifffile.TiffPage, path: Path) -> None:
    """Refuse what the file itself says is no brightfield image."""
    channels = ome_channels(page.description) if is_ome(page.description) else None
    channels = channels or page.samplesperpixel
    if channels not in (3, 4) or page.samplesperpixel not in (3, 4):
        what = "it is grey" if channels == 1 else f"it has {channels} channels"
    elif page.bitspersample != 8:
        what = f"it has {page.bitspersample} bits per channel"
    elif page.photometric not in (RGB, YCBCR):
        what = f"its colours are {tifffile.PHOTOMETRIC(page.photometric).name}"
    else:
        return
    raise unreadable(
        f"{what}; only brightfield slides in 8-bit RGB are read, no fluorescence and no "
        "multi-channel images",
        path,
        "Remove its row, or export it as RGB",
    )


def _layout(pages: Sequence[tifffile.TiffPage], vendor: str | None) -> TiffLayout | str:
    first = pages[0]
    if not first.is_tiled:
        return "it has no tiles"
    if vendor is None and not is_ome(first.description):
        return "it is neither a TIFF that OpenSlide knows nor an OME-TIFF"
    images = [first, *(page for page in pages[1:] if _is_level(page, vendor))]
    if vendor != APERIO:
        images.sort(key=lambda page: -int(page.imagewidth))
    reason = next(filter(None, map(_why_not, images)), None)
    if reason is None and images[0] is not first:
        reason = "its first image is not the finest"
    return reason or _pyramid(first, tuple(map(_level, images)), vendor)


def _pyramid(
    first: tifffile.TiffPage, levels: tuple[TiledLevel, ...], vendor: str | None
) -> TiffLayout | str:
    sizes = tuple(level.size for level in levels)
    if vendor == PHILIPS:
        return _philips(levels, first.description)
    if not _is_pyramid(sizes):
        return f"its images are no pyramid: {sizes}"
    if vendor == APERIO:
        # OpenSlide paints what is missing from the finer level.
        if len(levels) > 1 and any((level.byte_counts == 0).any() for level in levels):
            return "it is an Aperio pyramid with missing tiles"
        return TiffLayout(vendor, levels, downsamples(sizes), aperio_mpp(first.description))
    if is_ome(first.description):
        return TiffLayout(OME, levels, downsamples(sizes), ome_mpp(first.description))
    tags = first.tags
    mpp = tag_mpp(
        tags.valueof(_XRESOLUTION),
        tags.valueof(_YRESOLUTION),
        int(tags.valueof(_RESOLUTION_UNIT, _INCH)),
    )
    return TiffLayout(GENERIC, levels, downsamples(sizes), mpp)


def _philips(levels: tuple[TiledLevel, ...], description: str) -> TiffLayout | str:
    scan = philips_scan(description)
    if len(scan.downsamples) != len(levels):
        return f"its description names {len(scan.downsamples)} levels, it has {len(levels)}"
    width, height = levels[0].size
    # The sizes in the file are padded to whole tiles.
    clipped = tuple(
        replace(level, size=(int(width / factor), int(height / factor)))
        for level, factor in zip(levels, scan.downsamples, strict=True)
    )
    if any(
        a.size[0] > b.size[0] or a.size[1] > b.size[1] for a, b in zip(clipped, levels, strict=True)
    ):
        return "its levels are smaller than its description says"
    return TiffLayout(PHILIPS, clipped, scan.downsamples, scan.mpp)


def _is_level(page: tifffile.TiffPage, vendor: str | None) -> bool:
    return bool(page.is_tiled and (vendor == APERIO or int(page.subfiletype) & _REDUCED))


def _why_not(page: tifffile.TiffPage) -> str | None:
    """Return why the tiles of an image are not decoded directly; ``None`` where they are."""
    if (page.samplesperpixel, page.bitspersample, page.planarconfig) != (3, 8, 1):
        return "its pixels are not three bytes side by side"
    if page.photometric not in _COLOURS.get(page.compression, ()):
        return (
            f"compression {int(page.compression)} with colours {int(page.photometric)} "
            "is for OpenSlide"
        )
    if page.predictor not in (1, 2) or page.fillorder != 1 or page.imagedepth != 1:
        return "its predictor, bit order or depth is unusual"
    if not 0 < max(page.tilewidth, page.tilelength) <= _LARGEST_TILE_PX:
        return f"its tiles are of {page.tilewidth} x {page.tilelength} pixels"
    columns, rows = (
        -(-int(length) // int(tile))
        for length, tile in (
            (page.imagewidth, page.tilewidth),
            (page.imagelength, page.tilelength),
        )
    )
    if not len(page.dataoffsets) == len(page.databytecounts) == columns * rows:
        return "its table of tiles has the wrong length"
    return None


def _level(page: tifffile.TiffPage) -> TiledLevel:
    return TiledLevel(
        size=(int(page.imagewidth), int(page.imagelength)),
        tile=(int(page.tilewidth), int(page.tilelength)),
        columns=-(-int(page.imagewidth) // int(page.tilewidth)),
        offsets=np.array(page.dataoffsets, dtype=np.int64),
        byte_counts=np.array(page.databytecounts, dtype=np.int64),
        compression=int(page.compression),
        photometric=int(page.photometric),
        predictor=int(page.predictor),
        tables=page.jpegtables,
    )


def _is_pyramid(sizes: Sequence[tuple[int, int]]) -> bool:
    """Tell whether sizes fall, and keep their shape but for the rounding of a pixel."""
    width, height = sizes[0]
    for size in sizes[1:]:
        across, down = width / size[0], height / size[1]
        if abs(across - down) > across * (_MOST_ASPECT_ERROR + 1 / min(size)):
            return False
    return all(a != b and a[0] >= b[0] and a[1] >= b[1] for a, b in itertools.pairwise(sizes))
