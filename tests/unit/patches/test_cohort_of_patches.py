"""From slides to the patch index: extraction, joining and checking on drawn slides."""

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import shapely

from lamella.annotations.frame import Frame
from lamella.annotations.read import read_tumor
from lamella.annotations.settings import AnnotationSettings
from lamella.cohort.check import check_cohort
from lamella.cohort.settings import SplitSettings
from lamella.cohort.split import split_cohort
from lamella.cohort.table import read_slides, write_slides
from lamella.drawing.cohort import draw_cohort
from lamella.drawing.settings import DrawingSettings
from lamella.errors import StoreError
from lamella.fleet.manifest import read_manifest
from lamella.fleet.settings import FleetSettings
from lamella.patches.check import check_shards
from lamella.patches.extract import extract_patches
from lamella.patches.index import read_index
from lamella.patches.join import join_cohort
from lamella.patches.settings import PatchSettings
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.stores.shards import ShardReader
from lamella.tissue.segment import segment_tissue
from lamella.tissue.settings import TissueSettings

PATCHES = PatchSettings(size_px=64, mpp=0.5)


@dataclass(frozen=True)
class Cohort:
    root: Path

    @property
    def slides(self) -> Path:
        return self.root / "cohort/slides.tsv"

    @property
    def manifest(self) -> Path:
        return self.root / "patches/manifest.tsv"

    @property
    def index(self) -> Path:
        return self.root / "patches/index.parquet"

    def extract(self, workers: int) -> None:
        fleet = FleetSettings(max_workers=workers)
        extract_patches(
            slides=self.slides,
            masks=self.root / "masks/manifest.tsv",
            mask_mpp=8.0,
            manifest=self.manifest,
            settings=PATCHES,
            fleet=fleet,
            reading=DEFAULT_READING,
        )

    def join(self) -> None:
        join_cohort(
            slides=self.slides,
            splits=self.root / "cohort/splits.tsv",
            manifest=self.manifest,
            index=self.index,
            cohort=self.root / "patches/cohort.h5",
            settings=PATCHES,
        )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    root = tmp_path_factory.mktemp("cohort")
    drawing = DrawingSettings(
        slides=4, slides_per_patient=1, width_um=500, height_um=400, seed=2, pen_share=0
    )
    draw_cohort(root / "drawn", drawing)
    made = Cohort(root)
    check_cohort(table=root / "drawn/slides.tsv", output=made.slides)
    split_cohort(slides=made.slides, output=root / "cohort/splits.tsv", settings=SplitSettings())
    segment_tissue(
        slides=made.slides,
        manifest=root / "masks/manifest.tsv",
        quality=root / "masks/quality.tsv",
        settings=TissueSettings(),
        fleet=FleetSettings(max_workers=2),
        reading=DEFAULT_READING,
    )
    made.extract(workers=2)
    made.join()
    return made


def contents(manifest: Path) -> dict[str, dict[str, bytes]]:
    found = {}
    for row in read_manifest(manifest).values():
        with h5py.File(manifest.parent / row.path) as file:
            found[row.slide] = {name: file[name][...].tobytes() for name in sorted(file)}
    return found


def test_stored_pixels_are_the_slide_s_own(cohort: Cohort) -> None:
    table = read_index(cohort.index).table
    for _, row in table.groupby("slide").nth(3).iterrows():
        source = next((cohort.root / "drawn/slides").glob(f"{row.slide}.*"))
        with (
            SlideReader(source, DEFAULT_READING) as reader,
            ShardReader(cohort.manifest.parent / row.shard) as shard,
        ):
            expected = reader.read_patch(row.x, row.y, reader.plan(mpp=0.5, size_px=64))
            assert np.array_equal(shard.read(np.array([row.row]))[0], expected)
            assert shard.attributes["mpp_read"] <= 0.51
            assert shard.attributes["mpp_effective"] == pytest.approx(0.5, rel=0.02)
            assert shard.attributes["reader"] == reader.source.reader
            assert shard.attributes["reader"] == (
                "tiles" if source.suffix == ".svs" else "openslide"
            )


def test_labels_follow_the_annotation_on_slides_with_and_without_bounds(cohort: Cohort) -> None:
    index = read_index(cohort.index)
    assert index.classes == ("normal", "tumor")
    annotated = index.table[index.table.slide_label == "tumor"]
    with_bounds = set()
    for slide, rows in annotated.groupby("slide"):
        path = cohort.root / f"drawn/annotations/{slide}.xml"
        tumor = read_tumor(path, AnnotationSettings(), frame=Frame(0, 0, 9999, 9999))
        with ShardReader(cohort.manifest.parent / rows.shard.iloc[0]) as shard:
            edge = int(shard.attributes["edge_l0"])
            with_bounds.add(len(shard.attributes["bounds"]) > 0)
        middle = shapely.points(rows.x + edge / 2, rows.y + edge / 2)
        inside = shapely.contains(tumor, middle)
        assert (rows.tumor_share > 0.95).any()
        assert inside[(rows.tumor_share > 0.95).to_numpy()].all()
        assert not inside[(rows.label == 0).to_numpy()].any()
    assert with_bounds == {True, False}
    normal = index.table[index.table.slide_label == "normal"]
    assert (normal.label == 0).all()
    assert normal.tumor_share.isna().all()


def test_number_of_workers_and_a_second_run_change_nothing(cohort: Cohort) -> None:
    before = contents(cohort.manifest)
    table, manifest = read_index(cohort.index), cohort.manifest.read_bytes()
    for path in (cohort.manifest.parent / "slides").iterdir():
        path.unlink()
    cohort.extract(workers=1)
    cohort.join()
    assert contents(cohort.manifest) == before
    assert cohort.manifest.read_bytes() == manifest
    again = read_index(cohort.index)
    assert again.table.equals(table.table)
    assert again.digest == table.digest


def test_virtual_file_shows_all_shards_in_index_order(cohort: Cohort) -> None:
    table = read_index(cohort.index).table
    with h5py.File(cohort.root / "patches/cohort.h5") as file:
        assert file["patches"].shape == (len(table), 64, 64, 3)
        assert file["x"][:].tolist() == table.x.tolist()
        assert file["slide"].asstr()[:].tolist() == table.slide.tolist()
        last = table.iloc[-1]
        with ShardReader(cohort.manifest.parent / last.shard) as shard:
            assert np.array_equal(file["patches"][-1], shard.read(np.array([last.row]))[0])


def test_damaged_shards_are_found_and_made_anew(cohort: Cohort) -> None:
    assert [found.error for found in check_shards(cohort.manifest)] == [None] * 4
    before = contents(cohort.manifest)
    first, second = sorted((cohort.manifest.parent / "slides").iterdir())[:2]
    first.unlink()
    second.write_bytes(second.read_bytes()[:5000])
    found = list(check_shards(cohort.manifest))
    assert [isinstance(each.error, StoreError) for each in found] == [True, True, False, False]
    assert [each.deletable for each in found] == [True, True, False, False]
    kept = sorted((cohort.manifest.parent / "slides").iterdir())[-1]
    untouched = kept.stat().st_mtime_ns
    cohort.extract(workers=2)
    assert contents(cohort.manifest) == before
    assert kept.stat().st_mtime_ns == untouched


def test_index_knows_copies_whatever_their_names_are(
    cohort: Cohort, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slides = read_slides(cohort.slides)
    before = read_index(cohort.index)
    assert len(set(before.contents.values())) == len(slides) == 4
    first, second, third, fourth = slides
    copy = Path(shutil.copy(first.path, tmp_path / "renamed.tiff"))
    changed = [first, replace(second, path=copy), third, replace(fourth, path=tmp_path / "gone")]
    write_slides(tmp_path / "slides.tsv", changed)
    join_cohort(
        slides=tmp_path / "slides.tsv",
        splits=cohort.root / "cohort/splits.tsv",
        manifest=cohort.manifest,
        index=tmp_path / "index.parquet",
        cohort=tmp_path / "cohort.h5",
        settings=PATCHES,
    )
    after = read_index(tmp_path / "index.parquet")
    assert after.contents == {
        first.slide: before.contents[first.slide],
        second.slide: before.contents[first.slide],
        third.slide: before.contents[third.slide],
    }
    assert f"{fourth.slide} cannot be compared with the other slides" in caplog.text


def test_what_a_join_that_was_killed_has_left_is_removed(cohort: Cohort) -> None:
    killed = subprocess.Popen(["true"])
    killed.wait()
    left = cohort.root / f"patches/.cohort.unfinished-{socket.gethostname()}-{killed.pid}.h5"
    left.touch()
    cohort.join()
    assert not left.exists()


def test_shard_that_does_not_answer_stops_the_join_after_the_time_that_is_set(
    cohort: Cohort, tmp_path: Path
) -> None:
    shutil.copy(cohort.manifest, tmp_path / "manifest.tsv")
    (tmp_path / "slides").mkdir()
    for row in read_manifest(cohort.manifest).values():
        os.mkfifo(tmp_path / row.path)
    with pytest.raises(StoreError, match="no answer from its file system in 1 s"):
        join_cohort(
            slides=cohort.slides,
            splits=cohort.root / "cohort/splits.tsv",
            manifest=tmp_path / "manifest.tsv",
            index=tmp_path / "index.parquet",
            cohort=tmp_path / "cohort.h5",
            settings=PATCHES,
            fleet=FleetSettings(read_limit_s=1),
        )
