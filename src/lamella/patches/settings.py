"""Which squares are cut from the tissue, how they are labelled and stored."""

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from lamella.annotations.settings import AnnotationSettings
from lamella.settings import Settings
from lamella.stain.settings import StainMethod
from lamella.stores.codec import Codec, Storage


class Sampling(StrEnum):
    """Which of the windows that show enough tissue are taken."""

    GRID = "grid"
    RANDOM = "random"
    BALANCED = "balanced"
    ALL = "all"


class BalancePer(StrEnum):
    """Within what the classes are balanced."""

    SLIDE = "slide"
    PATIENT = "patient"
    COHORT = "cohort"


class LabelSource(StrEnum):
    """What decides the label of a patch."""

    ANNOTATION = "annotation"
    SLIDE = "slide"


class PatchSettings(Settings):
    """Which squares are cut from the tissue."""

    size_px: int = Field(default=224, ge=16, le=4096)
    """Edge length of a patch in pixels, as the network sees it."""

    mpp: float = Field(default=0.5, ge=0.05, le=20.0)
    """Microns per pixel of a patch; 0.5 is nominally 20x, 0.25 is 40x. A slide whose finest
    level is coarser is quarantined: pixels are never invented."""

    stride_px: int | None = Field(default=None, ge=1)
    """Distance of neighbouring windows in patch pixels; unset: `size_px`, no overlap."""

    min_tissue_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of a patch that must be tissue; a patch with exactly this share is kept."""

    sampling: Sampling = Sampling.GRID
    """`grid`: every window with enough tissue; `random`: at most `per_class` of them of each class
    and slide; `balanced`: as many of every class; `all`: every window with any tissue, also
    without a label."""

    per_class: int = Field(default=200, ge=1)
    """With `random` and `balanced`: most windows per slide and class, drawn without replacement."""

    balance_per: BalancePer = BalancePer.SLIDE
    """With `balanced`: as many windows of every class in each `slide`, in each `patient`, or in
    each split of the `cohort`; the rarest class that occurs there says how many. `slide` stores
    no others; `patient` and `cohort` leave them out of the index."""

    label_source: LabelSource = LabelSource.ANNOTATION
    """`annotation`: by the share of annotated tumour; `slide`: the slide's label in the table."""

    annotation: AnnotationSettings = AnnotationSettings()
    """Which outlines of an annotation are tumour."""

    classes: tuple[str, ...] = ("normal", "tumor")
    """Names of the labels 0, 1, … With `annotation` exactly two, the second is the tumour."""

    tumor_min_share: float = Field(default=0.5, gt=0.0, le=1.0)
    """With `annotation`: from exactly this share of tumour on, a patch is tumour."""

    normal_max_tumor_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    """With `annotation`: up to exactly this share of tumour, a patch is normal; in between: no
    label."""

    keep_unlabelled: bool = True
    """Whether patches without a label are stored; they are predicted, never trained on."""

    storage: Storage = Storage.PIXELS
    """`pixels`: as they are, fastest to read; `jpeg`: a tenth of the size, not quite the slide's
    pixels; `passthrough`: the slide's own JPEG tiles, where a patch is exactly one;
    `coordinates`: none, patches are read from the slide each time."""

    codec: Codec = Codec.NONE
    """With `pixels`: their packing; `none` is fastest to read, `zstd` is smaller."""

    jpeg_quality: int = Field(default=95, ge=1, le=100)
    """With `jpeg`: its quality; colours are never subsampled (4:4:4)."""

    stain: StainMethod = StainMethod.NONE
    """Whether the colours of every slide are made like those of a reference: `macenko`, `reinhard`
    or `none`. Fitted once per slide, on its tissue."""

    stain_reference: Path | None = None
    """With `macenko` and `reinhard`: an image, tissue only, whose colours all slides get; unset:
    the published constants of the method."""

    seed: int = Field(default=0, ge=0)
    """Seed of the random draws."""

    @model_validator(mode="after")
    def _labels_are_possible(self) -> Self:
        if len(set(self.classes)) != len(self.classes) or not self.classes:
            raise ValueError("classes must be different names, at least one")
        if self.label_source is LabelSource.ANNOTATION and len(self.classes) != 2:
            raise ValueError("label_source annotation needs exactly two classes")
        if self.normal_max_tumor_share >= self.tumor_min_share:
            raise ValueError("normal_max_tumor_share must be below tumor_min_share")
        if self.storage is Storage.PASSTHROUGH:
            if self.stain is not StainMethod.NONE:
                raise ValueError("storage passthrough keeps the slide's own colours: no stain")
            if self.step_px != self.size_px:
                raise ValueError("storage passthrough takes the slide's tiles: no stride_px")
        return self

    @property
    def step_px(self) -> int:
        """Distance of neighbouring windows in patch pixels."""
        return self.stride_px or self.size_px

    @property
    def balanced_in_index(self) -> bool:
        """Whether the classes are balanced over several slides, when these are joined."""
        return self.sampling is Sampling.BALANCED and self.balance_per is not BalancePer.SLIDE

    def of_extraction(self) -> Self:
        """Return settings that make the same patch files, the same for all that do.

        Each setting that has no effect gets its default, so that a changed seed makes no patch
        anew where nothing is drawn.
        """
        update = {name: type(self).model_fields[name].default for name in self._without_effect()}
        if self.balanced_in_index:
            # Balanced when slides are joined; until then every drawn window may be taken.
            update["sampling"] = Sampling.RANDOM
        return self.model_copy(update=update)

    def _without_effect(self) -> set[str]:
        drawn = self.sampling in {Sampling.RANDOM, Sampling.BALANCED}
        by_annotation = self.label_source is LabelSource.ANNOTATION
        has_effect = {
            "stride_px": self.stride_px != self.size_px,
            "min_tissue_share": self.sampling is not Sampling.ALL,
            "keep_unlabelled": self.sampling is not Sampling.ALL,
            "per_class": drawn,
            "seed": drawn,
            "balance_per": False,
            "annotation": by_annotation,
            "tumor_min_share": by_annotation,
            "normal_max_tumor_share": by_annotation,
            "codec": self.storage is Storage.PIXELS,
            "jpeg_quality": self.storage is Storage.JPEG,
            "stain_reference": self.stain is not StainMethod.NONE,
        }
        return {name for name, matters in has_effect.items() if not matters}
