"""Learning curves of one training."""

from collections.abc import Mapping, Sequence

from lamella.charts import Line

_Row = Mapping[str, object]


def loss_lines(history: Sequence[_Row], *, best_epoch: int, colour: str) -> list[Line]:
    """Return the training loss, dashed, and the validation loss, with a dot at the best epoch.

    Args:
        history: Rows of ``history.tsv``; their cells are numbers or spell numbers.
        best_epoch: The epoch that was kept.
        colour: Colour of the training.
    """
    return [
        Line(_points(history, "train_loss"), colour, dashed=True),
        Line(_points(history, "validation_loss"), colour, mark=best_epoch),
    ]


def score_lines(history: Sequence[_Row], score: str, *, best_epoch: int, colour: str) -> list[Line]:
    """Return a validation figure, with a dot at the best epoch.

    Args:
        history: As for ``loss_lines``.
        score: Which figure: ``auc``, or ``r2`` of numbers.
        best_epoch: As for ``loss_lines``.
        colour: As for ``loss_lines``.
    """
    return [Line(_points(history, f"validation_{score}"), colour, mark=best_epoch)]


def _points(history: Sequence[_Row], column: str) -> list[tuple[float, float]]:
    return [
        (float(str(row["epoch"])), float(str(row[column])))
        for row in history
        if row[column] not in (None, "")
    ]
