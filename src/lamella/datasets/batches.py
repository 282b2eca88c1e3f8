"""The batches that one rank is given."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.datasets.augment import augmented
from lamella.datasets.patches import PatchDataset
from lamella.datasets.read_ahead import ReadAhead
from lamella.datasets.settings import AugmentSettings, Sampling
from lamella.datasets.shares import epoch_order, joint_batches, rank_share


@dataclass(frozen=True)
class Batch:
    """One rank's share of a joint batch.

    Attributes:
        positions: ``(n,)`` samples of the dataset.
        images: ``(n, size, size, 3)`` uint8, RGB.
        targets: ``(n,)`` int64 classes, or ``(n, k)`` float32, NaN where unknown: labels, or
            standardised numbers.
        joint_size: Samples of the joint batch, over all ranks.
    """

    positions: NDArray[np.int64]
    images: NDArray[np.uint8]
    targets: NDArray[np.int64] | NDArray[np.float32]
    joint_size: int


@dataclass(frozen=True)
class Schedule:
    """How the samples are dealt to the ranks, epoch by epoch.

    Attributes:
        batch_size: Most samples of one rank's batch.
        ranks: Number of ranks.
        seed: Seed of the training.
        sampling: Natural or balanced.
        limit: Samples per epoch; ``None`` for all.
        augment: How patches are changed.
    """

    batch_size: int
    ranks: int
    seed: int
    sampling: Sampling
    limit: int | None
    augment: AugmentSettings

    def joint_batches(
        self, targets: NDArray[np.int64] | NDArray[np.float32], epoch: int
    ) -> list[NDArray[np.int64]]:
        """Return the joint batches of an epoch, one array of positions per step."""
        order = epoch_order(
            targets, seed=self.seed, epoch=epoch, sampling=self.sampling, limit=self.limit
        )
        return joint_batches(order, self.batch_size * self.ranks)


def training_batches(
    dataset: PatchDataset, schedule: Schedule, *, epoch: int, rank: int, first: int = 0
) -> ReadAhead[NDArray[np.int64], Batch]:
    """Return a rank's batches of an epoch, augmented; every rank gets the same number of them.

    Args:
        dataset: The samples.
        schedule: How they are dealt.
        epoch: Number of the epoch.
        rank: The rank.
        first: Batches of the epoch that are left out, for they were learned from before.
    """

    def read(joint: NDArray[np.int64]) -> Batch:
        positions = rank_share(joint, rank=rank, ranks=schedule.ranks)
        images = augmented(
            dataset.read(positions),
            dataset.samples[positions],
            seed=schedule.seed,
            epoch=epoch,
            settings=schedule.augment,
        )
        return Batch(positions, images, dataset.learned[positions], len(joint))

    joint = schedule.joint_batches(dataset.learned, epoch)[first:]
    return ReadAhead(read, joint, threads=dataset.threads)


def evaluation_batches(
    dataset: PatchDataset, batch_size: int, *, rank: int, ranks: int
) -> ReadAhead[NDArray[np.int64], Batch]:
    """Return a rank's share of all samples, in order, unchanged; none for a rank without any."""

    def read(positions: NDArray[np.int64]) -> Batch:
        return Batch(positions, dataset.read(positions), dataset.learned[positions], len(positions))

    mine = rank_share(np.arange(len(dataset)), rank=rank, ranks=ranks)
    return ReadAhead(read, joint_batches(mine, batch_size), threads=dataset.threads)
