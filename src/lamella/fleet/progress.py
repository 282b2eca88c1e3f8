"""How far a stage is: a bar on a terminal, plain lines in a log."""

import logging
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0


class StageProgress:
    """Counts the slides of a stage and says how long the rest will take."""

    def __init__(self, stage: str, total: int) -> None:
        self.stage = stage
        self.total = total
        self.done = 0
        self.failed = 0
        self._started = self._last_line = time.monotonic()
        columns = (
            TextColumn(stage),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("slides"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar.disable = not self._bar.console.is_terminal
        self._task = self._bar.add_task(stage, total=total)
        self._bar.start()

    def slide_ended(self, *, failed: bool) -> None:
        """Count one slide; log a line when the last one is old enough, and at the end."""
        self.done += 1
        self.failed += failed
        self._bar.advance(self._task)
        now = time.monotonic()
        if now - self._last_line >= _SECONDS_BETWEEN_LINES or self.done == self.total:
            self._last_line = now
            logger.info("%s", self.line(now - self._started))

    def line(self, elapsed_s: float) -> str:
        """Return slides done, rate and time left after ``elapsed_s`` seconds."""
        rate = self.done / max(elapsed_s, 1e-9)
        left_s = (self.total - self.done) / rate if rate else 0.0
        return (
            f"{self.stage}: {self.done} of {self.total} slides, {self.failed} failed, "
            f"{rate:.2f} slides/s, {left_s:.0f} s left"
        )

    def stop(self) -> None:
        """Take the bar off the terminal."""
        self._bar.stop()
