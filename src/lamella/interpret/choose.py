"""Choose the patches that are worth an explanation."""

from pathlib import Path

import pandas as pd

from lamella.errors import StoreError
from lamella.patches.index import PatchIndex

_PLACE = ["slide", "x", "y"]


def read_answers(path: Path, index: PatchIndex) -> pd.DataFrame:
    """Return the trained network's answers together with where the patches' pixels are.

    Args:
        path: ``predictions.parquet`` of a training.
        index: The patches.

    Returns:
        One row a patch, with ``slide x y split label probability_<class> … shard row``.

    Raises:
        StoreError: the answers are about other patches than the index.
    """
    answers = pd.read_parquet(path)
    places = index.table[[*_PLACE, "shard", "row"]]
    joined = answers.merge(places, on=_PLACE, how="left", validate="one_to_one")
    if joined["row"].isna().any():
        raise StoreError(
            "the predictions are about patches that the index does not have",
            str(path),
            "Train the run again, or extract the patches with the settings of the training",
        )
    return joined.astype({"row": "int64"})


def choose_confident(
    answers: pd.DataFrame, classes: tuple[str, ...], *, split: str, most: int
) -> pd.DataFrame:
    """Return the patches of each class of which the network is most certain, and rightly so.

    Slides take turns: first the best patch of each slide, then the second best, and so on; one
    slide alone would show one patient's tumour again and again.

    Args:
        answers: From ``read_answers``.
        classes: Names of the labels 0, 1, …
        split: Split to choose from.
        most: Most patches of a class.

    Returns:
        Rows of ``answers`` with the column ``probability`` of their label, class by class from
        the last to the first, the most certain first. Empty where the split has no labelled patch.
    """
    chosen = []
    for label in reversed(range(len(classes))):
        column = f"probability_{classes[label]}"
        mine = answers[(answers["split"] == split) & (answers["label"] == label)]
        mine = mine.assign(probability=mine[column])
        mine = mine.sort_values(["probability", *_PLACE], ascending=[False, True, True, True])
        turn = mine.groupby("slide").cumcount()
        ordered = mine.assign(turn=turn).sort_values("turn", kind="stable").head(most)
        chosen.append(
            ordered.drop(columns="turn").sort_values(
                ["probability", *_PLACE], ascending=[False, True, True, True]
            )
        )
    return pd.concat(chosen, ignore_index=True)
