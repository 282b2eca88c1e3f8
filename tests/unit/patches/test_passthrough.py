"""Patches that are the slide's own tiles."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from lamella.cohort.table import Slide
from lamella.errors import SlideError
from lamella.patches.extract import ExtractJob, extract_slide
from lamella.patches.passthrough import tile_corners, whole_tiles
from lamella.patches.settings import PatchSettings
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING, ReaderName, ReadingSettings
from lamella.stores.codec import Storage
from lamella.stores.shards import ShardReader
from lamella.tissue.mask import TissueMask, write_mask
from lamella.units import Level0Pixels

WIDTH, HEIGHT, TILE = 456, 328, 64


def write_slide(
    path: Path, *, factors: tuple[int, ...] = (1, 2), compression: str = "jpeg"
) -> Path:
    """Write noise as a tiled TIFF of 0.5 µm per pixel; its right and lowest tiles are cut."""
    noise = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    with tifffile.TiffWriter(path) as writer:
        for factor in factors:
            writer.write(
                np.ascontiguousarray(noise[::factor, ::factor]),
                tile=(TILE, TILE),
                compression=compression,
                photometric="rgb",
                subfiletype=int(factor > 1),
                resolution=(20_000 / factor, 20_000 / factor),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    return path


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., ExtractJob]:
    """Return a maker of jobs on a slide with tissue everywhere but in its left 96 pixels."""

    def make(slide: Path, reader: ReaderName = ReaderName.AUTO, **settings: object) -> ExtractJob:
        pixels = np.ones((-(-HEIGHT // 8), -(-WIDTH // 8)), dtype=bool)
        pixels[:, : 96 // 8] = False
        write_mask(tmp_path / "mask.png", TissueMask(pixels, Level0Pixels(8)), fingerprint="m")
        chosen = {"size_px": TILE, "mpp": 0.5, "storage": Storage.PASSTHROUGH, **settings}
        return ExtractJob(
            Slide("a", slide, "a"),
            PatchSettings.model_validate(chosen),
            tmp_path / "mask.png",
            tmp_path / "a.h5",
            "made",
            ReadingSettings(reader=reader),
        )

    return make


@pytest.mark.parametrize(("mpp", "scale", "columns", "rows"), [(0.5, 1, 6, 5), (1.0, 2, 2, 2)])
def test_tiles_with_tissue_are_stored_untouched(
    tmp_path: Path, job, mpp: float, scale: int, columns: int, rows: int
) -> None:
    slide = write_slide(tmp_path / "slide.tif")
    assert extract_slide(job(slide, mpp=mpp)) == columns * rows
    with SlideReader(slide, DEFAULT_READING) as reader, ShardReader(tmp_path / "a.h5") as shard:
        assert shard.storage is Storage.PASSTHROUGH
        shard.verify()
        x, y = shard.column("x"), shard.column("y")
        assert sorted(set(x.tolist())) == [TILE * scale * n for n in range(1, columns + 1)]
        assert sorted(set(y.tolist())) == [TILE * scale * n for n in range(rows)]
        plan = reader.plan(mpp=mpp, size_px=TILE)
        for row, patch in enumerate(shard.read(np.arange(len(shard)))):
            own = reader.source.encoded_tile(  # type: ignore[attr-defined]
                plan.level, x[row] // (TILE * scale), y[row] // (TILE * scale)
            )
            assert shard.encoded(row) == own
            assert np.array_equal(patch, reader.read_patch(int(x[row]), int(y[row]), plan))


def test_downsample_that_is_not_whole_finds_its_tiles_again(tmp_path: Path) -> None:
    # 456 / 3 = 152, but 328 / 3 is no whole number: level 1 has 110 rows.
    slide = write_slide(tmp_path / "slide.tif", factors=(1, 3))
    with SlideReader(slide, DEFAULT_READING) as reader:
        tiles = whole_tiles(reader, reader.plan(mpp=1.5, size_px=TILE))
        assert not tiles.edge_l0.is_integer()
        x, y = tile_corners(tiles)
    assert list(zip(x.tolist(), y.tolist(), strict=True)) == [(0, 0), (191, 0)]


def test_patches_that_are_no_tiles_are_refused(tmp_path: Path, job) -> None:
    slide = write_slide(tmp_path / "slide.tif")
    packed = write_slide(tmp_path / "lzw.tif", compression="lzw")
    for spoilt, match in (
        (job(slide, size_px=128), "patch of 128 pixels, read as 128, is not one tile: .* 64 x 64"),
        (job(slide, mpp=0.6), "read as 77"),
        (job(packed), "no JPEG tiles"),
        (job(slide, ReaderName.OPENSLIDE), "reader openslide has no tiles"),
    ):
        with pytest.raises(SlideError, match=match):
            extract_slide(spoilt)
    assert not (tmp_path / "a.h5").exists()


def test_colours_and_stride_of_the_slide_cannot_be_changed() -> None:
    for settings in ({"stain": "macenko"}, {"stride_px": 32}):
        with pytest.raises(ValueError, match="storage passthrough"):
            PatchSettings.model_validate({"storage": "passthrough", "size_px": 64, **settings})


def test_tiles_that_the_file_leaves_out_are_no_patches(tmp_path: Path, job) -> None:
    slide = write_slide(tmp_path / "slide.tif", factors=(1,))
    with tifffile.TiffFile(slide, mode="r+b") as file:
        tags = file.pages[0].tags
        counts = list(tags["TileByteCounts"].value)
        # Column 2 of row 1.
        counts[10] = 0
        tags["TileByteCounts"].overwrite(counts)
    assert extract_slide(job(slide)) == 29
    with ShardReader(tmp_path / "a.h5") as shard:
        corners = set(zip(shard.column("x").tolist(), shard.column("y").tolist(), strict=True))
    assert (3 * TILE, TILE) in corners
    assert (2 * TILE, TILE) not in corners


@pytest.mark.parametrize("how", ["noise", "zeros", "zeros at the end"])
def test_damaged_tile_is_not_stored(tmp_path: Path, job, how: str) -> None:
    slide = write_slide(tmp_path / "slide.tif", factors=(1,))
    with tifffile.TiffFile(slide) as file:
        start, n = (file.pages[0].dataoffsets[10], file.pages[0].databytecounts[10])
    noise = np.random.default_rng(1).integers(0, 256, n - 4, dtype=np.uint8).tobytes()
    first, octets = {
        "noise": (2, noise),
        "zeros": (2, bytes(n - 4)),
        "zeros at the end": (n // 2, bytes(n - n // 2 - 2)),
    }[how]
    with slide.open("r+b") as file:
        file.seek(start + first)
        file.write(octets)
    with pytest.raises(SlideError, match="column 2, row 1 of level 0 cannot be decoded"):
        extract_slide(job(slide))
    assert not (tmp_path / "a.h5").exists()
