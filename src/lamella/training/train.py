"""Train a network for one seed: every rank runs this, from top to bottom."""

import logging
import time
from pathlib import Path
from typing import Any

from lamella.evaluation.metrics import Metrics, quality
from lamella.evaluation.sampling import index_remark
from lamella.patches.index import PatchIndex, read_index
from lamella.stores.json_files import read_json
from lamella.tracking.record import now_ms
from lamella.tracking.send import track
from lamella.tracking.settings import TrackingSettings
from lamella.training import REVISION
from lamella.training.checkpoint import Checkpoint, EpochRow, Progress, StateFolder, TrainedModel
from lamella.training.checks import check_trainable
from lamella.training.group import join_group
from lamella.training.progress_lines import ProgressLines
from lamella.training.results import METRICS, Judged, history_row, write_results
from lamella.training.settings import RunSettings, TrainingSettings
from lamella.training.tracked import training_record
from lamella.training.trainer import EpochResult, Trainer

_logger = logging.getLogger(__name__)


def train_model(
    *,
    index: Path,
    output_folder: Path,
    name: str,
    run: RunSettings,
    seed: int,
    training: TrainingSettings,
    tracking: TrackingSettings,
) -> None:
    """Train a network, or go on where a training was broken off, and write its results.

    With ``backend: horovod`` every rank calls this (see ``lamella.training.rank``); rank 0 writes.
    A training that is already finished writes its results again without training.

    Args:
        index: The table of all patches.
        output_folder: Folder for the results; ``state`` in it holds the resumable state.
        name: Name of the run.
        run: How the network is trained.
        seed: Seed of all that is random.
        training: Backend and number of processes.
        tracking: Where the run is tracked.

    Raises:
        TrainingError: the training cannot start (see ``check_trainable``), or its loss is no longer
            finite.
        StoreError: a shard or a checkpoint is missing or damaged.
    """
    started_ms = now_ms()
    patches = read_index(index)
    check_trainable(patches, run, training)
    group = join_group(training.backend)
    trainer = Trainer.build(patches, run, seed=seed, training=training, group=group)
    state = StateFolder(output_folder / "state", _made_by(patches, run, seed, training))

    progress = _resume(trainer, state)
    lines = ProgressLines(
        epochs=run.epochs, steps=trainer.steps, done=progress.epoch, speaks=group.rank == 0
    )
    for epoch in range(progress.epoch + 1, run.epochs + 1):
        start = time.monotonic()
        result = trainer.train_epoch(epoch, lines)
        validation = trainer.judge("validation", trainer.probabilities("validation", epoch))
        _advance(progress, epoch, result, validation, seconds=time.monotonic() - start)
        if group.rank == 0:
            _keep(trainer, state, progress)
        lines.epoch(epoch, train_loss=result.loss, speed=result.samples_per_s, metrics=validation)

    judged = _judge_best(trainer, state, progress)
    if group.rank == 0:
        model = _trained_model(trainer, patches, name, progress)
        remark = index_remark(patches)
        write_results(output_folder, model, progress, judged, training, remark=remark)
        metrics = read_json(output_folder / METRICS)
        record = training_record(metrics, progress, index=index, started_ms=started_ms)
        track(record, output_folder, tracking)
        figures = {key: metrics["test"][key] for key in ("n", "auc", "balanced_accuracy", "loss")}
        _logger.info("done: best epoch %d, test %s", progress.best_epoch, figures)


def _made_by(
    index: PatchIndex, run: RunSettings, seed: int, training: TrainingSettings
) -> dict[str, Any]:
    """Return all that the result depends on; the state of another training is not gone on with."""
    return {
        "settings": run.as_params(),
        "index": index.digest,
        "seed": seed,
        "backend": str(training.backend),
        "number of processes": training.processes,
        "revision of Lamella's training": REVISION,
    }


def _resume(trainer: Trainer, state: StateFolder) -> Progress:
    """Bring every rank to where the training was broken off, or to its beginning."""
    first = trainer.group.rank == 0
    found = state.take_up() if first else None
    progress = trainer.group.broadcast(found.progress if found else Progress())
    if first and progress.epoch:
        _logger.info("going on after epoch %d of %d", progress.epoch, trainer.run.epochs)
    if 0 < progress.epoch < trainer.run.epochs:
        trainer.restore(found.network if found else {}, found.optimiser if found else {})
    return progress


def _advance(
    progress: Progress, epoch: int, result: EpochResult, validation: Metrics, *, seconds: float
) -> None:
    """Add a finished epoch, and see whether it is the best so far."""
    timings: EpochRow = {
        "learning_rate": result.learning_rate,
        "seconds": round(seconds, 3),
        "samples_per_s": round(result.samples_per_s, 3),
        "ended_ms": now_ms(),
    }
    progress.history.append(history_row(epoch, result.loss, validation, timings))
    progress.epoch = epoch
    # The first of equally good epochs stays the best.
    if progress.best_quality is None or quality(validation) > progress.best_quality:
        progress.best_epoch, progress.best_quality = epoch, quality(validation)


def _keep(trainer: Trainer, state: StateFolder, progress: Progress) -> None:
    weights = trainer.network.state_dict()
    if progress.best_epoch == progress.epoch:
        state.write_best(progress.epoch, weights)
    if progress.epoch < trainer.run.epochs:
        state.write(Checkpoint(progress, weights, trainer.optimiser.state_dict()))
    else:
        # Nothing is left to learn; the best weights have a file of their own.
        state.write(Checkpoint(progress, network={}, optimiser={}))


def _judge_best(trainer: Trainer, state: StateFolder, progress: Progress) -> dict[str, Judged]:
    """Give every rank the best network, and judge it on the splits it has not learned from."""
    best = state.read_best(progress.best_epoch) if trainer.group.rank == 0 else {}
    trainer.restore_weights(best)
    judged = {}
    for split in ("validation", "test"):
        probabilities = trainer.probabilities(split, progress.best_epoch)
        judged[split] = Judged(trainer.datasets[split].table, probabilities)
    return judged


def _trained_model(
    trainer: Trainer, index: PatchIndex, name: str, progress: Progress
) -> TrainedModel:
    return TrainedModel(
        network=trainer.network,
        preprocessing=trainer.preprocessing,
        name=name,
        seed=trainer.seed,
        classes=index.classes,
        patch_px=index.patch_px,
        mpp=index.mpp,
        run=trainer.run,
        epoch=progress.best_epoch,
        index_digest=index.digest,
    )
