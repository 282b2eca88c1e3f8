"""An epoch under way."""

import time
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Course:
    """An epoch under way, as one rank sees it.

    Attributes:
        epoch: Its number, from 1.
        step: Finished steps.
        loss: Sum of the losses of this rank's samples.
        mine: Samples of this rank that were learned from.
        joint: Those of all ranks.
        learning_rate: That of the last step.
        wait_share: Share of the time of this process's steps that it waited for batches.
        random: What the learner says of its random generators; ``None`` before the first step.
        started_s: When it began, on the clock of ``time.monotonic``.
    """

    epoch: int
    step: int = 0
    loss: float = 0.0
    mine: int = 0
    joint: int = 0
    learning_rate: float = 0.0
    wait_share: float = 0.0
    random: Any = None
    started_s: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since it began, without those between two processes."""
        return time.monotonic() - self.started_s

    def stored(self) -> dict[str, Any]:
        """Return plain values, from which another process can go on."""
        return {**vars(self), "started_s": -self.seconds}

    @classmethod
    def from_stored(cls, stored: dict[str, Any]) -> Self:
        """Return what was ``stored``; the clock goes on from now."""
        return cls(**{**stored, "started_s": time.monotonic() + stored["started_s"]})
