"""Named points over logarithmic axes as SVG, drawn by hand."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lamella.charts import PALETTE, picture

_WIDTH, _PANEL_PX = 720, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 14, 46, 42
_ZERO_PX, _END_PX = 56, 84
_RADIUS, _LETTER_PX, _LINE_PX = 4.5, 6.4, 14
_STEPS = (1, 2, 5)
_HEAD = Markup('<text x="12" y="16" style="font-weight:600;fill:#1d2333">{}</text>')
_TEXT = Markup('<text class="{}" x="{}" y="{}">{}</text>')
_UPRIGHT = Markup('<text class="x" transform="translate(14 {}) rotate(-90)">{}</text>')
_ACROSS = Markup('<path class="grid" d="M{} {}H{}"/>')
_DOWN = Markup('<path class="grid" d="M{} {}V{}"/>')
_LIMIT = Markup(
    '<path class="limit" stroke="#b42318" stroke-dasharray="5 4" fill="none" d="M{} {}V{}"/>'
    '<text class="{}" x="{}" y="{}" style="fill:#b42318">{}</text>'
)
_POINT = Markup('<circle cx="{}" cy="{}" r="{}" fill="{}" stroke="{}" stroke-width="1.5"/>')
_LEADER = Markup('<path stroke="#a9afbf" fill="none" d="M{} {}L{} {}"/>')
_GROUP = Markup('<g transform="translate(0 {})">{}</g>')

_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Point:
    """One point.

    Attributes:
        x: Zero or above; zero has a place of its own, left of the axis, as has what is not finite,
            at its right end.
        y: Above zero.
        name: What stands beside it.
        hollow: Whether it is drawn as a ring.
        colour: Colour, as in CSS.
    """

    x: float
    y: float
    name: str
    hollow: bool = False
    colour: str = PALETTE[0]


def log_scatter(
    groups: Mapping[str, Sequence[Point]],
    *,
    limits: Mapping[str, Mapping[str, float]],
    title: str,
    x_name: str,
    y_name: str,
) -> Markup:
    """Return an SVG of named points, a panel for each group.

    Args:
        groups: The points under the name of their panel; an empty panel says so.
        limits: Of each panel where upright lines stand, under their names.
        title: What is drawn; read out by screen readers.
        x_name: Name of the x axes.
        y_name: Name of the y axes.
    """
    parts = []
    for number, (name, points) in enumerate(groups.items()):
        drawn = _panel(name, points, limits[name], x_name, y_name)
        parts.append(_GROUP.format(number * _PANEL_PX, Markup("").join(drawn)))
    return picture(_WIDTH, len(groups) * _PANEL_PX, title=title, parts=parts)


def decades(low: float, high: float) -> list[float]:
    """Return the powers of ten that enclose a range above zero; at least two."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def steps(low: float, high: float) -> list[float]:
    """Return numbers 1, 2 and 5 times a power of ten that enclose a range above zero."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    values = [float(f"{step}e{power}") for power in powers for step in _STEPS]
    below = [value for value in values if value < low]
    above = [value for value in values if value > high]
    return [value for value in values if below[-1] <= value <= above[0]]


@dataclass(frozen=True)
class _LogAxes:
    x: Sequence[float]
    y: Sequence[float]

    def across(self, x: float) -> float:
        """Return where a value stands; zero and what is not finite beside the decades."""
        if not math.isfinite(x):
            return _WIDTH - _RIGHT - _END_PX / 3
        first, last = math.log10(self.x[0]), math.log10(self.x[-1])
        left, right = _LEFT + _ZERO_PX, _WIDTH - _RIGHT - _END_PX
        if x == 0:
            return _LEFT + _ZERO_PX / 3
        return round(left + (math.log10(x) - first) / (last - first) * (right - left), 2)

    def up(self, y: float) -> float:
        first, last = math.log10(self.y[0]), math.log10(self.y[-1])
        share = (math.log10(y) - first) / (last - first)
        return round(_PANEL_PX - _BOTTOM - share * (_PANEL_PX - _BOTTOM - _TOP), 2)


def _panel(
    name: str,
    points: Sequence[Point],
    limits: Mapping[str, float],
    x_name: str,
    y_name: str,
) -> list[Markup]:
    if not points:
        nothing = _TEXT.format("x", _WIDTH / 2, _PANEL_PX / 2, f"{name}: no values")
        return [_HEAD.format(name), nothing]
    xs = [point.x for point in points if point.x > 0 and math.isfinite(point.x)]
    shown = [*xs, *limits.values()] or [1.0]
    axes = _LogAxes(
        x=decades(min(shown), max(shown)),
        y=steps(min(point.y for point in points), max(point.y for point in points)),
    )
    return [
        _HEAD.format(name),
        *_grid(axes, points),
        _TEXT.format("x", (_LEFT + _WIDTH - _RIGHT) / 2, _PANEL_PX - 8, x_name),
        _UPRIGHT.format((_TOP + _PANEL_PX - _BOTTOM) / 2, y_name),
        *_limits(axes, limits),
        *_names(points, axes, limits),
        *(_circle(point, axes) for point in points),
    ]


def _grid(axes: _LogAxes, points: Sequence[Point]) -> list[Markup]:
    bottom = _PANEL_PX - _BOTTOM
    parts = []
    for value in axes.y:
        y = axes.up(value)
        parts += [_ACROSS.format(_LEFT, y, _WIDTH - _RIGHT)]
        parts += [_TEXT.format("y", _LEFT - 8, y + 4, f"{value:g}")]
    for value in axes.x:
        x = axes.across(value)
        parts += [_DOWN.format(x, _TOP, bottom), _TEXT.format("x", x, bottom + 17, f"{value:.0e}")]
    if any(point.x == 0 for point in points):
        parts.append(_TEXT.format("x", axes.across(0), bottom + 17, "0"))
    if not all(math.isfinite(point.x) for point in points):
        parts.append(_TEXT.format("x", axes.across(math.inf), bottom + 17, "not finite"))
    return parts


def _limits(axes: _LogAxes, limits: Mapping[str, float]) -> list[Markup]:
    parts = []
    for number, (name, value) in enumerate(sorted(limits.items(), key=lambda each: each[1])):
        # Two rows, so that the names of neighbours do not meet.
        x, y = axes.across(value), _TOP - 6 - _LINE_PX * (number % 2)
        parts.append(_LIMIT.format(x, y + 2, _PANEL_PX - _BOTTOM, "x", x, y, name))
    return parts


def _circle(point: Point, axes: _LogAxes) -> Markup:
    fill = "#ffffff" if point.hollow else point.colour
    return _POINT.format(axes.across(point.x), axes.up(point.y), _RADIUS, fill, point.colour)


def _names(points: Sequence[Point], axes: _LogAxes, limits: Mapping[str, float]) -> list[Markup]:
    """Return the names, each at the first place beside its point that is free."""
    dots = [(axes.across(point.x), axes.up(point.y)) for point in points]
    taken = [(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y in dots]
    lines = [(x, _TOP, x, _PANEL_PX - _BOTTOM) for x in map(axes.across, limits.values())]
    panel = (_LEFT, _TOP - 4, _WIDTH - 4, _PANEL_PX - _BOTTOM)
    parts = []
    for point, (x, y) in sorted(zip(points, dots, strict=True), key=lambda each: each[1]):
        box = _place(list(_places(x, y, len(point.name))), taken, lines, panel)
        taken.append(box)
        left, top, right, bottom = box
        side, edge = ("name", left) if left > x else ("y", right)
        if abs((top + bottom) / 2 - y) > _LINE_PX / 2:
            parts.append(_LEADER.format(x, y, edge, (top + bottom) / 2))
        parts.append(_TEXT.format(side, edge, bottom - 3, point.name))
    return parts


def _place(
    places: Sequence[_Box], taken: Sequence[_Box], lines: Sequence[_Box], panel: _Box
) -> _Box:
    """Return the first free place, if need be over a line; none is lost where all are taken."""
    clear = [box for box in places if _is_free(box, [*taken, *lines], panel)]
    crossing = [box for box in places if _is_free(box, taken, panel)]
    return [*clear, *crossing, *places][0]


def _places(x: float, y: float, letters: int) -> Iterator[_Box]:
    """Yield boxes for a name: right and left of its point, then further up and down."""
    width, gap = letters * _LETTER_PX, _RADIUS + 4
    for away in range(14):
        for lines in (away, -away):
            middle = y + lines * _LINE_PX
            for left in (x + gap + 2 * away, x - gap - 2 * away - width):
                yield (left, middle - _LINE_PX / 2, left + width, middle + _LINE_PX / 2)


def _is_free(box: _Box, taken: Sequence[_Box], within: _Box) -> bool:
    left, top, right, bottom = box
    if left < within[0] or top < within[1] or right > within[2] or bottom > within[3]:
        return False
    return not any(
        left < other[2] and right > other[0] and top < other[3] and bottom > other[1]
        for other in taken
    )
