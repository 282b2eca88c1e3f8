"""What slides and patients are, and which patches belong to them."""

import numpy as np
import pandas as pd
import pytest

from lamella.evaluation.aggregation import Aggregation
from lamella.evaluation.levels import Level, find_units, joint_truth, slide_truths

TWO, THREE = ("normal", "tumor"), ("a", "b", "c")


def table(*rows):
    return pd.DataFrame(rows, columns=["slide", "patient", "slide_label", "label"])


@pytest.mark.parametrize(
    ("parts", "classes", "expected"),
    [([0, 0], 2, 0), ([0, 1, 0], 2, 1), ([2, 2], 3, 2), ([0, 2], 3, -1), ([-1, -1], 3, -1)],
)
def test_parts_are_together_what_all_are_or_tumour(parts, classes, expected):
    assert joint_truth(parts, classes) == expected


def test_the_slide_table_is_right_and_patches_speak_where_it_names_no_class():
    found = slide_truths(
        table(
            ("z", "p", "normal", 1),
            ("y", "p", "", 0),
            ("y", "p", "", 1),
            ("x", "p", "grade 3", 0),
            ("w", "p", "tumor", 0),
        ),
        TWO,
    )
    assert found.to_dict() == {"z": 0, "y": 1, "x": 0, "w": 1}


def test_a_patient_is_tumour_if_a_slide_is():
    units = find_units(
        table(("s2", "q", "", 0), ("s1", "p", "", 0), ("s3", "p", "", 1), ("s2", "q", "", 0)),
        Level.PATIENT,
        TWO,
    )
    assert [rows.tolist() for rows in units.rows] == [[1, 2], [0, 3]]
    assert (units.truth.tolist(), units.patients.tolist()) == ([1, 0], [0, 1])


def test_of_three_classes_a_unit_whose_parts_differ_is_left_out_and_counted():
    mixed = table(("s1", "p", "", 0), ("s1", "p", "", 2), ("s2", "q", "b", 0), ("s3", "p", "", 2))
    slides = find_units(mixed, Level.SLIDE, THREE)
    assert (slides.truth.tolist(), slides.patients.tolist()) == ([1, 2], [1, 0])
    assert [rows.tolist() for rows in slides.rows] == [[2], [3]]
    assert slides.without_truth == 1
    # A patient with a slide of which nothing is known is not known either.
    patients = find_units(mixed, Level.PATIENT, THREE)
    assert (patients.truth.tolist(), patients.without_truth) == ([1], 1)


def test_answers_of_a_slide_are_aggregated_from_its_own_patches():
    rows = table(("s2", "q", "tumor", 1), ("s1", "p", "normal", 0), ("s2", "q", "tumor", 0))
    units = find_units(rows, Level.SLIDE, TWO)
    probabilities = np.array([[0.2, 0.8], [0.9, 0.1], [0.6, 0.4]])
    answers = units.answers(probabilities, Aggregation.MEAN)
    assert answers.probabilities == pytest.approx(np.array([[0.9, 0.1], [0.4, 0.6]]))
    assert (answers.labels.tolist(), answers.patients.tolist()) == ([0, 1], [0, 1])
