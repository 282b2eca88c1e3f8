"""What is learned of samples, and how they are drawn and augmented."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from lamella.settings import Settings

# In two dimensions; source: Choi and Lee, Graphical Models 62, 2000, doi:10.1006/gmod.2000.0531.
_FOLDS_FROM = 0.48


class Sampling(StrEnum):
    """Which samples make an epoch."""

    NATURAL = "natural"
    BALANCED = "balanced"


class TargetKind(StrEnum):
    """What a network learns to tell of a patch."""

    CLASSES = "classes"
    MULTI_LABEL = "multi_label"
    REGRESSION = "regression"


class TargetSettings(Settings):
    """What a run learns; docs/training.md, section Targets."""

    kind: TargetKind = TargetKind.CLASSES
    """`classes`: which of `patches.classes` a patch is; `multi_label`: for each of `columns`
    whether it is 1 or 0, labels that do not exclude each other; `regression`: the number in each
    of `columns`."""

    columns: tuple[str, ...] = ()
    """With `multi_label` and `regression`: columns of the slide table; every patch of a slide is
    given what stands there. A cell may be empty: it is then neither learned nor judged."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind is TargetKind.CLASSES and self.columns:
            raise ValueError("columns are for kind multi_label and regression")
        if self.kind is not TargetKind.CLASSES and not self.columns:
            raise ValueError(f"kind {self.kind} needs columns of the slide table")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("columns holds one name twice")
        return self


class AugmentSettings(Settings):
    """How a patch is changed before the network sees it; drawn anew for each epoch and sample.

    What one setting draws does not depend on the others. Draws are even over their range.
    """

    flip: bool = True
    """Mirror half of the patches from left to right."""

    turn: bool = True
    """Turn patches by 0, 90, 180 or 270 degrees."""

    hed_jitter: float = Field(default=0.0, ge=0.0, le=0.5)
    """Most change of the amounts of haematoxylin, eosin and DAB: each is multiplied by 1 ± this
    and shifted by ± this in optical density; 0.05 is slight, 0 is none."""

    rotation_deg: float = Field(default=0.0, ge=0.0, le=180.0)
    """Turn patches about their centre by up to ± this many degrees; what comes in at the border
    is mirrored. 0 is none."""

    scale_jitter: float = Field(default=0.0, ge=0.0, le=0.5)
    """Most change of size: patches are enlarged or shrunk by up to 1 + this, even in the
    logarithm; 0.1 is slight, 0 is none."""

    elastic_px: float = Field(default=0.0, ge=0.0, le=100.0)
    """Elastic deformation: a smooth random field moves every point by at most this many pixels
    along each axis, by a quarter of it usually; at most 0.48 of `elastic_spacing_px`, above which
    tissue could fold over. 0 is none."""

    elastic_spacing_px: float = Field(default=48.0, ge=4.0, le=1000.0)
    """With `elastic_px`: distance of the field's control points in pixels; the larger, the
    smoother."""

    brightness_jitter: float = Field(default=0.0, ge=0.0, le=0.9)
    """Most change of brightness: colours are multiplied by 1 ± this; 0.1 is slight, 0 is none."""

    contrast_jitter: float = Field(default=0.0, ge=0.0, le=0.9)
    """Most change of contrast: distances from the patch's mean grey are multiplied by 1 ± this;
    0.1 is slight, 0 is none."""

    saturation_jitter: float = Field(default=0.0, ge=0.0, le=0.9)
    """Most change of saturation: distances of colours from their grey are multiplied by 1 ± this;
    0.1 is slight, 0 is none."""

    hue_deg: float = Field(default=0.0, ge=0.0, le=180.0)
    """Turn colours about the grey axis by up to ± this many degrees; 10 is slight, 0 is none."""

    blur_px: float = Field(default=0.0, ge=0.0, le=10.0)
    """Gaussian blur: most standard deviation in pixels; 1 is slight, 0 is none."""

    noise_levels: float = Field(default=0.0, ge=0.0, le=64.0)
    """Gaussian noise of every colour value: most standard deviation in levels of 255; 5 is slight,
    0 is none."""

    jpeg_quality_min: int | None = Field(default=None, ge=1, le=100)
    """Pack and unpack patches as JPEG, colours halved (4:2:0), of a quality between this and 100;
    absent: not done."""

    dropout_holes: int = Field(default=0, ge=0, le=64)
    """Coarse dropout: most squares that are painted over with the patch's mean colour; 0 is
    none."""

    dropout_share: float = Field(default=0.15, gt=0.0, le=0.5)
    """With `dropout_holes`: edge of a square as a share of the patch's."""

    @model_validator(mode="after")
    def _tissue_does_not_fold(self) -> Self:
        if self.elastic_px > _FOLDS_FROM * self.elastic_spacing_px:
            raise ValueError(
                f"elastic_px is {self.elastic_px:g}, above {_FOLDS_FROM} of elastic_spacing_px "
                f"({self.elastic_spacing_px:g}): tissue could fold over"
            )
        return self

    @property
    def resamples(self) -> bool:
        """Whether pixels are moved to places between pixels."""
        return any((self.rotation_deg, self.scale_jitter, self.elastic_px))

    @property
    def recolours(self) -> bool:
        """Whether brightness, contrast, saturation or hue are changed."""
        return any(
            (self.brightness_jitter, self.contrast_jitter, self.saturation_jitter, self.hue_deg)
        )
