"""Files whose reading hangs or crashes cost themselves, and no other file."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from lamella.errors import DamagedFileError, StoreError
from lamella.fleet.guard import GuardedReader, report_life
from lamella.fleet.manifest import ManifestRow, Status, write_manifest
from lamella.fleet.settings import FleetSettings
from lamella.patches.check import check_shards
from lamella.stores.codec import Codec
from lamella.stores.shards import PatchColumns, read_stored, write_shard


def read(path: Path, more: str = "") -> str:
    """Return a text file; what stands in some of them happens to the reader."""
    text = path.read_text()
    if text == "circle":
        while True:
            pass
    if text == "long":
        for _ in range(30):
            _compute(0.1)
            report_life()
    if text == "refused":
        raise StoreError("it is refused", str(path), "Write another")
    if text.isdigit():
        os.kill(os.getpid(), int(text))
    return text + more


def _compute(seconds: float) -> None:
    end = os.times().user + seconds
    while os.times().user < end:
        pass


def write(folder: Path, text: str) -> Path:
    path = folder / f"{text}.txt"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("circle", "did not end in 1 s of processor time"),
        (str(int(signal.SIGSEGV)), "crashed with SIGSEGV"),
        (str(int(signal.SIGABRT)), "crashed with SIGABRT"),
    ],
)
def test_a_file_that_ends_its_reader_is_damaged_and_the_next_one_is_read(
    tmp_path: Path, text: str, what: str
) -> None:
    with GuardedReader(read, 1) as reader:
        assert reader.read(write(tmp_path, "first"), "!") == "first!"
        with pytest.raises(DamagedFileError, match=what):
            reader.read(write(tmp_path, text))
        assert reader.read(write(tmp_path, "next")) == "next"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (str(int(signal.SIGSTOP)), "no answer from its file system in 1 s"),
        (str(int(signal.SIGKILL)), "out-of-memory"),
        ("refused", "it is refused"),
    ],
)
def test_what_says_nothing_about_the_file_does_not_call_it_damaged(
    tmp_path: Path, text: str, what: str
) -> None:
    with GuardedReader(read, 1) as reader:
        with pytest.raises(StoreError, match=what) as error:
            reader.read(write(tmp_path, text))
        assert not isinstance(error.value, DamagedFileError)
        assert reader.read(write(tmp_path, "next")) == "next"


def test_a_file_that_never_answers_is_no_damage(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.h5")
    with (
        GuardedReader(read_stored, 1) as reader,
        pytest.raises(StoreError, match="no answer from its file system"),
    ):
        reader.read(tmp_path / "a.h5")


def test_a_long_reading_that_reports_life_may_exceed_the_limit(tmp_path: Path) -> None:
    with GuardedReader(read, 1) as reader:
        assert reader.read(write(tmp_path, "long")) == "long"


def shard(path: Path) -> None:
    n = np.arange(5)
    share = n.astype(np.float32)
    columns = PatchColumns(n * 10, n * 100, share, share, (n % 3 - 1).astype(np.int16))
    pixels = np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    about = {"fingerprint": "f" * 64, "slide": "a", "classes": ["normal", "tumor"], "patient": "p"}
    write_shard(path, columns, [pixels], patch_px=16, codec=Codec.NONE, attributes=about)


def damage(path: Path, seed: int) -> None:
    """Zero up to 512 bytes; these seeds make HDF5 1.14.6 run round in circles or crash."""
    random = np.random.default_rng(seed)
    octets = bytearray(path.read_bytes())
    start = int(random.integers(len(octets)))
    end = min(len(octets), start + int(random.integers(1, 513)))
    octets[start:end] = bytes(end - start)
    path.write_bytes(octets)


def checked(folder: Path) -> list[tuple[str, bool]]:
    found = check_shards(folder / "manifest.tsv", FleetSettings(read_limit_s=1))
    return [("" if each.error is None else each.error.what, each.deletable) for each in found]


def manifest(folder: Path, *names: str) -> None:
    rows = [ManifestRow(name, Status.DONE, f"{name}.h5", 5, "f" * 64) for name in names]
    write_manifest(folder / "manifest.tsv", rows)


def test_patch_files_that_libhdf5_cannot_get_out_of_are_damaged_rows(tmp_path: Path) -> None:
    seeds = [97, 283, 310, 409, 421, 430]
    names = [f"damaged{seed}" for seed in seeds]
    shard(tmp_path / "whole.h5")
    for name, seed in zip(names, seeds, strict=True):
        shutil.copy(tmp_path / "whole.h5", tmp_path / f"{name}.h5")
        damage(tmp_path / f"{name}.h5", seed)
    manifest(tmp_path, *names, "whole")
    *damaged, whole = checked(tmp_path)
    assert all(what for what, _ in damaged)
    assert all(deletable for _, deletable in damaged)
    assert whole == ("", False)


def test_only_damaged_and_missing_files_are_for_deletion_not_unreadable_ones(
    tmp_path: Path,
) -> None:
    shard(tmp_path / "whole.h5")
    shard(tmp_path / "cut.h5")
    os.truncate(tmp_path / "cut.h5", 3000)
    (tmp_path / "loop.h5").symlink_to(tmp_path / "loop.h5")
    (tmp_path / "folder.h5").mkdir()
    manifest(tmp_path, "whole", "cut", "loop", "folder", "missing")
    found = checked(tmp_path)
    assert [deletable for _, deletable in found] == [False, True, False, False, True]
    assert "Too many levels of symbolic links" in found[2][0]
    assert "Is a directory" in found[3][0]
