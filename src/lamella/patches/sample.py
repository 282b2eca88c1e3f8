"""Choose the windows of a slide: where they lie, what they show, how they are labelled."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from lamella.patches.areas import Tumor, Windows, at_least, compared, tumor_shares
from lamella.patches.settings import LabelSource, PatchSettings, Sampling
from lamella.slides.resolution import ReadPlan
from lamella.stores.shards import PatchColumns
from lamella.tissue.mask import TissueMask
from lamella.units import Level0Pixels

UNLABELLED = -1


def choose_windows(
    mask: TissueMask,
    size_l0: tuple[int, int],
    plan: ReadPlan,
    settings: PatchSettings,
    *,
    slide: str,
    slide_label: str,
    tumor: Tumor | None,
    corners: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> PatchColumns:
    """Return the windows that are cut from a slide, row by row from the top left.

    That order is the order in the shard, whatever the sampling and the number of workers.

    Args:
        mask: Tissue of the slide.
        size_l0: Width and height of the slide in level-0 pixels.
        plan: How a patch is read; its ``edge_l0`` is the edge length of a window.
        settings: Sampling and labels.
        slide: Name of the slide; the random draw depends on it and on ``settings.seed`` only.
        slide_label: The slide's label in the table.
        tumor: Annotated tumour in level-0 pixels; ``None`` where nobody annotated.
        corners: ``x`` and ``y`` of the windows to choose from, row by row; ``None`` for the grid
            of the settings' stride.

    Returns:
        One entry a window; ``n`` is 0 for a slide without enough tissue. ``tumor_share`` is
        NaN where nobody annotated.
    """
    if corners is None:
        step_l0 = max(1, round(settings.step_px * plan.edge_l0 / plan.size_px))
        corners = grid_corners(size_l0, plan.edge_l0, Level0Pixels(step_l0))
    x, y = corners
    tissue = mask.shares(x, y, plan.edge_l0)
    # A window without any tissue is never a patch, whatever the threshold.
    kept = tissue > 0
    if settings.sampling is not Sampling.ALL:
        kept &= at_least(tissue, settings.min_tissue_share, plan.edge_l0)
    x, y, tissue = x[kept], y[kept], tissue[kept]
    shares = tumor_shares(tumor, x, y, plan.edge_l0)
    known = label_from_slide(slide_label, settings)
    label = _labels(shares, tumor, Windows(x, y, plan.edge_l0), known, settings)
    chosen = _chosen(label, slide, settings)
    return PatchColumns(
        x[chosen],
        y[chosen],
        tissue[chosen].astype(np.float32),
        shares[chosen].astype(np.float32),
        label[chosen],
    )


def grid_corners(
    size_l0: tuple[int, int], edge_l0: Level0Pixels, step_l0: Level0Pixels
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the top left corners of all windows that lie wholly on the slide.

    The grid starts at (0, 0) of the full canvas.

    Returns:
        ``x`` and ``y``, each ``(n,)``, row by row; ``n`` is 0 for a slide smaller than a window.
    """
    width, height = size_l0
    across = np.arange(0, width - edge_l0 + 1, step_l0, dtype=np.int64)
    down = np.arange(0, height - edge_l0 + 1, step_l0, dtype=np.int64)
    y, x = np.meshgrid(down, across, indexing="ij")
    return x.ravel(), y.ravel()


def _labels(
    tumor_share: NDArray[np.float64],
    tumor: Tumor | None,
    windows: Windows,
    known: int,
    settings: PatchSettings,
) -> NDArray[np.int16]:
    label = np.full(len(tumor_share), UNLABELLED, dtype=np.int16)
    if settings.label_source is LabelSource.SLIDE or tumor is None:
        label[:] = known
        return label
    normal_most, tumor_least = settings.normal_max_tumor_share, settings.tumor_min_share
    label[compared(tumor_share, normal_most, tumor, windows) <= 0] = 0
    label[compared(tumor_share, tumor_least, tumor, windows) >= 0] = 1
    return label


def label_from_slide(slide_label: str, settings: PatchSettings) -> int:
    """Return the label that a slide's own label gives to its patches, without any outline.

    Returns:
        ``UNLABELLED`` where it says nothing about them. With ``annotation`` all of a normal slide
        is normal; of any other slide nothing is known.
    """
    if settings.label_source is LabelSource.ANNOTATION:
        return 0 if slide_label == settings.classes[0] else UNLABELLED
    known = slide_label in settings.classes
    return settings.classes.index(slide_label) if known else UNLABELLED


def _chosen(label: NDArray[np.int16], slide: str, settings: PatchSettings) -> NDArray[np.int64]:
    if settings.sampling is Sampling.ALL:
        return np.arange(len(label))
    allowed = np.flatnonzero((label != UNLABELLED) | settings.keep_unlabelled)
    if settings.sampling is Sampling.GRID:
        return allowed
    most = _most_per_class(label, settings)
    draw = np.random.default_rng([settings.seed, number_of(slide)])
    parts = [
        draw.permutation(allowed[label[allowed] == value])[:most]
        for value in (UNLABELLED, *range(len(settings.classes)))
    ]
    return np.sort(np.concatenate(parts))


def _most_per_class(label: NDArray[np.int16], settings: PatchSettings) -> int:
    """Return how many windows of each class a slide gives; absent classes are not counted."""
    if settings.sampling is Sampling.RANDOM or settings.balanced_in_index:
        return settings.per_class
    counts = np.bincount(label[label != UNLABELLED], minlength=1)
    return int(min([settings.per_class, *counts[counts > 0]]))


def number_of(name: str) -> int:
    """Return a number that tells a name from others, the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
