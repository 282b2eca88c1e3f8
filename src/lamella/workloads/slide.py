"""The workload ``wsi``: a slide is classified by patches, from the file to the heatmap."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.datasets.read_ahead import ReadAhead, read_ahead_threads
from lamella.engines.engine import CheckedEngine, infer_filled
from lamella.errors import StoreError
from lamella.slides.reader import SlideReader
from lamella.slides.reading_processes import ReadingProcesses
from lamella.slides.settings import DEFAULT_READING
from lamella.tissue.methods import distance_tissue
from lamella.units import Level0Pixels
from lamella.workloads.examples import example_places
from lamella.workloads.grid import Cells, tissue_cells
from lamella.workloads.stages import Stage, StageClock

Places = NDArray[np.int64]
"""``(n,)`` places of patches among the chosen cells."""

Run = Callable[..., NDArray[Any]]
"""Takes an engine, a clock and a batch size, as ``WholeSlide.run`` does."""

_EXAMPLES = 16
# Of a single one the network would have no statistics.
_FEWEST_PATCHES = 2
_OVERVIEW_CELL = Level0Pixels(32)
_BANDS = 8
"""Of the overview, at least, so that several readers share it."""


class WholeSlide:
    """A slide.

    Args:
        file: The slide; patches are read from level 0.
        patch_px: Edge length of a patch.
        readers: Processes that read in overlapped runs.
        run_items: Patches of a run, the first; None: all.

    Raises:
        StoreError: fewer than two patches show tissue.
        SlideUnreadableError: it cannot be read.
    """

    def __init__(
        self, file: Path, patch_px: int, *, readers: int, run_items: int | None = None
    ) -> None:
        self._file = file
        self._patch_px = patch_px
        self._readers = readers
        with self._opened() as reader:
            self.size_l0 = reader.size_l0
            # Not one for each reader: rounding may differ where a band ends, and so the cells.
            self._bands = reader.overview_bands(_OVERVIEW_CELL, fewest=_BANDS)
            self._chosen = self._cells(reader, StageClock())
        self.items = len(self._chosen.x)
        if self.items < _FEWEST_PATCHES:
            raise StoreError(
                f"{self.items} patches of the slide show tissue, fewer than {_FEWEST_PATCHES}",
                str(file),
                "Name another one in `workloads.slide`",
            )
        self.run_items = self.asked = len(range(self.items)[:run_items])
        self._examples = example_places(self.items, _EXAMPLES)

    def examples(self) -> NDArray[np.uint8]:
        """Return patches of the whole slide, ``(n, patch_px, patch_px, 3)``."""
        with self._opened() as reader:
            return self._batch(reader, self._chosen, self._examples, StageClock())

    def at_examples(self, result: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the probabilities of each example that a run had, ``(classes,)``."""
        places = self._examples[self._examples < self.run_items]
        return list(result[self._chosen.place(places, self._patch_px)])

    def run(self, engine: CheckedEngine, clock: StageClock, *, batch_size: int) -> NDArray[Any]:
        """Return the heatmap, one thing after another; the slide is opened first.

        Args:
            engine: A loaded engine.
            clock: Gets the times.
            batch_size: Patches per call.

        Returns:
            ``[row, column, class]`` float32 of the grid's cells, NaN where no tissue is, or the
            run has no patch.
        """
        with self._opened() as reader:
            cells = self._cells(reader, clock)
            clock.started()
            places = _batches(self.run_items, batch_size)
            batches = (self._batch(reader, cells, each, clock) for each in places)
            pairs = zip(places, batches, strict=True)
            return self._classify(engine, clock, cells, pairs, batch_size=batch_size)

    @contextmanager
    def overlapped(self, batch_size: int) -> Iterator[Run]:
        """Start processes that read, and give what runs with them, in batches of at most this size.

        It returns the same heatmap as ``run``: they read the overview, then patches while the
        engine computes.
        """
        processes = ReadingProcesses(
            self._readers,
            # Those that are read ahead, and the one that the engine has.
            batches=self._readers + 2,
            batch_size=batch_size,
            patch_px=self._patch_px,
        )
        # One thread asks each process. Threads end first: they would ask those that have ended.
        with processes, read_ahead_threads(self._readers) as threads:
            yield partial(self._run_overlapped, processes, threads)

    def _run_overlapped(
        self,
        processes: ReadingProcesses,
        threads: ThreadPoolExecutor,
        engine: CheckedEngine,
        clock: StageClock,
        *,
        batch_size: int,
    ) -> NDArray[Any]:
        slide, before_ns = processes.opening(self._file), processes.cpu_ns
        with clock.timed(Stage.TISSUE):
            band = partial(processes.read_overview_band, slide, _OVERVIEW_CELL)
            cells = self._cells_of(threads.map(band, self._bands))
        places = _batches(self.run_items, batch_size)

        def read(number: int) -> NDArray[np.uint8]:
            batch = processes.read_batch(slide, number, cells.corners_l0(places[number]))
            clock.add(Stage.PATCH_GENERATOR, batch.times_ns)
            return batch.patches

        ahead = ReadAhead(read, range(len(places)), threads=self._readers, pool=threads)
        # Closed where the engine fails: nothing is read any more when this returns.
        with closing(iter(ahead)) as batches:
            first = next(batches)
            clock.started()
            pairs = zip(places, itertools.chain([first], batches), strict=True)
            heatmap = self._classify(engine, clock, cells, pairs, batch_size=batch_size)
        clock.processes_cpu_ns += processes.cpu_ns - before_ns
        return heatmap

    def _opened(self) -> SlideReader:
        return SlideReader(self._file, DEFAULT_READING)

    def _cells(self, reader: SlideReader, clock: StageClock) -> Cells:
        with clock.timed(Stage.TISSUE):
            return self._cells_of(
                reader.read_overview_band(_OVERVIEW_CELL, rows) for rows in self._bands
            )

    def _cells_of(self, bands: Iterable[NDArray[np.uint8]]) -> Cells:
        overview = np.concatenate(list(bands))
        tissue = distance_tissue(overview, np.ones(overview.shape[:2], dtype=np.bool_))
        return tissue_cells(tissue, self.size_l0, self._patch_px)

    def _batch(
        self, reader: SlideReader, cells: Cells, places: Places, clock: StageClock
    ) -> NDArray[np.uint8]:
        edge = self._patch_px
        with clock.timed(Stage.NN_INPUT):
            patches = np.empty((len(places), edge, edge, 3), dtype=np.uint8)
        for patch, (x, y) in zip(patches, cells.corners_l0(places).tolist(), strict=True):
            with clock.timed(Stage.PATCH_GENERATOR):
                reader.source.read_into(patch, x, y, 0)
        return patches

    def _classify(
        self,
        engine: CheckedEngine,
        clock: StageClock,
        cells: Cells,
        batches: Iterable[tuple[Places, NDArray[np.uint8]]],
        *,
        batch_size: int,
    ) -> NDArray[np.float32]:
        classes = engine.interface.outputs[0].shape[-1]
        heatmap = np.full((cells.rows, cells.columns, classes), np.nan, dtype=np.float32)
        for places, patches in batches:
            with clock.timed(Stage.NN_INFERENCE):
                answers = infer_filled(engine, patches, batch_size)
            with clock.timed(Stage.NN_OUTPUT):
                rows, columns = cells.place(places, self._patch_px)
            with clock.timed(Stage.PATCH_STITCHER):
                heatmap[rows, columns] = answers
        return heatmap


def _batches(n: int, batch_size: int) -> list[Places]:
    return [np.arange(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]
