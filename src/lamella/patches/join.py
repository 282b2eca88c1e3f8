"""Join the patches of all slides into one table and one virtual HDF5 file."""

import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lamella.cohort.settings import Split
from lamella.cohort.split import read_splits
from lamella.cohort.table import Slide, read_slides
from lamella.errors import StoreError
from lamella.fleet.guard import GuardedReader
from lamella.fleet.manifest import ManifestRow, Status, read_manifest
from lamella.fleet.settings import DEFAULT_FLEET, FleetSettings
from lamella.patches import index as patch_index
from lamella.patches.balance import balanced_rows
from lamella.patches.imported import IMPORTED
from lamella.patches.index import PatchIndex, write_index
from lamella.patches.settings import PatchSettings
from lamella.slides.identity import content_identities
from lamella.stores.atomic import remove_leftovers, replacing
from lamella.stores.codec import Storage
from lamella.stores.json_files import digest
from lamella.stores.shards import COLUMNS, PATCHES, ShardReader

logger = logging.getLogger(__name__)

_Shard = tuple[ManifestRow, dict[str, Any]]


def join_cohort(
    *,
    slides: Path,
    splits: Path,
    manifest: Path,
    index: Path,
    cohort: Path,
    settings: PatchSettings,
    fleet: FleetSettings = DEFAULT_FLEET,
) -> None:
    """Write the patch index and the virtual HDF5 file of all finished shards.

    Where classes are balanced over several slides, the patches beyond the balance are left out of
    the index; shards and virtual file hold them all.

    No patch is extracted or copied, so a new split costs seconds.

    Args:
        slides: Checked slide table.
        splits: Split of each slide.
        manifest: Manifest of ``extract_patches``.
        index: The Parquet table, beside the manifest.
        cohort: The HDF5 file, beside the manifest.
        settings: How classes are balanced.
        fleet: How long the reading of a shard may take.

    Raises:
        StoreError: no slide has patches, a shard is damaged, or shards differ in patch size,
            resolution or classes.
    """
    remove_leftovers(index.parent)  # of a join that was killed
    rows = read_manifest(manifest)
    split_of = read_splits(splits)
    tables, shards, slide_paths, with_file = [], [], {}, []
    with GuardedReader(read_columns, fleet.read_limit_s) as reader:
        for slide in read_slides(slides):
            row = rows[slide.slide]
            if row.status is not Status.DONE:
                continue
            attributes, columns = reader.read(manifest.parent / row.path)
            shards.append((row, attributes))
            if attributes["reader"] != IMPORTED:
                with_file.append(slide)
            if attributes["storage"] == Storage.COORDINATES:
                slide_paths[row.path] = slide.path
            tables.append(_slide_table(slide, split_of[slide.slide], row, columns))
    if not tables:
        raise _no_patches(rows.values(), manifest)
    table = pd.concat(tables, ignore_index=True)
    about = _common_attributes(shards, manifest)
    found = _digest(table, shards, settings)
    if settings.balanced_in_index:
        table = table[balanced_rows(table, settings.balance_per, settings.seed)]
    write_index(
        index,
        PatchIndex(
            table.reset_index(drop=True),
            digest=found,
            folder=index.parent,
            slide_paths=slide_paths,
            contents=_contents(with_file),
            **about,
        ),
    )
    _write_virtual(cohort, manifest.parent, shards)
    logger.info("%d patches of %d slides", len(table), len(shards))


def read_columns(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return attributes and columns of a shard."""
    with ShardReader(path) as shard:
        return shard.attributes, {name: shard.column(name) for name in COLUMNS}


def _contents(slides: Sequence[Slide]) -> dict[str, str]:
    """Return the digest of each slide's content, as far as its file is still there."""
    found = {}
    identities = content_identities(slide.path for slide in slides)
    for slide, identity in zip(slides, identities, strict=True):
        if isinstance(identity, str):
            found[slide.slide] = identity
        else:
            logger.warning("%s cannot be compared with the other slides: %s", slide.slide, identity)
    return found


def _no_patches(rows: Collection[ManifestRow], manifest: Path) -> StoreError:
    failed = sum(row.status is Status.FAILED for row in rows)
    if failed:
        return StoreError(
            f"no slide has patches: {failed} of {len(rows)} are quarantined",
            str(manifest),
            "`lamella status` says why",
        )
    return StoreError(
        "no slide has patches", str(manifest), "Look at the masks; lower `patches.min_tissue_share`"
    )


def _slide_table(
    slide: Slide, split: Split, row: ManifestRow, columns: dict[str, NDArray[Any]]
) -> pd.DataFrame:
    about = {
        "slide": slide.slide,
        "patient": slide.patient,
        "centre": slide.centre,
        "slide_label": slide.label,
        "split": split.value,
        "shard": row.path,
        "row": np.arange(row.n, dtype=np.int64),
    }
    return pd.DataFrame({**about, **columns}).astype(patch_index.COLUMNS)


def _common_attributes(shards: list[_Shard], manifest: Path) -> dict[str, Any]:
    """Return what all shards share; a mixture would train on patches that differ unseen."""
    found = {
        (
            tuple(about["classes"]),
            int(about["patch_px"]),
            float(about["mpp_requested"]),
            str(about["storage"]),
        )
        for _, about in shards
    }
    if len(found) > 1:
        raise StoreError(
            "shards differ in classes, patch size, resolution or storage",
            str(manifest),
            "Delete the manifest and run the workflow again",
        )
    classes, patch_px, mpp, _ = found.pop()
    return {"classes": classes, "patch_px": patch_px, "mpp": mpp}


def _digest(table: pd.DataFrame, shards: list[_Shard], settings: PatchSettings) -> str:
    splits = table.drop_duplicates("slide")[["slide", "patient", "split", "slide_label", "centre"]]
    return digest(
        {
            "slides": splits.to_numpy().tolist(),
            "shards": [row.fingerprint for row, _ in shards],
            "balanced": [settings.balance_per, settings.seed] if settings.balanced_in_index else [],
        }
    )


def _write_virtual(path: Path, folder: Path, shards: list[_Shard]) -> None:
    """Write virtual datasets over all shards, for looking; our own code reads the index.

    Pixels are in it where the shards have them as such; JPEGs and coordinates have columns alone.
    """
    rows = [row for row, _ in shards]
    total = sum(row.n for row in rows)
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        name: ((), kind) for name, kind in COLUMNS.items()
    }
    about = shards[0][1]
    if about["storage"] == Storage.PIXELS:
        shapes[PATCHES] = ((int(about["patch_px"]), int(about["patch_px"]), 3), np.uint8)
    with replacing(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        for name, (tail, kind) in shapes.items():
            layout = h5py.VirtualLayout((total, *tail), dtype=kind)
            start = 0
            for row in rows:
                shard = os.path.relpath(folder / row.path, path.parent)
                source = h5py.VirtualSource(shard, name, (row.n, *tail), dtype=kind)
                layout[start : start + row.n] = source
                start += row.n
            file.create_virtual_dataset(name, layout)
        names = [row.slide for row in rows for _ in range(row.n)]
        file.create_dataset("slide", data=np.array(names, dtype=h5py.string_dtype()))
