"""Every storage gives the patches back, to everything that reads them."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from lamella.cli import main
from lamella.cohort.check import check_cohort
from lamella.cohort.settings import SplitSettings
from lamella.cohort.split import split_cohort
from lamella.cohort.table import read_slides, write_slides
from lamella.datasets.patches import PatchDataset
from lamella.datasets.targets import class_targets
from lamella.drawing.cohort import draw_cohort
from lamella.drawing.settings import DrawingSettings
from lamella.engines.samples import read_patches
from lamella.errors import StoreError
from lamella.fleet.manifest import ManifestRow, Status, read_manifest, write_manifest
from lamella.fleet.run import SlideTask
from lamella.fleet.settings import FleetSettings
from lamella.patches.check import check_shards
from lamella.patches.extract import _Common, _plan, extract_patches, extract_slide
from lamella.patches.index import PatchIndex, read_index
from lamella.patches.join import join_cohort
from lamella.patches.pixels import SlideShard, open_patches
from lamella.patches.settings import PatchSettings
from lamella.patches.tissue_pixels import tissue_pixels
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.slides.tile_source import TileSource
from lamella.stain.normalise import fit_normaliser
from lamella.stain.settings import StainMethod
from lamella.stores.codec import Storage
from lamella.stores.shards import ShardReader
from lamella.tissue.mask import read_mask
from lamella.tissue.segment import segment_tissue
from lamella.tissue.settings import TissueSettings

BASE = PatchSettings(size_px=64, mpp=0.5)


def _extracted(task: SlideTask | ManifestRow) -> ManifestRow:
    assert isinstance(task, SlideTask)
    path = f"slides/{task.output.name}"
    return ManifestRow(task.slide, Status.DONE, path, extract_slide(task.job), task.fingerprint)


@dataclass(frozen=True)
class Cohort:
    root: Path
    slides: Path

    def extract(self, name: str, settings: PatchSettings, *, workers: int = 0) -> Path:
        """Return the manifest of the patches in folder ``name``; 0 workers: in this process."""
        manifest, masks = self.root / name / "manifest.tsv", self.root / "masks/manifest.tsv"
        if workers:
            extract_patches(
                slides=self.slides,
                masks=masks,
                mask_mpp=8.0,
                manifest=manifest,
                settings=settings,
                fleet=FleetSettings(max_workers=workers),
                reading=DEFAULT_READING,
            )
        else:
            rows = read_manifest(masks)
            common = _Common.of(
                settings, DEFAULT_READING, masks.parent, 8.0, folder=manifest.parent
            )
            write_manifest(
                manifest,
                [
                    _extracted(_plan(slide, rows[slide.slide], common))
                    for slide in read_slides(self.slides)
                ],
            )
        return manifest

    def join(self, manifest: Path, settings: PatchSettings) -> PatchIndex:
        index = manifest.with_name("index.parquet")
        join_cohort(
            slides=self.slides,
            splits=self.root / "splits.tsv",
            manifest=manifest,
            index=index,
            cohort=manifest.with_name("cohort.h5"),
            settings=settings,
        )
        return read_index(index)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    root = tmp_path_factory.mktemp("storages")
    size = {"width_um": 400, "height_um": 300, "pen_share": 0}
    draw_cohort(root / "drawn", DrawingSettings(slides=4, slides_per_patient=2, seed=2, **size))
    made = Cohort(root, root / "slides.tsv")
    check_cohort(table=root / "drawn/slides.tsv", output=made.slides)
    split_cohort(slides=made.slides, output=root / "splits.tsv", settings=SplitSettings())
    segment_tissue(
        slides=made.slides,
        manifest=root / "masks/manifest.tsv",
        quality=root / "masks/quality.tsv",
        settings=TissueSettings(),
        fleet=FleetSettings(max_workers=1),
        reading=DEFAULT_READING,
    )
    return made


def expected_pixels(cohort: Cohort, index: PatchIndex, method: StainMethod) -> np.ndarray:
    slides = {slide.slide: slide for slide in read_slides(cohort.slides)}
    pixels = []
    for name, rows in index.table.groupby("slide", sort=False):
        mask = read_mask(cohort.root / f"masks/slides/{name}.png")
        with SlideReader(slides[name].path, DEFAULT_READING, mpp=slides[name].mpp) as reader:
            plan = reader.plan(mpp=0.5, size_px=64)
            tissue = tissue_pixels(reader, mask, plan)
            patches = [reader.read_patch(x, y, plan) for x, y in zip(rows.x, rows.y, strict=True)]
        stacked = np.stack(patches)
        fit_normaliser(method, tissue).apply(stacked)
        pixels.append(stacked)
    return np.concatenate(pixels)


@pytest.mark.parametrize(
    ("changes", "most_difference"),
    [
        ({"codec": "zstd", "stain": "reinhard"}, 0.0),
        ({"storage": "jpeg"}, 3.0),
        ({"storage": "coordinates", "stain": "macenko"}, 0.0),
    ],
    ids=["stained zstd", "jpeg", "stained coordinates"],
)
def test_training_and_evaluation_read_the_slide_s_own_patches(
    cohort: Cohort, changes: dict[str, object], most_difference: float
) -> None:
    settings = PatchSettings(**{**BASE.model_dump(), **changes})
    manifest = cohort.extract("-".join(str(value) for value in changes.values()), settings)
    index = cohort.join(manifest, settings)
    expected = expected_pixels(cohort, index, settings.stain)
    assert len(expected) > 20
    found = read_patches(index.table, index)
    assert np.abs(found.astype(float) - expected).mean() <= most_difference
    dataset = PatchDataset(index, class_targets(index), "train", max_open_shards=1)
    order = np.random.default_rng(0).permutation(len(dataset))
    assert np.array_equal(dataset.read(order), found[dataset.samples[order]])
    dataset.close()
    assert [checked.error for checked in check_shards(manifest)] == [None] * 4
    first = index.table.iloc[0]
    with open_patches(index.folder / first.shard, index.slide_paths.get(first.shard)) as shard:
        assert shard.attributes["stain"] == settings.stain.value
        assert shard.read(np.array([], dtype=np.int64)).shape == (0, 64, 64, 3)
    with h5py.File(manifest.with_name("cohort.h5")) as file:
        assert ("patches" in file) == (settings.storage == "pixels")
        assert file["y"][:].tolist() == index.table.y.tolist()


def test_coordinates_follow_a_slide_that_moved_and_refuse_another(
    cohort: Cohort, tmp_path: Path
) -> None:
    settings = PatchSettings(**{**BASE.model_dump(), "storage": "coordinates"})
    manifest = cohort.extract("coordinates", settings)
    row = next(iter(read_manifest(manifest).values()))
    slide = next(each for each in read_slides(cohort.slides) if each.slide == row.slide)
    shard = shutil.copy(manifest.parent / row.path, tmp_path / "a.h5")
    moved = Path(shutil.copy(slide.path, tmp_path / "moved slide.svs"))
    rows = np.array([2, 0])
    with open_patches(shard) as here, open_patches(shard, moved) as there:
        assert np.array_equal(here.read(rows), there.read(rows))
    moved.write_bytes(moved.read_bytes()[:-100])
    with (
        open_patches(shard, moved) as wrong,
        pytest.raises(StoreError, match="is not the one that its patches were chosen on"),
    ):
        wrong.read(rows)


def test_only_damage_of_a_shard_itself_is_a_reason_to_delete_it(
    cohort: Cohort, tmp_path: Path
) -> None:
    settings = PatchSettings(**{**BASE.model_dump(), "storage": "coordinates"})
    manifest = cohort.extract("coordinates to spoil", settings)
    copies = {
        slide.slide: Path(shutil.copy(slide.path, tmp_path / slide.path.name))
        for slide in read_slides(cohort.slides)
    }
    moved = [replace(slide, path=copies[slide.slide]) for slide in read_slides(cohort.slides)]
    write_slides(tmp_path / "slides.tsv", moved)
    replace(cohort, slides=tmp_path / "slides.tsv").join(manifest, settings)
    absent, other, remade, damaged = (checked.row for checked in check_shards(manifest))
    copies[absent.slide].unlink()
    copies[other.slide].write_bytes(copies[other.slide].read_bytes()[:-100])
    with h5py.File(manifest.parent / remade.path, "r+") as file:
        file.attrs["fingerprint"] = "other"
    with h5py.File(manifest.parent / damaged.path, "r+") as file:
        file["x"][0] += 1
    found = list(check_shards(manifest))
    assert [checked.row for checked in found] == [absent, other, remade, damaged]
    for checked, what in zip(
        found,
        ("cannot be read", "is not the one", "other settings", "not those that were written"),
        strict=True,
    ):
        assert what in str(checked.error)
    assert [checked.deletable for checked in found] == [False, False, False, True]
    with open_patches(manifest.parent / absent.path) as shard:
        # The columns are whole, whatever became of the slide.
        shard.verify()


def test_many_open_slides_keep_few_tiles(cohort: Cohort) -> None:
    settings = PatchSettings(**{**BASE.model_dump(), "storage": "coordinates"})
    manifest = cohort.extract("coordinates in little memory", settings)
    row = next(iter(read_manifest(manifest).values()))
    with open_patches(manifest.parent / row.path) as shard:
        assert isinstance(shard, SlideShard)
        source = shard._slide.source
        assert isinstance(source, TileSource)
        assert source._cache._most == 16 * 2**20


def test_index_knows_where_slides_of_coordinates_lie_now(cohort: Cohort, tmp_path: Path) -> None:
    settings = PatchSettings(**{**BASE.model_dump(), "storage": "coordinates"})
    manifest = cohort.extract("coordinates", settings)
    slides = read_slides(cohort.slides)
    moved = [
        replace(slide, path=Path(shutil.copy(slide.path, tmp_path / slide.path.name)))
        for slide in slides
    ]
    write_slides(tmp_path / "slides.tsv", moved)
    index = replace(cohort, slides=tmp_path / "slides.tsv").join(manifest, settings)
    assert set(index.slide_paths.values()) <= {slide.path for slide in moved}
    assert len(read_patches(index.table[:3], index)) == 3
    cohort.join(manifest, settings)


def stored(manifest: Path) -> dict[str, list[tuple[int, int]]]:
    found = {}
    for row in read_manifest(manifest).values():
        with ShardReader(manifest.parent / row.path) as shard:
            x, y = shard.column("x").tolist(), shard.column("y").tolist()
        found[row.slide] = list(zip(x, y, strict=True))
    return found


def test_one_and_three_workers_choose_the_same_windows_in_the_same_order(
    cohort: Cohort,
) -> None:
    changes = {"sampling": "balanced", "per_class": 7, "storage": "coordinates"}
    settings = PatchSettings(**{**BASE.model_dump(), **changes})
    one, three = (
        stored(cohort.extract(f"{workers} workers", settings, workers=workers))
        for workers in (1, 3)
    )
    assert one == three
    for corners in one.values():
        assert corners == sorted(corners, key=lambda corner: (corner[1], corner[0]))
        assert len(corners) > 4


@pytest.mark.parametrize(("per", "group"), [("patient", "patient"), ("cohort", "split")])
def test_classes_are_balanced_in_the_index_not_in_the_shards(
    cohort: Cohort, per: str, group: str
) -> None:
    changes = {"sampling": "balanced", "balance_per": per, "storage": "coordinates"}
    settings = PatchSettings(**{**BASE.model_dump(), **changes})
    manifest = cohort.extract("for balance", settings)
    before = stored(manifest)
    index = cohort.join(manifest, settings)
    counts = index.table[index.table.label >= 0].groupby([group, "label"]).size().unstack()
    assert (counts.nunique(axis=1) == 1).all()
    assert (counts.to_numpy() > 0).any()
    plain = cohort.join(manifest, BASE)
    assert len(index.table) < len(plain.table) == sum(len(corners) for corners in before.values())
    assert index.digest != plain.digest
    assert stored(manifest) == before
    # The same draw again, another seed another draw.
    assert cohort.join(manifest, settings).table.equals(index.table)
    other = cohort.join(manifest, settings.model_copy(update={"seed": 3}))
    assert not other.table.equals(index.table)


def test_what_the_table_says_beyond_labels_makes_no_patch_anew(cohort: Cohort) -> None:
    manifest = cohort.extract("relabelled", PatchSettings(**{**BASE.model_dump(), "seed": 1}))
    before = {row.slide: row.fingerprint for row in read_manifest(manifest).values()}
    slides = read_slides(cohort.slides)
    changed = [replace(slide, patient=f"other {slide.slide}", centre="9") for slide in slides]
    normal = next(place for place, slide in enumerate(slides) if slide.label == "normal")
    changed[normal] = replace(changed[normal], label="unsure")
    write_slides(cohort.root / "changed.tsv", changed)
    again = replace(cohort, slides=cohort.root / "changed.tsv").extract("relabelled", BASE)
    after = {row.slide: row.fingerprint for row in read_manifest(again).values()}
    anew = [slide for slide in before if before[slide] != after[slide]]
    assert anew == [slides[normal].slide]


def test_check_never_deletes_whole_files_whose_slides_are_away(
    cohort: Cohort, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = cohort.extract(
        "away/patches", BASE.model_copy(update={"storage": Storage.COORDINATES})
    )
    shards = sorted(manifest.parent.rglob("*.h5"))
    slides = cohort.root / "drawn"
    aside = slides.rename(cohort.root / "aside")
    try:
        assert main(["check", str(manifest.parents[1]), "--delete"]) == 1
    finally:
        aside.rename(slides)
    assert "lamella relocate" in capsys.readouterr().err
    assert sorted(manifest.parent.rglob("*.h5")) == shards
    assert manifest.exists()
    shards[0].unlink()
    assert main(["check", str(manifest.parents[1]), "--delete"]) == 0
    assert not manifest.exists()
