"""The tables of the paper, one a workload, from the rows of ``workloads.tsv``.

Source:
    Smistad, Østvik and Pedersen, IEEE Access 7, 2019, doi:10.1109/ACCESS.2019.2942441.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lamella.engines.settings import Precision
from lamella.stores.tables import Row
from lamella.workloads.cell import Mode
from lamella.workloads.stages import Stage

STAGE_NAMES = {
    Stage.TISSUE: "Tissue",
    Stage.PATCH_GENERATOR: "Patch generator",
    Stage.NN_INPUT: "NN input",
    Stage.NN_INFERENCE: "NN inference",
    Stage.NN_OUTPUT: "NN output",
    Stage.PATCH_STITCHER: "Patch stitcher",
}
"""How the stages are written; the last five as FAST writes them."""

_ABSENT = "–"


@dataclass(frozen=True)
class PaperRow:
    """One engine in a table.

    Attributes:
        name: The engine, and what else tells its row from others.
        verdict: `valid`, `invalid` or `unavailable`.
        reason: Why it is not valid; empty where it is.
        comparable: Whether it may be compared with other rows.
        figures: Of each stage of the table the time of a call in ms, mean ± sd.
        total: Time of a run in ms, mean ± sd.
    """

    name: str
    verdict: str
    reason: str
    comparable: bool
    figures: Sequence[str]
    total: str


@dataclass(frozen=True)
class PaperTable:
    """One workload on all engines, one thing after another.

    Attributes:
        case: The workload.
        conditions: On what was measured; one line a machine and size.
        remarks: Why rows must not be compared with others, with the engines.
        stages: Names of the stages that any engine has.
        rows: The engines.
    """

    case: str
    conditions: Sequence[str]
    remarks: Sequence[str]
    stages: Sequence[str]
    rows: Sequence[PaperRow]


def paper_tables(rows: Sequence[Row]) -> list[PaperTable]:
    """Return the tables in the order of the rows; overlapped runs are left out."""
    kept = [row for row in rows if row["mode"] != Mode.OVERLAPPED]
    cases = dict.fromkeys(row["case"] for row in kept)
    return [_table(case, [row for row in kept if row["case"] == case]) for case in cases]


def markdown(tables: Sequence[PaperTable]) -> str:
    """Return the tables as Markdown."""
    return "\n".join(_section(table) for table in tables)


def row_name(row: Row, peers: Sequence[Row]) -> str:
    """Return an engine with what tells its row from others.

    That is its precision, unless all are f32; one of several batch sizes; `extrapolated`.
    """
    parts = [row["engine"]]
    if {peer["precision"] for peer in peers} != {Precision.F32}:
        parts.append(row["precision"])
    if row["batch_size"] and len({peer["batch_size"] for peer in peers if peer["batch_size"]}) > 1:
        parts.append(f"batch {row['batch_size']}")
    if row["total_ms_mean"] and row["run_items"] != row["items"]:
        parts.append("extrapolated")
    return ", ".join(parts)


def _table(case: str, rows: Sequence[Row]) -> PaperTable:
    stages = [stage for stage in Stage if any(row[f"{stage}_ms"] for row in rows)]
    return PaperTable(
        case=case,
        conditions=list(dict.fromkeys(_condition(row) for row in rows)),
        remarks=_remarks(rows),
        stages=[STAGE_NAMES[stage] for stage in stages],
        rows=[_row(row, rows, stages) for row in rows],
    )


def _row(row: Row, peers: Sequence[Row], stages: Sequence[Stage]) -> PaperRow:
    return PaperRow(
        name=row_name(row, peers),
        verdict=row["verdict"],
        reason=row["reason"],
        comparable=row["comparable"] == "yes",
        figures=[
            _figure(row[f"{stage}_call_ms_mean"], row[f"{stage}_call_ms_sd"]) for stage in stages
        ],
        total=_figure(row["total_ms_mean"], row["total_ms_sd"]),
    )


def _condition(row: Row) -> str:
    items = row["items"]
    if row["run_items"] != items:
        items = f"the first {row['run_items']} of {items}"
    return (
        f"{row['host']}: {row['cpu']}, threads: {row['threads']}, {row['gpu'] or row['device']},"
        f" size: {row['size']}, {items} frames or patches of {row['source']}"
    )


def _remarks(rows: Sequence[Row]) -> list[str]:
    engines: dict[str, list[str]] = {}
    for row in rows:
        if row["comparable"] != "yes":
            for rule in row["comparable"].removeprefix("no: ").split("; no: "):
                engines.setdefault(rule, []).append(f"{row['engine']} in {row['precision']}")
    everyone = {f"{row['engine']} in {row['precision']}" for row in rows}
    return [
        f"not comparable: {remark}"
        # That all of them are so need not be listed.
        + ("" if everyone == set(names) else f" ({', '.join(dict.fromkeys(names))})")
        for remark, names in engines.items()
    ]


def _figure(mean: str, deviation: str) -> str:
    if not mean:
        return _ABSENT
    figure = f"{float(mean):.2f}"
    return f"{figure} ± {float(deviation):.2f}" if deviation else figure


def _section(table: PaperTable) -> str:
    header = ["Engine", *table.stages, "Total", "Verdict"]
    lines = [
        f"## {table.case}",
        "",
        "; ".join([*table.conditions, *table.remarks]),
        "",
        "Stages: ms per call, mean ± sd over all calls. Total: ms per run, mean ± sd.",
        "",
        _line(header),
        _line(["---", *["---:"] * (len(table.stages) + 1), "---"]),
        *(_line([row.name, *row.figures, row.total, _verdict(row)]) for row in table.rows),
        "",
    ]
    return "\n".join(lines)


def _verdict(row: PaperRow) -> str:
    return f"**{row.verdict}**: {row.reason}" if row.reason else row.verdict


def _line(cells: Sequence[str]) -> str:
    # A bar within a reason would end its cell.
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
