"""How much there is of a cohort: slides, tissue, patches, and the disk that they take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lamella.cohort.table import Slide
from lamella.errors import CohortError
from lamella.patches.settings import PatchSettings, Sampling
from lamella.planning.rates import counted_patches, tissue_shares
from lamella.planning.slide_sizes import SlideSize, slide_sizes
from lamella.slides.settings import ReaderName
from lamella.stores.codec import Storage

TISSUE_SHARE = 0.3
"""Share of a slide that is taken for tissue where no mask says it; a guess, `--tissue-share`."""

JPEG_KIB = 27
"""A patch of 224 pixels of real tissue at quality 95, docs/performance.md; 10 of drawn tissue."""

JPEG_PX = 224
MASK_MIB = 0.2
"""Mask and thumbnail of a slide."""
COLUMN_BYTES = 64
"""Place, shares, label and row in the index, of a patch."""


@dataclass(frozen=True)
class CohortSize:
    """How much there is of a cohort.

    Attributes:
        slides: Number of slides.
        gigapixels: Mean size of a slide.
        patches: Patches as expected.
        most_patches: No more than so many, if the tissue is as large as said.
        notes: What the figures rest on.
    """

    slides: int
    gigapixels: float
    patches: int
    most_patches: int
    notes: tuple[str, ...]


def cohort_size(
    slides: Sequence[Slide],
    settings: PatchSettings,
    reader: ReaderName,
    *,
    root: Path,
    tissue_share: float = TISSUE_SHARE,
) -> CohortSize:
    """Return how much there is of a cohort.

    Args:
        slides: All slides.
        settings: Which patches are cut.
        reader: The reader that the study reads slides with.
        root: The results folder: its masks and patches are counted, not guessed.
        tissue_share: Share of a slide without a mask that is tissue, 0-1.

    Raises:
        CohortError: none of the slides that were looked at can be opened.
    """
    sizes, errors = slide_sizes(slides, reader)
    if not sizes:
        raise CohortError(
            f"none of {len(errors)} slides that were looked at can be opened ({errors[0].what})",
            errors[0].where,
            "Correct the paths in the slide table",
        )
    shares, counted = tissue_shares(root), counted_patches(root)
    expected = most = 0.0
    for size in sizes:
        tissue_mm2 = size.area_mm2 * shares.get(size.slide, tissue_share)
        some = patches_of(tissue_mm2, size.area_mm2, settings)
        known = counted.get(size.slide)
        expected += some[0] if known is None else known
        most += some[1] if known is None else known
    scale = len(slides) / (len(sizes) + len(errors))
    return CohortSize(
        slides=len(slides),
        gigapixels=sum(size.gigapixels for size in sizes) / len(sizes),
        patches=round(expected * scale),
        most_patches=round(most * scale),
        notes=(
            *_looked_at(slides, sizes, len(errors), str(errors[0]) if errors else ""),
            *_tissue_notes(sizes, shares, counted, tissue_share),
        ),
    )


def patches_of(tissue_mm2: float, slide_mm2: float, settings: PatchSettings) -> tuple[float, float]:
    """Return how many patches a slide has, as expected and at most.

    A window that is kept shows at least ``min_tissue_share`` of tissue, and every bit of tissue is
    shown by as many windows as overlap there: that bounds their number.
    """
    edge_mm = settings.size_px * settings.mpp / 1000
    stride_mm = (settings.stride_px or settings.size_px) * settings.mpp / 1000
    windows = slide_mm2 / stride_mm**2
    expected = min(windows, tissue_mm2 / stride_mm**2)
    least_mm2 = settings.min_tissue_share * edge_mm**2
    shown_mm2 = tissue_mm2 * (edge_mm / stride_mm) ** 2
    any_tissue = settings.sampling is Sampling.ALL or not least_mm2
    most = windows if any_tissue else min(windows, shown_mm2 / least_mm2)
    if settings.sampling in {Sampling.RANDOM, Sampling.BALANCED}:
        drawn = settings.per_class * len(settings.classes)
        return min(expected, drawn), min(most, drawn)
    return expected, most


def patch_bytes(settings: PatchSettings) -> float:
    """Return the size of a stored patch; packed pixels are counted unpacked."""
    if settings.storage is Storage.COORDINATES:
        return COLUMN_BYTES
    if settings.storage is Storage.PIXELS:
        return 3 * settings.size_px**2 + COLUMN_BYTES
    return JPEG_KIB * 1024 * (settings.size_px / JPEG_PX) ** 2 + COLUMN_BYTES


def _looked_at(
    slides: Sequence[Slide], sizes: Sequence[SlideSize], unreadable: int, first: str
) -> list[str]:
    notes = []
    if len(sizes) + unreadable < len(slides):
        notes.append(
            f"{len(sizes) + unreadable} of {len(slides)} slides were looked at; the others are"
            " taken to be like them"
        )
    if unreadable:
        notes.append(f"{unreadable} of them cannot be opened and count as empty: {first}")
    return notes


def _tissue_notes(
    sizes: Sequence[SlideSize],
    shares: Mapping[str, float],
    counted: Mapping[str, int],
    tissue_share: float,
) -> list[str]:
    names = {size.slide for size in sizes}
    known = {
        "have their patches counted, as extracted by the settings of then": len(
            names & counted.keys()
        ),
        "have a mask": len(names & shares.keys() - counted.keys()),
    }
    notes = [f"{count} of {len(names)} slides {what}" for what, count in known.items() if count]
    guessed = len(names - shares.keys() - counted.keys())
    if guessed:
        notes.append(
            f"{guessed} of {len(names)} slides have no mask yet: {tissue_share:g} of each is taken"
            " for tissue (--tissue-share)"
        )
    return notes
