"""The workload ``ct``: a volume is segmented by patches, which are stitched."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.engines.engine import CheckedEngine
from lamella.workloads.examples import example_places
from lamella.workloads.labels import NOT_ASKED, most_probable
from lamella.workloads.stages import Stage, StageClock

Shape = tuple[int, int, int]
"""Slices, rows and columns."""

AIR_HU = -1024
"""What lies beyond the borders of a volume."""

_EXAMPLES = 8


class Chest:
    """A volume in memory.

    Args:
        file: ``(slices, rows, columns)`` int16, in Hounsfield units.
        patch_zyx: Voxels of a patch.
        run_items: Patches of a run, the first; None: all.
    """

    def __init__(self, file: Path, patch_zyx: Shape, *, run_items: int | None = None) -> None:
        self._volume: NDArray[np.int16] = np.load(file)
        self._patch_zyx = patch_zyx
        self._corners = patch_corners(self._volume.shape, patch_zyx)
        self.items = len(self._corners)
        asked = self._corners[:run_items]
        self.run_items = len(asked)
        self.asked = sum(self._volume[_box(corner, patch_zyx)].size for corner in asked)
        self._examples = example_places(self.items, _EXAMPLES)

    def examples(self) -> NDArray[np.int16]:
        """Return patches of the whole volume, ``(n, *patch_zyx)``."""
        chosen = [self._corners[place] for place in self._examples]
        return np.stack([crop(self._volume, corner, self._patch_zyx) for corner in chosen])

    def at_examples(self, result: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the labels of each example that a run had, as far as it lies within."""
        places = self._examples[self._examples < self.run_items]
        return [result[_box(self._corners[place], self._patch_zyx)] for place in places]

    def run(self, engine: CheckedEngine, clock: StageClock, *, batch_size: int) -> NDArray[Any]:
        """Return the class of every voxel, uint8 of the shape of the volume.

        Where the run has no patch it is `NOT_ASKED`.

        Args:
            engine: A loaded engine.
            clock: Gets the times.
            batch_size: Patches come one at a time: 1.
        """
        labels = np.full(self._volume.shape, NOT_ASKED, dtype=np.uint8)
        for corner in self._corners[: self.run_items]:
            with clock.timed(Stage.PATCH_GENERATOR):
                patch = crop(self._volume, corner, self._patch_zyx)
            with clock.timed(Stage.NN_INPUT):
                batch = np.ascontiguousarray(patch)[None]
            with clock.timed(Stage.NN_INFERENCE):
                (answer,) = engine.run((batch,))
            with clock.timed(Stage.NN_OUTPUT):
                found = most_probable(answer[0])
            with clock.timed(Stage.PATCH_STITCHER):
                stitch(labels, found, corner)
        return labels


def patch_corners(volume_zyx: tuple[int, ...], patch_zyx: Shape) -> list[Shape]:
    """Return the first voxel of every patch: side by side, the last ones beyond the border."""
    z, y, x = (range(0, length, edge) for length, edge in zip(volume_zyx, patch_zyx, strict=True))
    return list(itertools.product(z, y, x))


def crop(volume: NDArray[np.int16], corner: Shape, patch_zyx: Shape) -> NDArray[np.int16]:
    """Return a patch; beyond the borders of the volume it is air."""
    inside = volume[_box(corner, patch_zyx)]
    if inside.shape == patch_zyx:
        return inside
    patch = np.full(patch_zyx, AIR_HU, dtype=volume.dtype)
    patch[_box((0, 0, 0), inside.shape)] = inside
    return patch


def stitch(labels: NDArray[np.uint8], patch: NDArray[np.uint8], corner: Shape) -> None:
    """Write a patch into its place, as far as it lies within."""
    place = labels[_box(corner, patch.shape)]
    place[:] = patch[_box((0, 0, 0), place.shape)]


def _box(corner: Shape, lengths: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(start, start + length) for start, length in zip(corner, lengths, strict=True)
    )
