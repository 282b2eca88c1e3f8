"""Expected calibration errors are those worked out by hand."""

import numpy as np
import pytest

from lamella.evaluation.calibration import (
    ReliabilityBin,
    bin_numbers,
    calibration_error,
    confidences,
    reliability_bins,
)

# Bins are 1/15 wide: 0.51 and 0.53 lie in the eighth (0.467-0.533), 0.95 and 0.97 in the last.
CONFIDENCE = np.array([0.51, 0.95, 0.53, 0.97, 0.7])
RIGHT = np.array([True, True, False, False, True])


def test_the_error_is_the_mean_gap_between_confidence_and_accuracy():
    # |0.52 - 0.5| * 2/5 + |0.96 - 0.5| * 2/5 + |0.7 - 1| * 1/5
    assert calibration_error(CONFIDENCE, RIGHT) == pytest.approx(0.008 + 0.184 + 0.06, abs=1e-12)


def test_sure_and_right_answers_have_no_error_and_sure_and_wrong_ones_the_largest():
    ones = np.ones(3, dtype=np.float32)
    assert calibration_error(ones, np.array([True] * 3)) == 0.0
    assert calibration_error(ones, np.array([False] * 3)) == 1.0


def test_an_upper_edge_belongs_to_its_bin():
    edges = np.array([0.0, 1 / 15, np.nextafter(1 / 15, 1), 14 / 15, 1.0])
    assert bin_numbers(edges).tolist() == [0, 0, 1, 13, 14]


def test_bins_hold_count_mean_confidence_and_accuracy():
    assert reliability_bins(CONFIDENCE, RIGHT) == [
        ReliabilityBin(2, pytest.approx(0.52), 0.5),
        ReliabilityBin(1, pytest.approx(0.7), 1.0),
        ReliabilityBin(2, pytest.approx(0.96), 0.5),
    ]


def test_confidence_is_the_probability_of_the_predicted_class():
    assert confidences(np.array([[0.2, 0.8], [0.6, 0.4]])).tolist() == [0.8, 0.6]
