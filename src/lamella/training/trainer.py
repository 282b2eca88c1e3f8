"""A training under way: network, optimiser and data, and what is done with them."""

import time
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from lamella.datasets.batches import Schedule, training_batches
from lamella.datasets.patches import PatchDataset
from lamella.evaluation.metrics import Metrics, classification_metrics
from lamella.models.networks import build_network
from lamella.models.preprocess import Preprocessing
from lamella.patches.index import PatchIndex
from lamella.training.checkpoint import Weights
from lamella.training.checks import SPLITS
from lamella.training.group import Group, average_statistics
from lamella.training.optimiser import build_optimiser, learning_rate, set_learning_rate
from lamella.training.progress_lines import ProgressLines
from lamella.training.settings import RunSettings, TrainingSettings
from lamella.training.step import (
    Probabilities,
    backward,
    check_finite,
    not_finite,
    predict,
    prepare_arithmetic,
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
    """

    loss: float
    samples_per_s: float
    learning_rate: float


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
        preprocessing: From stored pixels to normalised images.
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
    preprocessing: Preprocessing
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
        """Return a training at its beginning; all ranks have the same weights."""
        prepare_arithmetic(run.threads)
        torch.manual_seed(seed)
        network = build_network(run.model, len(index.classes))
        group.share_weights(network)
        datasets = {
            split: PatchDataset(index, split, max_open_shards=training.max_open_shards)
            for split in SPLITS
        }
        schedule = Schedule(
            batch_size=run.batch_size,
            ranks=group.size,
            seed=seed,
            sampling=run.sampling,
            limit=run.patches_per_epoch,
            augment=run.augment,
        )
        return cls(
            run=run,
            seed=seed,
            group=group,
            datasets=datasets,
            schedule=schedule,
            classes=len(index.classes),
            network=network,
            preprocessing=Preprocessing(),
            optimiser=group.averaging(build_optimiser(network, run), network),
            steps=len(schedule.joint_batches(datasets["train"].labels, epoch=1)),
        )

    def restore(self, network: Weights, optimiser: dict[str, Any]) -> None:
        """Give every rank the weights and the optimiser's state; only those of rank 0 count."""
        self.restore_weights(network)
        self.optimiser.load_state_dict(self.group.broadcast(optimiser))

    def restore_weights(self, network: Weights) -> None:
        """Give every rank the weights and buffers of rank 0."""
        if self.group.rank == 0:
            self.network.load_state_dict(network)
        self.group.share_weights(self.network)

    def train_epoch(self, epoch: int, lines: ProgressLines) -> EpochResult:
        """Learn from every training sample once; then all ranks have one and the same network.

        Raises:
            TrainingError: a rank's loss is not finite; on every rank, before it is learned from.
        """
        # Dropout and its kind draw from torch's generator: per epoch and rank, so that an epoch
        # after a resume is the epoch of an undisturbed training.
        torch.manual_seed(self.seed + _RANK_STRIDE * (epoch * self.group.size + self.group.rank))
        self.network.train()
        start, loss, mine, joint, rate = time.monotonic(), 0.0, 0, 0, 0.0
        batches = training_batches(
            self.datasets["train"], self.schedule, epoch=epoch, rank=self.group.rank
        )
        for step, batch in enumerate(batches, start=1):
            rate = self._rate((epoch - 1) * self.steps + step - 1)
            set_learning_rate(self.optimiser, rate)
            self.optimiser.zero_grad()
            batch_loss = backward(self.network, self.preprocessing, batch, self.group.size)
            check_finite(batch_loss, self.group, f"epoch {epoch}, step {step}")
            self.group.step(self.optimiser)
            loss += batch_loss
            mine += len(batch.labels)
            joint += batch.joint_size
            speed = joint / (time.monotonic() - start)
            lines.step(epoch, step, loss=loss / mine, samples_per_s=speed)
        average_statistics(self.network, self.group)
        return EpochResult(sum(self.group.gather(loss)) / joint, self.group.broadcast(speed), rate)

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
        return learning_rate(
            step,
            self.run.epochs * self.steps,
            highest=self.run.learning_rate,
            warmup_share=self.run.warmup_share,
        )
