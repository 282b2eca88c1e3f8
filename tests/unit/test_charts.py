"""Axes have round numbers, and curves lie where their numbers are."""

import re

import pytest

from lamella.charts import Line, bar, line_chart, ticks


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


def test_a_bar_stays_inside_its_cell():
    assert "width:100.0%" in bar(1.7)
    assert "width:25.0%" in bar(0.25)
