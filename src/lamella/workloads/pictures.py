"""The pictures of the workloads, from the rows of ``workloads.tsv``."""

from collections.abc import Sequence

from markupsafe import Markup

from lamella.bar_chart import Bar, stacked_bars
from lamella.engines.verdict import Verdict
from lamella.log_chart import Point, log_scatter
from lamella.stores.tables import Row
from lamella.workloads.cell import Mode
from lamella.workloads.paper import STAGE_NAMES, row_name

_MS_PER_S = 1e3
_REST = "other"


def stage_picture(rows: Sequence[Row]) -> Markup:
    """Return where the time of the sequential runs goes: a panel a case, a bar an engine."""
    groups = {
        _panel_name(case, peers): [_bar(row, peers) for row in peers]
        for case, peers in _sequential(rows).items()
    }
    return stacked_bars(
        groups,
        [*STAGE_NAMES.values(), _REST],
        title="stages of the workloads",
        x_name="seconds per run, mean",
    )


def parity_picture(rows: Sequence[Row]) -> Markup:
    """Return speed against parity: a panel a case, a point an engine, invalid ones hollow."""
    groups, limits = {}, {}
    for case, peers in _sequential(rows).items():
        name = _panel_name(case, peers)
        groups[name] = [_point(row, peers) for row in _compared(peers)]
        limits[name] = _limits(rows, case)
    return log_scatter(
        groups,
        limits=limits,
        title="speed against parity",
        x_name="largest difference of a probability from the network's; hollow: invalid",
        y_name="speed against torch",
    )


def _panel_name(case: str, rows: Sequence[Row]) -> str:
    """Return a case with its sizes, and whether its rows may be compared; alone without any."""
    if not rows:
        return case
    marks = list(dict.fromkeys(row["size"] for row in rows))
    comparable = [row["comparable"] == "yes" for row in rows]
    if not all(comparable):
        marks.append("some not comparable" if any(comparable) else "not comparable")
    return f"{case} ({', '.join(marks)})"


def _sequential(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows that were measured one thing after another, by their case."""
    cases: dict[str, list[Row]] = {row["case"]: [] for row in rows}
    for row in rows:
        if row["mode"] == Mode.SEQUENTIAL:
            cases[row["case"]].append(row)
    return cases


def _limits(rows: Sequence[Row], case: str) -> dict[str, float]:
    """Return the limits of a case, each named with its precisions."""
    precisions: dict[str, list[str]] = {}
    for row in rows:
        if row["case"] == case:
            precisions.setdefault(row["limit"], []).append(row["precision"])
    return {
        f"limit of {', '.join(dict.fromkeys(names))}: {limit}": float(limit)
        for limit, names in precisions.items()
    }


def _compared(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["speed_against_torch"]]


def _marked_name(row: Row, peers: Sequence[Row]) -> str:
    mark = " (invalid)" if row["verdict"] == Verdict.INVALID else ""
    return f"{row_name(row, peers)}{mark}"


def _bar(row: Row, peers: Sequence[Row]) -> Bar:
    stages = {
        name: float(row[f"{stage}_ms"]) / _MS_PER_S
        for stage, name in STAGE_NAMES.items()
        if row[f"{stage}_ms"]
    }
    total = float(row["total_ms_mean"]) / _MS_PER_S
    return Bar(
        name=_marked_name(row, peers),
        parts={**stages, _REST: max(total - sum(stages.values()), 0.0)},
        end=f"{total:.3g} s",
        pale=row["verdict"] == Verdict.INVALID,
    )


def _point(row: Row, peers: Sequence[Row]) -> Point:
    return Point(
        x=float(row["max_abs_difference"]),
        y=float(row["speed_against_torch"]),
        name=row_name(row, peers),
        hollow=row["verdict"] == Verdict.INVALID,
    )
