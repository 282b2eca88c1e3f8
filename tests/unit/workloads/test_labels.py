"""Labels of probabilities."""

import numpy as np
import pytest

from lamella.workloads.labels import most_probable


@pytest.mark.parametrize("classes", [1, 2, 3, 7])
def test_labels_are_those_of_argmax_also_among_equals(classes):
    probabilities = np.random.default_rng(0).integers(0, 4, (5, 6, 7, classes)).astype(np.float32)
    labels = most_probable(probabilities)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=-1))
