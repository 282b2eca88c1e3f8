"""Bring patch files that other programs made into our layout."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import h5py

from lamella.cohort.settings import SplitSettings
from lamella.cohort.split import split_cohort
from lamella.cohort.table import Slide, write_slides
from lamella.errors import SettingsError
from lamella.fleet.manifest import MANIFEST_NAME, ManifestRow, Status, write_manifest
from lamella.patches.coordinate_files import coordinate_slide, is_coordinate_file
from lamella.patches.imported import ImportedSlide, ImportOptions, not_importable
from lamella.patches.join import join_cohort
from lamella.patches.process_files import is_process_file, process_slides
from lamella.patches.settings import PatchSettings
from lamella.slides.resolution import COARSEST_MPP, FINEST_MPP
from lamella.stores.codec import Codec
from lamella.stores.shards import write_coordinates, write_shard

logger = logging.getLogger(__name__)

_BATCH_PATCHES = 64


def import_patches(files: Sequence[Path], output: Path, options: ImportOptions) -> None:
    """Write shards, manifest, slide table, splits and index, as if the patches had been cut here.

    Slides that share patches with an earlier one are reported; all that hang together so count as
    one patient in the slide table and the index, so that no split separates them.

    Args:
        files: Patch files, each of a form that is known here.
        output: A new results folder; ``cohort/`` and ``patches/`` are made in it.
        options: What the files do not say.

    Raises:
        StoreError: a file is of no known form, two files hold the same slide, or there is a
            results folder already.
        SettingsError: the resolution is implausible.
        SlideError: a slide of a coordinate file cannot be read.
    """
    if not FINEST_MPP <= options.mpp <= COARSEST_MPP:
        raise SettingsError(
            f"{options.mpp:g} microns per pixel are implausible",
            "--mpp",
            "Give the microns per pixel of the patches, such as 0.25",
        )
    folder = output / "patches"
    if (folder / MANIFEST_NAME).exists():
        raise not_importable("there are patches already", folder, "Name a new folder")
    slides: list[Slide] = []
    rows: list[ManifestRow] = []
    twins = _Twins()
    for imported in _read(files, options):
        if imported.slide.slide in {slide.slide for slide in slides}:
            raise not_importable(
                f"slide {imported.slide.slide!r} comes twice",
                output,
                "Import each slide once",
            )
        twins.add(imported)
        slides.append(imported.slide)
        rows.append(_write(imported, folder))
    write_manifest(folder / MANIFEST_NAME, rows)
    _join([replace(slide, patient=twins.first_of(slide.patient)) for slide in slides], output)


def _read(files: Sequence[Path], options: ImportOptions) -> Iterator[ImportedSlide]:
    for path in files:
        try:
            file = h5py.File(path, "r")
        except OSError as error:
            raise not_importable(
                f"it cannot be read as HDF5 ({error})", path, "Check the path, copy it anew"
            ) from error
        with file:
            if is_process_file(file):
                yield from process_slides(path, file, options)
            elif is_coordinate_file(file):
                yield coordinate_slide(path, file, options)
            else:
                names = ", ".join(sorted(file)) or "nothing"
                raise not_importable(
                    f"it is of no known form; it holds {names}",
                    path,
                    "docs/import.md says which forms are known",
                )


def _write(imported: ImportedSlide, folder: Path) -> ManifestRow:
    columns, pixels, attributes = imported.columns, imported.pixels, imported.attributes
    name = f"slides/{imported.slide.slide}.h5"
    if pixels is None:
        write_coordinates(folder / name, columns, patch_px=imported.patch_px, attributes=attributes)
    else:
        starts = range(0, len(pixels), _BATCH_PATCHES)
        write_shard(
            folder / name,
            columns,
            (pixels[start : start + _BATCH_PATCHES] for start in starts),
            patch_px=imported.patch_px,
            codec=Codec.NONE,
            attributes=attributes,
        )
    status = Status.DONE if len(columns) else Status.EMPTY
    return ManifestRow(imported.slide.slide, status, name, len(columns), attributes["fingerprint"])


def _join(slides: Sequence[Slide], output: Path) -> None:
    table, splits = output / "cohort/slides.tsv", output / "cohort/splits.tsv"
    write_slides(table, slides)
    split_cohort(slides=table, output=splits, settings=SplitSettings())
    join_cohort(
        slides=table,
        splits=splits,
        manifest=output / "patches" / MANIFEST_NAME,
        index=output / "patches/index.parquet",
        cohort=output / "patches/cohort.h5",
        settings=PatchSettings(),
    )


class _Twins:
    """Finds slides that share patches, and unites their patients."""

    def __init__(self) -> None:
        # The first slide with each patch, and its patient.
        self._owners: dict[bytes, tuple[str, str]] = {}
        # Number of each patient as they come, and an earlier one that it is united with.
        self._numbers: dict[str, int] = {}
        self._earlier: dict[str, str] = {}

    def add(self, imported: ImportedSlide) -> None:
        """Unite the patient of a slide with those of the slides that have a patch of it."""
        slide = imported.slide
        self._numbers.setdefault(slide.patient, len(self._numbers))
        if imported.pixels is None:
            return
        digests = [
            hashlib.sha256(patch.tobytes()).digest()
            for patch in imported.pixels
            # Glass without a grain of dust is the same on all slides.
            if (patch != patch[0, 0]).any()
        ]
        shared = Counter(self._owners[each] for each in digests if each in self._owners)
        for (twin, patient), count in shared.items():
            logger.warning(
                "%s: %d of its %d patches are those of %s; both count as one patient",
                slide.slide,
                count,
                len(imported.pixels),
                twin,
            )
            self._unite(slide.patient, patient)
        for each in digests:
            self._owners.setdefault(each, (slide.slide, slide.patient))

    def first_of(self, patient: str) -> str:
        """Return the first of the patients that are united with a patient, maybe itself."""
        while patient in self._earlier:
            patient = self._earlier[patient]
        return patient

    def _unite(self, one: str, other: str) -> None:
        firsts = {self.first_of(one), self.first_of(other)}
        first, *rest = sorted(firsts, key=self._numbers.__getitem__)
        self._earlier.update(dict.fromkeys(rest, first))
