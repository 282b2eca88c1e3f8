"""Curves lie where their numbers are, and every picture is a whole SVG file."""

import re
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Scale, Targets
from lamella.evaluation.answers import Answers
from lamella.evaluation.evaluate import evaluate
from lamella.evaluation.judge import evaluate_split
from lamella.evaluation.pictures import (
    calibration_chart,
    draw_evaluation,
    draw_split,
    roc_chart,
)


def answers_of(tumor, labels):
    tumor = np.array(tumor)
    return Answers(np.array(labels), np.stack([1 - tumor, tumor], 1), np.arange(len(labels)))


def curves(svg):
    """Return the curves but the diagonal, their points as shares of the axes."""
    paths = re.findall(r'<path class="line"[^>]* d="M([^"]*)"', svg)
    points = [[tuple(map(float, p.split())) for p in path.split("L")] for path in paths]
    (left, bottom), (right, top) = points[0]
    return [
        [
            (round((x - left) / (right - left), 2), round((y - bottom) / (top - bottom), 2))
            for x, y in path
        ]
        for path in points[1:]
    ]


def test_an_roc_curve_goes_through_its_steps():
    # By falling score: true, false, true, false, false.
    svg = roc_chart({"patches": answers_of([0.9, 0.8, 0.7, 0.3, 0.1], [1, 0, 1, 0, 0])}, ("n", "t"))
    (curve,) = curves(svg)
    assert curve == [(0, 0), (0, 0.5), (0.33, 0.5), (0.33, 1), (1, 1)]


def test_a_long_roc_curve_keeps_its_ends_and_its_shape():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, 20_000)
    tumor = (generator.random(20_000) + labels / 2) / 1.5
    (curve,) = curves(roc_chart({"patches": answers_of(tumor, labels)}, ("n", "t")))
    assert len(curve) <= 400
    assert (curve[0], curve[-1]) == ((0, 0), (1, 1))
    # Both classes are uniform, the true one half a width higher: y = x + 1/2.
    at_quarter = min(curve, key=lambda point: abs(point[0] - 0.25))
    assert at_quarter[1] == pytest.approx(0.75, abs=0.02)


def test_a_level_with_one_class_has_no_curve():
    samples = {"patches": answers_of([0.9, 0.1], [1, 0]), "slides": answers_of([0.9], [1])}
    svg = roc_chart(samples, ("n", "t"))
    assert ("patches" in svg, "slides" in svg) == (True, False)


def test_calibration_shows_the_share_of_each_bin_over_its_mean_probability():
    svg = calibration_chart(answers_of([0.21, 0.25, 0.8], [0, 1, 1]), ("n", "t"))
    assert curves(svg) == [[(0.23, 0.5), (0.8, 1.0)]]


@pytest.mark.parametrize("classes", [("normal", "tumor"), ("a", "b", "<c>")])
def test_every_picture_is_well_formed_and_names_its_classes(classes):
    generator = np.random.default_rng(5)
    labels = np.arange(40) % len(classes)
    scores = generator.random((40, len(classes))) + np.eye(len(classes))[labels]
    probabilities = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    slides = [f"s{number // 5}" for number in range(40)]
    table = pd.DataFrame({"slide": slides, "patient": slides, "slide_label": "", "label": labels})
    pictures = draw_evaluation(
        table, probabilities, classes, evaluate(table, probabilities, classes)
    )
    assert list(pictures) == ["roc", "calibration", "confusion"]
    for picture in pictures.values():
        assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
    words = list(ET.fromstring(pictures["confusion"]).itertext())
    assert all(words.count(name) == 2 for name in classes)
    counts = [int(word) for word in words if word.isdecimal()]
    assert sum(counts) == 40
    in_key = "patches" if len(classes) == 2 else "<c>"
    assert in_key in list(ET.fromstring(pictures["roc"]).itertext())


FOUR = pd.DataFrame(
    {"slide": list("aabb"), "patient": list("aabb"), "slide_label": "", "label": [0, 0, 1, 1]}
)


def drawn(targets, outputs):
    outputs = np.array(outputs, dtype=np.float32)
    return draw_split(FOUR, targets, outputs, evaluate_split(FOUR, targets, outputs))


def test_labels_have_a_curve_each_of_the_patches_of_which_they_are_known():
    truth = np.array([[1, np.nan, 1], [0, 0, 1], [0, 1, 1], [1, 0, 1]])
    targets = Targets(TargetKind.MULTI_LABEL, ("er", "<her2>", "all"), truth)
    found = drawn(targets, [[0.9, 0.9, 0.7], [0.8, 0.2, 0.7], [0.3, 0.6, 0.7], [0.1, 0.3, 0.7]])
    assert list(found) == ["roc", "calibration"]
    # By falling score: er true, false, false, true; of her2 the true one first.
    assert curves(found["roc"]) == [[(0, 0), (0, 0.5), (1, 0.5), (1, 1)], [(0, 0), (0, 1), (1, 1)]]
    assert curves(found["calibration"])[2] == [(0.7, 1.0)]
    words = [list(ET.fromstring(found[name]).itertext()) for name in found]
    assert ("<her2>" in words[0], "all" in words[0], "all" in words[1]) == (True, False, True)


def test_numbers_have_a_panel_each_with_patches_and_the_means_of_slides():
    truth = np.array([[2.0, np.nan], [2.0, np.nan], [6.0, 1.0], [6.0, 1.0]])
    targets = Targets(TargetKind.REGRESSION, ("age", "<b>"), truth, Scale(np.zeros(2), np.ones(2)))
    picture = drawn(targets, [[0, 0], [10, 0], [6, 1], [6, 3]])["scatter"]
    first, second = ET.fromstring(picture)
    for panel, patches, slides in ((first, 4, 2), (second, 2, 1)):
        clouds = [group for group in panel.iter() if group.tag.endswith("}g")]
        assert [len(cloud) for cloud in clouds] == [patches, slides]
    # The mean of the first slide lies between its patches, below each other.
    patches, slides = (group for group in first.iter() if group.tag.endswith("}g"))
    low, high, mean = patches[0], patches[1], slides[0]
    assert low.get("cx") == high.get("cx") == mean.get("cx")
    middle = (float(low.get("cy")) + float(high.get("cy"))) / 2
    assert float(mean.get("cy")) == pytest.approx(middle, abs=0.02)
    assert "predicted <b>" in list(second.itertext())


def test_a_number_of_which_nothing_is_known_has_no_panel():
    truth = np.array([[2.0, np.nan], [2.0, np.nan], [6.0, np.nan], [7.0, np.nan]])
    targets = Targets(TargetKind.REGRESSION, ("age", "b"), truth, Scale(np.zeros(2), np.ones(2)))
    picture = drawn(targets, np.ones((4, 2)))["scatter"]
    words = list(ET.fromstring(picture).itertext())
    assert ("predicted age" in words, "predicted b" in words) == (True, False)


def test_a_scatter_shows_some_of_many_patches():
    n = 3000
    table = pd.DataFrame({"slide": np.arange(n).astype(str), "patient": "p"})
    truth = np.linspace(0, 1, n)[:, None]
    targets = Targets(TargetKind.REGRESSION, ("age",), truth, Scale(np.zeros(1), np.ones(1)))
    picture = draw_split(table, targets, truth.astype(np.float32), {})["scatter"]
    patches, _ = (group for group in ET.fromstring(picture).iter() if group.tag.endswith("}g"))
    across = [float(dot.get("cx")) for dot in patches]
    assert len(across) == 1000
    # From all over the table.
    assert (min(across) < 60, max(across) > 338) == (True, True)


def test_pictures_of_classes_are_those_they_have_always_been():
    labels = np.array([0, 0, 1, 1])
    outputs = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8]], dtype=np.float32)
    found = drawn(Targets(TargetKind.CLASSES, ("n", "t"), labels), outputs)
    assert found == draw_evaluation(FOUR, outputs, ("n", "t"), evaluate(FOUR, outputs, ("n", "t")))
