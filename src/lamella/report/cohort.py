"""The cohort: every slide, the quarantined ones first."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lamella.cohort.settings import Split
from lamella.cohort.split import read_splits
from lamella.cohort.table import read_slides
from lamella.fleet.manifest import ManifestRow, Status, read_manifest
from lamella.patches.index import PatchIndex
from lamella.report.inputs import ReportInputs
from lamella.report.pictures import outlined_thumbnail
from lamella.report.quality import Shares, Spoiled, most_spoiled, read_shares
from lamella.tissue.mask import thumbnail_path

MOST_THUMBNAILS = 200
"""More would make the page slow to open and hard to send."""


@dataclass(frozen=True)
class SlideEntry:
    """One slide of the cohort table.

    Attributes:
        slide: Its name.
        patient: Whose it is.
        label: Its class in the table.
        split: Its split.
        centre: Where it is from.
        status: What became of it.
        patches: Number of patches.
        per_class: Number of labelled patches of each class.
        error: Why it is quarantined; empty otherwise.
        stage: Where it failed; empty otherwise.
        thumbnail: Data URI; empty where there is none.
        shares: What was measured of tissue and of what spoils it, 0-1, by column of the table of
            qualities.
    """

    slide: str
    patient: str
    label: str
    split: str
    centre: str
    status: Status
    patches: int
    per_class: dict[str, int]
    error: str
    stage: str
    thumbnail: str
    shares: Shares

    @property
    def unlabelled(self) -> int:
        """Number of patches without a label."""
        return self.patches - sum(self.per_class.values())


@dataclass(frozen=True)
class CohortSection:
    """The cohort as the page shows it.

    Attributes:
        slides: The quarantined first, else in table order.
        classes: Names of the labels.
        patients: Number of patients.
        splits: Number of slides of each split.
        without_thumbnail: Number of slides whose thumbnail was left out for length.
        spoiled: The slides that are spoiled most, by column of the table of qualities.
    """

    slides: list[SlideEntry]
    classes: tuple[str, ...]
    patients: int
    splits: dict[str, int] = field(default_factory=dict)
    without_thumbnail: int = 0
    spoiled: dict[str, Spoiled] = field(default_factory=dict)

    @property
    def split_counts(self) -> str:
        """Number of slides of each split, in words."""
        order = [split for split in (*Split, "") if split in self.splits]
        return ", ".join(f"{self.splits[split]} {split or 'without'}" for split in order)

    @property
    def quarantined(self) -> list[SlideEntry]:
        """The slides that failed."""
        return [entry for entry in self.slides if entry.status is Status.FAILED]

    @property
    def patches(self) -> int:
        """Number of patches of the cohort."""
        return sum(entry.patches for entry in self.slides)


def cohort_section(
    inputs: ReportInputs, index: PatchIndex, *, most: int = MOST_THUMBNAILS
) -> CohortSection:
    """Return the cohort.

    Args:
        inputs: Tables of all layers.
        index: All patches.
        most: Most thumbnails.
    """
    cohort = read_slides(inputs.slides)
    split_of = read_splits(inputs.splits)
    masks, patches = read_manifest(inputs.masks), read_manifest(inputs.patches)
    fates = _fates([masks, patches, *map(read_manifest, inputs.predictions)])
    per_class = _per_class(index)
    shares = read_shares(inputs.quality)
    # Sorting is stable: the order of the table is kept within both groups.
    ordered = sorted(cohort, key=lambda slide: fates[slide.slide].status is not Status.FAILED)
    pictured = {
        slide.slide for slide in ordered if _has_thumbnail(inputs.masks, masks[slide.slide])
    }
    shown = [slide.slide for slide in ordered if slide.slide in pictured][:most]
    entries = [
        SlideEntry(
            slide=slide.slide,
            patient=slide.patient,
            label=slide.label,
            split=split_of.get(slide.slide, ""),
            centre=slide.centre,
            status=fates[slide.slide].status,
            patches=patches[slide.slide].n,
            per_class=per_class.get(slide.slide, {}),
            error=fates[slide.slide].error,
            stage=fates[slide.slide].stage,
            thumbnail=_picture(inputs.masks, masks[slide.slide]) if slide.slide in shown else "",
            shares=shares[slide.slide],
        )
        for slide in ordered
    ]
    return CohortSection(
        slides=entries,
        classes=index.classes,
        patients=len({slide.patient for slide in cohort}),
        splits=dict(Counter(entry.split for entry in entries)),
        without_thumbnail=len(pictured) - len(shown),
        spoiled=most_spoiled(shares),
    )


def _fates(manifests: list[dict[str, ManifestRow]]) -> dict[str, ManifestRow]:
    """Return of each slide the first row in which it failed, else that of its patches."""
    fates = dict(manifests[1])
    for manifest in reversed(manifests):
        fates |= {name: row for name, row in manifest.items() if row.status is Status.FAILED}
    return fates


def _per_class(index: PatchIndex) -> dict[str, dict[str, int]]:
    labelled = index.table[index.table["label"] >= 0]
    counts: dict[str, dict[str, int]] = {}
    sizes = labelled.groupby(["slide", "label"]).size().reset_index(name="n")
    for slide, label, n in zip(sizes["slide"], sizes["label"], sizes["n"], strict=True):
        counts.setdefault(slide, {})[index.classes[label]] = int(n)
    return counts


def _has_thumbnail(masks: Path, row: ManifestRow) -> bool:
    return row.status is not Status.FAILED and thumbnail_path(masks.parent / row.path).exists()


def _picture(masks: Path, row: ManifestRow) -> str:
    if row.status is Status.FAILED:
        return ""
    mask = masks.parent / row.path
    return outlined_thumbnail(thumbnail_path(mask), mask)
