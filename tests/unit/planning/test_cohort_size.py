"""How many patches a cohort has, before any is cut."""

from dataclasses import replace
from pathlib import Path

import pytest

from lamella.errors import CohortError
from lamella.fleet.manifest import ManifestRow, Status, write_manifest
from lamella.patches.settings import PatchSettings, Sampling
from lamella.planning.cohort_size import cohort_size, patch_bytes, patches_of
from lamella.planning.slide_sizes import slide_sizes
from lamella.slides.settings import ReaderName
from lamella.stores.codec import Storage
from lamella.stores.tables import write_table
from lamella.tissue.quality import COLUMNS

# 200 pixels of 0.5 microns: a window of 0.1 mm, 100 windows to the square millimetre.
SETTINGS = PatchSettings(size_px=200, mpp=0.5, min_tissue_share=0.25)


def test_windows_are_bounded_by_the_tissue_that_each_must_show():
    assert patches_of(2.0, 50.0, SETTINGS) == (pytest.approx(200), pytest.approx(800))
    # No more than there are windows.
    assert patches_of(2.0, 3.0, SETTINGS) == (pytest.approx(200), pytest.approx(300))


def test_windows_that_overlap_show_the_same_tissue_again():
    half = SETTINGS.model_copy(update={"stride_px": 100})
    assert patches_of(2.0, 50.0, half) == (pytest.approx(800), pytest.approx(3200))


def test_any_tissue_bounds_nothing_but_the_slide():
    every = SETTINGS.model_copy(update={"sampling": Sampling.ALL})
    assert patches_of(2.0, 50.0, every)[1] == pytest.approx(5000)
    none_asked = SETTINGS.model_copy(update={"min_tissue_share": 0.0})
    assert patches_of(2.0, 50.0, none_asked)[1] == pytest.approx(5000)


def test_drawn_windows_are_at_most_so_many_of_each_class():
    some = SETTINGS.model_copy(update={"sampling": Sampling.RANDOM, "per_class": 30})
    assert patches_of(2.0, 50.0, some) == (60, 60)
    assert patches_of(0.1, 50.0, some) == (pytest.approx(10), pytest.approx(40))


@pytest.mark.parametrize(
    ("storage", "size_px", "kib"),
    [
        (Storage.PIXELS, 224, 147.06),
        (Storage.JPEG, 224, 27.06),
        (Storage.PASSTHROUGH, 448, 108.06),
        (Storage.COORDINATES, 224, 0.0625),
    ],
)
def test_size_of_a_stored_patch(storage, size_px, kib):
    settings = PatchSettings(size_px=size_px, storage=storage)
    assert patch_bytes(settings) / 1024 == pytest.approx(kib, abs=0.01)


def test_drawn_slides_have_the_size_that_they_were_drawn_with(slides):
    sizes, errors = slide_sizes(slides, ReaderName.AUTO)
    assert not errors
    assert [size.area_mm2 for size in sizes] == pytest.approx([0.08, 0.08], rel=0.02)


def test_of_many_slides_some_are_opened_and_stand_for_the_others(slides):
    many = [replace(slides[n % 2], slide=f"s{n}") for n in range(1000)]
    sizes, _ = slide_sizes(many, ReaderName.AUTO, most=4)
    assert [size.slide for size in sizes] == ["s0", "s250", "s500", "s750"]
    settings = PatchSettings(size_px=50, mpp=0.5)
    few = cohort_size(slides, settings, ReaderName.AUTO, root=Path("absent"))
    size = cohort_size(many, settings, ReaderName.AUTO, root=Path("absent"))
    assert size.patches == pytest.approx(500 * few.patches, rel=0.02)
    assert "200 of 1000 slides were looked at; the others are taken to be like them" in size.notes


def test_slide_that_cannot_be_opened_counts_as_empty_and_is_named(slides):
    settings = PatchSettings(size_px=20, mpp=0.5)
    whole = cohort_size(slides, settings, ReaderName.AUTO, root=Path("absent"))
    torn = replace(slides[1], path=Path("/absent/torn.svs"))
    size = cohort_size([slides[0], torn], settings, ReaderName.AUTO, root=Path("absent"))
    assert size.patches == pytest.approx(whole.patches / 2, abs=2)
    assert any("1 of them cannot be opened" in note and "torn.svs" in note for note in size.notes)
    with pytest.raises(CohortError, match=r"torn.svs: none of 1 slides .* can be opened"):
        cohort_size([torn], settings, ReaderName.AUTO, root=Path("absent"))


def test_tissue_share_is_a_guess_until_masks_say_it_and_patches_are_counted(slides, tmp_path):
    settings = PatchSettings(size_px=20, mpp=0.5)
    guessed = cohort_size(slides, settings, ReaderName.AUTO, root=tmp_path, tissue_share=0.2)
    assert any("2 of 2 slides have no mask yet: 0.2 of each" in note for note in guessed.notes)
    # 0.08 square millimetres, windows of 0.01 mm: 800 in a slide.
    assert guessed.patches == pytest.approx(2 * 0.2 * 800, rel=0.03)

    first, second = (slide.slide for slide in slides)
    rows = [{"slide": first, "tissue_share": "0.5"}, {"slide": second}]
    write_table(tmp_path / "masks/quality.tsv", COLUMNS, rows)
    masked = cohort_size(slides, settings, ReaderName.AUTO, root=tmp_path, tissue_share=0.2)
    assert masked.patches == pytest.approx((0.5 + 0.2) * 800, rel=0.03)
    assert any("1 of 2 slides have a mask" in note for note in masked.notes)

    done = [
        ManifestRow(first, Status.DONE, "a", 33, "f"),
        ManifestRow(second, Status.EMPTY, "b", 0, "f"),
    ]
    write_manifest(tmp_path / "patches/manifest.tsv", done)
    counted = cohort_size(slides, settings, ReaderName.AUTO, root=tmp_path)
    assert (counted.patches, counted.most_patches) == (33, 33)
