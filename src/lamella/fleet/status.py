"""What lies in the results: how far each stage is, and files that no manifest names."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lamella.fleet.manifest import MANIFEST_NAME, ManifestRow, Status, read_manifest
from lamella.stores.atomic import leftovers


@dataclass(frozen=True)
class StageStatus:
    """What one manifest says, and what really lies beside it.

    Attributes:
        manifest: The manifest.
        counts: Slides by status.
        failed: Rows of quarantined slides.
        missing: Rows whose file is not there.
        orphans: Files of slides that the manifest does not name, and unfinished files of writers
            that are dead. What a failed slide has from earlier runs is no orphan: it is good
            again when the slide is.
        bytes_used: Size of all files of the stage, orphans included.
    """

    manifest: Path
    counts: Counter[Status]
    failed: tuple[ManifestRow, ...]
    missing: tuple[ManifestRow, ...]
    orphans: tuple[Path, ...]
    bytes_used: int


def stage_statuses(root: Path) -> Iterator[StageStatus]:
    """Yield the state of every stage whose manifest lies below ``root``.

    Raises:
        StoreError: a manifest cannot be read.
    """
    for manifest in sorted(root.rglob(MANIFEST_NAME)):
        rows = tuple(read_manifest(manifest).values())
        finished = [row for row in rows if row.status is not Status.FAILED]
        files = _files(manifest.parent)
        slides = {row.slide for row in rows}
        yield StageStatus(
            manifest,
            Counter(row.status for row in rows),
            failed=tuple(row for row in rows if row.status is Status.FAILED),
            missing=tuple(row for row in finished if not (manifest.parent / row.path).exists()),
            orphans=tuple(_orphans(files, slides)),
            bytes_used=sum(path.stat().st_size for path in files),
        )


def report_lines(stages: Sequence[StageStatus], root: Path) -> Iterator[str]:
    """Yield what a person wants to know of all stages: a table, then what is wrong."""
    if not stages:
        yield f"no stage has ended yet below {root}"
        return
    names = [str(stage.manifest.parent.relative_to(root)) for stage in stages]
    width = max(map(len, names))
    yield "  ".join((" " * width, *(f"{status:>8}" for status in Status), "  missing       size"))
    for name, stage in zip(names, stages, strict=True):
        counts = (f"{stage.counts[status]:8}" for status in Status)
        size_mib = f"{stage.bytes_used / 2**20:7.1f} MiB"
        yield "  ".join((f"{name:{width}}", *counts, f"{len(stage.missing):9}", size_mib))
    quarantined = {row.slide: row for stage in stages for row in stage.failed}
    for row in quarantined.values():
        yield f"{row.slide} is quarantined since {row.stage}: {row.error}"
    if quarantined or any(stage.missing for stage in stages):
        yield "`lamella retry` lets the next run try these again"
    orphans = sum(len(stage.orphans) for stage in stages)
    if orphans:
        yield f"{orphans} files are of no slide in the table; `lamella clean` lists them"


def _files(folder: Path) -> list[Path]:
    """Return what the stage's slides have written: all files in the folders beside the manifest."""
    return sorted(path for path in folder.glob("*/*") if path.is_file())


def _orphans(files: list[Path], slides: set[str]) -> Iterator[Path]:
    for path in files:
        # A file is called after its slide; names that start with a dot are no slide's.
        if not path.name.startswith(".") and path.stem not in slides:
            yield path
    for subfolder in sorted({path.parent for path in files}):
        yield from leftovers(subfolder)
