"""Curves as SVG, drawn by hand: small, sharp on paper, the same for the same numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

PALETTE = ("#4b3f9e", "#c8457e", "#1f8a8a", "#d08a1d", "#5b7f2b", "#8a4b1f", "#3b6fb6", "#777777")
"""Colours of the lines: haematoxylin and eosin first."""

_WIDTH, _HEIGHT = 520, 250
_SQUARE = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 38
_TICKS = 5
_BESIDE = 2
_KEY_PX = 17
_DIGIT_PX = 8
_GAP_PX = 8
_NAME_PX = 16
_STYLE = Markup(
    "<style>"
    ".chart{background:#fff}"
    ".chart text{font:12px system-ui,sans-serif;fill:#667085}"
    ".chart .y{text-anchor:end}.chart .x{text-anchor:middle}"
    ".chart .grid{stroke:#e3e5ec;fill:none}"
    ".chart .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}"
    "</style>"
)
_SVG = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {} {}" role="img"'
    ' aria-label="{}">{}{}</svg>'
)
_GRID_LINE = Markup('<path class="grid" d="M{} {}H{}"/><text class="y" x="{}" y="{}">{}</text>')
_UNDER_AXIS = Markup('<text class="x" x="{}" y="{}">{}</text>')
_BESIDE_AXIS = Markup('<text class="x" x="{}" y="{}" transform="rotate(-90 {} {})">{}</text>')
_UPRIGHT = Markup('<text class="x" transform="translate(12 {}) rotate(-90)">{}</text>')
_KEY = Markup('<text class="y" x="{}" y="{}" style="fill:{}">{}</text>')
_DOTS = Markup('<g fill="{}" fill-opacity="{}">{}</g>')
_DOT = Markup('<circle cx="{}" cy="{}" r="{}"/>')
_PANEL = Markup('<svg x="{}" y="{}" width="{}" height="{}">{}</svg>')
_CELL = Markup(
    '<rect x="{}" y="{}" width="{}" height="{}" fill="{}" fill-opacity="{}"/>'
    '<text class="x" x="{}" y="{}" style="fill:{}">{}<tspan x="{}" dy="16">{}</tspan></text>'
)


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        points: ``(x, y)`` in rising order of x; values that are not finite are left out.
        colour: Colour, as in CSS.
        dashed: Whether the line is dashed.
        mark: The x at which a dot stands, if any.
        name: What it is, in the key; a line without a name is not in it.
        dots: Whether every point is a dot.
    """

    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False
    mark: float | None = None
    name: str = ""
    dots: bool = False


@dataclass(frozen=True)
class Dots:
    """A cloud of dots.

    Attributes:
        points: ``(x, y)``, finite, in any order.
        colour: Colour, as in CSS.
        name: What they are, in the key.
        radius: Radius of a dot in pixels of the picture.
        opacity: 0-1; below 1 many dots in one place look darker.
    """

    points: Sequence[tuple[float, float]]
    colour: str
    name: str
    radius: float = 2.0
    opacity: float = 1.0


def line_chart(
    lines: Sequence[Line], *, title: str, x_name: str, ceiling: float = math.inf
) -> Markup:
    """Return an SVG of curves over a common pair of axes.

    Args:
        lines: The curves, over whole numbers; without any point the chart says so.
        title: What is drawn: the name of the y axis, and read out by screen readers.
        x_name: Name of the x axis.
        ceiling: Highest value there can be; the y axis ends there.
    """
    finite = [point for line in lines for point in line.points if _is_finite(point)]
    if not finite:
        nothing = _UNDER_AXIS.format(_WIDTH / 2, _HEIGHT / 2, f"{title}: no values")
        return _SVG.format(_WIDTH, _HEIGHT, title, _STYLE, nothing)
    axes = _Axes(
        x=ticks(min(x for x, _ in finite), max(x for x, _ in finite), whole=True),
        y=[y for y in ticks(*_range([y for _, y in finite], ceiling)) if y <= ceiling],
    )
    return _drawn(lines, axes, title, x_name, _upright(title, axes))


def share_chart(lines: Sequence[Line], *, title: str, x_name: str, y_name: str) -> Markup:
    """Return a square SVG of curves of shares over shares, both axes from 0 to 1.

    Args:
        lines: The curves; those with a name are in the key, at the bottom right.
        title: What is drawn; read out by screen readers.
        x_name: Name of the x axis.
        y_name: Name of the y axis.
    """
    axes = _Axes(x=ticks(0, 1), y=ticks(0, 1), width=_SQUARE, height=_SQUARE)
    return _drawn(lines, axes, title, x_name, _upright(y_name, axes), *_key(lines, axes))


def scatter_chart(clouds: Sequence[Dots], *, title: str, x_name: str, y_name: str) -> Markup:
    """Return a square SVG of dots, both axes over the same range, with the line of equal values.

    Args:
        clouds: The dots, at least one; the last are drawn on top.
        title: What is drawn; read out by screen readers.
        x_name: Name of the x axis.
        y_name: Name of the y axis.
    """
    values = [value for cloud in clouds for point in cloud.points for value in point]
    both = ticks(min(values), max(values))
    axes = _Axes(x=both, y=both, width=_SQUARE, height=_SQUARE)
    equal = Line([(both[0], both[0]), (both[-1], both[-1])], "#a9afbf", dashed=True)
    more = [*(_dots(cloud, axes) for cloud in clouds), _upright(y_name, axes), *_key(clouds, axes)]
    return _drawn([equal], axes, title, x_name, *more)


def panels(charts: Sequence[Markup], *, title: str) -> Markup:
    """Return one SVG of several square ones, two beside each other; a single one as it is.

    Args:
        charts: Square pictures, at least one.
        title: What they show together; read out by screen readers.
    """
    if len(charts) == 1:
        return charts[0]
    places = [divmod(number, _BESIDE) for number in range(len(charts))]
    parts = [
        _PANEL.format(column * _SQUARE, row * _SQUARE, _SQUARE, _SQUARE, chart)
        for (row, column), chart in zip(places, charts, strict=True)
    ]
    height = (places[-1][0] + 1) * _SQUARE
    return _SVG.format(_BESIDE * _SQUARE, height, title, "", Markup("").join(parts))


def matrix_chart(
    counts: Sequence[Sequence[int]], names: Sequence[str], *, title: str, x_name: str, y_name: str
) -> Markup:
    """Return a square SVG of a table of counts, each cell as dark as its share of its row.

    Args:
        counts: Rows from the top, columns from the left; as many of both as there are names.
        names: Of rows and columns.
        title: What is drawn; read out by screen readers.
        x_name: What the columns are.
        y_name: What the rows are.
    """
    axes = _Axes(x=[0, len(names)], y=[0, len(names)], width=_SQUARE, height=_SQUARE)
    parts = [
        _cell(axes, row, column, count, count / max(sum(line), 1))
        for row, line in enumerate(counts)
        for column, count in enumerate(line)
    ]
    for place, name in enumerate(names):
        x, y = axes.place(place + 0.5, len(names) - place - 0.5)
        parts.append(_UNDER_AXIS.format(x, _SQUARE - _BOTTOM + 17, name))
        parts.append(_BESIDE_AXIS.format(axes.left - _GAP_PX, y, axes.left - _GAP_PX, y, name))
    parts += [_x_name(x_name, axes), _upright(y_name, axes)]
    return _SVG.format(_SQUARE, _SQUARE, title, _STYLE, Markup("").join(parts))


def picture(width: float, height: float, *, title: str, parts: Sequence[Markup]) -> Markup:
    """Return an SVG with the style of all charts.

    Args:
        width: In pixels.
        height: In pixels.
        title: What is drawn; read out by screen readers.
        parts: What is in it; the last are drawn on top.
    """
    return _SVG.format(width, height, title, _STYLE, Markup("").join(parts))


def _drawn(lines: Sequence[Line], axes: "_Axes", title: str, x_name: str, *more: Markup) -> Markup:
    parts = [*axes.grid(), _x_name(x_name, axes), *(_path(line, axes) for line in lines), *more]
    return _SVG.format(axes.width, axes.height, title, _STYLE, Markup("").join(parts))


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
    x: Sequence[float]
    y: Sequence[float]
    width: int = _WIDTH
    height: int = _HEIGHT

    @property
    def left(self) -> int:
        """Where the x axis begins: right of the numbers, which are right of the y axis' name."""
        longest = max(len(f"{value:g}") for value in self.y)
        return max(_LEFT, _NAME_PX + longest * _DIGIT_PX + _GAP_PX)

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[-1] - self.x[0])
        up = (y - self.y[0]) / (self.y[-1] - self.y[0])
        return (
            round(self.left + across * (self.width - self.left - _RIGHT), 2),
            round(self.height - _BOTTOM - up * (self.height - _TOP - _BOTTOM), 2),
        )

    def grid(self) -> list[Markup]:
        left, right = self.left, self.width - _RIGHT
        parts = []
        for value in self.y:
            _, y = self.place(self.x[0], value)
            parts.append(_GRID_LINE.format(left, y, right, left - _GAP_PX, y + 4, f"{value:g}"))
        for value in self.x:
            x, _ = self.place(value, self.y[0])
            # A long number at the right end would be cut off.
            most = self.width - len(f"{value:g}") * _DIGIT_PX / 2
            parts.append(_UNDER_AXIS.format(min(x, most), self.height - _BOTTOM + 17, f"{value:g}"))
        return parts


def _x_name(name: str, axes: _Axes) -> Markup:
    return _UNDER_AXIS.format((axes.left + axes.width - _RIGHT) / 2, axes.height - 4, name)


def _upright(name: str, axes: _Axes) -> Markup:
    """Return the name of the y axis, read from below."""
    return _UPRIGHT.format((_TOP + axes.height - _BOTTOM) / 2, name)


def _key(lines: Sequence[Line | Dots], axes: _Axes) -> list[Markup]:
    named = [line for line in lines if line.name]
    right, bottom = axes.place(axes.x[-1], axes.y[0])
    return [
        _KEY.format(right - 10, bottom - 12 - _KEY_PX * above, line.colour, line.name)
        for above, line in enumerate(reversed(named))
    ]


def _dots(cloud: Dots, axes: _Axes) -> Markup:
    places = [axes.place(*point) for point in cloud.points]
    dots = Markup("").join(_DOT.format(x, y, cloud.radius) for x, y in places)
    return _DOTS.format(cloud.colour, cloud.opacity, dots)


def _cell(axes: _Axes, row: int, column: int, count: int, share: float) -> Markup:
    left, top = axes.place(column, axes.y[-1] - row)
    right, bottom = axes.place(column + 1, axes.y[-1] - row - 1)
    middle, ink = (left + right) / 2, "#ffffff" if share > 0.6 else "#1d2333"
    return _CELL.format(
        *(left, top, round(right - left, 2), round(bottom - top, 2), PALETTE[0], round(share, 4)),
        *(middle, (top + bottom) / 2 - 2, ink, f"{count:,}", middle, f"{share:.1%}"),
    )


def _path(line: Line, axes: _Axes) -> Markup:
    points = [axes.place(*point) for point in line.points if _is_finite(point)]
    if not points:
        return Markup("")
    path = "M" + "L".join(f"{x} {y}" for x, y in points)
    dash = Markup(' stroke-dasharray="5 4"') if line.dashed else ""
    drawn = Markup('<path class="line" stroke="{}"{} d="{}"/>').format(line.colour, dash, path)
    # A training of one epoch is a single point, which a path would not show.
    all_of_them = line.dots or len(points) == 1
    marked = [point for point in line.points if point[0] == line.mark or all_of_them]
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
