"""A training under way: network, optimiser and data, and what is done with them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from lamella.datasets.batches import Schedule, training_batches
from lamella.datasets.patches import PatchDataset
from lamella.evaluation.metrics import Metrics, classification_metrics
from lamella.models.networks import build_network, check_size
from lamella.models.preprocess import Preprocessing
from lamella.models.weights import Weights, freeze, load_weights, set_learning_mode
from lamella.patches.index import PatchIndex
from lamella.training.arithmetic import Arithmetic, Learner, compiled, prepare_arithmetic
from lamella.training.checkpoint import Checkpoint, stored_weights
from lamella.training.checks import SPLITS
from lamella.training.course import Course
from lamella.training.group import Group, average_statistics
from lamella.training.optimiser import build_optimiser, learning_rate, set_learning_rate
from lamella.training.settings import RunSettings, TrainingSettings
from lamella.training.step import (
    Probabilities,
    backward,
    check_finite,
    not_finite,
    predict,
)

_RANK_STRIDE = 100_003
"""Keeps the ranks' seeds of an epoch apart."""


@dataclass(frozen=True)
class EpochResult:
    """What an epoch came to; the same on every rank.

    Attributes:
        loss: Mean loss of the training samples while they were learned from.
        samples_per_s: Training samples per second of all ranks together.
        learning_rate: That of the last step.
        loader_wait_share: Share of the time, 0-1, that the rank that waited most for batches did.
    """

    loss: float
    samples_per_s: float
    learning_rate: float
    loader_wait_share: float


@dataclass(frozen=True)
class Trainer:
    """One rank's side of a training.

    Attributes:
        run: How the network is trained.
        seed: Seed of all that is random.
        group: All ranks.
        datasets: The labelled patches by split.
        schedule: Which rank sees which sample when.
        classes: Number of classes.
        network: From normalised images to logits.
        learner: What learns, with the weights of the network: itself, or made to compile, or to
            average gradients.
        preprocessing: From stored pixels to normalised images.
        arithmetic: Where and in which numbers to compute.
        optimiser: It steps along the mean gradient of all ranks.
        steps: Steps per epoch.
    """

    run: RunSettings
    seed: int
    group: Group
    datasets: dict[str, PatchDataset]
    schedule: Schedule
    classes: int
    network: nn.Module
    learner: Learner
    preprocessing: Preprocessing
    arithmetic: Arithmetic
    optimiser: Optimizer
    steps: int

    @classmethod
    def build(
        cls,
        index: PatchIndex,
        run: RunSettings,
        *,
        seed: int,
        training: TrainingSettings,
        group: Group,
    ) -> Self:
        """Return a training at its beginning; all ranks have the same weights.

        Raises:
            TrainingError: the network does not take the patches, its weights cannot be read, a
                pattern of ``freeze`` is wrong, or it is to be compiled and cannot be.
        """
        arithmetic = prepare_arithmetic(run, training.device, rank=group.rank)
        torch.manual_seed(seed)
        network = _starting_network(run, index).to(arithmetic.device)
        if run.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        group.share_weights(network)
        datasets = {
            split: PatchDataset(
                index,
                split,
                max_open_shards=training.max_open_shards,
                threads=training.loader_threads,
            )
            for split in SPLITS
        }
        schedule = Schedule(
            batch_size=run.batch_size * run.accumulate,
            ranks=group.size,
            seed=seed,
            sampling=run.sampling,
            limit=run.patches_per_epoch,
            augment=run.augment,
        )
        learner = compiled(network, arithmetic.device) if run.compile else network
        return cls(
            run=run,
            seed=seed,
            group=group,
            datasets=datasets,
            schedule=schedule,
            classes=len(index.classes),
            network=network,
            learner=group.replica(learner, parts=run.accumulate),
            preprocessing=Preprocessing().to(arithmetic.device),
            arithmetic=arithmetic,
            optimiser=group.averaging(build_optimiser(network, run), network, parts=run.accumulate),
            steps=len(schedule.joint_batches(datasets["train"].labels, epoch=1)),
        )

    def state(self) -> dict[str, Any]:
        """Return all that is the same on every rank between two steps."""
        return {
            "network": stored_weights(self.network),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.arithmetic.scaler.state_dict(),
        }

    def states_of_ranks(self, course: Course) -> list[dict[str, Any]]:
        """Return what differs between the ranks in the middle of an epoch; every rank calls it.

        These are the sums of the epoch, the running statistics of batch normalisation, and the
        state of the random generators.
        """
        course.random = self.arithmetic.random_state()
        buffers = {name for name, _ in self.network.named_buffers()}
        weights = stored_weights(self.network).items()
        statistics = {name: tensor for name, tensor in weights if name in buffers}
        return self.group.gather({"course": course.stored(), "statistics": statistics})

    def restore(self, checkpoint: Checkpoint) -> Course:
        """Bring every rank to a checkpoint; only that of rank 0 counts.

        Returns:
            The epoch under way.
        """
        self.restore_weights(checkpoint.state.get("network", {}))
        kept = {key: value for key, value in checkpoint.state.items() if key != "network"}
        kept, ranks = self.group.broadcast((kept, checkpoint.ranks))
        self.optimiser.load_state_dict(kept["optimiser"])
        self.arithmetic.scaler.load_state_dict(kept["scaler"])
        if not ranks:
            return Course(checkpoint.progress.epoch + 1)
        mine = ranks[self.group.rank]
        self.network.load_state_dict(mine["statistics"], strict=False)
        return Course.from_stored(mine["course"])

    def restore_weights(self, network: Weights) -> None:
        """Give every rank the weights and buffers of rank 0."""
        if self.group.rank == 0:
            self.network.load_state_dict(network)
        self.group.share_weights(self.network)

    def learn(self, course: Course, wishes: Callable[[], Sequence[bool]]) -> Iterator[list[bool]]:
        """Learn from the samples that the epoch has left; yield after every step.

        Args:
            course: How far the epoch is; it is counted on.
            wishes: What this rank would like to do after the step that is under way.

        Yields:
            For every wish whether any rank has it, the same on all.

        Raises:
            TrainingError: a rank's loss is not finite; on every rank, before it is learned from.
        """
        self._set_random(course)
        set_learning_mode(self.network)
        batches = training_batches(
            self.datasets["train"],
            self.schedule,
            epoch=course.epoch,
            rank=self.group.rank,
            first=course.step,
        )
        for batch in batches:
            course.learning_rate = self._rate((course.epoch - 1) * self.steps + course.step)
            set_learning_rate(self.optimiser, course.learning_rate)
            self.optimiser.zero_grad()
            loss = backward(
                self.learner,
                self.preprocessing,
                batch,
                self.arithmetic,
                ranks=self.group.size,
                parts=self.run.accumulate,
            )
            where = f"epoch {course.epoch}, step {course.step + 1}"
            agreed = check_finite(loss, self.group, where, *wishes())
            self._step()
            course.step += 1
            course.loss += loss
            course.mine += len(batch.labels)
            course.joint += batch.joint_size
            course.wait_share = batches.wait_share
            yield agreed

    def finish(self, course: Course) -> EpochResult:
        """Give all ranks one and the same network after the last step of an epoch."""
        speed = course.joint / course.seconds
        average_statistics(self.network, self.group)
        return EpochResult(
            loss=sum(self.group.gather(course.loss)) / course.joint,
            samples_per_s=self.group.broadcast(speed),
            learning_rate=course.learning_rate,
            loader_wait_share=max(self.group.gather(course.wait_share)),
        )

    def probabilities(self, split: str, epoch: int) -> Probabilities:
        """Return the probabilities ``(n, classes)`` of all samples of a split, on every rank.

        Args:
            split: ``train``, ``validation`` or ``test``.
            epoch: The epoch that the network is from; an error names it.

        Raises:
            TrainingError: some are not finite.
        """
        probabilities = predict(
            self.network,
            self.preprocessing,
            self.datasets[split],
            self.group,
            device=self.arithmetic.device,
            batch_size=self.run.batch_size,
            classes=self.classes,
        )
        if not np.isfinite(probabilities).all():
            raise not_finite("an answer of the network", f"epoch {epoch}, {split}")
        return probabilities

    def judge(self, split: str, probabilities: Probabilities) -> Metrics:
        """Return the metrics of a split, computed on rank 0 and told to all."""
        metrics: Metrics = {}
        if self.group.rank == 0:
            metrics = classification_metrics(self.datasets[split].labels, probabilities)
        return self.group.broadcast(metrics)

    def _rate(self, step: int) -> float:
        return learning_rate(step, self.steps, self.run, processes=self.group.size)

    def _set_random(self, course: Course) -> None:
        """Dropout and its kind draw from torch's generators: those of this epoch and rank."""
        if course.random is None:
            place = course.epoch * self.group.size + self.group.rank
            torch.manual_seed(self.seed + _RANK_STRIDE * place)
        else:
            self.arithmetic.set_random_state(course.random)

    def _step(self) -> None:
        """Change the weights along the mean gradient of all ranks."""
        scaler = self.arithmetic.scaler
        self.group.average_gradients(self.optimiser)
        scaler.unscale_(self.optimiser)
        if self.run.clip_norm is not None:
            clip_grad_norm_(self.network.parameters(), self.run.clip_norm)
        with self.group.stepping(self.optimiser):
            scaler.step(self.optimiser)
        scaler.update()


def _starting_network(run: RunSettings, index: PatchIndex) -> nn.Module:
    """Return the network as it is before the first step."""
    network = build_network(run.model, len(index.classes), run.head)
    check_size(network, run.model, index.patch_px)
    if run.weights is not None:
        load_weights(network, run.weights)
    freeze(network, run.freeze)
    return network
