"""Axes have round numbers, and curves lie where their numbers are."""

import itertools
import re
from xml.etree import ElementTree as ET

import pytest

from lamella.bar_chart import Bar, stacked_bars
from lamella.charts import (
    Dots,
    Line,
    bar,
    line_chart,
    matrix_chart,
    panels,
    scatter_chart,
    share_chart,
    ticks,
)
from lamella.log_chart import Point, decades, log_scatter, steps


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.13, 0.87, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (1, 10, [0, 2, 4, 6, 8, 10]),
        (0.98, 0.999, [0.98, 0.985, 0.99, 0.995, 1.0]),
        (3, 3, [2.6, 2.8, 3.0, 3.2, 3.4]),
    ],
)
def test_ticks_are_round_and_enclose_the_range(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_epochs_have_whole_ticks():
    assert ticks(1, 3, whole=True) == [1, 2, 3]
    assert ticks(1, 1, whole=True) == [0, 1, 2]


def test_a_rising_curve_rises_to_the_right_and_its_dot_is_on_it():
    chart = line_chart([Line([(0, 0), (5, 1)], "red", mark=5)], title="t", x_name="epoch")
    (x0, y0), (x1, y1) = (
        tuple(map(float, pair.split()))
        for pair in re.search(r'd="M([\d. ]+)L([\d. ]+)"', chart).groups()
    )
    assert x0 < x1
    assert y0 > y1  # SVG counts from the top
    assert f'cx="{x1}" cy="{y1}"' in chart


def test_a_ceiling_is_the_end_of_the_axis():
    chart = line_chart([Line([(1, 0.7), (2, 1.0)], "red")], title="t", x_name="e", ceiling=1.0)
    assert max(map(float, re.findall(r'class="y"[^>]*>([\d.]+)<', chart))) == 1.0


def test_values_that_are_not_finite_are_left_out():
    chart = line_chart(
        [Line([(1, 0.5), (2, float("nan")), (3, 0.6)], "red")], title="t", x_name="e"
    )
    assert "nan" not in chart
    assert "t: no values" in line_chart([Line([(1, float("inf"))], "red")], title="t", x_name="e")


def test_names_are_escaped():
    assert "<b>" not in line_chart([Line([(1, 1)], '"<b>')], title="<b>", x_name="<b>")


def test_a_picture_without_values_is_a_picture_all_the_same():
    assert line_chart([], title="t", x_name="e").startswith(
        '<svg xmlns="http://www.w3.org/2000/svg"'
    )


def test_a_key_names_the_lines_that_have_a_name_in_their_colours():
    lines = [Line([(0, 0), (1, 1)], "red", name="<one>"), Line([(0, 0), (1, 0)], "blue")]
    chart = share_chart(lines, title="t", x_name="x", y_name="y")
    assert 'style="fill:red">&lt;one&gt;</text>' in chart
    assert "fill:blue" not in chart


def test_dots_stand_at_every_point():
    line = Line([(0, 0), (0.5, 1), (1, 1)], "red", dots=True)
    assert share_chart([line], title="t", x_name="x", y_name="y").count("<circle") == 3


def test_a_matrix_has_rows_from_the_top_and_is_darker_where_more_of_the_row_lies():
    chart = matrix_chart([[1, 3], [0, 5]], ["a", "b"], title="t", x_name="x", y_name="y")
    cells = re.findall(
        r'x="([\d.]+)" y="([\d.]+)" width.*?fill-opacity="([\d.]+)".*?">(\d)<', chart
    )
    places = {(float(x), float(y)): (float(share), count) for x, y, share, count in cells}
    assert [places[place] for place in sorted(places, key=lambda place: place[::-1])] == [
        *((0.25, "1"), (0.75, "3")),
        *((0.0, "0"), (1.0, "5")),
    ]


def test_a_bar_stays_inside_its_cell():
    assert "width:100.0%" in bar(1.7)
    assert "width:25.0%" in bar(0.25)


def scatter(*points: tuple[float, float]) -> str:
    return scatter_chart([Dots(points, "red", "<dots>")], title="t", x_name="true", y_name="said")


def test_dots_lie_on_the_line_of_equal_values_where_their_values_are_equal():
    chart = scatter((-30, -30), (55, 55), (20, 45), (45, 20))
    ends = re.search(r'stroke-dasharray="5 4" d="M([\d. ]+)L([\d. ]+)"', chart).groups()
    (x0, y0), (x1, y1) = (tuple(map(float, end.split())) for end in ends)
    dots = [tuple(map(float, dot)) for dot in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', chart)]

    def height(x, y):
        """Return how far a dot is above the line, as a share of the axis."""
        return (y0 - y) / (y0 - y1) - (x - x0) / (x1 - x0)

    # The axes go from -40 to 60.
    assert [round(height(*dot), 3) for dot in dots] == [0, 0, 0.25, -0.25]
    assert dots[0][0] - x0 == pytest.approx((x1 - x0) / 10, abs=0.02)


def test_names_of_a_scatter_are_escaped_and_one_value_has_axes_too():
    chart = scatter((3, 3))
    assert list(ET.fromstring(chart).itertext())[-3:] == ["true", "said", "<dots>"]


def test_long_numbers_stay_inside_the_picture():
    chart = scatter((0, 0), (100_000, 100_000))
    (x,) = re.findall(r'class="x" x="([\d.]+)"[^>]*>100000<', chart)
    assert float(x) + 3 * 8 <= 360


def test_long_numbers_do_not_reach_the_name_of_their_axis():
    for most in (1.0, 0.9994):
        chart = line_chart([Line([(1, most), (2, 0.9996)], "red")], title="AUC", x_name="epoch")
        numbers = re.findall(r'class="y" x="([\d.]+)"[^>]*>([\d.]+)<', chart)
        assert max(len(text) for _, text in numbers) >= 6
        # The name is upright at 12 pixels.
        assert all(float(x) - 7 * len(text) > 16 for x, text in numbers)


def test_panels_stand_two_beside_each_other_and_a_single_one_alone():
    chart = scatter((1, 2))
    assert panels([chart], title="t") == chart
    whole = ET.fromstring(panels([chart] * 3, title="all"))
    assert whole.get("viewBox") == "0 0 720 720"
    inner = [child for child in whole if child.tag.endswith("svg")]
    assert [(panel.get("x"), panel.get("y")) for panel in inner] == [
        ("0", "0"),
        ("360", "0"),
        ("0", "360"),
    ]
    assert ET.tostring(inner[2][0]) == ET.tostring(ET.fromstring(chart))


def test_the_parts_of_a_bar_lie_beside_each_other_and_are_as_long_as_their_numbers():
    bars = {"a": [Bar("one", {"left": 1.0, "right": 3.0}, end="4 s")], "empty group": []}
    chart = stacked_bars(bars, ["left", "right"], title="t", x_name="s")
    rects = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="16"', chart)
    (x0, width0), (x1, width1) = [tuple(map(float, rect)) for rect in rects]
    assert x0 + width0 == pytest.approx(x1, abs=0.02)
    assert width1 == pytest.approx(3 * width0, abs=0.02)
    assert ">4 s<" in chart
    assert "empty group" not in chart
    ET.fromstring(chart)


def test_pale_bars_are_paler():
    bars = {"a": [Bar("one", {"p": 1.0}), Bar("two", {"p": 1.0}, pale=True)]}
    chart = stacked_bars(bars, ["p"], title="t", x_name="s")
    assert re.findall(r'height="16" fill="#\w+" fill-opacity="([\d.]+)"', chart) == ["1", "0.35"]


def test_decades_and_steps_enclose_a_range():
    assert decades(3e-7, 1e-4) == pytest.approx([1e-7, 1e-6, 1e-5, 1e-4])
    assert decades(1e-4, 1e-4) == pytest.approx([1e-4, 1e-3])
    assert steps(0.7, 2.6) == [0.5, 1, 2, 5]
    assert steps(1, 1) == [0.5, 1, 2]


def circles(chart):
    return [tuple(map(float, each)) for each in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', chart)]


def test_logarithmic_axes_have_equal_steps_for_equal_factors_and_a_place_for_zero():
    xs = (0.0, 1e-6, 1e-5, 1e-4, float("nan"))
    points = [Point(x, 1.0, f"p{number}") for number, x in enumerate(xs)]
    chart = log_scatter({"a": points}, limits={"a": {}}, title="t", x_name="x", y_name="y")
    zero, one, two, three, nan = (x for x, _ in circles(chart))
    assert two - one == pytest.approx(three - two, abs=0.02)
    assert zero < one
    assert nan > three
    ET.fromstring(chart)


def test_names_of_points_in_one_place_do_not_lie_over_each_other():
    points = [Point(1e-5, 1.0, f"engine {number}") for number in range(5)]
    chart = log_scatter({"a": points}, limits={"a": {}}, title="t", x_name="x", y_name="y")
    found = re.findall(r'class="(\w+)" x="([\d.]+)" y="([\d.]+)">engine', chart)
    assert len(set(found)) == 5
    for side in ("name", "y"):
        heights = sorted(float(y) for of, _, y in found if of == side)
        assert all(low + 14 <= high for low, high in itertools.pairwise(heights))


def test_a_limit_is_a_line_at_its_value():
    limits = {"a": {"limit 1e-5": 1e-5}}
    chart = log_scatter(
        {"a": [Point(1e-5, 1.0, "p")]}, limits=limits, title="t", x_name="x", y_name="y"
    )
    ((x, _),) = circles(chart)
    assert re.search(r'class="limit"[^>]*d="M([\d.]+) ', chart).group(1) == str(x)
    assert ">limit 1e-5<" in chart
