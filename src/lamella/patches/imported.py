"""A slide's patches as another program left them, on their way into our layout."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lamella
from lamella.cohort.table import Slide
from lamella.errors import StoreError
from lamella.slides.identity import slide_identity
from lamella.slides.resolution import ReadPlan
from lamella.stain.normalise import Normaliser
from lamella.stores.json_files import canonical, digest
from lamella.stores.shards import PatchColumns

IMPORTED = "import"
"""The attribute ``reader`` of patches that came without their slide."""


@dataclass(frozen=True)
class ImportOptions:
    """What the files do not say.

    Attributes:
        mpp: Microns per pixel of the patches; checked against slides where there are any.
        slides: Slide table; needed for files that hold coordinates only.
        classes: Names of the labels 0, 1, …
        size_px: Edge length of a patch in its own pixels, where a file does not say it.
        edge_l0: The same in level-0 pixels.
    """

    mpp: float
    slides: Path | None = None
    classes: tuple[str, ...] = ("normal", "tumor")
    size_px: int | None = None
    edge_l0: int | None = None


@dataclass(frozen=True)
class ImportedSlide:
    """One slide.

    Attributes:
        slide: Its row of the slide table.
        columns: One entry a patch, row by row from the top left.
        pixels: ``(n, H, W, 3)`` uint8, RGB; ``None`` where the file has coordinates only.
        patch_px: Edge length of a patch.
        attributes: Root attributes of the shard.
    """

    slide: Slide
    columns: PatchColumns
    pixels: NDArray[np.uint8] | None
    patch_px: int
    attributes: dict[str, Any]


def sorted_columns(
    x: NDArray[np.int64], y: NDArray[np.int64], label: NDArray[np.int16]
) -> tuple[PatchColumns, NDArray[np.int64]]:
    """Return columns row by row from the top left, and the order that makes them so.

    Shares of tissue and tumour are NaN: the file does not say them.
    """
    order = np.lexsort((label, x, y))
    unknown = np.full(len(x), np.nan, dtype=np.float32)
    return PatchColumns(x[order], y[order], unknown, unknown, label[order]), order


def shard_attributes(
    source: Path, slide: Slide, options: ImportOptions, plan: ReadPlan, **more: Any
) -> dict[str, Any]:
    """Return the root attributes of an imported shard.

    Args:
        source: The file that the patches come from.
        slide: Their slide.
        options: Resolution and classes.
        plan: How the patches were, or are to be, read.
        more: What only some files say; replaces the entries of the same name.
    """
    made_of = {
        "imported": slide_identity(source),
        "slide": slide.slide,
        "label": slide.label,
        "mpp": options.mpp,
        "classes": options.classes,
        "plan": [plan.level, plan.read_px, plan.edge_l0, plan.size_px],
    }
    return {
        "lamella_version": lamella.__version__,
        "slide": slide.slide,
        "patient": slide.patient,
        "fingerprint": digest(made_of),
        "classes": list(options.classes),
        "mpp_requested": options.mpp,
        "mpp_read": plan.mpp_read,
        "mpp_l0": options.mpp * plan.size_px / plan.edge_l0,
        "mpp_source": "option",
        "level": plan.level,
        "read_px": plan.read_px,
        "edge_l0": plan.edge_l0,
        "size_l0": np.array((), dtype=np.int64),
        "bounds": np.array((), dtype=np.int64),
        "vendor": "unknown",
        "reader": IMPORTED,
        "openslide_version": "",
        "seed": 0,
        "settings": canonical({"imported_from": str(source)}),
        **Normaliser.nothing().attributes,
        **more,
    }


def not_importable(what: str, path: Path, remedy: str) -> StoreError:
    """Return the error of a file that cannot be brought into our layout."""
    return StoreError(what, str(path), remedy)
