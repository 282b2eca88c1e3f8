"""Find the tissue of every slide."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lamella import tissue
from lamella.annotations.frame import Frame
from lamella.cohort.table import Slide, read_slides
from lamella.errors import AnnotationError, SlideUnreadableError
from lamella.fleet.fingerprint import fingerprint
from lamella.fleet.manifest import ManifestRow, Status
from lamella.fleet.run import SlideTask, failed_row, run_stage
from lamella.fleet.settings import FleetSettings
from lamella.slides.identity import file_identity, file_size, slide_identities
from lamella.slides.open import reading_inputs
from lamella.slides.reader import SlideReader
from lamella.slides.settings import ReadingSettings
from lamella.slurm.settings import DEFAULT_SITE, SiteSettings
from lamella.stores.atomic import replacing
from lamella.stores.tables import write_table
from lamella.tissue.artefacts import folds, pen_marks, scanning_gaps
from lamella.tissue.edited import read_edited
from lamella.tissue.focus import SAMPLED_BLOCKS, blurred_tissue
from lamella.tissue.mask import (
    TissueMask,
    read_quality,
    read_stored_mask,
    thumbnail_path,
    write_mask,
)
from lamella.tissue.methods import find_tissue
from lamella.tissue.overview import Area, Overview
from lamella.tissue.quality import COLUMNS, Quality, quality_of, share_within
from lamella.tissue.settings import Artefact, TissueMethod, TissueSettings
from lamella.units import Level0Pixels

logger = logging.getLogger(__name__)

STAGE = "segment_tissue"

_THUMBNAIL_PX = 512
# H&E and IHC slides and crops have medians above 180, a DAPI slide has 16.
_DARKEST_MEDIAN = 64


@dataclass(frozen=True)
class SegmentJob:
    """What a worker needs to find the tissue of one slide."""

    slide: Slide
    settings: TissueSettings
    mask: Path
    fingerprint: str
    reading: ReadingSettings


def segment_tissue(
    *,
    slides: Path,
    manifest: Path,
    quality: Path,
    settings: TissueSettings,
    fleet: FleetSettings,
    reading: ReadingSettings,
    site: SiteSettings = DEFAULT_SITE,
) -> None:
    """Write ``slides/{slide}.png`` and ``thumbnails/{slide}.jpg`` beside the manifest.

    Args:
        slides: Checked slide table.
        manifest: The manifest; ``n`` counts the tissue pixels of a mask.
        quality: Table of what spoils the slides, one row a slide.
        settings: Method, resolution and what is excluded.
        fleet: Workers.
        reading: How slide files are read.
        site: The cluster, where the workers are SLURM jobs.
    """
    cohort = read_slides(slides)
    identities = slide_identities(slide.path for slide in cohort)
    plan = [
        failed_row(STAGE, slide.slide, identity)
        if isinstance(identity, SlideUnreadableError)
        else _task(slide, identity, manifest.parent, settings, reading)
        for slide, identity in zip(cohort, identities, strict=True)
    ]
    rows = run_stage(
        STAGE,
        segment_slide,
        plan,
        manifest=manifest,
        stored=read_stored_mask,
        settings=fleet,
        site=site,
    )
    _write_quality(quality, rows, manifest.parent)


def _task(
    slide: Slide, identity: str, folder: Path, settings: TissueSettings, reading: ReadingSettings
) -> SlideTask | ManifestRow:
    try:
        size, drawn = file_size(slide.path), _drawn_mask(slide, settings)
    except (AnnotationError, SlideUnreadableError) as error:
        return failed_row(STAGE, slide.slide, error)
    made_of = fingerprint(
        STAGE,
        tissue.REVISION,
        settings,
        identity=identity,
        mpp=slide.mpp,
        drawn_mask=drawn,
        reading=reading_inputs(reading),
    )
    mask = folder / "slides" / f"{slide.slide}.png"
    job = SegmentJob(slide, settings, mask, made_of, reading)
    return SlideTask(slide.slide, size, mask, made_of, job)


def _drawn_mask(slide: Slide, settings: TissueSettings) -> str | None:
    """Return the identity of the mask that the user drew, if there is one."""
    if slide.mask is not None:
        return file_identity(slide.mask)
    if settings.method is TissueMethod.MASK:
        raise AnnotationError(
            "`tissue.method` is mask, but the table names none",
            slide.slide,
            "Name a file in column `mask`, or choose another method",
        )
    return None


def segment_slide(job: SegmentJob) -> int:
    """Write mask and thumbnail of one slide; return the number of tissue pixels."""
    with SlideReader(job.slide.path, job.reading, mpp=job.slide.mpp) as reader:
        cell_l0 = Level0Pixels(max(1, round(job.settings.mpp / reader.mpp_l0)))
        overview = reader.read_overview(cell_l0)
        _refuse_dark_background(overview, job.slide.path)
        mask, quality = _judge(job.slide, reader, overview, cell_l0, job.settings)
    with replacing(thumbnail_path(job.mask)) as temporary:
        thumbnail = Image.fromarray(overview)
        thumbnail.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
        thumbnail.save(temporary, quality=85)
    # The mask holds the fingerprint, so it comes last.
    write_mask(job.mask, mask, fingerprint=job.fingerprint, quality=quality.row())
    return int(mask.pixels.sum())


def _judge(
    slide: Slide,
    reader: SlideReader,
    overview: Overview,
    cell_l0: Level0Pixels,
    settings: TissueSettings,
) -> tuple[TissueMask, Quality]:
    cell_um = cell_l0 * reader.mpp_l0
    spoiled = {
        Artefact.PEN: pen_marks(overview, cell_um),
        Artefact.GAPS: _inside_bounds(scanning_gaps(overview), reader, cell_l0),
    }
    # What the user drew is the user's word: nothing is taken off it.
    excluded = settings.exclude if slide.mask is None else ()
    if slide.mask is None:
        method = settings.method
        usable = ~_union(spoiled, excluded, overview.shape[:2])
        found = find_tissue(overview, cell_um, settings, usable=usable)
    else:
        method = TissueMethod.MASK
        frame = Frame.of(reader.size_l0, reader.bounds, settings.mask_origin)
        found = read_edited(slide.mask, overview.shape[:2], cell_l0, frame=frame)
    spoiled[Artefact.FOLDS] = folds(overview, found, cell_um)
    blur = blurred_tissue(
        reader,
        TissueMask(found, cell_l0),
        most_blocks=None if Artefact.BLUR in excluded else SAMPLED_BLOCKS,
    )
    spoiled[Artefact.BLUR] = np.zeros_like(found) if blur is None else blur.blurred
    kept = found & ~_union(spoiled, excluded, found.shape)
    blur_share = share_within(blur.blurred, blur.seen) if blur and blur.seen.any() else None
    quality = quality_of(method, found=found, kept=kept, artefacts=spoiled, blur_share=blur_share)
    return TissueMask(kept, cell_l0), quality


def _union(
    spoiled: Mapping[Artefact, Area], kinds: Iterable[Artefact], shape: tuple[int, ...]
) -> Area:
    union = np.zeros(shape, dtype=bool)
    for kind in kinds:
        union |= spoiled.get(kind, np.False_)
    return union


def _inside_bounds(gaps: Area, reader: SlideReader, cell_l0: Level0Pixels) -> Area:
    """Return the gaps in the scanned area; the canvas around it is no gap."""
    if reader.bounds is None:
        return gaps
    left, top, width, height = reader.bounds
    inside = np.zeros_like(gaps)
    within = np.s_[
        -(-top // cell_l0) : (top + height) // cell_l0,
        -(-left // cell_l0) : (left + width) // cell_l0,
    ]
    inside[within] = gaps[within]
    return inside


def _write_quality(path: Path, rows: list[ManifestRow], folder: Path) -> None:
    write_table(
        path,
        COLUMNS,
        (
            {"slide": row.slide}
            | ({} if row.status is Status.FAILED else read_quality(folder / row.path))
            for row in rows
        ),
    )


def _refuse_dark_background(overview: Overview, path: Path) -> None:
    """Refuse fluorescence and multi-channel scans, whose background Otsu would take for tissue."""
    median = float(np.median(overview.max(axis=2)))
    if median < _DARKEST_MEDIAN:
        raise SlideUnreadableError(
            f"the slide has a dark background (half of it is darker than {median:.0f} of 255); "
            "it is no brightfield slide",
            str(path),
            "Remove its row; fluorescence slides are not supported",
        )
