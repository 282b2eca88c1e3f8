"""Which patches are explained, and how."""

from pydantic import Field

from lamella.settings import Settings


class InterpretSettings(Settings):
    """Which patches are explained, and how."""

    patches_per_class: int = Field(default=8, ge=1, le=500)
    """Most patches of each class that are explained: the most confident ones of the test split,
    the best of every slide first."""

    stage_from_end: int = Field(default=1, ge=1, le=8)
    """Stage of the network whose maps are weighed, counted from its end; 1 is the last. An earlier
    one has a finer grid and a vaguer meaning."""

    dark_share: float = Field(default=0.25, gt=0.0, lt=1.0)
    """Share of a patch's pixels, the darkest, that stand for its nuclei in the check."""
