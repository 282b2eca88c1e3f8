"""Labels of probabilities."""

import numpy as np
import pytest

from lamella.workloads.labels import NOT_ASKED, most_probable


@pytest.mark.parametrize("classes", [1, 2, 3, 7])
def test_labels_are_those_of_argmax_also_among_equals(classes):
    probabilities = np.random.default_rng(0).integers(0, 4, (5, 6, 7, classes)).astype(np.float32)
    labels = most_probable(probabilities)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=-1))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_not_finite_has_no_label(value):
    probabilities = np.float32([[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4]]])
    probabilities[0, 1, 0] = value
    assert most_probable(probabilities).tolist() == [[0, NOT_ASKED], [1, 0]]
