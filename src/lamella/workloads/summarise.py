"""Put the workloads of all engines side by side, as tables and as pictures."""

import logging
from collections.abc import Sequence
from pathlib import Path

from lamella.stores.tables import write_table
from lamella.workloads.cell import WorkloadCell, read_workload_cell

_log = logging.getLogger(__name__)

COLUMNS = ("case", "engine", "verdict", "reason")


def summarise_workloads(*, results: Sequence[Path], output: Path) -> None:
    """Write ``workloads.tsv``.

    Args:
        results: The JSON files of ``time_workload``, in the order of the rows.
        output: The table.
    """
    rows = [_row(read_workload_cell(path)) for path in results]
    write_table(output, COLUMNS, rows)
    _log.info("%d rows of %d results", len(rows), len(results))


def _row(cell: WorkloadCell) -> dict[str, object]:
    return {name: getattr(cell, name) for name in COLUMNS}
