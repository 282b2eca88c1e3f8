"""Coordinate files of CLAM and TRIDENT: where the patches of a slide lie, one file a slide.

Dataset ``coords`` (n, 2), x and y in level-0 pixels. Its attributes say the size: CLAM writes
``patch_size`` in pixels of level ``patch_level`` and that level's ``downsample``; TRIDENT writes
``patch_size`` as the network sees it and ``patch_size_level0``.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lamella.cohort.table import Slide, read_slides
from lamella.errors import ResolutionUnknownError
from lamella.patches.imported import (
    ImportedSlide,
    ImportOptions,
    not_importable,
    shard_attributes,
    sorted_columns,
)
from lamella.patches.sample import UNLABELLED
from lamella.slides.identity import slide_identity
from lamella.slides.reader import SlideReader
from lamella.slides.resolution import ReadPlan
from lamella.slides.settings import DEFAULT_READING
from lamella.stores.json_files import canonical

COORDINATES = "coords"
MOST_MPP_DIFFERENCE = 0.1
"""A slide whose own resolution gives the patches one this much off was cut at another one."""

_MOST_EDGE_DIFFERENCE = 0.02


def is_coordinate_file(file: h5py.File) -> bool:
    """Tell whether a file has coordinates of patches."""
    return COORDINATES in file


def coordinate_slide(path: Path, file: h5py.File, options: ImportOptions) -> ImportedSlide:
    """Return the slide of a file.

    Raises:
        StoreError: the slide or the size of its patches is not known, or they contradict the
            resolution that was given.
        SlideError: the slide cannot be read.
    """
    coordinates = file[COORDINATES]
    corners = coordinates[:]
    if corners.ndim != 2 or corners.shape[1] != 2 or corners.dtype.kind not in "iu":
        raise not_importable(
            f"'coords' is {corners.shape} {corners.dtype}, not (n, 2) whole numbers",
            path,
            "Export the coordinates again",
        )
    size_px, edge_l0 = _sizes(path, dict(coordinates.attrs), options)
    slide = _slide(path, options)
    plan, about = _plan(path, slide, size_px, edge_l0, options)
    _check_corners(path, slide, corners, about["size_l0"])
    label = options.classes.index(slide.label) if slide.label in options.classes else UNLABELLED
    labels = np.full(len(corners), label, dtype=np.int16)
    x, y = corners.astype(np.int64).T
    columns, _ = sorted_columns(x, y, labels)
    attributes = shard_attributes(path, slide, options, plan, **about)
    return ImportedSlide(slide, columns, None, size_px, attributes)


def _check_corners(
    path: Path, slide: Slide, corners: NDArray[np.integer], size_l0: NDArray[np.int64]
) -> None:
    """Refuse the coordinates of another slide, as far as they show it."""
    outside = corners[((corners < 0) | (corners >= size_l0)).any(axis=1)]
    if len(outside):
        width, height = size_l0.tolist()
        raise not_importable(
            f"corner {tuple(outside[0].tolist())} lies outside of {slide.path.name} "
            f"({width} x {height} pixels)",
            path,
            "Check that the slide table names the slide of this file",
        )


def _sizes(path: Path, about: dict[str, Any], options: ImportOptions) -> tuple[int, int]:
    """Return the edge length of a patch in its own and in level-0 pixels."""
    size_px = about.get("patch_size", options.size_px)
    edge_l0 = about.get("patch_size_level0", options.edge_l0)
    if size_px is not None and edge_l0 is None and "downsample" in about:
        edge_l0 = round(int(size_px) * float(np.mean(about["downsample"])))
    if size_px is None or edge_l0 is None:
        raise not_importable(
            "'coords' has no attributes that say how large the patches are",
            path,
            "Give --size-px (as the network sees them) and --edge-l0 (in level-0 pixels)",
        )
    return int(size_px), int(edge_l0)


def _slide(path: Path, options: ImportOptions) -> Slide:
    if options.slides is None:
        raise not_importable(
            "it holds coordinates only, so the slides are needed",
            path,
            "Give a slide table with --slides; column `slide` is the name of the file without .h5",
        )
    found = {slide.slide: slide for slide in read_slides(options.slides)}
    name = path.stem.removesuffix("_patches")
    if name not in found:
        raise not_importable(
            f"no slide is called {name!r}", path, f"Add its row to {options.slides}"
        )
    return found[name]


def _plan(
    path: Path, slide: Slide, size_px: int, edge_l0: int, options: ImportOptions
) -> tuple[ReadPlan, dict[str, Any]]:
    """Return how the patches are read, and what the slide adds to the attributes."""
    with SlideReader(slide.path, DEFAULT_READING, mpp=slide.mpp) as opened:
        try:
            mpp = opened.mpp_l0 * edge_l0 / size_px
        except ResolutionUnknownError:
            # The slide does not say it; the option does.
            mpp = options.mpp
    if abs(mpp - options.mpp) > MOST_MPP_DIFFERENCE * options.mpp:
        raise not_importable(
            f"its patches have {mpp:.3g} microns per pixel by the slide, not {options.mpp:g}",
            path,
            "Correct --mpp, or column `mpp` of the slide table",
        )
    with SlideReader(slide.path, DEFAULT_READING, mpp=mpp * size_px / edge_l0) as reader:
        plan = reader.plan(mpp=mpp, size_px=size_px)
        about = {
            "mpp_l0": reader.mpp_l0,
            "size_l0": np.array(reader.size_l0, dtype=np.int64),
            "bounds": np.array(reader.bounds or (), dtype=np.int64),
            "vendor": reader.vendor,
            "reader": reader.source.reader.value,
            "reading": canonical(DEFAULT_READING.as_params()),
            "slide_path": str(slide.path),
            "slide_identity": slide_identity(slide.path),
        }
    if abs(plan.edge_l0 - edge_l0) > _MOST_EDGE_DIFFERENCE * edge_l0:
        raise not_importable(
            f"patches of {edge_l0} level-0 pixels cannot be read as {size_px} pixels",
            path,
            "Check --size-px and --edge-l0",
        )
    return plan, about
