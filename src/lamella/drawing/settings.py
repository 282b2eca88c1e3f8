"""What is drawn: the cohort and its artefacts."""

from enum import StrEnum

from pydantic import Field

from lamella.settings import Settings


class Scanner(StrEnum):
    """Which scanner a drawn slide seems to come from."""

    APERIO = "aperio"
    LEICA = "leica"


class DrawingSettings(Settings):
    """How many slides are drawn, how large they are and what they show."""

    slides: int = Field(default=12, ge=1)
    """Number of slides."""

    slides_per_patient: int = Field(default=2, ge=1)
    """Slides of one patient; the last patient may have fewer."""

    centres: int = Field(default=2, ge=1)
    """Number of centres; odd ones own an Aperio-like scanner, even ones a Leica-like one."""

    width_um: float = Field(default=2000.0, ge=200.0)
    """Width of the field of view in microns."""

    height_um: float = Field(default=1500.0, ge=200.0)
    """Height of the field of view in microns."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the whole cohort."""

    tumor_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of each centre's patients whose slides show tumour."""

    pen_share: float = Field(default=0.25, ge=0.0, le=1.0)
    """Probability that a slide carries a pen mark."""

    fold_share: float = Field(default=0.25, ge=0.0, le=1.0)
    """Probability that the tissue of a slide is folded."""

    blur_share: float = Field(default=0.25, ge=0.0, le=1.0)
    """Probability that a part of a slide is out of focus."""

    tile_px: int = Field(default=256, ge=64, le=1024, multiple_of=16)
    """Edge length of a TIFF tile in pixels."""

    jpeg_quality: int = Field(default=85, ge=50, le=100)
    """Quality of the JPEG tiles."""

    processes: int = Field(default=1, ge=1)
    """Slides drawn at the same time; it does not change what is drawn."""
