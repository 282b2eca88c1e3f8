"""The exported models: are the engines right, and how fast are they?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from lamella.stores.tables import Row, read_table
from lamella.workloads.paper import PaperTable, paper_tables


@dataclass(frozen=True)
class ParityEntry:
    """The comparison of a run's engines with its trained network."""

    run: str
    rows: list[Row]


@dataclass(frozen=True)
class TimedRow:
    """One row of the benchmark: an engine in a precision, with a batch size.

    Attributes:
        cells: The row of the table.
        share: Its throughput over the highest one of its case and batch size; 0 without one.
        fastest: Whether it is the fastest valid one of them.
    """

    cells: Row
    share: float
    fastest: bool

    @property
    def patches_per_s(self) -> float:
        """Throughput; 0 for an engine that is unavailable."""
        return _speed(self.cells)


_FIGURES = {
    "latency_ms_p90": "p90 {:.2f} ms",
    "latency_ms_p99": "p99 {:.2f} ms",
    "patches_per_s": "{:.1f} patches per second",
    "queries_per_s": "{:.1f} queries per second",
}
"""How the figures of the scenarios are read."""


@dataclass(frozen=True)
class ScenarioRow:
    """One engine in one of MLPerf's scenarios."""

    cells: Row

    @property
    def text(self) -> str:
        """The figure with its unit; a dash where there is none."""
        if not self.cells["value"]:
            return "–"
        figure = _FIGURES[self.cells["figure"]].format(float(self.cells["value"]))
        bound = self.cells["bound_ms"]
        return f"{figure}, p99 below {bound} ms" if bound else figure

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """Place among the engines: valid ones with a figure first, of these the best."""
        cells = self.cells
        value = float(cells["value"] or 0)
        better_if_low = cells["figure"].startswith("latency")
        return cells["verdict"] != "valid", not cells["value"], value if better_if_low else -value


@dataclass(frozen=True)
class WorkloadEntry:
    """The workloads on all engines.

    Attributes:
        tables: The tables of the paper.
        stages: Picture of where the time goes.
        parity: Picture of speed against parity.
    """

    tables: list[PaperTable]
    stages: Markup
    parity: Markup


def parity_section(tables: Sequence[Path]) -> list[ParityEntry]:
    """Return the comparisons, one per run."""
    return [ParityEntry(path.parent.name, read_table(path)) for path in tables]


def benchmark_section(summary: Path) -> list[TimedRow]:
    """Return the timed engines in the order of the table."""
    rows = read_table(summary)
    return [_timed(row, [peer for peer in rows if _group(peer) == _group(row)]) for row in rows]


def scenario_section(table: Path) -> list[ScenarioRow]:
    """Return the engines in MLPerf's scenarios, scenario by scenario, the best one first.

    An engine that is unavailable altogether is left out: it stands among the timed ones, with its
    reason.
    """
    rows = [ScenarioRow(row) for row in read_table(table) if row["scenario"]]
    places = {name: place for place, name in enumerate(row.cells["scenario"] for row in rows)}
    return sorted(rows, key=lambda row: (places[row.cells["scenario"]], row.rank))


def workload_section(files: Sequence[Path]) -> list[WorkloadEntry]:
    """Return the workloads.

    Args:
        files: The table and the pictures of stages and parity; empty where none were run.
    """
    if not files:
        return []
    table, stages, parity = files
    return [WorkloadEntry(paper_tables(read_table(table)), _drawn(stages), _drawn(parity))]


def benchmark_conditions(rows: Sequence[TimedRow]) -> list[str]:
    """Return on which machines, with how many threads and patches was timed."""
    lines = (
        f"{row.cells['host']}: {row.cells['cpu']}, threads: {row.cells['threads']},"
        f" {row.cells['gpu'] or row.cells['device']}, {row.cells['pool']} patches in memory,"
        f" network {row.cells['run']} seed {row.cells['seed']}"
        for row in rows
    )
    return list(dict.fromkeys(lines))


def benchmark_remarks(rows: Sequence[TimedRow]) -> list[str]:
    """Return why rows must not be compared with others, each reason with its engines.

    An engine is named with the precision, for the reasons differ between them.
    """
    engines: dict[str, list[str]] = {}
    for row in rows:
        if row.cells["comparable"] != "yes":
            name = f"{row.cells['engine']} in {row.cells['precision']}"
            engines.setdefault(row.cells["comparable"], []).append(name)
    return [
        f"{', '.join(dict.fromkeys(names))}: {remark.replace('no: ', '')}"
        for remark, names in engines.items()
    ]


def _drawn(picture: Path) -> Markup:
    return Markup(picture.read_text(encoding="utf-8"))  # noqa: S704 - our own file


def _group(row: Row) -> tuple[str, str]:
    return row["case"], row["batch_size"]


def _timed(row: Row, peers: Sequence[Row]) -> TimedRow:
    speeds = [_speed(peer) for peer in peers]
    valid = [_speed(peer) for peer in peers if peer["verdict"] == "valid"]
    highest = max(speeds)
    return TimedRow(
        cells=row,
        share=_speed(row) / highest if highest else 0.0,
        fastest=row["verdict"] == "valid" and _speed(row) > 0 and _speed(row) == max(valid),
    )


def _speed(row: Row) -> float:
    return float(row["patches_per_s"] or 0)
