"""How tissue is told from glass, and what is left out of it."""

from enum import StrEnum

from pydantic import Field

from lamella.annotations.settings import Origin
from lamella.settings import Settings


class TissueMethod(StrEnum):
    """How a pixel is judged."""

    OTSU = "otsu"
    SATURATION = "saturation"
    DISTANCE = "distance"
    MASK = "mask"


class Artefact(StrEnum):
    """What spoils a slide."""

    PEN = "pen"
    GAPS = "gaps"
    FOLDS = "folds"
    BLUR = "blur"


class TissueSettings(Settings):
    """The tissue mask: decided once per slide at a fixed resolution."""

    method: TissueMethod = TissueMethod.OTSU
    """`otsu`: darker than Otsu's threshold of the grey image; `saturation`: more colourful than
    Otsu's threshold of the HSV saturation; `distance`: further than 85 grey levels from white;
    `mask`: only masks from the table. A slide with a file in column `mask` has that one always."""

    mpp: float = Field(default=8.0, ge=1.0, le=64.0)
    """Microns per pixel at which the slide is judged; independent of the patches'."""

    dilate_um: float = Field(default=24.0, ge=0.0)
    """With `otsu` and `saturation`: radius in microns by which the mask grows before holes are
    filled. `distance` closes with a disk of 9 pixels instead."""

    min_area_um2: float = Field(default=20_000.0, ge=0.0)
    """Pieces of tissue smaller than this, in square microns, are dust and left out."""

    max_hole_um2: float = Field(default=200_000.0, ge=0.0)
    """Holes up to this size, in square microns, are filled."""

    exclude: tuple[Artefact, ...] = (Artefact.PEN, Artefact.GAPS)
    """What is no tissue, besides glass; all four are measured in any case. `pen` and `gaps` show
    no tissue at all. `folds` and `blur` show tissue, badly; about half of a fold is missed, so
    look at the shares first."""

    mask_origin: Origin = Origin.CANVAS
    """Where the coordinates of a file in column `mask` start, as `patches.annotation.origin`."""
