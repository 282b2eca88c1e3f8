"""Let the workflow try quarantined slides again, and make missing files anew."""

from collections.abc import Iterator
from pathlib import Path

from lamella.fleet.manifest import MANIFEST_NAME, ManifestRow, Status, read_manifest


def forget_unfinished(root: Path) -> Iterator[tuple[Path, int]]:
    """Remove every manifest that names a failed slide or a file that is not there.

    Snakemake plans the stage of a removed manifest again; the stage skips finished slides.

    Args:
        root: Folder to search, usually ``results``.

    Yields:
        Each removed manifest and the number of slides that will be done again.
    """
    for path in sorted(root.rglob(MANIFEST_NAME)):
        rows = read_manifest(path).values()
        unfinished = sum(_is_unfinished(row, path.parent) for row in rows)
        if unfinished:
            path.unlink()
            yield path, unfinished


def _is_unfinished(row: ManifestRow, folder: Path) -> bool:
    return row.status is Status.FAILED or not (folder / row.path).exists()
