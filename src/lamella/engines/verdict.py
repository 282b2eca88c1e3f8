"""``parity.tsv``: what the comparison with the trained network says of every engine."""

from enum import StrEnum
from pathlib import Path

from lamella.engines.settings import EngineName, Precision
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
"""Columns of ``parity.tsv``, one row an engine and precision; empty where it is unavailable."""


class Verdict(StrEnum):
    """What the comparison says of an engine."""

    VALID = "valid"
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"


def read_parity(path: Path, engine: EngineName, precision: Precision) -> Row:
    """Return the row of an engine in a precision in ``parity.tsv``.

    Raises:
        StoreError: the engine was not compared in it.
    """
    for row in read_table(path):
        if (row["engine"], row["precision"]) == (engine, precision):
            return row
    raise StoreError(
        f"{engine} in {precision} was not compared with the trained network",
        str(path),
        "Add it to `parity.engines` and `parity.precisions`",
    )
