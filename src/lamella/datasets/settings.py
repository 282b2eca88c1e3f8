"""How samples are drawn and augmented."""

from enum import StrEnum

from pydantic import Field

from lamella.settings import Settings


class Sampling(StrEnum):
    """Which samples make an epoch."""

    NATURAL = "natural"
    BALANCED = "balanced"


class AugmentSettings(Settings):
    """How a patch is changed before the network sees it; drawn anew for each epoch and sample."""

    flip: bool = True
    """Mirror half of the patches from left to right."""

    turn: bool = True
    """Turn patches by 0, 90, 180 or 270 degrees."""

    hed_jitter: float = Field(default=0.0, ge=0.0, le=0.5)
    """Most change of the amounts of haematoxylin, eosin and DAB: each is multiplied by 1 ± this
    and shifted by ± this in optical density; 0.05 is slight, 0 is none."""
