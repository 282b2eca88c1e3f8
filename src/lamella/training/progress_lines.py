"""Lines that say how far a training is, and how long it will take."""

import logging
import time

from lamella.evaluation.metrics import Metrics
from lamella.training.course import Course
from lamella.training.result_files import Score

_logger = logging.getLogger(__name__)
_EVERY_S = 10.0


class ProgressLines:
    """Writes a line every ten seconds at most; silent on all ranks but the first.

    Args:
        epochs: Epochs of the whole training.
        steps: Steps per epoch.
        first: The epoch that this process begins with, and the steps of it that are finished.
        speaks: Whether this rank writes.
        score: The figure of validation that is told beside the loss.
    """

    def __init__(
        self, *, epochs: int, steps: int, first: Course, speaks: bool, score: Score
    ) -> None:
        self._epochs = epochs
        self._steps = steps
        self._first = (first.epoch - 1) * steps + first.step
        self._speaks = speaks
        self._score = score
        self._start = self._last = time.monotonic()

    def step(self, course: Course) -> None:
        """Report a finished step, with this rank's loss and the speed of all ranks together."""
        now = time.monotonic()
        if not self._speaks or now - self._last < _EVERY_S:
            return
        self._last = now
        _logger.info(
            "epoch %d/%d step %d/%d loss %.3f %.1f images/s, %s left",
            *(course.epoch, self._epochs, course.step, self._steps),
            course.loss / course.mine,
            course.joint / course.seconds,
            duration(self._left_s(course.epoch, course.step)),
        )

    def epoch(self, epoch: int, train_loss: float, speed: float, metrics: Metrics) -> None:
        """Report a finished epoch; ``speed`` in samples per second, ``metrics`` of validation."""
        if self._speaks:
            score = metrics[self._score.name]
            _logger.info(
                "epoch %d/%d done: train loss %.3f, validation loss %.3f, %s %s, %.1f images/s, "
                "%s left",
                *(epoch, self._epochs, train_loss, metrics["loss"]),
                self._score.short,
                "undefined" if score is None else f"{score:.4f}",
                speed,
                duration(self._left_s(epoch, self._steps)),
            )

    def _left_s(self, epoch: int, step: int) -> float:
        done = (epoch - 1) * self._steps + step
        per_step = (time.monotonic() - self._start) / max(done - self._first, 1)
        return per_step * (self._epochs * self._steps - done)


def duration(seconds: float) -> str:
    """Return a duration as people say it: ``45 s``, ``3 min``, ``1 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
