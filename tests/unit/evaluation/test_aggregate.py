"""One probability of many: values worked out by hand."""

import numpy as np
import pytest

from lamella.evaluation.aggregate import aggregate, class_probabilities
from lamella.evaluation.aggregation import Aggregation

EIGHT = np.array([0.1, 0.9, 0.2, 0.7, 0.3, 0.0, 0.4, 0.5], dtype=np.float32)


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        (Aggregation.MEAN, 3.1 / 8),
        (Aggregation.MAX, 0.9),
        (Aggregation.TOP_K, 0.9),
        # 1 - 0.9 * 0.1 * 0.8 * 0.3 * 0.7 * 1 * 0.6 * 0.5
        (Aggregation.NOISY_OR, 1 - 0.004536),
    ],
)
def test_aggregations_by_hand(aggregation, expected):
    assert aggregate(EIGHT, aggregation) == pytest.approx(expected, rel=1e-6)


def test_top_k_is_the_mean_of_the_top_share():
    assert aggregate(EIGHT, Aggregation.TOP_K, top_share=0.25) == pytest.approx(0.8)
    assert aggregate(EIGHT, Aggregation.TOP_K, top_share=1.0) == pytest.approx(3.1 / 8)


def test_at_least_one_patch_counts():
    two = np.array([0.2, 0.6], dtype=np.float32)
    assert aggregate(two, Aggregation.TOP_K, top_share=0.01) == pytest.approx(0.6)


def test_a_part_of_a_patch_counts_as_a_whole_one():
    # A quarter of nine, 2.25, takes three.
    nine = np.array([0.9, 0.6, 0.3, 0, 0, 0, 0, 0, 0])
    assert aggregate(nine, Aggregation.TOP_K, top_share=0.25) == pytest.approx(0.6)


def test_a_sure_patch_makes_noisy_or_sure_without_a_warning():
    assert aggregate(np.array([0.25, 1.0]), Aggregation.NOISY_OR) == 1.0


def test_each_class_is_aggregated_by_itself():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.3, 0.1, 0.6]])
    assert aggregate(probabilities, Aggregation.MAX) == pytest.approx([0.7, 0.2, 0.6])


def test_of_two_classes_the_second_is_aggregated_and_the_first_is_the_rest():
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.8, 0.2]])
    assert class_probabilities(probabilities, Aggregation.MAX) == pytest.approx([0.3, 0.7])


def test_of_more_classes_each_is_divided_by_their_sum():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.3, 0.1, 0.6]])
    expected = [0.7 / 1.5, 0.2 / 1.5, 0.6 / 1.5]
    assert class_probabilities(probabilities, Aggregation.MAX) == pytest.approx(expected)
