"""The manifest of a stage: one row per slide, what became of it and why."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from lamella.errors import StoreError
from lamella.stores.tables import read_table, write_table


class Status(StrEnum):
    """What became of a slide in a stage."""

    DONE = "done"
    EMPTY = "empty"
    FAILED = "failed"


@dataclass(frozen=True)
class ManifestRow:
    """One slide of a stage.

    Attributes:
        slide: Name of the slide.
        status: ``empty`` is a valid result with ``n`` = 0, such as a slide without tissue.
        path: The output file, relative to the manifest's folder; empty for a failed slide.
        n: How many things the output holds.
        fingerprint: Digest of all that made the output; empty for a failed slide.
        error: Why the slide failed, one line; empty otherwise.
        stage: The stage in which it failed first; empty otherwise.
    """

    slide: str
    status: Status
    path: str = ""
    n: int = 0
    fingerprint: str = ""
    error: str = ""
    stage: str = ""


MANIFEST_NAME = "manifest.tsv"

_COLUMNS = ("slide", "status", "path", "n", "fingerprint", "error", "stage")


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> None:
    """Write a manifest, rows in the given order."""
    write_table(path, _COLUMNS, (asdict(row) for row in rows))


def read_manifest(path: Path) -> dict[str, ManifestRow]:
    """Return the rows of a manifest by slide, in their order.

    Raises:
        StoreError: the file is missing or not a manifest.
    """
    try:
        rows = read_table(path)
        manifest = [
            ManifestRow(**{**row, "status": Status(row["status"]), "n": int(row["n"])})  # type: ignore[arg-type]
            for row in rows
        ]
    except FileNotFoundError as error:
        raise StoreError(
            "there is no manifest", str(path), "Run the workflow, or name another folder"
        ) from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"the manifest cannot be read ({error})",
            str(path),
            "Delete it and run the workflow again; finished slides are kept",
        ) from error
    return {row.slide: row for row in manifest}
