"""Slide files of every layout that the direct tile reader knows, written by tifffile."""

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

WIDTH, HEIGHT, TILE = 464, 312, 64
APERIO = f"Aperio drawn\r\n{WIDTH}x{HEIGHT}|AppMag = 40|MPP = 0.25"
MISSING = (3, 10)
"""Tiles that sparse slides leave out: column 3 of row 0, and column 2 of row 1."""


def picture() -> np.ndarray:
    """Return ``(HEIGHT, WIDTH, 3)``: waves that differ in x and y, and noise."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = [np.sin(x / 17 + y / 40), np.cos(y / 11), np.sin((x + 2 * y) / 23)]
    noise = np.random.default_rng(3).integers(-25, 25, (HEIGHT, WIDTH, 3))
    return np.clip(128 + 90 * np.stack(waves, axis=2) + noise, 0, 255).astype(np.uint8)


def write_pyramid(path: Path, pixels: np.ndarray, factors=(1, 2, 4), description=None, **options):
    """Write every ``factor``-th pixel as a level of a tiled TIFF, 0.5 microns per pixel."""
    with tifffile.TiffWriter(path) as writer:
        for factor in factors:
            writer.write(
                np.ascontiguousarray(pixels[::factor, ::factor]),
                tile=(TILE, TILE),
                subfiletype=int(factor > 1),
                resolution=(20_000 / factor, 20_000 / factor),
                resolutionunit="CENTIMETER",
                description=description if factor == 1 else None,
                metadata=None,
                **{"photometric": "rgb", **options},
            )


def encoded_tiles(pixels: np.ndarray, *, subsampling: str = "420") -> list[bytes]:
    """Return the tiles of a level, row by row, as JPEG in YCbCr."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % TILE), (0, -width % TILE), (0, 0)))
    return [
        bytes(
            imagecodecs.jpeg8_encode(
                padded[y : y + TILE, x : x + TILE], level=80, subsampling=subsampling
            )
        )
        for y in range(0, height, TILE)
        for x in range(0, width, TILE)
    ]


def write_tiles(path: Path, tiles: list[bytes], **options) -> None:
    """Write compressed tiles as the only level of a TIFF; empty ones are left out."""
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            iter(tiles),
            shape=(HEIGHT, WIDTH, 3),
            dtype=np.uint8,
            tile=(TILE, TILE),
            compression="jpeg",
            metadata=None,
            **{"photometric": "ycbcr", "subsampling": (2, 2), **options},
        )


def write_philips(path: Path) -> None:
    """Write levels padded to whole tiles; the true sizes follow from the spacings in the XML."""

    def spacing(factor: int) -> str:
        across, down = 0.00026 * factor, 0.00025 * factor
        return f'<Attribute Name="DICOM_PIXEL_SPACING">"{down}" "{across}"</Attribute>'

    levels = "".join(
        f'<DataObject ObjectType="PixelDataRepresentation">{spacing(factor)}</DataObject>'
        for factor in (1, 2, 4)
    )
    description = (
        '<?xml version="1.0"?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES"><Array>'
        '<DataObject ObjectType="DPScannedImage">'
        '<Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute>'
        f"{spacing(1)}"
        f'<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>{levels}</Array>'
        "</Attribute></DataObject></Array></Attribute></DataObject>"
    )
    whole = np.pad(picture(), ((0, -HEIGHT % TILE), (0, -WIDTH % TILE), (0, 0)))
    with tifffile.TiffWriter(path) as writer:
        for factor in (1, 2, 4):
            level = np.ascontiguousarray(whole[::factor, ::factor])
            height, width = level.shape[:2]
            writer.write(
                np.pad(level, ((0, -height % TILE), (0, -width % TILE), (0, 0))),
                tile=(TILE, TILE),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=int(factor > 1),
                software="Philips DP v1.0" if factor == 1 else False,
                description=description if factor == 1 else None,
                metadata=None,
            )


def write_ome(path: Path, pixels: np.ndarray, **options) -> None:
    """Write an OME-TIFF whose smaller levels hang below the first image."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        mpp = {"PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25}
        levels = {"tile": (TILE, TILE), "compression": "jpeg", "photometric": "rgb", **options}
        writer.write(pixels, subifds=2, metadata={"axes": "YXS", **mpp}, **levels)
        for factor in (2, 4):
            smaller = np.ascontiguousarray(pixels[::factor, ::factor])
            writer.write(smaller, subfiletype=1, **levels)


def _sparse(path: Path, **options) -> None:
    tiles = encoded_tiles(picture())
    kept = [b"" if number in MISSING else tile for number, tile in enumerate(tiles)]
    write_tiles(path, kept, **options)


def _in_ycbcr() -> np.ndarray:
    return np.asarray(Image.fromarray(picture()).convert("YCbCr"))


def _jpeg(path: Path, subsampling: tuple[int, int], **options) -> None:
    options = {"photometric": "ycbcr", "subsampling": subsampling, "compression": 7, **options}
    write_pyramid(path, picture(), compressionargs={"level": 80}, **options)


def _jfif_in_rgb(path: Path) -> None:
    write_tiles(path, encoded_tiles(picture()))
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.first.tags["PhotometricInterpretation"].overwrite(2)


_J2K = {"factors": (1, 4), "description": APERIO, "compressionargs": {"level": 60}}

WRITERS: dict[str, Callable[[Path], None]] = {
    "none.tiff": lambda path: write_pyramid(path, picture()),
    "lzw.tiff": lambda path: write_pyramid(path, picture(), compression="lzw", predictor=True),
    "deflate.tiff": lambda path: write_pyramid(path, picture(), compression="adobe_deflate"),
    "old-deflate.tiff": lambda path: write_pyramid(
        path, picture(), compression="deflate", predictor=True
    ),
    "444.tiff": lambda path: _jpeg(path, (1, 1)),
    "422.tiff": lambda path: _jpeg(path, (2, 1)),
    "420.tiff": lambda path: _jpeg(path, (2, 2)),
    "rgb.svs": lambda path: write_pyramid(
        path,
        picture(),
        compression=7,
        description=APERIO,
        compressionargs={"level": 80, "outcolorspace": "RGB"},
    ),
    "jfif-in-rgb.tiff": _jfif_in_rgb,
    "jpeg2000-rgb.svs": lambda path: write_pyramid(path, picture(), compression=33005, **_J2K),
    "jpeg2000-ycbcr.svs": lambda path: write_pyramid(path, _in_ycbcr(), compression=33003, **_J2K),
    "sparse.tiff": _sparse,
    "sparse.svs": lambda path: _sparse(path, description=APERIO),
    "philips.tiff": write_philips,
}
"""Files that OpenSlide and the direct tile reader both read, by name."""


class Slides:
    """Writes slides, each name once; and what writes others."""

    width, height, tile, missing, aperio = WIDTH, HEIGHT, TILE, MISSING, APERIO
    pyramid = staticmethod(write_pyramid)
    tiles = staticmethod(write_tiles)
    ome = staticmethod(write_ome)
    encoded_tiles = staticmethod(encoded_tiles)
    picture = staticmethod(picture)

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        """Return a slide of ``WRITERS``."""
        path = self._folder / name
        if not path.exists():
            WRITERS[name](path)
        return path


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Slides:
    return Slides(tmp_path_factory.mktemp("slides"))
