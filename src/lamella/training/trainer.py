"""A training under way: network, optimiser and data, and what is done with them."""

import time
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from lamella.datasets.batches import Schedule, training_batches
from lamella.datasets.patches import PatchDataset
from lamella.models.networks import build_network, check_size
from lamella.models.preprocess import Preprocessing
from lamella.models.weights import Weights, freeze, load_weights, set_learning_mode
from lamella.patches.index import PatchIndex
from lamella.training.arithmetic import Arithmetic, Learner, compiled, prepare_arithmetic
from lamella.training.checks import SPLITS
from lamella.training.group import Group, average_statistics
from lamella.training.metrics import Metrics, patch_metrics
from lamella.training.optimiser import build_optimiser, learning_rate, set_learning_rate
from lamella.training.progress_lines import ProgressLines
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
        learner: The network, or a compiled one of the same weights.
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
            split: PatchDataset(index, split, max_open_shards=training.max_open_shards)
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
        return cls(
            run=run,
            seed=seed,
            group=group,
            datasets=datasets,
            schedule=schedule,
            classes=len(index.classes),
            network=network,
            learner=compiled(network, arithmetic.device) if run.compile else network,
            preprocessing=Preprocessing().to(arithmetic.device),
            arithmetic=arithmetic,
            optimiser=group.averaging(build_optimiser(network, run), network, parts=run.accumulate),
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
        set_learning_mode(self.network)
        start, loss, mine, joint, rate = time.monotonic(), 0.0, 0, 0, 0.0
        batches = training_batches(
            self.datasets["train"], self.schedule, epoch=epoch, rank=self.group.rank
        )
        for step, batch in enumerate(batches, start=1):
            rate = self._rate((epoch - 1) * self.steps + step - 1)
            set_learning_rate(self.optimiser, rate)
            self.optimiser.zero_grad()
            batch_loss = backward(
                self.learner,
                self.preprocessing,
                batch,
                self.arithmetic,
                ranks=self.group.size,
                parts=self.run.accumulate,
            )
            check_finite(batch_loss, self.group, f"epoch {epoch}, step {step}")
            self._step()
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
            metrics = patch_metrics(self.datasets[split].labels, probabilities)
        return self.group.broadcast(metrics)

    def _rate(self, step: int) -> float:
        return learning_rate(step, self.steps, self.run, processes=self.group.size)

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
