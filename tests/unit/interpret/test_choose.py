"""The most certain patches are chosen, slides take turns, and only the held-out split counts."""

import numpy as np
import pandas as pd
import pytest

from lamella.errors import StoreError
from lamella.interpret.choose import choose_confident, read_answers
from lamella.patches.index import PatchIndex

CLASSES = ("normal", "tumor")


def answers(*rows):
    table = pd.DataFrame(rows, columns=["slide", "x", "split", "label", "probability_tumor"])
    return table.assign(probability_normal=1 - table["probability_tumor"], y=0)


def test_slides_take_turns_and_the_most_certain_come_first():
    table = answers(
        ("a", 0, "test", 1, 0.99),
        ("a", 1, "test", 1, 0.98),
        ("a", 2, "test", 1, 0.97),
        ("b", 3, "test", 1, 0.60),
        ("b", 4, "train", 1, 1.00),
        ("b", 5, "test", -1, 1.00),
        ("c", 6, "test", 0, 0.30),
        ("c", 7, "test", 0, 0.20),
    )
    chosen = choose_confident(table, CLASSES, split="test", most=3)
    assert chosen["x"].tolist() == [0, 1, 3, 7, 6]
    np.testing.assert_allclose(chosen["probability"], [0.99, 0.98, 0.60, 0.8, 0.7])


def test_equal_certainties_are_in_a_fixed_order():
    table = answers(*[("a", x, "test", 1, 0.5) for x in (5, 3, 4)])
    chosen = choose_confident(table, CLASSES, split="test", most=2)
    assert chosen["x"].tolist() == [3, 4]


def test_a_split_without_labelled_patches_gives_no_rows():
    table = answers(("a", 0, "train", 1, 0.9))
    assert choose_confident(table, CLASSES, split="test", most=2).empty


def test_answers_about_other_patches_are_refused(tmp_path):
    path = tmp_path / "predictions.parquet"
    answers(("a", 0, "test", 1, 0.9)).to_parquet(path)
    table = pd.DataFrame({"slide": ["a"], "x": [0], "y": [0], "shard": ["s"], "row": [7]})
    index = PatchIndex(table, CLASSES, 8, 0.5, "d", tmp_path)
    assert read_answers(path, index)["row"].tolist() == [7]
    other = PatchIndex(table.assign(x=1), CLASSES, 8, 0.5, "d", tmp_path)
    with pytest.raises(StoreError, match="about patches that the index does not have"):
        read_answers(path, other)
