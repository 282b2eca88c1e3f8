"""What must be true of the patches before a training starts."""

from collections.abc import Iterator, Sequence

import pandas as pd

from lamella.datasets.patches import known_rows
from lamella.datasets.targets import Targets
from lamella.errors import TrainingError
from lamella.patches.index import PatchIndex
from lamella.patches.pixels import open_patches
from lamella.training.settings import LEAST_BATCH_SIZE, RunSettings, TrainingSettings
from lamella.training.target_checks import check_targets

SPLITS = ("train", "validation", "test")
_INDEX = "the patch index"
_MOST_NAMES = 5


def check_trainable(
    index: PatchIndex, targets: Targets, run: RunSettings, training: TrainingSettings
) -> None:
    """Check that a network can be trained and judged on the patches.

    Args:
        index: The patches.
        targets: What is true of them, row by row.
        run: How the network is trained.
        training: Number of processes.

    Raises:
        TrainingError: a patient, a slide or copies of a slide stand in two splits; the targets
            cannot be learned or judged (see ``check_targets``); the joint batch is larger than the
            training set; the file of weights to start from is missing.
    """
    _check_no_leak(index)
    check_targets(targets, index.table["split"])
    _check_batch(len(known_rows(index, targets, "train")), run, training)
    if run.weights is not None and not run.weights.is_file():
        raise TrainingError("the file is not there", str(run.weights), "Correct weights of the run")


def check_shards(index: PatchIndex) -> None:
    """Check that all patch files are here and hold the patches that the index speaks of.

    Some milliseconds a file; a missing one would else end the training when it is first read, that
    of a test slide after the last epoch.

    Raises:
        StoreError: a file is missing, damaged or of another layout.
        TrainingError: a file holds fewer patches, or patches of another size.
    """
    in_splits = index.table[index.table["split"].isin(SPLITS)]
    for shard, last in in_splits.groupby("shard", observed=True)["row"].max().items():
        path = index.folder / str(shard)
        with open_patches(path, index.slide_paths.get(str(shard))) as reader:
            found = len(reader), int(reader.attributes["patch_px"])
        if found[0] <= last or found[1] != index.patch_px:
            raise TrainingError(
                f"{found[0]} patches of {found[1]} pixels are there, more than {last} of"
                f" {index.patch_px} pixels in the index",
                str(path),
                "Delete the index and run `snakemake patches` again",
            )


def _check_no_leak(index: PatchIndex) -> None:
    """Refuse a patient or a slide in two splits, also where copies of it have other names."""
    in_splits = index.table[index.table["split"].isin(SPLITS)]
    for column in ("patient", "slide"):
        splits = in_splits.groupby(column, observed=True)["split"].unique()
        leaks = splits[splits.map(len) > 1]
        if len(leaks):
            raise TrainingError(
                f"in two splits: {_listed(leaks)}",
                f"{_INDEX}, column {column}",
                "Put all slides of a patient into one split of the slide table, "
                "or leave the column split out",
            )
    slides = in_splits.drop_duplicates("slide")
    copies = list(_copies_in_two_splits(slides, slides["slide"].map(index.contents)))
    if copies:
        raise TrainingError(
            f"the same slide in two splits: {_shortened(copies)}",
            f"{_INDEX}, content of the slides",
            "Remove the copies from the slide table, or give them the same patient",
        )


def _copies_in_two_splits(slides: pd.DataFrame, contents: pd.Series) -> Iterator[str]:
    for _, copies in slides.groupby(contents, sort=False):
        if len(set(copies["split"])) > 1:
            columns = copies["slide"], copies["patient"], copies["split"]
            yield " and ".join(
                f"{slide} of patient {patient} ({split})"
                for slide, patient, split in zip(*columns, strict=True)
            )


def _listed(leaks: pd.Series) -> str:
    named = [f"{name} ({' and '.join(sorted(splits))})" for name, splits in leaks.items()]
    return _shortened(named)


def _shortened(leaks: Sequence[str]) -> str:
    more = len(leaks) - _MOST_NAMES
    return ", ".join(leaks[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _check_batch(samples: int, run: RunSettings, training: TrainingSettings) -> None:
    per_epoch = min(samples, run.patches_per_epoch or samples)
    joint = run.batch_size * run.accumulate * training.processes
    parts = f" x accumulate {run.accumulate}" if run.accumulate > 1 else ""
    if joint > per_epoch:
        most = per_epoch // (run.accumulate * training.processes)
        raise TrainingError(
            f"a batch of {run.batch_size}{parts} x {training.processes} processes = {joint} is"
            f" larger than an epoch of {per_epoch} training patches",
            "batch_size of the run",
            f"Set it to at most {most}, or add patches"
            if most >= LEAST_BATCH_SIZE
            else "Lower accumulate of the run or training.processes, or add patches",
        )
