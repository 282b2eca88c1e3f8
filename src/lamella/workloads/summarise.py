"""Put the workloads of all engines side by side, as tables and as pictures."""

import logging
from collections.abc import Sequence
from pathlib import Path

from lamella.benchmark.cell import read_cell
from lamella.benchmark.track import track_tables
from lamella.stores.atomic import write_text
from lamella.stores.tables import read_table, write_table
from lamella.tracking.settings import TrackingSettings
from lamella.workloads.cell import WorkloadCell
from lamella.workloads.paper import markdown, paper_tables
from lamella.workloads.pictures import parity_picture, stage_picture
from lamella.workloads.table import COLUMNS, workload_rows

_log = logging.getLogger(__name__)


def summarise_workloads(
    *,
    results: Sequence[Path],
    output: Path,
    tables: Path,
    stages: Path,
    parity: Path,
    tracking: TrackingSettings,
) -> None:
    """Write ``workloads.tsv``, and what is made of it.

    Args:
        results: The JSON files of ``time_workload``, in the order of the rows.
        output: The table with everything.
        tables: The tables of the paper, as Markdown.
        stages: The picture of where the time goes.
        parity: The picture of speed against parity.
        tracking: Where all of them, and the results, are tracked.
    """
    cells = [read_cell(path, WorkloadCell) for path in results]
    write_table(output, COLUMNS, workload_rows(cells))
    rows = read_table(output)
    write_text(tables, markdown(paper_tables(rows)))
    write_text(stages, stage_picture(rows))
    write_text(parity, parity_picture(rows))
    track_tables("benchmark workloads", results, [output, tables, stages, parity], tracking)
    _log.info("%d rows of %d results", len(rows), len(results))
