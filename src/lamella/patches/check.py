"""Find missing and damaged shards."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lamella.errors import LamellaError, SlideError, StoreError
from lamella.fleet.manifest import ManifestRow, Status, read_manifest
from lamella.patches.index import read_index
from lamella.patches.pixels import SlideShard, open_patches
from lamella.stores.shards import ShardReader


@dataclass(frozen=True)
class CheckedShard:
    """What a shard turned out to be.

    Attributes:
        row: Its row of the manifest.
        error: What is wrong with it; ``None`` where it is whole.
        deletable: Whether its own bytes are missing or damaged, so that only making it anew mends
            it. ``False`` where it is whole, its slide is elsewhere, or its settings are others.
    """

    row: ManifestRow
    error: LamellaError | None = None
    deletable: bool = False


def check_shards(manifest: Path) -> Iterator[CheckedShard]:
    """Read every shard of a manifest from end to end and compare it with its checksum.

    Of a shard without pixels the columns are read, and its slide is looked for: where the index
    beside the manifest says that it lies, else where it lay.

    Yields:
        What was found, for each finished row.
    """
    index = manifest.with_name("index.parquet")
    slide_paths = read_index(index).slide_paths if index.exists() else {}
    for row in read_manifest(manifest).values():
        if row.status is not Status.FAILED:
            yield _checked(manifest.parent / row.path, row, slide_paths.get(row.path))


def _checked(path: Path, row: ManifestRow, slide: Path | None) -> CheckedShard:
    try:
        with open_patches(path, slide) as shard:
            shard.verify()
            return CheckedShard(row, _other_fault(shard, row))
    except StoreError as error:
        return CheckedShard(row, error, deletable=True)


def _other_fault(shard: ShardReader, row: ManifestRow) -> LamellaError | None:
    """Return what is wrong with a shard whose own bytes are those that were written."""
    if str(shard.attributes["fingerprint"]) != row.fingerprint:
        return StoreError(
            "the shard was made by other settings than the manifest says",
            str(shard.path),
            "Run the workflow again",
        )
    if isinstance(shard, SlideShard):
        try:
            shard.check_slide()
        except (StoreError, SlideError) as error:
            return error
    return None
