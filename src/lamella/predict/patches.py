"""The patches of a slide get their answers; the next ones are read while the engine computes."""

from contextlib import closing
from pathlib import Path

import numpy as np

from lamella.datasets.read_ahead import OfThread, ReadAhead
from lamella.engines.engine import Engine, infer_filled
from lamella.engines.fit import check_patches_fit
from lamella.patches.pixels import open_patches
from lamella.predict.predictions import Predictions


def predict_patches(
    shard: Path, slide: Path | None, engine: Engine, *, batch_size: int, readers: int
) -> Predictions:
    """Return what a model says of every patch of a slide.

    Args:
        shard: The patches.
        slide: Where the slide lies that the patches of a shard of coordinates are read from.
        engine: The model, loaded.
        batch_size: Patches per call of the engine.
        readers: Threads that read patches while it computes, each with the shard open for itself.

    Raises:
        StoreError: the shard is damaged, or its patches are not of the model's size or resolution.
        SlideUnreadableError: a patch cannot be read from the slide.
    """
    with OfThread(lambda: open_patches(shard, slide)) as reader:
        about, n = reader().attributes, len(reader())
        check_patches_fit(
            engine.description,
            patch_px=int(about["patch_px"]),
            mpp=float(about["mpp_requested"]),
            where=str(shard),
        )
        classes = engine.description.classes
        probabilities = np.empty((n, len(classes)), dtype=np.float32)
        rows = [np.arange(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]
        ahead = ReadAhead(lambda each: reader().read(each), rows, threads=readers)
        # Closed before the readers: its threads read to the end of their batch.
        with closing(iter(ahead)) as batches:
            for each, patches in zip(rows, batches, strict=True):
                probabilities[each] = infer_filled(engine, patches, batch_size)
        return Predictions(
            x=reader().column("x"),
            y=reader().column("y"),
            probabilities=probabilities,
            classes=classes,
            edge_l0=float(about["edge_l0"]),
        )
