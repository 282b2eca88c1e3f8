"""``parity.tsv``: what the comparison with the trained network says of every engine."""

from enum import StrEnum
from pathlib import Path

from lamella.engines.settings import EngineName
from lamella.errors import StoreError
from lamella.stores.tables import Row, read_table

COLUMNS = (
    "engine",
    "device",
    "format",
    "precision",
    "threads",
    "version",
    "n",
    "max_abs_difference",
    "limit",
    "cosine",
    "top1_agreement",
    "auc",
    "auc_difference",
    "verdict",
    "reason",
)
"""Columns of ``parity.tsv``, one row an engine; empty where an engine is unavailable."""


PRECISION = "f32"
"""Arithmetic of every engine."""


class Verdict(StrEnum):
    """What the comparison says of an engine."""

    VALID = "valid"
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"


def read_parity(path: Path, engine: EngineName) -> Row:
    """Return the row of an engine in ``parity.tsv``.

    Raises:
        StoreError: the engine was not compared.
    """
    for row in read_table(path):
        if row["engine"] == engine:
            return row
    raise StoreError(
        f"{engine} was not compared with the trained network",
        str(path),
        "Add it to `parity.engines`",
    )
