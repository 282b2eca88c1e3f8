"""Patch files of other programs."""

import logging
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from lamella.drawing.cohort import draw_cohort
from lamella.drawing.settings import DrawingSettings
from lamella.errors import SettingsError, StoreError
from lamella.patches.import_patches import import_patches
from lamella.patches.imported import ImportOptions
from lamella.patches.index import read_index
from lamella.patches.pixels import open_patches
from lamella.slides.identity import slide_identity
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.stores.shards import ShardReader
from lamella.stores.tables import read_table

DATA = Path(os.environ.get("LAMELLA_TEST_DATA", "../shared/data")) / "patches"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="LAMELLA_TEST_DATA has no patches")
QUARTER = ImportOptions(mpp=0.25)


def patches(n: int, start: int) -> np.ndarray:
    """Return ``(n, 32, 32, 3)`` patches in the order blue, green, red; blue tells them apart."""
    made = np.zeros((n, 32, 32, 3), dtype=np.uint8)
    made[..., 0] = np.arange(start, start + n)[:, None, None]
    made[..., 1] = np.arange(32)[:, None]
    made[..., 2] = 200
    return made


def write_group(path: Path, name: str, pixels: np.ndarray, locations: list[list[int]]) -> None:
    with h5py.File(path, "a") as file:
        file[f"{name}/patches"] = pixels
        file[f"{name}/locations"] = np.array(locations)


@pytest.fixture
def process_file(tmp_path: Path) -> Path:
    path = tmp_path / "patches.h5"
    write_group(path, "normal/l7/c0/p010/n4/0", patches(2, 10), [[5, 3], [4, 9]])
    write_group(path, "normal/l7/c0/p010/n4/1", patches(1, 20), [[4, 2]])
    write_group(path, "tumor/l7/c0/p010/n4/0", patches(1, 30), [[6, 1]])
    write_group(path, "normal/l7/c1/p021/n0/0", patches(2, 40), [[1, 2], [2, 2]])
    return path


def test_process_file_becomes_shards_in_our_order_and_colours(
    process_file: Path, tmp_path: Path
) -> None:
    import_patches([process_file], tmp_path / "out", QUARTER)
    with ShardReader(tmp_path / "out/patches/slides/patient_010_node_4.h5") as shard:
        # Locations are row and column of a mask of level 7: y and x times 128.
        assert shard.column("x").tolist() == [2 * 128, 9 * 128, 3 * 128, 1 * 128]
        assert shard.column("y").tolist() == [4 * 128, 4 * 128, 5 * 128, 6 * 128]
        assert shard.column("label").tolist() == [0, 0, 0, 1]
        assert np.isnan(shard.column("tissue_share")).all()
        pixels = shard.read(np.arange(4))
        assert pixels[:, 7, 3].tolist() == [[200, 7, blue] for blue in (20, 11, 10, 30)]
        assert shard.attributes["mpp_requested"] == 0.25
        shard.verify()
    rows = read_table(tmp_path / "out/cohort/slides.tsv")
    assert [(row["slide"], row["patient"], row["label"], row["centre"]) for row in rows] == [
        ("patient_010_node_4", "patient_010", "tumor", "0"),
        ("patient_021_node_0", "patient_021", "normal", "1"),
    ]
    index = read_index(tmp_path / "out/patches/index.parquet")
    assert len(index.table) == 6
    assert (index.patch_px, index.mpp) == (32, 0.25)
    # Both slides come from one file, which says nothing about them.
    assert index.contents == {}


def twins_named(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the messages of the import itself; the split warns of so few patients."""
    return [each.message for each in caplog.records if each.name == import_patches.__module__]


def test_slide_with_the_patches_of_another_is_named_and_counts_as_its_patient(
    process_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_group(process_file, "tumor/l7/c1/p022/n1/0", patches(3, 30), [[1, 1], [2, 2], [3, 3]])
    with caplog.at_level(logging.WARNING):
        import_patches([process_file], tmp_path / "out", QUARTER)
    assert twins_named(caplog) == [
        "patient_022_node_1: 1 of its 3 patches are those of patient_010_node_4; "
        "both count as one patient"
    ]
    rows = {row["slide"]: row for row in read_table(tmp_path / "out/cohort/slides.tsv")}
    assert rows["patient_022_node_1"]["patient"] == "patient_010"
    index = read_index(tmp_path / "out/patches/index.parquet").table
    assert index[index.patient == "patient_010"].split.nunique() == 1


def test_patients_that_share_patches_by_way_of_a_third_are_one(tmp_path: Path) -> None:
    path = tmp_path / "patches.h5"
    for patient, node, starts in (
        (1, 0, [10]),
        (2, 0, [20]),
        (3, 0, [10, 20]),
        (3, 1, [30]),
        (4, 0, [40]),
    ):
        pixels = np.concatenate([patches(2, start) for start in starts])
        locations = [[row, 0] for row in range(len(pixels))]
        write_group(path, f"normal/l7/c0/p{patient:03}/n{node}/0", pixels, locations)
    import_patches([path], tmp_path / "out", QUARTER)
    found = [row["patient"] for row in read_table(tmp_path / "out/cohort/slides.tsv")]
    assert found == ["patient_001"] * 4 + ["patient_004"]
    index = read_index(tmp_path / "out/patches/index.parquet").table
    assert index.groupby("patient").split.nunique().tolist() == [1, 1]
    with ShardReader(tmp_path / "out/patches/slides/patient_002_node_0.h5") as shard:
        assert shard.attributes["patient"] == "patient_002"


def test_patches_of_one_colour_make_no_twins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "patches.h5"
    for patient in (1, 2):
        pixels = np.concatenate([np.full((1, 32, 32, 3), 255, np.uint8), patches(1, patient)])
        write_group(path, f"normal/l7/c0/p{patient:03}/n0/0", pixels, [[0, 0], [1, 0]])
    with caplog.at_level(logging.WARNING):
        import_patches([path], tmp_path / "out", QUARTER)
    assert twins_named(caplog) == []
    found = [row["patient"] for row in read_table(tmp_path / "out/cohort/slides.tsv")]
    assert found == ["patient_001", "patient_002"]


@needs_data
def test_file_of_the_original_system_is_imported_and_its_duplicate_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = DATA / "process_uc1/cam17_patches.hdf5"
    with caplog.at_level(logging.WARNING):
        import_patches([source], tmp_path, QUARTER)
    assert "patient_030_node_4: 10 of its 10 patches are those of patient_010_node_4" in caplog.text
    with (
        ShardReader(tmp_path / "patches/slides/patient_010_node_4.h5") as shard,
        h5py.File(source) as file,
    ):
        assert len(shard) == 10
        group = file["tumor/level7/centre0/patient010/node4"]
        found = np.flatnonzero(shard.column("x") == int(group["locations"][2][1]) * 128)
        row = found[shard.column("y")[found] == int(group["locations"][2][0]) * 128]
        assert np.array_equal(shard.read(row)[0], group["patches"][2][..., ::-1])
        # Tissue is pink: more red than green.
        mean = shard.read(np.arange(10)).mean(axis=(0, 1, 2))
        assert mean[0] > mean[1]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    size = {"width_um": 300, "height_um": 200}
    draw_cohort(folder, DrawingSettings(slides=2, slides_per_patient=1, seed=4, **size))
    return folder


def write_coordinates(path: Path, **attributes: object) -> None:
    with h5py.File(path, "w") as file:
        file["coords"] = np.array([[256, 0], [0, 128], [0, 0]])
        file["coords"].attrs.update(attributes)


@pytest.mark.parametrize(
    ("attributes", "options"),
    [
        ({"patch_size": 64, "patch_level": 0, "downsample": [2.0, 2.0]}, {}),
        ({"patch_size": 64, "patch_size_level0": 128, "target_magnification": 20}, {}),
        ({}, {"size_px": 64, "edge_l0": 128}),
    ],
    ids=["CLAM", "TRIDENT", "options"],
)
def test_coordinates_become_shards_that_read_the_slide(
    drawn: Path, tmp_path: Path, attributes: dict[str, object], options: dict[str, int]
) -> None:
    row = read_table(drawn / "slides.tsv")[0]
    slide = drawn / row["path"]
    with SlideReader(slide, DEFAULT_READING) as reader:
        mpp = reader.mpp_l0 * 2
        plan = reader.plan(mpp=mpp, size_px=64)
        expected = [reader.read_patch(x, y, plan) for x, y in ((0, 0), (256, 0), (0, 128))]
    source = tmp_path / f"{row['slide']}.h5"
    write_coordinates(source, **attributes)
    given = ImportOptions(mpp=mpp, slides=drawn / "slides.tsv", **options)
    import_patches([source], tmp_path / "out", given)
    with open_patches(tmp_path / f"out/patches/slides/{row['slide']}.h5") as shard:
        assert shard.column("x").tolist() == [0, 256, 0]
        assert shard.column("y").tolist() == [0, 0, 128]
        assert int(shard.attributes["edge_l0"]) == 128
        assert np.array_equal(shard.read(np.arange(3)), np.stack(expected))
    index = read_index(tmp_path / "out/patches/index.parquet")
    assert index.slide_paths == {f"slides/{row['slide']}.h5": slide}
    assert index.contents == {row["slide"]: slide_identity(slide)}


def refused(path: Path, out: Path, options: ImportOptions, match: str) -> None:
    with pytest.raises(StoreError, match=match):
        import_patches([path], out, options)
    assert not (out / "patches/manifest.tsv").exists()


def test_what_a_file_does_not_say_must_be_given(drawn: Path, tmp_path: Path) -> None:
    name = read_table(drawn / "slides.tsv")[0]["slide"]
    source = tmp_path / f"{name}.h5"
    write_coordinates(source)
    slides = drawn / "slides.tsv"
    refused(source, tmp_path / "a", ImportOptions(0.5, slides), "--size-px")
    write_coordinates(source, patch_size=64, patch_size_level0=128)
    refused(source, tmp_path / "a", ImportOptions(0.5), "--slides")
    refused(source, tmp_path / "a", ImportOptions(2.0, slides), "by the slide, not 2")
    unknown = source.rename(tmp_path / "other.h5")
    refused(unknown, tmp_path / "a", ImportOptions(0.5, slides), "no slide is called 'other'")
    with pytest.raises(SettingsError, match="--mpp"):
        import_patches([source], tmp_path / "a", ImportOptions(40.0, slides))


def test_coordinates_of_another_slide_are_refused(drawn: Path, tmp_path: Path) -> None:
    row = read_table(drawn / "slides.tsv")[0]
    source = tmp_path / f"{row['slide']}.h5"
    write_coordinates(source, patch_size=64, patch_size_level0=128)
    with h5py.File(source, "r+") as file:
        file["coords"][0] = (9000, 0)
    with SlideReader(drawn / row["path"], DEFAULT_READING) as reader:
        mpp = reader.mpp_l0 * 2
    options = ImportOptions(mpp, drawn / "slides.tsv")
    refused(source, tmp_path / "out", options, r"corner \(9000, 0\) lies outside of")


def test_files_of_no_known_form_are_refused(process_file: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["things"] = [1]
    refused(tmp_path / "other.h5", tmp_path / "a", QUARTER, "it holds things")
    (tmp_path / "text.h5").write_text("no HDF5")
    refused(tmp_path / "text.h5", tmp_path / "a", QUARTER, "cannot be read as HDF5")
    write_group(process_file, "tumor/strange/p1", patches(1, 1), [[0, 0]])
    refused(process_file, tmp_path / "a", QUARTER, "'tumor/strange/p1' is not of the form")


@needs_data
def test_features_with_coordinates_but_no_size_name_the_options(tmp_path: Path) -> None:
    refused(DATA / "tcga_features/features.h5", tmp_path, QUARTER, "--size-px")


def test_results_that_are_there_are_not_overwritten(process_file: Path, tmp_path: Path) -> None:
    import_patches([process_file], tmp_path / "out", QUARTER)
    with pytest.raises(StoreError, match="there are patches already"):
        import_patches([process_file], tmp_path / "out", QUARTER)
