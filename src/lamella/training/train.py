"""Train a network for one seed: every rank runs this, from top to bottom."""

import logging
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Targets, read_targets
from lamella.evaluation.metrics import Metrics, quality
from lamella.evaluation.sampling import index_remark
from lamella.models.weights import file_digest
from lamella.patches.index import PatchIndex, read_index
from lamella.stores.json_files import read_json
from lamella.tracking.record import now_ms
from lamella.tracking.send import track
from lamella.tracking.settings import TrackingSettings
from lamella.training import REVISION
from lamella.training.arguments import Arguments
from lamella.training.checkpoint import (
    Checkpoint,
    EpochRow,
    Progress,
    StateFolder,
    TrainedModel,
)
from lamella.training.checks import check_trainable
from lamella.training.course import Course
from lamella.training.device import check_device
from lamella.training.group import told
from lamella.training.keep import Keeper
from lamella.training.progress_lines import ProgressLines
from lamella.training.result_files import METRICS, drawn_score
from lamella.training.results import Judged, history_row, write_results
from lamella.training.settings import RunSettings, TrainingSettings
from lamella.training.stopping import EXIT_STOPPED, listening
from lamella.training.tracked import training_record
from lamella.training.trainer import EpochResult, Trainer

_logger = logging.getLogger(__name__)

_OF_SLIDES = "content of the slide table's columns"
_TOLD = ("n", "auc", "balanced_accuracy", "mae", "r2", "loss")
"""Figures of the test split in the last line of the log, as far as the evaluation has them."""


def train_as_asked(arguments: Arguments) -> None:
    """Train as a command line says; see ``train_model``."""
    train_model(
        index=arguments.index,
        slides=arguments.slides,
        output_folder=arguments.output,
        name=arguments.run,
        run=arguments.training.runs[arguments.run],
        seed=arguments.seed,
        training=arguments.training,
        tracking=arguments.tracking,
    )


def train_model(
    *,
    index: Path,
    slides: Path | None = None,
    output_folder: Path,
    name: str,
    run: RunSettings,
    seed: int,
    training: TrainingSettings,
    tracking: TrackingSettings,
) -> None:
    """Train a network, or go on where a training was broken off, and write its results.

    With several processes every rank calls this (see ``lamella.training.rank``); rank 0 writes.
    A training that is already finished writes its results again without training.

    Args:
        index: The table of all patches.
        slides: The checked slide table; ``None`` for a run that learns classes, which reads none.
        output_folder: Folder for the results; ``state`` in it holds the resumable state.
        name: Name of the run.
        run: How the network is trained.
        seed: Seed of all that is random.
        training: Backend and number of processes.
        tracking: Where the run is tracked.

    Raises:
        CohortErrors: the slide table says what cannot be learned (see ``read_targets``).
        TrainingError: the training cannot start (see ``check_trainable``), or its loss is no longer
            finite.
        StoreError: a shard or a checkpoint is missing or damaged.
        SystemExit: code ``EXIT_STOPPED``; a signal asked for it, and the state is kept.
    """
    started_ms = now_ms()
    patches = read_index(index)
    targets = read_targets(run.target, patches, slides)
    check_trainable(patches, targets, run, training)
    check_device(run, training)
    trainer = Trainer.build(patches, targets, run, seed=seed, training=training)
    state = StateFolder(output_folder / "state", _made_by(patches, targets, run, seed, training))

    progress = _train(trainer, state, checkpoint_minutes=training.checkpoint_minutes)
    judged = _judge_best(trainer, state, progress)
    if trainer.group.rank == 0:
        model = _trained_model(trainer, patches, name, progress.best_epoch)
        remark = index_remark(patches)
        write_results(output_folder, model, progress, judged, training, remark=remark)
        metrics = read_json(output_folder / METRICS)
        record = training_record(metrics, progress, index=index, started_ms=started_ms)
        track(record, output_folder, tracking)
        figures = {key: metrics["test"][key] for key in _TOLD if key in metrics["test"]}
        _logger.info("done: best epoch %d, test %s", progress.best_epoch, figures)


def _train(trainer: Trainer, state: StateFolder, *, checkpoint_minutes: float) -> Progress:
    """Learn and judge epoch by epoch until the training is over, and return what came of it."""
    progress, course = _resume(trainer, state)
    lines = ProgressLines(
        epochs=trainer.run.epochs,
        steps=trainer.steps,
        first=course,
        speaks=trainer.group.rank == 0,
        score=drawn_score(trainer.targets.kind),
    )
    keeper = Keeper(trainer, state, minutes=checkpoint_minutes)
    with listening() as request, closing(trainer.usage_meter()) as meter:
        while not progress.is_over(trainer.run):
            meter.start()
            for due, stop in trainer.learn(course, lambda: (keeper.is_due, request.asked)):
                lines.step(course)
                if due or stop:
                    keeper.keep(progress, course)
                if stop:
                    _stop(trainer, course)
            result = trainer.finish(course)
            progress.usage.append(trainer.group.gather(meter.stop()))
            outputs = trainer.outputs("validation", course.epoch)
            validation = trainer.judge("validation", outputs)
            _advance(progress, result, validation, seconds=course.seconds)
            keeper.keep(progress)
            lines.epoch(progress.epoch, result.loss, result.samples_per_s, validation)
            if any(told(trainer.group, request.asked)):
                _stop(trainer, course)
            course = Course(progress.epoch + 1)
    return progress


def _made_by(
    index: PatchIndex, targets: Targets, run: RunSettings, seed: int, training: TrainingSettings
) -> dict[str, Any]:
    """Return all that the result depends on; the state of another training is not gone on with."""
    # Classes stand in the index: its digest tells of them.
    of_slides = {} if targets.kind is TargetKind.CLASSES else {_OF_SLIDES: targets.digest}
    return {
        **of_slides,
        "settings": run.as_params(),
        "index": index.digest,
        "seed": seed,
        "backend": str(training.backend),
        "number of processes": training.processes,
        "device": str(training.device),
        "weights to start from": file_digest(run.weights) if run.weights else None,
        "revision of Lamella's training": REVISION,
    }


def _resume(trainer: Trainer, state: StateFolder) -> tuple[Progress, Course]:
    """Bring every rank to where the training was broken off, or to its beginning."""
    first = trainer.group.rank == 0
    found = state.take_up() if first else None
    progress = trainer.group.broadcast(found.progress if found else None)
    if progress is None:
        return Progress(), Course(epoch=1)
    course = Course(progress.epoch + 1)
    if not progress.is_over(trainer.run):
        course = trainer.restore(found or Checkpoint(progress, state={}, ranks=[]))
    if first:
        _logger.info(
            "going on after epoch %d of %d%s",
            progress.epoch,
            trainer.run.epochs,
            f" and step {course.step} of {trainer.steps}" if course.step else "",
        )
    return progress, course


def _stop(trainer: Trainer, course: Course) -> NoReturn:
    """End this process, as a signal has asked one of the ranks to.

    Raises:
        SystemExit: always; with a code that says that the training can go on.
    """
    if trainer.group.rank == 0:
        _logger.info(
            "stopped by a signal after step %d of %d of epoch %d; started again, it goes on there",
            *(course.step, trainer.steps, course.epoch),
        )
    raise SystemExit(EXIT_STOPPED)


def _advance(
    progress: Progress, result: EpochResult, validation: Metrics, *, seconds: float
) -> None:
    """Add a finished epoch, and see whether it is the best so far."""
    timings: EpochRow = {
        "learning_rate": result.learning_rate,
        "seconds": round(seconds, 3),
        "samples_per_s": round(result.samples_per_s, 3),
        "loader_wait_share": round(result.loader_wait_share, 4),
        "ended_ms": now_ms(),
    }
    epoch = progress.epoch = progress.epoch + 1
    progress.history.append(history_row(epoch, result.loss, validation, timings))
    # The first of equally good epochs stays the best.
    if progress.best_quality is None or quality(validation) > progress.best_quality:
        progress.best_epoch, progress.best_quality = epoch, quality(validation)


def _judge_best(trainer: Trainer, state: StateFolder, progress: Progress) -> dict[str, Judged]:
    """Give every rank the best network, and judge it on the splits it has not learned from."""
    best = state.read_best(progress.best_epoch) if trainer.group.rank == 0 else None
    trainer.restore_weights(best)
    judged = {}
    for split in ("validation", "test"):
        dataset, outputs = trainer.datasets[split], trainer.outputs(split, progress.best_epoch)
        judged[split] = Judged(dataset.table, dataset.targets, outputs)
    return judged


def _trained_model(trainer: Trainer, index: PatchIndex, name: str, epoch: int) -> TrainedModel:
    return TrainedModel(
        weights=trainer.learner.weights(),
        name=name,
        seed=trainer.seed,
        classes=trainer.targets.names,
        patch_px=index.patch_px,
        mpp=index.mpp,
        run=trainer.run,
        epoch=epoch,
        index_digest=index.digest,
        scale=trainer.targets.scale,
    )
