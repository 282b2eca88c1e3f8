"""Cut the tissue of every slide into patches."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

import lamella
from lamella import patches
from lamella.annotations.frame import Frame
from lamella.annotations.read import read_tumor
from lamella.cohort.table import Slide, read_slides
from lamella.errors import AnnotationError, LamellaError, SlideError
from lamella.fleet.fingerprint import fingerprint
from lamella.fleet.manifest import ManifestRow, Status, read_manifest
from lamella.fleet.run import SlideTask, failed_row, run_stage
from lamella.fleet.settings import FleetSettings
from lamella.patches.areas import Tumor
from lamella.patches.passthrough import WholeTiles, tile_corners, whole_tiles
from lamella.patches.sample import choose_windows, label_from_slide
from lamella.patches.settings import LabelSource, PatchSettings
from lamella.patches.storing import SlidePatches, estimated_bytes, store_patches
from lamella.patches.tissue_pixels import tissue_pixels
from lamella.slides.identity import file_identity, file_size
from lamella.slides.open import reading_inputs
from lamella.slides.openslide_source import OPENSLIDE_VERSION
from lamella.slides.reader import SlideReader
from lamella.slides.resolution import ReadPlan
from lamella.slides.settings import ReadingSettings
from lamella.slides.staging import staged
from lamella.slurm.settings import DEFAULT_SITE, SiteSettings
from lamella.stain.normalise import Normaliser, Target, fit_normaliser, read_target
from lamella.stain.settings import StainMethod
from lamella.stores.codec import Storage
from lamella.stores.json_files import canonical
from lamella.stores.shards import read_stored
from lamella.tissue.mask import TissueMask, read_mask

STAGE = "extract_patches"


@dataclass(frozen=True)
class _Common:
    """What is the same for all slides, and where their files lie."""

    settings: PatchSettings
    reading: ReadingSettings
    target: Target
    reference: str | None
    masks: Path
    mask_mpp: float
    folder: Path
    staged_bytes: int = 0

    @classmethod
    def of(
        cls,
        settings: PatchSettings,
        reading: ReadingSettings,
        masks: Path,
        mask_mpp: float,
        *,
        folder: Path,
    ) -> Self:
        # Settings without an effect make no patch anew.
        settings = settings.of_extraction()
        image = settings.stain_reference
        target = read_target(settings.stain, image)
        reference = file_identity(image) if image and target else None
        return cls(settings, reading, target, reference, masks, mask_mpp, folder)


@dataclass(frozen=True)
class ExtractJob:
    """What a worker needs to cut the patches of one slide."""

    slide: Slide
    settings: PatchSettings
    mask: Path
    shard: Path
    fingerprint: str
    reading: ReadingSettings
    target: Target = None
    staged_bytes: int = 0


def extract_patches(
    *,
    slides: Path,
    masks: Path,
    mask_mpp: float,
    manifest: Path,
    settings: PatchSettings,
    fleet: FleetSettings,
    reading: ReadingSettings,
    site: SiteSettings = DEFAULT_SITE,
) -> None:
    """Write ``slides/{slide}.h5`` beside the manifest, for every slide with a tissue mask.

    Args:
        slides: Checked slide table.
        masks: Manifest of ``segment_tissue``; its failed slides stay failed.
        mask_mpp: Microns per pixel of the masks: their size tells the disk space that is needed.
        manifest: The manifest; ``n`` counts patches.
        settings: What is cut and how it is stored.
        fleet: Workers.
        reading: How slide files are read.
        site: The cluster, where the workers are SLURM jobs.

    Raises:
        SettingsError: the stain reference cannot be used.
        StoreError: the disk has not room enough for the patches.
    """
    rows = read_manifest(masks)
    common = _Common.of(settings, reading, masks.parent, mask_mpp, folder=manifest.parent)
    # Coordinates alone are found without the pixels.
    if settings.storage is not Storage.COORDINATES:
        common = replace(common, staged_bytes=fleet.staged_bytes)
    plan = [_plan(slide, rows[slide.slide], common) for slide in read_slides(slides)]
    run_stage(
        STAGE,
        extract_slide,
        plan,
        manifest=manifest,
        stored=read_stored,
        settings=fleet,
        site=site,
    )


def _plan(slide: Slide, mask: ManifestRow, common: _Common) -> SlideTask | ManifestRow:
    if mask.status is Status.FAILED:
        return mask
    settings, mask_path = common.settings, common.masks / mask.path
    try:
        made_of = fingerprint(
            STAGE,
            patches.REVISION,
            settings,
            mask=mask.fingerprint,
            annotation=_annotation_identity(slide, settings),
            slide=slide.slide,
            # Another label that says the same of the patches makes none of them anew.
            label=label_from_slide(slide.label, settings),
            reading=reading_inputs(common.reading),
            stain_reference=common.reference,
        )
        size = file_size(slide.path)
    except LamellaError as error:
        return failed_row(STAGE, slide.slide, error)
    shard = common.folder / "slides" / f"{slide.slide}.h5"
    job = ExtractJob(
        slide,
        settings,
        mask_path,
        shard,
        made_of,
        common.reading,
        common.target,
        common.staged_bytes,
    )
    needed = estimated_bytes(settings, tissue_um2=mask.n * common.mask_mpp**2, slide_bytes=size)
    return SlideTask(slide.slide, size, shard, made_of, job, needed)


def _annotation_identity(slide: Slide, settings: PatchSettings) -> str | None:
    if slide.annotation is None or settings.label_source is not LabelSource.ANNOTATION:
        return None
    return file_identity(slide.annotation)


def extract_slide(job: ExtractJob) -> int:
    """Write the patches of one slide; return how many there are."""
    slide, settings = job.slide, job.settings
    mask = read_mask(job.mask)
    with (
        staged(slide.path, limit_bytes=job.staged_bytes) as copy,
        SlideReader(slide.path, job.reading, mpp=slide.mpp, copy=copy) as reader,
    ):
        plan = reader.plan(mpp=settings.mpp, size_px=settings.size_px)
        _check_size(reader, plan)
        tiles = _tiles(reader, plan, settings)
        columns = choose_windows(
            mask,
            reader.size_l0,
            plan,
            settings,
            slide=slide.slide,
            slide_label=slide.label,
            tumor=_tumor(slide, settings, reader),
            corners=tile_corners(tiles) if tiles else None,
        )
        normaliser = _normaliser(job, reader, mask, plan)
        found = SlidePatches(reader, plan, columns, normaliser, tiles)
        store_patches(job.shard, found, settings, _attributes(job, reader, plan))
    return len(columns)


def _check_size(reader: SlideReader, plan: ReadPlan) -> None:
    width, height = reader.size_l0
    if min(width, height) < plan.edge_l0:
        raise SlideError(
            f"the slide ({width} x {height} pixels) is smaller than one patch "
            f"of {plan.edge_l0} level-0 pixels",
            str(reader.path),
            "Ask for smaller patches (`patches.size_px`), or remove its row",
        )


def _tiles(reader: SlideReader, plan: ReadPlan, settings: PatchSettings) -> WholeTiles | None:
    """Return the slide's own tiles where these are to be the patches."""
    if settings.storage is not Storage.PASSTHROUGH:
        return None
    return whole_tiles(reader, plan)


def _normaliser(
    job: ExtractJob, reader: SlideReader, mask: TissueMask, plan: ReadPlan
) -> Normaliser:
    """Fit the stain to the tissue of the whole slide."""
    if job.settings.stain is StainMethod.NONE:
        return Normaliser.nothing()
    return fit_normaliser(job.settings.stain, tissue_pixels(reader, mask, plan), job.target)


def _tumor(slide: Slide, settings: PatchSettings, reader: SlideReader) -> Tumor | None:
    if slide.annotation is None or settings.label_source is not LabelSource.ANNOTATION:
        return None
    frame = Frame.of(reader.size_l0, reader.bounds, settings.annotation.origin)
    tumor = read_tumor(slide.annotation, settings.annotation, frame=frame)
    if tumor.is_empty and slide.label != settings.classes[0]:
        raise AnnotationError(
            f"it outlines no tumour, but the slide's label is {slide.label!r}",
            str(slide.annotation),
            f"Outline the tumour, or write {settings.classes[0]!r} into column `label`",
        )
    return tumor


def _attributes(job: ExtractJob, reader: SlideReader, plan: ReadPlan) -> dict[str, Any]:
    return {
        "lamella_version": lamella.__version__,
        "slide": job.slide.slide,
        "patient": job.slide.patient,
        "fingerprint": job.fingerprint,
        "classes": list(job.settings.classes),
        "mpp_requested": job.settings.mpp,
        "mpp_read": plan.mpp_read,
        "mpp_effective": plan.mpp_effective,
        "mpp_l0": reader.mpp_l0,
        "mpp_source": reader.mpp_source,
        "level": plan.level,
        "read_px": plan.read_px,
        "edge_l0": plan.edge_l0,
        "size_l0": np.array(reader.size_l0, dtype=np.int64),
        "bounds": np.array(reader.bounds or (), dtype=np.int64),
        "vendor": reader.vendor,
        "reader": reader.source.reader.value,
        "openslide_version": OPENSLIDE_VERSION,
        "seed": job.settings.seed,
        "settings": canonical(job.settings.as_params()),
        "reading": canonical(job.reading.as_params()),
    }
