"""Patch files that are damaged, and those that are only out of reach."""

import os
import shutil
from pathlib import Path

import numpy as np

from lamella.fleet.manifest import ManifestRow, Status, write_manifest
from lamella.fleet.settings import FleetSettings
from lamella.patches.check import check_shards
from lamella.stores.codec import Codec
from lamella.stores.shards import PatchColumns, write_shard


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
    found = check_shards(folder / "manifest.tsv", FleetSettings(read_limit_s=5))
    return [("" if each.error is None else each.error.what, each.deletable) for each in found]


def manifest(folder: Path, *names: str) -> None:
    rows = [ManifestRow(name, Status.DONE, f"{name}.h5", 5, "f" * 64) for name in names]
    write_manifest(folder / "manifest.tsv", rows)


def test_patch_files_that_libhdf5_cannot_get_out_of_are_damaged_rows(tmp_path: Path) -> None:
    seeds = [11, 48]
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


def test_what_was_found_before_a_file_system_gave_no_answer_is_told(tmp_path: Path) -> None:
    shard(tmp_path / "cut.h5")
    shutil.copy(tmp_path / "cut.h5", tmp_path / "behind.h5")
    os.truncate(tmp_path / "cut.h5", 3000)
    os.mkfifo(tmp_path / "away.h5")
    manifest(tmp_path, "cut", "away", "behind")
    cut, away = checked(tmp_path)
    assert cut[1]
    assert not away[1]
    assert "no answer from its file system" in away[0]


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
