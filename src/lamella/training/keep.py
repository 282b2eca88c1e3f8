"""Keep the state of a training: after every epoch, every few minutes, and when it is stopped."""

import time

from lamella.training.checkpoint import Checkpoint, Progress, StateFolder
from lamella.training.course import Course
from lamella.training.trainer import Trainer


class Keeper:
    """Keeps the state of a training; rank 0 writes it, and its clock says when it is due.

    Args:
        trainer: The training.
        state: Where its state is kept.
        minutes: Minutes between two checkpoints in the middle of an epoch.
    """

    def __init__(self, trainer: Trainer, state: StateFolder, *, minutes: float) -> None:
        self._trainer = trainer
        self._state = state
        self._limit_s = 60.0 * minutes
        self._last_s = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the last checkpoint is too long ago; clocks of other ranks do not count."""
        passed_s = time.monotonic() - self._last_s
        return self._trainer.group.rank == 0 and passed_s >= self._limit_s

    def keep(self, progress: Progress, course: Course | None = None) -> None:
        """Replace the checkpoint, between two steps; every rank calls it.

        Args:
            progress: The finished epochs.
            course: The epoch under way; ``None`` between two epochs.
        """
        ranks = self._trainer.states_of_ranks(course) if course else []
        if self._trainer.group.rank == 0:
            if course is None and progress.best_epoch == progress.epoch:
                self._state.write_best(progress.epoch, self._trainer.learner.weights())
            # Without an epoch left nothing is to learn; the best weights have their own file.
            over = progress.is_over(self._trainer.run)
            kept = {} if over else self._trainer.state()
            self._state.write(Checkpoint(progress, kept, ranks))
        self._last_s = time.monotonic()
