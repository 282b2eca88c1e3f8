"""Find missing and damaged shards."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lamella.errors import DamagedFileError, LamellaError, SlideError, StoreError
from lamella.fleet.guard import GuardedReader, report_life
from lamella.fleet.manifest import ManifestRow, Status, read_manifest
from lamella.fleet.settings import DEFAULT_FLEET, FleetSettings
from lamella.patches.index import read_index
from lamella.patches.pixels import SlideShard, open_patches
from lamella.stores.shards import ShardReader

_PART_BYTES = 1 << 24


@dataclass(frozen=True)
class CheckedShard:
    """What a shard turned out to be.

    Attributes:
        row: Its row of the manifest.
        error: What is wrong with it; ``None`` where it is whole.
        deletable: Whether its own bytes are missing or damaged, so that only making it anew mends
            it. ``False`` where it is whole, its slide is elsewhere, its settings are others, or
            the disk does not give its bytes.
    """

    row: ManifestRow
    error: LamellaError | None = None
    deletable: bool = False


def check_shards(manifest: Path, fleet: FleetSettings = DEFAULT_FLEET) -> Iterator[CheckedShard]:
    """Read every shard of a manifest from end to end and compare it with its checksum.

    They are read in a process of their own, since reading a damaged one may crash or never end.

    Of a shard without pixels the columns are read, and its slide is looked for: where the index
    beside the manifest says that it lies, else where it lay.

    Yields:
        What was found, for each finished row; the last one is a file whose file system does not
        answer, where there is one: all others would wait as long.

    Raises:
        StoreError: the manifest cannot be read.
    """
    index = manifest.with_name("index.parquet")
    slide_paths = read_index(index).slide_paths if index.exists() else {}
    rows = [row for row in read_manifest(manifest).values() if row.status is not Status.FAILED]
    with GuardedReader(_checked, fleet.read_limit_s) as reader:
        for row in rows:
            try:
                yield reader.read(manifest.parent / row.path, row, slide_paths.get(row.path))
            except DamagedFileError as error:
                yield CheckedShard(row, error, deletable=True)
            except StoreError as error:
                yield CheckedShard(row, error)
                return


def _checked(path: Path, row: ManifestRow, slide: Path | None) -> CheckedShard:
    try:
        with open_patches(path, slide) as shard:
            shard.verify(alive=report_life)
            return CheckedShard(row, _other_fault(shard, row))
    except StoreError as error:
        unreadable = _unreadable(path)
        return CheckedShard(row, unreadable or error, deletable=unreadable is None)


def _unreadable(path: Path) -> StoreError | None:
    """Return why the bytes of a file are not given out, which says nothing about them."""
    try:
        with path.open("rb") as file:
            while file.read(_PART_BYTES):
                report_life()
    except FileNotFoundError:
        return None
    except OSError as error:
        return StoreError(
            f"the shard cannot be read ({error.strerror})",
            str(path),
            "Mend its rights or its disk; nothing says that it is damaged",
        )
    return None


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
