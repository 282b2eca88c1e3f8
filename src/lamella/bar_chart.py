"""Stacked bars as SVG, drawn by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lamella.charts import PALETTE, picture, ticks

_WIDTH = 720
_RIGHT, _MARGIN = 96, 12
_LETTER_PX = 7
_KEY_PX, _HEAD_PX, _ROW_PX, _BAR_PX, _AXIS_PX = 30, 26, 24, 16, 44
_PALE = 0.35
_HEAD = Markup('<text x="{}" y="{}" style="font-weight:600;fill:#1d2333">{}</text>')
_LEFT_OF_BAR = Markup('<text class="y" x="{}" y="{}">{}</text>')
_RIGHT_OF_BAR = Markup('<text x="{}" y="{}">{}</text>')
_UNDER_AXIS = Markup('<text class="x" x="{}" y="{}">{}</text>')
_UPRIGHT_LINE = Markup('<path class="grid" d="M{} {}V{}"/>')
_RECT = Markup('<rect x="{}" y="{}" width="{}" height="{}" fill="{}" fill-opacity="{}"/>')


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        name: What stands before it.
        parts: Lengths of its parts, in the order of the key; those that it lacks are left out.
        end: What stands behind it.
        pale: Whether it is drawn paler than the others.
    """

    name: str
    parts: Mapping[str, float]
    end: str = ""
    pale: bool = False


def stacked_bars(
    groups: Mapping[str, Sequence[Bar]], key: Sequence[str], *, title: str, x_name: str
) -> Markup:
    """Return an SVG of horizontal bars, a panel with an axis of its own for each group.

    Args:
        groups: The bars under the name of their panel; a panel without any is left out.
        key: Names of the parts, at most as many as there are colours; the first are at the left.
        title: What is drawn; read out by screen readers.
        x_name: Name of the axes.
    """
    filled = {name: bars for name, bars in groups.items() if bars}
    left = _left([bar for bars in filled.values() for bar in bars])
    colours = dict(zip(key, PALETTE, strict=False))
    parts = _key(colours)
    top = _KEY_PX
    for name, bars in filled.items():
        parts += _panel(name, bars, colours, left=left, top=top, x_name=x_name)
        top += _HEAD_PX + len(bars) * _ROW_PX + _AXIS_PX
    return picture(_WIDTH, top, title=title, parts=parts)


def _left(bars: Sequence[Bar]) -> int:
    return 2 * _MARGIN + _LETTER_PX * max((len(bar.name) for bar in bars), default=0)


def _key(colours: Mapping[str, str]) -> list[Markup]:
    parts, x = [], _MARGIN
    for name, colour in colours.items():
        parts += [_RECT.format(x, 8, 12, 12, colour, 1), _RIGHT_OF_BAR.format(x + 17, 18, name)]
        x += 17 + _LETTER_PX * len(name) + 14
    return parts


def _panel(
    name: str,
    bars: Sequence[Bar],
    colours: Mapping[str, str],
    *,
    left: int,
    top: int,
    x_name: str,
) -> list[Markup]:
    values = ticks(0, max(sum(bar.parts.values()) for bar in bars) or 1.0)
    scale = (_WIDTH - left - _RIGHT) / values[-1]
    first, bottom = top + _HEAD_PX, top + _HEAD_PX + len(bars) * _ROW_PX
    parts = [_HEAD.format(_MARGIN, top + 16, name)]
    for value in values:
        x = round(left + value * scale, 2)
        parts.append(_UPRIGHT_LINE.format(x, first - 4, bottom))
        parts.append(_UNDER_AXIS.format(x, bottom + 15, f"{value:g}"))
    parts.append(_UNDER_AXIS.format((left + _WIDTH - _RIGHT) / 2, bottom + 32, x_name))
    for number, bar in enumerate(bars):
        parts += _bar(bar, colours, left=left, top=first + number * _ROW_PX, scale=scale)
    return parts


def _bar(
    bar: Bar, colours: Mapping[str, str], *, left: int, top: int, scale: float
) -> list[Markup]:
    parts, x, below = [_LEFT_OF_BAR.format(left - 8, top + 13, bar.name)], float(left), top + 13
    for name in filter(bar.parts.__contains__, colours):
        width = bar.parts[name] * scale
        paleness = _PALE if bar.pale else 1
        size = (round(x, 2), top + 1, round(width, 2), _BAR_PX)
        parts.append(_RECT.format(*size, colours[name], paleness))
        x += width
    return [*parts, _RIGHT_OF_BAR.format(round(x + 6, 2), below, bar.end)]
