"""A slide becomes a mask and a row of qualities; what spoils it is excluded as asked."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamella.cohort.table import Slide, write_slides
from lamella.drawing.settings import Scanner
from lamella.errors import SlideUnreadableError
from lamella.fleet.manifest import Status, read_manifest
from lamella.fleet.settings import FleetSettings
from lamella.patches.extract import extract_patches
from lamella.patches.settings import PatchSettings
from lamella.slides.settings import DEFAULT_READING
from lamella.stores.shards import ShardReader
from lamella.stores.tables import read_table
from lamella.tissue.mask import read_mask, read_quality
from lamella.tissue.segment import SegmentJob, segment_slide, segment_tissue
from lamella.tissue.settings import TissueSettings

DATA = Path(os.environ.get("LAMELLA_TEST_DATA", "../shared/data")) / "slides"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="LAMELLA_TEST_DATA has no slides")


def job_of(folder: Path, path: Path, mask: Path | None = None, **settings: object) -> SegmentJob:
    slide = Slide("a", path, "a", mask=mask)
    return SegmentJob(
        slide, TissueSettings(**settings), folder / "masks/slides/a.png", "f", DEFAULT_READING
    )


def segmented(folder: Path, path: Path, mask: Path | None = None, **settings: object):
    job = job_of(folder, path, mask, **settings)
    n = segment_slide(job)
    found = read_mask(job.mask).pixels
    assert n == found.sum()
    return found, read_quality(job.mask)


def test_pen_is_measured_always_and_excluded_as_asked(drawn, tmp_path: Path) -> None:
    slide = drawn(Scanner.APERIO, 0, pen=True)
    pen = slide.stroke(slide.plan.pen)
    kept, with_pen = segmented(tmp_path, slide.path)
    everything, quality = segmented(tmp_path, slide.path, exclude=())
    assert not (kept & pen).any()
    assert everything[pen & slide.tissue()].all()
    assert (kept & slide.tissue())[~pen].mean() > 0.9 * slide.tissue()[~pen].mean()
    assert quality["pen_share"] == with_pen["pen_share"]
    assert float(quality["pen_share"]) == pytest.approx(pen.mean(), rel=0.4)
    assert float(with_pen["tissue_share"]) == pytest.approx(kept.mean(), abs=1e-6)
    assert quality["method"] == "otsu"


def test_blur_and_folds_are_measured_always_and_excluded_as_asked(drawn, tmp_path: Path) -> None:
    slide = drawn(Scanner.LEICA, 1, blur=True)
    everything, quality = segmented(tmp_path, slide.path)
    sharp, _ = segmented(tmp_path, slide.path, exclude=("blur",))
    lost = everything & ~sharp
    assert float(quality["blur_share"]) == pytest.approx(
        (slide.out_of_focus().sum() / slide.tissue().sum()), rel=0.3
    )
    assert (lost & slide.out_of_focus()).sum() >= 0.99 * lost.sum() > 0
    folded = drawn(Scanner.APERIO, 1, fold=True)
    everything, quality = segmented(tmp_path, folded.path)
    flat, _ = segmented(tmp_path, folded.path, exclude=("folds",))
    assert float(quality["fold_share"]) == pytest.approx(
        (everything & ~flat).sum() / everything.sum(), abs=1e-6
    )
    assert 0.02 < float(quality["fold_share"]) < 0.05


def test_canvas_around_the_scanned_area_is_no_gap(drawn, tmp_path: Path) -> None:
    slide = drawn(Scanner.LEICA, 1, blur=True)
    assert slide.overview[0, 0].tolist() == [255, 255, 255]
    assert segmented(tmp_path, slide.path)[1]["gap_share"] == "0.000000"


def test_gap_of_a_slide_is_measured_and_is_no_tissue(tmp_path: Path, flat_slide) -> None:
    image = np.full((900, 1200, 3), 240, dtype=np.uint8)
    image[100:700, 200:1000] = (190, 110, 170)
    image[300:500, 400:600] = 0
    path = flat_slide(image)
    found, quality = segmented(tmp_path, path)
    assert not found[31:49, 41:59].any()
    assert found[20:29, 40:60].all()
    assert float(quality["gap_share"]) == pytest.approx(200 * 200 / (900 * 1200), rel=0.01)
    assert segmented(tmp_path, path, exclude=())[0][31:49, 41:59].all()


def test_a_drawn_mask_is_the_last_word_and_quality_is_measured_in_it(drawn, tmp_path: Path) -> None:
    slide = drawn(Scanner.APERIO, 0, pen=True)
    mask = np.zeros(slide.overview.shape[:2], dtype=bool)
    mask[:90, :] = True
    Image.fromarray(mask).save(tmp_path / "drawn.png")
    found, quality = segmented(tmp_path, slide.path, tmp_path / "drawn.png")
    assert np.array_equal(found, mask)
    assert quality["method"] == "mask"
    assert float(quality["pen_share"]) > 0.01


@pytest.mark.parametrize("origin", ["canvas", "bounds"])
def test_outlines_drawn_in_qupath_give_the_drawn_tissue(
    drawn, agreement, tmp_path: Path, origin: str
) -> None:
    slide = drawn(Scanner.LEICA, 1, blur=True)
    corner = slide.plan.spec.model.offset_px if origin == "bounds" else (0, 0)
    ring = (slide.plan.level0(slide.plan.tissue) - corner).tolist()
    polygon = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    path = tmp_path / "drawn.geojson"
    path.write_text(json.dumps({"type": "Feature", "geometry": polygon, "properties": {}}))
    found, _ = segmented(tmp_path, slide.path, path, method="mask", mask_origin=origin)
    assert agreement(found, slide.tissue())[2] >= 0.999


def test_slide_too_coarse_to_judge_its_focus_has_no_share_of_blur(
    tmp_path: Path, flat_slide
) -> None:
    image = np.full((300, 400, 3), 240, dtype=np.uint8)
    image[50:200, 100:300] = (190, 110, 170)
    assert segmented(tmp_path, flat_slide(image, mpp=8.0))[1]["blur_share"] == ""


@needs_data
def test_fluorescence_is_refused(tmp_path: Path) -> None:
    job = job_of(tmp_path, DATA / "test3-DAPI-2-(387).ndpi")
    with pytest.raises(SlideUnreadableError, match="dark background"):
        segment_slide(job)
    assert list(tmp_path.iterdir()) == []


def test_cohort_with_blank_drawn_and_missing_masks(drawn, tmp_path: Path, flat_slide) -> None:
    blank = flat_slide(
        np.random.default_rng(0).normal(238, 2, (1024, 1500, 3)).round().astype(np.uint8)
    )
    tissue = drawn(Scanner.APERIO, 0, pen=True)
    (tmp_path / "drawn.json").write_text("[]")
    rows = [
        Slide("blank", blank, "p", label="normal"),
        Slide("own", tissue.path, "p", label="normal"),
        Slide("drawn", tissue.path, "p", label="normal", mask=tmp_path / "drawn.json"),
        Slide("lost", tissue.path, "p", label="normal", mask=tmp_path / "none.json"),
    ]
    write_slides(tmp_path / "slides.tsv", rows)
    quality = tmp_path / "masks/quality.tsv"

    def run(settings: TissueSettings) -> bytes:
        segment_tissue(
            slides=tmp_path / "slides.tsv",
            manifest=tmp_path / "masks/manifest.tsv",
            quality=quality,
            settings=settings,
            fleet=FleetSettings(max_workers=1),
            reading=DEFAULT_READING,
        )
        return quality.read_bytes()

    before = run(TissueSettings())
    manifest = read_manifest(tmp_path / "masks/manifest.tsv")
    outcomes = [row.status for row in manifest.values()]
    assert outcomes == [Status.EMPTY, Status.DONE, Status.EMPTY, Status.FAILED]
    assert "none.json" in manifest["lost"].error
    table = read_table(quality)
    assert [row["slide"] for row in table] == ["blank", "own", "drawn", "lost"]
    assert [row["method"] for row in table] == ["otsu", "otsu", "mask", ""]
    assert table[0]["tissue_share"] == "0.000000"
    assert table[0]["blur_share"] == ""
    quality.unlink()
    assert run(TissueSettings()) == before

    extract_patches(
        slides=tmp_path / "slides.tsv",
        masks=tmp_path / "masks/manifest.tsv",
        mask_mpp=8.0,
        manifest=tmp_path / "patches/manifest.tsv",
        settings=PatchSettings(size_px=64, mpp=1.0),
        fleet=FleetSettings(max_workers=1),
        reading=DEFAULT_READING,
    )
    patches = read_manifest(tmp_path / "patches/manifest.tsv")
    assert [row.status for row in patches.values()] == outcomes
    with ShardReader(tmp_path / "patches/slides/blank.h5") as shard:
        assert len(shard) == 0

    run(TissueSettings(method="mask"))
    manifest = read_manifest(tmp_path / "masks/manifest.tsv")
    assert "the table names none" in manifest["own"].error
    assert manifest["drawn"].status is Status.EMPTY


def test_another_drawn_mask_makes_the_slide_anew(drawn, tmp_path: Path) -> None:
    slide = drawn(Scanner.APERIO, 0, pen=True)
    path = tmp_path / "drawn.json"
    row = Slide("a", slide.path, "p", mask=path)
    found = []
    for content in ("[]", "[ ]"):
        path.write_text(content)
        write_slides(tmp_path / "slides.tsv", [row, replace(row, slide="b", mask=None)])
        segment_tissue(
            slides=tmp_path / "slides.tsv",
            manifest=tmp_path / "masks/manifest.tsv",
            quality=tmp_path / "masks/quality.tsv",
            settings=TissueSettings(),
            fleet=FleetSettings(max_workers=1),
            reading=DEFAULT_READING,
        )
        found.append(read_manifest(tmp_path / "masks/manifest.tsv"))
    assert found[0]["a"].fingerprint != found[1]["a"].fingerprint
    assert found[0]["b"].fingerprint == found[1]["b"].fingerprint


def test_a_thumbnail_that_is_gone_is_made_anew(drawn, tmp_path: Path) -> None:
    write_slides(
        tmp_path / "slides.tsv", [Slide("a", drawn(Scanner.APERIO, 0, pen=True).path, "p")]
    )
    thumbnail = tmp_path / "masks/thumbnails/a.jpg"

    def run() -> bytes:
        segment_tissue(
            slides=tmp_path / "slides.tsv",
            manifest=tmp_path / "masks/manifest.tsv",
            quality=tmp_path / "masks/quality.tsv",
            settings=TissueSettings(),
            fleet=FleetSettings(max_workers=1),
            reading=DEFAULT_READING,
        )
        return thumbnail.read_bytes()

    before = run()
    thumbnail.unlink()
    assert run() == before


@pytest.mark.parametrize("method", ["otsu", "saturation"])
def test_tissue_on_glass_that_the_scanner_clips_is_found_whole(
    tmp_path: Path, flat_slide, method: str
) -> None:
    image = np.full((900, 1200, 3), 255, dtype=np.uint8)
    image[100:700, 200:1000] = (215, 160, 200)
    tissue = np.zeros((90, 120), dtype=bool)
    tissue[10:70, 20:100] = True
    one_tone, _ = segmented(tmp_path, flat_slide(image), method=method, dilate_um=0)
    image[300:600, 250:500] = (150, 80, 140)
    two_tones, _ = segmented(tmp_path, flat_slide(image), method=method, dilate_um=0)
    for found in (one_tone, two_tones):
        # The median of saturation wears off the corners.
        assert (found ^ tissue).sum() <= {"otsu": 0, "saturation": 24}[method]
