"""The file decides which reader reads it; what no reader shall read is refused with the reason."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from lamella.drawing.plan import SlideSpec
from lamella.drawing.settings import Scanner
from lamella.drawing.slide import draw_slide
from lamella.errors import ResolutionUnknownError, SlideUnreadableError
from lamella.slides.open import open_source
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING, ReaderName, ReadingSettings, Resampling

DATA = Path(os.environ.get("LAMELLA_TEST_DATA", "../shared/data")) / "slides"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="LAMELLA_TEST_DATA has no slides")


def chosen(path: Path) -> tuple[str, str]:
    source = open_source(path)
    source.close()
    return source.reader.value, source.vendor


def test_tiles_are_read_directly_where_the_layout_is_understood(slides, tmp_path: Path) -> None:
    assert chosen(slides.path("420.tiff")) == ("tiles", "generic-tiff")
    assert chosen(slides.path("rgb.svs")) == ("tiles", "aperio")
    assert chosen(slides.path("philips.tiff")) == ("tiles", "philips")
    draw_slide(tmp_path / "a.scn", SlideSpec(200, 150, scanner=Scanner.LEICA))
    assert chosen(tmp_path / "a.scn") == ("openslide", "leica")


def test_aperio_pyramid_with_missing_tiles_is_for_openslide(slides, tmp_path: Path) -> None:
    def tiles(factor: int):
        level = np.ascontiguousarray(slides.picture()[::factor, ::factor])
        return level.shape, [
            b"" if i == 3 else t for i, t in enumerate(slides.encoded_tiles(level))
        ]

    with tifffile.TiffWriter(tmp_path / "a.svs") as writer:
        for factor in (1, 2):
            shape, encoded = tiles(factor)
            writer.write(
                iter(encoded),
                shape=shape,
                dtype=np.uint8,
                tile=(64, 64),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                description=slides.aperio,
                metadata=None,
            )
    assert chosen(tmp_path / "a.svs") == ("openslide", "aperio")
    with pytest.raises(SlideUnreadableError, match=r"missing tiles.*reading.reader"):
        open_source(tmp_path / "a.svs", ReaderName.TILES)


def test_a_pinned_reader_is_used_or_refuses(slides, tmp_path: Path) -> None:
    path = slides.path("420.tiff")
    with SlideReader(path, ReadingSettings(reader=ReaderName.OPENSLIDE)) as reader:
        assert reader.source.reader is ReaderName.OPENSLIDE
    draw_slide(tmp_path / "a.scn", SlideSpec(200, 150, scanner=Scanner.LEICA))
    with pytest.raises(SlideUnreadableError, match="leica is for OpenSlide"):
        open_source(tmp_path / "a.scn", ReaderName.TILES)
    Image.fromarray(slides.picture()).save(tmp_path / "a.png")
    with pytest.raises(SlideUnreadableError, match="OpenSlide does not know this format"):
        open_source(tmp_path / "a.png", ReaderName.OPENSLIDE)
    with pytest.raises(SlideUnreadableError, match="it is no TIFF"):
        open_source(tmp_path / "a.png", ReaderName.TILES)


def test_levels_of_ome_tiff_hang_below_its_first_image(slides, tmp_path: Path) -> None:
    slides.ome(tmp_path / "a.ome.tiff", slides.picture())
    source = open_source(tmp_path / "a.ome.tiff")
    assert (source.reader.value, source.vendor) == ("tiles", "ome-tiff")
    assert source.mpp == (0.25, 0.25)
    assert source.level_sizes == ((464, 312), (232, 156), (116, 78))
    pixels = np.empty((60, 90, 3), dtype=np.uint8)
    source.read_into(pixels, 48, 120, 2)
    near = slides.picture()[120 : 120 + 240 : 4, 48 : 48 + 360 : 4]
    assert np.abs(pixels.astype(int)[:48] - near[:48]).mean() < 25
    source.close()


@needs_data
@pytest.mark.parametrize(
    ("name", "size", "mpp"),
    [
        ("OS-1-detail.ome.tif", (1101, 1101), (0.2270972430394695, 0.22710240047237298)),
        ("OS-2-ndpi.ome.tif", (2202, 2202), (0.2270972430394695, 0.22710240047237298)),
    ],
)
def test_ome_tiffs_that_openslide_refuses_are_read(name: str, size, mpp) -> None:
    path = DATA / "ome_tiff" / name
    with pytest.raises(SlideUnreadableError, match="OpenSlide does not know"):
        open_source(path, ReaderName.OPENSLIDE)
    source = open_source(path)
    assert source.reader is ReaderName.TILES
    assert source.level_sizes == (size,)
    assert source.mpp == pytest.approx(mpp)
    pixels = np.empty((size[1], size[0], 3), dtype=np.uint8)
    source.read_into(pixels, 0, 0, 0)
    source.close()
    assert np.array_equal(pixels, tifffile.imread(path, key=0))


@pytest.mark.parametrize(
    ("shape", "kind", "options", "reason"),
    [
        ((312, 464), np.uint8, {"photometric": "minisblack"}, "it is grey"),
        ((312, 464, 3), np.uint16, {"photometric": "rgb"}, "16 bits per channel"),
        ((312, 464, 2), np.uint8, {"photometric": "minisblack"}, "2 channels"),
        ((312, 464, 4), np.uint8, {"photometric": "separated"}, "SEPARATED"),
    ],
)
@pytest.mark.parametrize("reader", [ReaderName.AUTO, ReaderName.OPENSLIDE])
def test_images_that_are_no_brightfield_rgb_are_refused(
    tmp_path: Path, shape, kind, options, reason: str, reader: ReaderName
) -> None:
    path = tmp_path / "a.tiff"
    extra = {"planarconfig": "contig"} if len(shape) == 3 else {}
    tifffile.imwrite(path, np.zeros(shape, kind), tile=(64, 64), metadata=None, **extra, **options)
    with pytest.raises(SlideUnreadableError, match=f"{reason}.*only brightfield"):
        open_source(path, reader)


def test_multi_channel_ome_tiff_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tiff"
    channels = np.zeros((5, 128, 192), np.uint8)
    tifffile.imwrite(path, channels, tile=(64, 64), metadata={"axes": "CYX"}, ome=True)
    with pytest.raises(SlideUnreadableError, match=r"5 channels.*no fluorescence"):
        open_source(path)


@pytest.mark.parametrize("name", ["420.tiff", "rgb.svs", "philips.tiff"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_files_are_refused(slides, tmp_path: Path, name: str, share: float) -> None:
    whole = slides.path(name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(len(whole) * share)])
    for reader in ReaderName:
        with pytest.raises(SlideUnreadableError, match=r"cut off|damaged|open"):
            open_source(path, reader)


@pytest.mark.parametrize(
    ("tag", "value"),
    [("TileWidth", 2**31 - 16), ("TileWidth", 0), ("ImageWidth", 2**31), ("SamplesPerPixel", 0)],
)
def test_impossible_tags_are_damage(slides, tmp_path: Path, tag: str, value: int) -> None:
    path = tmp_path / "a.tiff"
    shutil.copy(slides.path("420.tiff"), path)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.first.tags[tag].overwrite(value)
    for reader in (ReaderName.AUTO, ReaderName.TILES):
        with pytest.raises(SlideUnreadableError):
            open_source(path, reader)


def test_truncated_file_of_a_format_for_openslide_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.scn"
    draw_slide(path, SlideSpec(600, 450, scanner=Scanner.LEICA))
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * 0.9))
    with pytest.raises(SlideUnreadableError, match=r"cut off|damaged|cannot open"):
        open_source(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "ä (2).tif"])
def test_plain_images_are_slides_when_the_table_says_their_resolution(
    slides, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    Image.fromarray(slides.picture()).save(path, dpi=(25_400, 25_400))
    with SlideReader(path, DEFAULT_READING, mpp=0.5) as reader:
        assert reader.source.reader is ReaderName.IMAGE
        assert reader.mpp_source == "table"
        plan = reader.plan(mpp=0.5, size_px=32)
        patch = reader.read_patch(200, 100, plan)
        with Image.open(path) as image:
            assert np.array_equal(patch, np.asarray(image)[100:132, 200:232])
    with (
        SlideReader(path, DEFAULT_READING) as reader,
        pytest.raises(ResolutionUnknownError, match="column `mpp`"),
    ):
        _ = reader.mpp_l0


def test_plain_images_other_than_8_bit_rgb_are_refused(slides, tmp_path: Path) -> None:
    picture = Image.fromarray(slides.picture())
    for mode in ("L", "P", "1"):
        picture.convert(mode).save(tmp_path / f"{mode}.png")
        with pytest.raises(SlideUnreadableError, match="no 8-bit RGB image"):
            open_source(tmp_path / f"{mode}.png")
    (tmp_path / "16.png").write_bytes(png16(slides.picture()))
    with pytest.raises(SlideUnreadableError, match="no 8-bit RGB image"):
        open_source(tmp_path / "16.png")
    tifffile.imwrite(tmp_path / "16.tif", slides.picture().astype(np.uint16) * 257)
    with pytest.raises(SlideUnreadableError, match="16 bits per channel"):
        open_source(tmp_path / "16.tif")
    tifffile.imwrite(tmp_path / "two.tif", np.stack([slides.picture()] * 2), photometric="rgb")
    with pytest.raises(SlideUnreadableError, match="several images"):
        open_source(tmp_path / "two.tif")


def png16(pixels: np.ndarray) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.png_encode(pixels.astype(np.uint16) * 257))


def test_transparent_parts_of_an_image_are_white(slides, tmp_path: Path) -> None:
    alpha = np.full((slides.height, slides.width, 1), 255, dtype=np.uint8)
    alpha[:, :100] = 0
    Image.fromarray(np.concatenate([slides.picture(), alpha], axis=2)).save(tmp_path / "a.png")
    with SlideReader(tmp_path / "a.png", DEFAULT_READING, mpp=0.5) as reader:
        patch = reader.read_patch(90, 40, reader.plan(mpp=0.5, size_px=20))
    assert (patch[:, :10] == 255).all()
    assert np.array_equal(patch[:, 10:], slides.picture()[40:60, 100:110])


def test_truncated_image_is_refused(slides, tmp_path: Path) -> None:
    Image.fromarray(slides.picture()).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SlideUnreadableError, match="cannot be decoded"):
        open_source(tmp_path / "a.png")


@pytest.mark.parametrize("unit", ["INCH", "CENTIMETER"])
def test_resolution_tags_are_read_in_their_unit(slides, tmp_path: Path, unit: str) -> None:
    per_unit = {"INCH": 25_400 / 0.4, "CENTIMETER": 10_000 / 0.4}[unit]
    tifffile.imwrite(
        tmp_path / "a.tiff",
        slides.picture(),
        tile=(64, 64),
        photometric="rgb",
        resolution=(per_unit, per_unit),
        resolutionunit=unit,
    )
    with SlideReader(tmp_path / "a.tiff", DEFAULT_READING) as reader:
        assert reader.source.reader is ReaderName.TILES
        assert reader.mpp_l0 == pytest.approx(0.4)


def test_missing_resolution_is_never_guessed(slides, tmp_path: Path) -> None:
    slides.pyramid(tmp_path / "a.svs", slides.picture(), description="Aperio\r\n|AppMag = 40")
    with SlideReader(tmp_path / "a.svs", DEFAULT_READING) as reader:
        assert reader.source.reader is ReaderName.TILES
        with pytest.raises(ResolutionUnknownError, match=r"does not say.*column `mpp`"):
            _ = reader.mpp_l0


def test_settings_decide_tolerance_and_filter(slides) -> None:
    path = slides.path("none.tiff")
    with SlideReader(path, ReadingSettings(level_tolerance=0.1)) as reader:
        plan = reader.plan(mpp=0.95, size_px=20)
        assert (plan.level, plan.read_px, plan.mpp_effective) == (1, 20, 1.0)
    read = {}
    for name in (Resampling.LANCZOS, Resampling.BOX):
        with SlideReader(path, ReadingSettings(resampling=name)) as reader:
            plan = reader.plan(mpp=0.7, size_px=20)
            assert (plan.level, plan.read_px) == (0, 28)
            assert plan.mpp_effective == pytest.approx(0.7)
            read[name] = reader.read_patch(100, 60, plan)
    region = Image.fromarray(slides.picture()[60:88, 100:128])
    for name, kind in (
        (Resampling.LANCZOS, Image.Resampling.LANCZOS),
        (Resampling.BOX, Image.Resampling.BOX),
    ):
        assert np.array_equal(read[name], np.asarray(region.resize((20, 20), kind)))


def test_unreadable_permissions_and_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SlideUnreadableError, match="No such file"):
        open_source(tmp_path / "none.svs")
    with pytest.raises(SlideUnreadableError, match="cannot be read"):
        open_source(tmp_path)


def test_a_moved_copy_is_read_by_the_same_reader(slides, tmp_path: Path) -> None:
    shutil.copy(slides.path("420.tiff"), tmp_path / "no suffix")
    assert chosen(tmp_path / "no suffix") == chosen(slides.path("420.tiff"))
