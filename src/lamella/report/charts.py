"""Curves as SVG, drawn by hand: small, sharp on paper, the same for the same numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

PALETTE = ("#4b3f9e", "#c8457e", "#1f8a8a", "#d08a1d", "#5b7f2b", "#8a4b1f", "#3b6fb6", "#777777")
"""Colours of the lines: haematoxylin and eosin first."""

_WIDTH, _HEIGHT = 520, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 38
_TICKS = 5
_GRID_LINE = Markup('<path class="grid" d="M{} {}H{}"/><text class="y" x="{}" y="{}">{}</text>')
_UNDER_AXIS = Markup('<text class="x" x="{}" y="{}">{}</text>')


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        points: ``(x, y)`` in rising order of x; values that are not finite are left out.
        colour: Colour, as in CSS.
        dashed: Whether the line is dashed.
        mark: The x at which a dot stands, if any.
    """

    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False
    mark: float | None = None


def line_chart(
    lines: Sequence[Line], *, title: str, x_name: str, ceiling: float = math.inf
) -> Markup:
    """Return an SVG of curves over a common pair of axes.

    Args:
        lines: The curves, over whole numbers; without any point the chart says so.
        title: What is drawn; also read out by screen readers.
        x_name: Name of the x axis.
        ceiling: Highest value there can be; the y axis ends there.
    """
    finite = [point for line in lines for point in line.points if _is_finite(point)]
    if not finite:
        return Markup('<p class="muted">{}: no values</p>').format(title)
    axes = _Axes(
        x=ticks(min(x for x, _ in finite), max(x for x, _ in finite), whole=True),
        y=[y for y in ticks(*_range([y for _, y in finite], ceiling)) if y <= ceiling],
    )
    parts = [*axes.grid(x_name), *(_path(line, axes) for line in lines)]
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, title, Markup("").join(parts))


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return round numbers, evenly spaced, that enclose a range; at least two.

    Args:
        low: Lowest value.
        high: Highest value.
        whole: Whether only whole numbers are wanted.
    """
    if low == high:
        margin = 1.0 if whole else abs(low) / 10 or 1.0
        low, high = low - margin, high + margin
    rough = max((high - low) / _TICKS, 1.0 if whole else 0.0)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(count * step, 12) for count in range(first, last + 1)]


def _range(values: Sequence[float], ceiling: float) -> tuple[float, float]:
    """Return lowest and highest value; a curve that lies on the ceiling has room below it."""
    low, high = min(values), max(values)
    return (ceiling - 0.1 * abs(ceiling), ceiling) if low == high == ceiling else (low, high)


@dataclass(frozen=True)
class _Axes:
    x: list[float]
    y: list[float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[-1] - self.x[0])
        up = (y - self.y[0]) / (self.y[-1] - self.y[0])
        return (
            round(_LEFT + across * (_WIDTH - _LEFT - _RIGHT), 2),
            round(_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM), 2),
        )

    def grid(self, x_name: str) -> list[Markup]:
        left, right = _LEFT, _WIDTH - _RIGHT
        parts = []
        for value in self.y:
            _, y = self.place(self.x[0], value)
            parts.append(_GRID_LINE.format(left, y, right, left - 8, y + 4, f"{value:g}"))
        for value in self.x:
            x, _ = self.place(value, self.y[0])
            parts.append(_UNDER_AXIS.format(x, _HEIGHT - _BOTTOM + 17, f"{value:g}"))
        parts.append(_UNDER_AXIS.format((left + right) / 2, _HEIGHT - 4, x_name))
        return parts


def _path(line: Line, axes: _Axes) -> Markup:
    points = [axes.place(*point) for point in line.points if _is_finite(point)]
    if not points:
        return Markup("")
    path = "M" + "L".join(f"{x} {y}" for x, y in points)
    dash = Markup(' stroke-dasharray="5 4"') if line.dashed else ""
    drawn = Markup('<path class="line" stroke="{}"{} d="{}"/>').format(line.colour, dash, path)
    # A training of one epoch is a single point, which a path would not show.
    marked = [point for point in line.points if point[0] == line.mark or len(points) == 1]
    for point in filter(_is_finite, marked):
        x, y = axes.place(*point)
        drawn += Markup('<circle fill="{}" cx="{}" cy="{}" r="4"/>').format(line.colour, x, y)
    return drawn


def _is_finite(point: tuple[float, float]) -> bool:
    return all(math.isfinite(value) for value in point)


def bar(share: float, *, colour: str = PALETTE[0]) -> Markup:
    """Return a bar that fills a share, 0-1, of its cell."""
    width = f"{100 * min(max(share, 0.0), 1.0):.1f}"
    return Markup('<span class="bar"><i style="width:{}%;background:{}"></i></span>').format(
        width, escape(colour)
    )
