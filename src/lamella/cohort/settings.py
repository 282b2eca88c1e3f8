"""How patients are divided into training, validation and test."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from lamella.settings import Settings


class Split(StrEnum):
    """What a slide is used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class SplitSettings(Settings):
    """Shares and strata of the splits; a patient is never divided."""

    train: float = Field(default=0.6, gt=0.0, lt=1.0)
    """Share of the patients for training."""

    validation: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of the patients for choosing epochs, seeds and settings."""

    test: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of the patients that nothing is chosen on."""

    stratify: tuple[str, ...] = ("label",)
    """Columns of the slide table whose values are spread evenly over the splits."""

    seed: int = Field(default=0, ge=0)
    """Seed of the division."""

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"train + validation + test is {total:g}, not 1")
        return self

    def share(self, split: Split) -> float:
        """Return the share of a split."""
        return float(getattr(self, split.value))
