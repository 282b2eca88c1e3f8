"""What must be true of the targets before a training starts."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lamella.cohort.settings import Split
from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Targets
from lamella.errors import TrainingError

_INDEX = "the patch index"
_TABLE = "the slide table"


def check_targets(targets: Targets, splits: pd.Series) -> None:
    """Check that something can be learned, and that it can be judged.

    Args:
        targets: What is true of all patches.
        splits: The split of each, row by row.

    Raises:
        TrainingError: nothing is known of any patch, or of any of a split; of the training patches
            none is of some class, all have or lack some label, or some number is the same of all
            or never known.
    """
    if not targets.known.any():
        raise _nothing_known(targets)
    for split in Split:
        if not targets.known[(splits == split).to_numpy()].any():
            raise _nothing_known_in(split, targets)
    training = targets.take(np.flatnonzero(splits == Split.TRAIN))
    if targets.kind is TargetKind.CLASSES:
        _check_classes(training)
    else:
        _check_columns(training)


def _nothing_known(targets: Targets) -> TrainingError:
    if targets.kind is TargetKind.CLASSES:
        return TrainingError(
            f"none of the {len(targets)} patches has a label",
            _INDEX,
            "Give slides an annotation, or a label in the slide table",
        )
    return TrainingError(
        f"no slide with patches has a value in {_named(targets)}", _TABLE, "Fill in its cells"
    )


def _nothing_known_in(split: Split, targets: Targets) -> TrainingError:
    if targets.kind is TargetKind.CLASSES:
        return TrainingError(
            f"split {str(split)!r} has no labelled patch",
            _INDEX,
            "Add slides, or change split.* or the column split of the slide table",
        )
    return TrainingError(
        f"no slide of split {str(split)!r} has a value in {_named(targets)}",
        _TABLE,
        "Fill in its cells, add slides, or change split.* or the column split",
    )


def _named(targets: Targets) -> str:
    return " or ".join(targets.names)


def _check_classes(training: Targets) -> None:
    present = set(training.truth.tolist())
    missing = [name for label, name in enumerate(training.names) if label not in present]
    if missing:
        raise TrainingError(
            f"no training patch of class {', '.join(missing)}",
            _INDEX,
            "Add slides that show it, or move some to split train",
        )


def _check_columns(training: Targets) -> None:
    faults = list(_unlearnable_columns(training))
    if faults:
        raise TrainingError(
            "; ".join(faults),
            f"{_TABLE}, split train",
            "Add slides, move some to split train, or leave it out of target.columns of the run",
        )


def _unlearnable_columns(training: Targets) -> Iterator[str]:
    """Yield why a column cannot be learned; constant numbers could not be standardised either."""
    for name, column in zip(training.names, training.truth.T, strict=True):
        different = np.unique(column[~np.isnan(column)])
        if not len(different):
            yield f"{name} has no value"
        elif len(different) == 1:
            yield f"{name} is always {different[0]:g}"
