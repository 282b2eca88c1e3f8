"""The workload ``ultrasound``: a stream of frames is segmented, one after another."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lamella.engines.engine import CheckedEngine
from lamella.workloads.examples import example_places
from lamella.workloads.labels import most_probable
from lamella.workloads.stages import Stage, StageClock

_EXAMPLES = 24


class Clip:
    """Frames in memory.

    Args:
        file: ``(n, height, width)`` uint8.
        frame_px: Edge length of a frame as the network sees it.
        run_items: Frames of a run, the first; None: all.
    """

    def __init__(self, file: Path, frame_px: int, *, run_items: int | None = None) -> None:
        self._frames: NDArray[np.uint8] = np.load(file)
        self._frame_px = frame_px
        self.items = len(self._frames)
        self.run_items = len(self._frames[:run_items])
        self.asked = self.run_items * frame_px**2
        self._examples = example_places(self.items, _EXAMPLES)

    def examples(self) -> NDArray[np.uint8]:
        """Return frames of the whole clip, ``(n, frame_px, frame_px)``."""
        return np.stack([self._resized(self._frames[place]) for place in self._examples])

    def at_examples(self, result: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the labels of each example that a run had, ``(frame_px, frame_px)``."""
        return list(result[self._examples[self._examples < self.run_items]])

    def run(self, engine: CheckedEngine, clock: StageClock, *, batch_size: int) -> NDArray[Any]:
        """Return the class of every pixel of the run's frames, ``(n, frame_px, frame_px)`` uint8.

        Args:
            engine: A loaded engine.
            clock: Gets the times.
            batch_size: Frames come one at a time: 1.
        """
        labels = np.empty((self.run_items, self._frame_px, self._frame_px), dtype=np.uint8)
        for number, frame in enumerate(self._frames[: self.run_items]):
            with clock.timed(Stage.NN_INPUT):
                batch = self._resized(frame)[None]
            with clock.timed(Stage.NN_INFERENCE):
                answer = engine.infer(batch)
            with clock.timed(Stage.NN_OUTPUT):
                labels[number] = most_probable(answer[0])
        return labels

    def _resized(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        edge = self._frame_px
        return np.asarray(Image.fromarray(frame).resize((edge, edge), Image.Resampling.BILINEAR))
