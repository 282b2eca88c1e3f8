"""Choose the patches that are worth an explanation."""

from pathlib import Path

import pandas as pd

from lamella.datasets.settings import TargetKind
from lamella.errors import StoreError
from lamella.patches.index import PatchIndex
from lamella.training.result_files import answer_column, target_column

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
        chosen.append(_in_turn(mine, most))
    return pd.concat(chosen, ignore_index=True)


def choose_highest(
    answers: pd.DataFrame, kind: TargetKind, names: tuple[str, ...], *, split: str, most: int
) -> pd.DataFrame:
    """Return the patches of each label or number for which the network's answer is highest.

    Of a label, only patches that have it. Slides take turns, as in ``choose_confident``.

    Args:
        answers: From ``read_answers``.
        kind: Labels or numbers.
        names: Their names.
        split: Split to choose from.
        most: Most patches of each.

    Returns:
        As ``choose_confident``, from the first to the last; ``label`` is the number of the output,
        and ``probability`` its answer.
    """
    chosen = []
    for number, name in enumerate(names):
        mine = answers[answers["split"] == split]
        if kind is TargetKind.MULTI_LABEL:
            mine = mine[mine[target_column(name)] == 1]
        mine = mine.assign(label=number, probability=mine[answer_column(kind, name)])
        chosen.append(_in_turn(mine, most))
    return pd.concat(chosen, ignore_index=True)


def _in_turn(patches: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return the best patch of each slide, then the second best, and so on; the best first."""
    ordered = _best_first(patches)
    turn = ordered.groupby("slide").cumcount()
    taken = ordered.assign(turn=turn).sort_values("turn", kind="stable").head(most)
    return _best_first(taken.drop(columns="turn"))


def _best_first(patches: pd.DataFrame) -> pd.DataFrame:
    return patches.sort_values(["probability", *_PLACE], ascending=[False, True, True, True])
