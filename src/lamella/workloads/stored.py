"""JSON files that the jobs of a workload hand on."""

from pathlib import Path
from typing import Self

from lamella.benchmark.cell import CellValue
from lamella.errors import StoreError
from lamella.stores.json_files import read_json, write_json


class Stored(CellValue):
    """What one job tells the next."""

    def write(self, path: Path) -> None:
        """Write it in one step."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what ``write`` wrote.

        Raises:
            StoreError: the file is missing or of another layout.
        """
        try:
            return cls.model_validate(read_json(path))
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> StoreError:
    """Return the error of a file that cannot be read."""
    return StoreError(
        f"the file cannot be read ({error})",
        str(path),
        "Delete it and run `snakemake benchmark` again",
    )
