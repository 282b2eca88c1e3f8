"""The workload ``wsi``: a slide is classified by patches, from the file to the heatmap."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.datasets.read_ahead import ReadAhead
from lamella.engines.engine import CheckedEngine
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.tissue.methods import distance_tissue
from lamella.units import Level0Pixels
from lamella.workloads.grid import Cells, tissue_cells
from lamella.workloads.stages import Stage, StageClock

_EXAMPLES = 16
_OVERVIEW_CELL = 32


class WholeSlide:
    """A slide.

    Args:
        file: The slide; patches are read from level 0.
        patch_px: Edge length of a patch.
        readers: Threads that read patches in ``run_overlapped``, each with a reader of its own.
    """

    def __init__(self, file: Path, patch_px: int, *, readers: int) -> None:
        self._file = file
        self._patch_px = patch_px
        self._readers = readers
        self._of_thread = threading.local()
        self.items = len(self._cells(StageClock()).x)

    def examples(self) -> NDArray[np.uint8]:
        """Return patches of the whole slide, ``(n, patch_px, patch_px, 3)``."""
        cells = self._cells(StageClock())
        places = np.linspace(0, self.items - 1, min(_EXAMPLES, self.items)).astype(np.int64)
        return self._batch(cells, places, StageClock())

    def run(self, engine: CheckedEngine, clock: StageClock, *, batch_size: int) -> NDArray[Any]:
        """Return the heatmap, one thing after another.

        Args:
            engine: A loaded engine.
            clock: Gets the times.
            batch_size: Patches per call.

        Returns:
            ``[row, column, class]`` float32 of the grid's cells, NaN where no tissue is.
        """
        cells = self._cells(clock)
        places = list(_batches(cells, batch_size))
        batches = (self._batch(cells, each, clock) for each in places)
        return self._classify(engine, clock, cells, zip(places, batches, strict=True))

    def run_overlapped(
        self, engine: CheckedEngine, clock: StageClock, *, batch_size: int
    ) -> NDArray[Any]:
        """Return the same heatmap; patches are read by threads while the engine computes."""
        cells = self._cells(clock)
        places = list(_batches(cells, batch_size))
        ahead = ReadAhead(
            lambda each: self._batch(cells, each, clock), places, threads=self._readers
        )
        return self._classify(engine, clock, cells, zip(places, ahead, strict=True))

    def _cells(self, clock: StageClock) -> Cells:
        with clock.timed(Stage.TISSUE):
            reader = self._reader()
            cell = Level0Pixels(_OVERVIEW_CELL)
            overview = reader.read_overview(cell)
            tissue = distance_tissue(overview, np.ones(overview.shape[:2], dtype=np.bool_))
            return tissue_cells(tissue, reader.size_l0, self._patch_px)

    def _batch(
        self, cells: Cells, places: NDArray[np.int64], clock: StageClock
    ) -> NDArray[np.uint8]:
        edge = self._patch_px
        patches = []
        for place in places:
            with clock.timed(Stage.PATCH_GENERATOR):
                patch = np.empty((edge, edge, 3), dtype=np.uint8)
                x, y = int(cells.x[place]), int(cells.y[place])
                self._reader().source.read_into(patch, x, y, 0)
                patches.append(patch)
        with clock.timed(Stage.NN_INPUT):
            return np.stack(patches)

    def _classify(
        self,
        engine: CheckedEngine,
        clock: StageClock,
        cells: Cells,
        batches: Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]],
    ) -> NDArray[np.float32]:
        classes = engine.interface.outputs[0].shape[-1]
        heatmap = np.full((cells.rows, cells.columns, classes), np.nan, dtype=np.float32)
        for places, patches in batches:
            with clock.timed(Stage.NN_INFERENCE):
                answers = engine.infer(patches)
            with clock.timed(Stage.NN_OUTPUT):
                rows, columns = cells.place(places, self._patch_px)
            with clock.timed(Stage.PATCH_STITCHER):
                heatmap[rows, columns] = answers
        return heatmap

    def _reader(self) -> SlideReader:
        """Return the reader of this thread: none is used by two at a time."""
        if not hasattr(self._of_thread, "reader"):
            self._of_thread.reader = SlideReader(self._file, DEFAULT_READING)
        reader: SlideReader = self._of_thread.reader
        return reader


def _batches(cells: Cells, batch_size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(cells.x), batch_size):
        yield np.arange(start, min(start + batch_size, len(cells.x)), dtype=np.int64)
