"""What goes wrong on a cluster costs the slide that it hits, and no other."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import pytest

from lamella.cli import main
from lamella.cohort.table import Slide, read_slides, write_slides
from lamella.drawing.cohort import draw_cohort
from lamella.drawing.settings import DrawingSettings
from lamella.fleet.manifest import Status, read_manifest

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(900)]

PATCHES = {"size_px": 64, "mpp": 0.5}
# Blanks, parentheses and umlauts: what users call their folders.
FOLDER = "Fälle (neu) 1"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Slide]:
    folder = tmp_path_factory.mktemp("drawn") / FOLDER
    settings = DrawingSettings(
        slides=7, slides_per_patient=1, width_um=600, height_um=400, seed=5, processes=2
    )
    draw_cohort(folder, settings)
    return read_slides(folder / "slides.tsv")


@pytest.fixture
def cohort(drawn: list[Slide], tmp_path: Path) -> Callable[[int], Path]:
    """Return a maker of slide tables: copies of the first slides, to be spoilt."""

    def make(slides: int) -> Path:
        source, folder = drawn[0].path.parent.parent, tmp_path / FOLDER
        shutil.copytree(source, folder)
        table = folder / "slides.tsv"
        write_slides(table, read_slides(table)[:slides])
        return table

    return make


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, str], None]]:
    """Return a function that puts a small disk at a folder, or changes its options."""
    mounted: list[Path] = []

    def put(folder: Path, options: str) -> None:
        if folder in mounted:
            options = f"remount,{options}"
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"a file system cannot be mounted here ({done.stderr.strip()})")
        mounted.append(folder)

    yield put
    for folder in dict.fromkeys(mounted):
        subprocess.run(["umount", folder], check=True)


def truncate(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def spoil_middle(path: Path) -> None:
    """Overwrite the middle tenth of a file, which holds tiles, with noise."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size * 45 // 100)
        file.write(b"\x55" * (size // 10))


def contents(folder: Path, slides: list[str]) -> dict[str, bytes]:
    rows = read_manifest(folder / "manifest.tsv")
    found = {}
    for slide in slides:
        with h5py.File(folder / rows[slide].path) as file:
            found[slide] = b"".join(file[name][...].tobytes() for name in sorted(file))
    return found


def test_every_damaged_slide_has_its_row_and_the_others_are_complete(cohort, workfolder) -> None:
    table = cohort(7)
    slides = read_slides(table)
    whole = workfolder("whole", {"slides": str(table), "patches": PATCHES})
    assert whole.run("patches") == 0, whole.log
    good = [slide.slide for slide in slides[:3]]

    truncated, noise, spoilt, vanishing = slides[3:]
    truncate(truncated.path, 0.6)
    noise.path.write_bytes(os.urandom(4096))
    spoil_middle(spoilt.path)
    work = workfolder("work", {"slides": str(table), "patches": PATCHES})

    def masks_are_there() -> bool:
        return (work / "masks/manifest.tsv").exists()

    process = work.start("patches")
    work.wait_for(masks_are_there, process)
    vanishing.path.unlink()
    process.wait()

    rows = read_manifest(work / "patches/manifest.tsv")
    assert [row.slide for row in rows.values() if row.status is Status.FAILED] == [
        slide.slide for slide in slides[3:]
    ]
    for slide in slides[3:]:
        error = rows[slide.slide].error
        assert str(slide.path) in error
        assert error.endswith(".")
    assert contents(work / "patches", good) == contents(whole / "patches", good)
    written = {path.name for path in (work / "patches/slides").iterdir()}
    assert written == {f"{slide}.h5" for slide in good}


def test_damaged_patch_files_are_found_and_only_they_are_made_anew(cohort, workfolder) -> None:
    table = cohort(3)
    work = workfolder("work", {"slides": str(table), "patches": PATCHES})
    assert work.run("patches") == 0, work.log
    names = [slide.slide for slide in read_slides(table)]
    before = contents(work / "patches", names)
    shards = [work / "patches/slides" / f"{name}.h5" for name in names]
    truncate(shards[0], 0.5)
    untouched = shards[1].stat().st_ino

    assert main(["check", str(work / ".")]) == 1
    assert main(["check", str(work / "."), "--delete"]) == 0
    assert work.run("patches") == 0, work.log
    assert contents(work / "patches", names) == before
    assert shards[1].stat().st_ino == untouched


def test_full_disk_stops_the_stage_and_room_lets_it_go_on(cohort, workfolder, small_disk) -> None:
    table = cohort(3)
    work = workfolder("work", {"slides": str(table), "patches": PATCHES})
    small_disk(work / "patches", "size=1m")
    assert work.run("patches") != 0
    assert "Make room" in work.log
    assert not (work / "patches/manifest.tsv").exists()

    small_disk(work / "patches", "size=100m,ro")
    assert work.run("patches") != 0
    small_disk(work / "patches", "size=100m,rw")
    assert work.run("patches") == 0, work.log
    assert {row.status for row in read_manifest(work / "patches/manifest.tsv").values()} == {
        Status.DONE
    }
    assert list((work / "patches").rglob(".*unfinished*")) == []
