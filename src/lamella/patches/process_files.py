"""Patch files of PROCESS UC1, the system that Lamella descends from.

Groups ``{tumor|normal}/l7/c0/p010/n4/{batch}`` with ``patches`` and ``locations``, or the older
``{tumor|normal}/level7/centre0/patient010/node4`` without batches. Its slides are those of
CAMELYON17, its patches pixels of level 0 in the order blue, green, red. A location is the *row and
column* of the patch's corner in a mask of the level that the group names, whose pixels are 2 to the
level pixels of level 0, as in all pyramids of CAMELYON17.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from lamella.cohort.table import Slide
from lamella.patches.imported import (
    ImportedSlide,
    ImportOptions,
    not_importable,
    shard_attributes,
    sorted_columns,
)
from lamella.slides.resolution import ReadPlan
from lamella.units import Level0Pixels, LevelPixels, Mpp

_CLASSES = ("normal", "tumor")
_GROUP = re.compile(
    r"(?P<label>normal|tumor)/l(?:evel)?(?P<level>\d+)/c(?:entre)?(?P<centre>\d+)"
    r"/p(?:atient)?(?P<patient>\d+)/n(?:ode)?(?P<node>\d+)(?:/(?P<batch>\d+))?"
)


@dataclass(frozen=True)
class _Part:
    """One group of patches: a batch of a class of a slide."""

    name: str
    label: int
    level: int


def is_process_file(file: h5py.File) -> bool:
    """Tell whether a file has the groups of PROCESS UC1."""
    return bool({"normal", "tumor"} & set(file))


def process_slides(path: Path, file: h5py.File, options: ImportOptions) -> Iterator[ImportedSlide]:
    """Yield the slides of a file.

    Raises:
        StoreError: the classes are others than normal and tumor, or a group is damaged.
    """
    if options.classes != _CLASSES:
        raise not_importable(
            f"its classes are {', '.join(_CLASSES)}", path, "Leave --classes as it is"
        )
    slides: dict[str, Slide] = {}
    parts: dict[str, list[_Part]] = defaultdict(list)
    for name in _groups(file):
        found = _GROUP.fullmatch(name)
        if found is None:
            raise not_importable(
                f"group {name!r} is not of the form tumor/l7/c0/p010/n4", path, "Rename it"
            )
        slide = _slide(path, found)
        slides[slide.slide] = slide
        parts[slide.slide].append(_Part(name, _CLASSES.index(found["label"]), int(found["level"])))
    for name, slide in slides.items():
        yield _imported(path, file, slide, parts[name], options)


def _groups(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, thing: names.append(name) if _is_part(thing) else None)
    return sorted(names)


def _is_part(thing: h5py.HLObject) -> bool:
    return isinstance(thing, h5py.Group) and {"patches", "locations"} <= set(thing)


def _slide(path: Path, found: re.Match[str]) -> Slide:
    patient = f"patient_{found['patient']}"
    return Slide(
        slide=f"{patient}_node_{found['node']}", path=path, patient=patient, centre=found["centre"]
    )


def _imported(
    path: Path, file: h5py.File, slide: Slide, parts: list[_Part], options: ImportOptions
) -> ImportedSlide:
    pixels, corners, labels = [], [], []
    for part in parts:
        patches, locations = file[part.name]["patches"][:], file[part.name]["locations"][:]
        if patches.dtype != np.uint8 or patches.shape != (len(locations), *patches.shape[1:3], 3):
            raise not_importable(
                f"group {part.name!r} has patches {patches.shape} {patches.dtype} "
                f"and {len(locations)} locations",
                path,
                "Write it again: (n, size, size, 3) uint8 and (n, 2)",
            )
        pixels.append(patches[..., ::-1])
        # From row and column of the mask to x and y of level 0.
        corners.append(locations[:, ::-1].astype(np.int64) * 2**part.level)
        labels.append(np.full(len(patches), part.label, dtype=np.int16))
    sizes = {patches.shape[1:] for patches in pixels}
    if len(sizes) > 1:
        raise not_importable(
            f"the patches of {slide.slide} differ in size: {sorted(sizes)}",
            path,
            "Import each size from a file of its own",
        )
    corner, label = np.concatenate(corners), np.concatenate(labels)
    columns, order = sorted_columns(corner[:, 0], corner[:, 1], label)
    images = np.concatenate(pixels)[order]
    size = images.shape[1]
    plan = ReadPlan(0, Mpp(options.mpp), LevelPixels(size), Level0Pixels(size), size)
    about = replace(slide, label=_CLASSES[int(label.max(initial=0))])
    attributes = shard_attributes(path, about, options, plan)
    return ImportedSlide(about, columns, images, size, attributes)
