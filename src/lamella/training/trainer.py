"""A training under way: a learner and the samples, and what is done with them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lamella.datasets.batches import Schedule, evaluation_batches, training_batches
from lamella.datasets.patches import PatchDataset
from lamella.datasets.targets import Targets
from lamella.evaluation.judge import judge
from lamella.evaluation.metrics import Metrics
from lamella.models.weights import Weights
from lamella.patches.index import PatchIndex
from lamella.settings import Device
from lamella.training.checkpoint import Checkpoint
from lamella.training.checks import SPLITS
from lamella.training.course import Course
from lamella.training.finite import check_finite, not_finite
from lamella.training.group import Group
from lamella.training.learner import Learner, build_learner
from lamella.training.rate import learning_rate
from lamella.training.settings import Framework, RunSettings, TrainingSettings
from lamella.training.usage import UsageMeter

Outputs = NDArray[np.float32]
"""Shape ``(n, outputs)``: probabilities of classes or labels, or numbers in their units."""

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
        learner: What learns.
        datasets: The patches of which something is known, by split.
        schedule: Which rank sees which sample when.
        targets: What is true of all patches.
        steps: Steps per epoch.
        device: Where the network is.
    """

    run: RunSettings
    seed: int
    learner: Learner
    datasets: dict[str, PatchDataset]
    schedule: Schedule
    targets: Targets
    steps: int
    device: Device

    @classmethod
    def build(
        cls,
        index: PatchIndex,
        targets: Targets,
        run: RunSettings,
        *,
        seed: int,
        training: TrainingSettings,
    ) -> Self:
        """Return a training at its beginning; all ranks have the same weights.

        Raises:
            TrainingError: see ``build_learner``.
        """
        learner = build_learner(index, targets, run, seed=seed, training=training)
        datasets = {
            split: PatchDataset(
                index,
                targets,
                split,
                max_open_shards=training.max_open_shards,
                threads=training.loader_threads,
            )
            for split in SPLITS
        }
        schedule = Schedule(
            batch_size=run.batch_size * run.accumulate,
            ranks=learner.group.size,
            seed=seed,
            sampling=run.sampling,
            limit=run.patches_per_epoch,
            augment=run.augment,
        )
        return cls(
            run=run,
            seed=seed,
            learner=learner,
            datasets=datasets,
            schedule=schedule,
            targets=targets,
            steps=len(schedule.joint_batches(datasets["train"].learned, epoch=1)),
            device=training.device,
        )

    @property
    def group(self) -> Group:
        """All ranks."""
        return self.learner.group

    def usage_meter(self) -> UsageMeter:
        """Return what measures this rank; the memory of a GPU is told by torch, of its own use."""
        of_torch = self.run.framework is Framework.TORCH
        return UsageMeter(self.device if of_torch else Device.CPU)

    def state(self) -> dict[str, Any]:
        """Return all that is the same on every rank between two steps."""
        return {"network": self.learner.weights(), **self.learner.optimiser_state()}

    def states_of_ranks(self, course: Course) -> list[dict[str, Any]]:
        """Return what differs between the ranks in the middle of an epoch; every rank calls it.

        These are the sums of the epoch, the running statistics of batch normalisation, and the
        state of the random generators.
        """
        course.random = self.learner.random_state()
        mine = {"course": course.stored(), "statistics": self.learner.statistics()}
        return self.group.gather(mine)

    def restore(self, checkpoint: Checkpoint) -> Course:
        """Bring every rank to a checkpoint; only that of rank 0 counts.

        Returns:
            The epoch under way.
        """
        self.restore_weights(checkpoint.state.get("network"))
        kept = {key: value for key, value in checkpoint.state.items() if key != "network"}
        kept, ranks = self.group.broadcast((kept, checkpoint.ranks))
        self.learner.set_optimiser_state(kept)
        if not ranks:
            return Course(checkpoint.progress.epoch + 1)
        mine = ranks[self.group.rank]
        self.learner.set_statistics(mine["statistics"])
        return Course.from_stored(mine["course"])

    def restore_weights(self, weights: Weights | None) -> None:
        """Give every rank these weights and buffers; those of rank 0 count."""
        self.learner.share_weights(weights)

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
        self.learner.start_learning(seed=self._seed_of(course.epoch), random=course.random)
        batches = training_batches(
            self.datasets["train"],
            self.schedule,
            epoch=course.epoch,
            rank=self.group.rank,
            first=course.step,
        )
        for batch in batches:
            course.learning_rate = self._rate((course.epoch - 1) * self.steps + course.step)
            loss = self.learner.backward(batch)
            where = f"epoch {course.epoch}, step {course.step + 1}"
            agreed = check_finite(loss, self.group, where, *wishes())
            self.learner.step(course.learning_rate)
            course.step += 1
            course.loss += loss
            course.mine += len(batch.targets)
            course.joint += batch.joint_size
            course.wait_share = batches.wait_share
            yield agreed

    def finish(self, course: Course) -> EpochResult:
        """Give all ranks one and the same network after the last step of an epoch."""
        speed = course.joint / course.seconds
        self.learner.share_statistics()
        return EpochResult(
            loss=sum(self.group.gather(course.loss)) / course.joint,
            samples_per_s=self.group.broadcast(speed),
            learning_rate=course.learning_rate,
            loader_wait_share=max(self.group.gather(course.wait_share)),
        )

    def outputs(self, split: str, epoch: int) -> Outputs:
        """Return the answers ``(n, outputs)`` to all samples of a split, on every rank.

        Args:
            split: ``train``, ``validation`` or ``test``.
            epoch: The epoch that the network is from; an error names it.

        Raises:
            TrainingError: some are not finite.
        """
        dataset, group = self.datasets[split], self.group
        batches = evaluation_batches(
            dataset, self.run.batch_size, rank=group.rank, ranks=group.size
        )
        mine = [(batch.positions, self.learner.answers(batch.images)) for batch in batches]
        outputs = np.full((len(dataset), len(self.targets.names)), np.nan, dtype=np.float32)
        for part in group.gather(mine):
            for positions, values in part:
                outputs[positions] = values
        if not np.isfinite(outputs).all():
            raise not_finite("an answer of the network", f"epoch {epoch}, {split}")
        return outputs

    def judge(self, split: str, outputs: Outputs) -> Metrics:
        """Return the metrics of a split, computed on rank 0 and told to all."""
        metrics: Metrics = {}
        if self.group.rank == 0:
            metrics = judge(self.datasets[split].targets, outputs)
        return self.group.broadcast(metrics)

    def _rate(self, step: int) -> float:
        return learning_rate(step, self.steps, self.run, processes=self.group.size)

    def _seed_of(self, epoch: int) -> int:
        """Return the seed of what this rank's network draws in an epoch."""
        return self.seed + _RANK_STRIDE * (epoch * self.group.size + self.group.rank)
