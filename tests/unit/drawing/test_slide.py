from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import openslide
import pytest
import skimage.draw
import tifffile

from lamella.drawing.annotation import annotation_xml
from lamella.drawing.blocks import Box, SlideDrawer
from lamella.drawing.plan import SlideSpec, plan_slide
from lamella.drawing.settings import Scanner
from lamella.drawing.slide import draw_slide


def field_of(path, spec, level=0):
    """Return the drawn field as OpenSlide reads it, RGB."""
    size = [length // 4**level for length in spec.field_px]
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region(spec.model.offset_px, level, size).convert("RGB"))


def drawn_field(spec):
    return SlideDrawer(plan_slide(spec)).draw(Box(0, 0, *spec.field_px))


def test_openslide_reads_vendor_resolution_and_levels(spec, slide_path):
    expected = {
        Scanner.APERIO: ("aperio", "0.25", "40", ((2400, 1680), (600, 420), (150, 105))),
        Scanner.LEICA: ("leica", "0.5", "20", ((2480, 2120), (620, 530))),
    }
    vendor, mpp, power, levels = expected[spec.scanner]
    with openslide.OpenSlide(slide_path) as slide:
        assert slide.properties["openslide.vendor"] == vendor
        assert slide.properties["openslide.mpp-x"] == mpp
        assert slide.properties["openslide.mpp-y"] == mpp
        assert slide.properties["openslide.objective-power"] == power
        assert slide.level_dimensions == levels
        assert slide.level_downsamples == (1.0, 4.0, 16.0)[: len(levels)]


def test_only_the_leica_slide_has_bounds_and_nothing_around_them(spec, slide_path):
    with openslide.OpenSlide(slide_path) as slide:
        names = ("x", "y", "width", "height")
        bounds = [slide.properties.get(f"openslide.bounds-{name}") for name in names]
        before = slide.read_region((1000, 500), 0, (24, 12)).getextrema()[3]
    if spec.scanner is Scanner.LEICA:
        assert bounds == ["1024", "512", "1200", "840"]
        assert before == (0, 0)
    else:
        assert bounds == [None] * 4
        assert before == (255, 255)


def test_tiles_are_jpeg_in_ycbcr(spec, slide_path):
    with tifffile.TiffFile(slide_path) as file:
        for page in file.pages:
            assert page.compression == tifffile.COMPRESSION.JPEG
            assert page.photometric == tifffile.PHOTOMETRIC.YCBCR
            assert page.tile == (256, 256)


def test_colours_survive_the_compression(spec, slide_path):
    difference = field_of(slide_path, spec).astype(int) - drawn_field(spec)
    assert np.abs(difference.mean(axis=(0, 1))).max() < 1.0
    assert np.abs(difference).mean() < 4.0


def test_lower_levels_are_means_of_the_finest(spec, slide_path):
    width, height = spec.field_px
    level = {Scanner.APERIO: 2, Scanner.LEICA: 1}[spec.scanner]
    edge = 4**level
    whole = drawn_field(spec).reshape(height // edge, edge, width // edge, edge, 3)
    lowest = field_of(slide_path, spec, level=level)
    assert np.abs(lowest - whole.mean(axis=(1, 3))).mean() < 2.5


@pytest.mark.parametrize("scanner", list(Scanner))
def test_equal_specs_give_equal_bytes_whatever_the_blocks(scanner, tmp_path):
    spec = SlideSpec(420.0, 310.0, scanner=scanner, seed=8, pen=True, fold=True, blur=True)
    paths = [tmp_path / f"{block_px}.tiff" for block_px in (256, 512, 1024)]
    for path in paths:
        draw_slide(path, spec, block_px=int(path.stem))
    first, *others = [path.read_bytes() for path in paths]
    assert all(other == first for other in others)


def test_another_seed_gives_another_slide(spec, slide_path, tmp_path):
    other = tmp_path / "other.tiff"
    draw_slide(other, replace(spec, seed=6))
    difference = field_of(slide_path, spec).astype(int) - field_of(other, spec)
    assert np.abs(difference).mean() > 10


def test_the_annotation_surrounds_the_dark_nuclei_and_not_the_exclusion(spec, slide_path):
    plan = plan_slide(spec)
    root = ET.fromstring(annotation_xml(plan))
    with openslide.OpenSlide(slide_path) as slide:
        canvas = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    masks = {"_0": np.zeros(canvas.shape[:2], bool), "_2": np.zeros(canvas.shape[:2], bool)}
    for annotation in root.iter("Annotation"):
        corners = [(float(c.get("Y")), float(c.get("X"))) for c in annotation.iter("Coordinate")]
        masks[annotation.get("PartOfGroup")] |= skimage.draw.polygon2mask(canvas.shape[:2], corners)
    tissue = skimage.draw.polygon2mask(canvas.shape[:2], plan.level0(plan.tissue)[:, ::-1])
    # Haematoxylin takes red away, eosin hardly does.
    darkness = -np.log(np.maximum(canvas[:, :, 0], 1) / 240.0)
    tumor = darkness[masks["_0"] & ~masks["_2"]].mean()
    exclusion = darkness[masks["_2"]].mean()
    normal = darkness[tissue & ~masks["_0"]].mean()
    assert tumor > 2.5 * normal
    # Nuclei of the tumour reach over the border of the small exclusion.
    assert exclusion < 0.5 * tumor


def test_tiles_of_another_size_are_read_the_same(spec, slide_path, tmp_path):
    path = tmp_path / "slide.tiff"
    draw_slide(path, replace(spec, tile_px=240))
    difference = field_of(path, spec).astype(int) - field_of(slide_path, spec)
    assert np.abs(difference).mean() < 4.0


def test_a_block_that_cuts_tiles_is_refused(tmp_path):
    with pytest.raises(ValueError, match="block_px=1000 is no multiple of tile_px=256"):
        draw_slide(tmp_path / "slide.svs", SlideSpec(300.0, 200.0), block_px=1000)


def test_a_drawing_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    draw, calls = SlideDrawer.draw, []

    def draw_twice(self, box):
        calls.append(box)
        if len(calls) > 2:
            raise MemoryError
        return draw(self, box)

    monkeypatch.setattr(SlideDrawer, "draw", draw_twice)
    with pytest.raises(MemoryError):
        draw_slide(tmp_path / "slide.svs", SlideSpec(600.0, 400.0), block_px=512)
    assert list(tmp_path.iterdir()) == []
