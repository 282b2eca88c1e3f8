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


class SplitMethod(StrEnum):
    """What decides which patients are for testing."""

    SHARES = "shares"
    K_FOLD = "k-fold"
    LEAVE_ONE_CENTRE_OUT = "leave-one-centre-out"


class SplitSettings(Settings):
    """Who is trained on, and who is tested on; a patient is never divided."""

    method: SplitMethod = SplitMethod.SHARES
    """Who is tested on: with `shares` a share of the patients, with `k-fold` one of `folds` parts,
    with `leave-one-centre-out` all patients of one `centre`. With the last two, `test` has no
    effect, and the other patients are divided as `train` to `validation`."""

    train: float = Field(default=0.6, gt=0.0, lt=1.0)
    """Share of the patients for training."""

    validation: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of the patients for choosing epochs, seeds and settings."""

    test: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of the patients that nothing is chosen on."""

    folds: int = Field(default=5, ge=2)
    """With `k-fold`: how many folds; every patient is tested on in one of them."""

    fold: int | None = Field(default=None, ge=1)
    """With `k-fold`: the fold that is tested on, 1 to `folds`."""

    centre: str | None = Field(default=None, min_length=1)
    """With `leave-one-centre-out`: the centre whose patients are tested on."""

    stratify: tuple[str, ...] = ("label", "centre")
    """Columns of the slide table whose values are spread evenly over the splits."""

    seed: int = Field(default=0, ge=0)
    """Seed of the division."""

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"train + validation + test is {total:g}, not 1")
        return self

    @model_validator(mode="after")
    def _method_has_what_it_needs(self) -> Self:
        for name, method in _MADE_FOR.items():
            given = getattr(self, name) is not None
            if given and self.method is not method:
                raise ValueError(f"{name} is for method {method}, but the method is {self.method}")
            if not given and self.method is method:
                raise ValueError(f"method {method} needs {name}")
        if self.fold is not None and self.fold > self.folds:
            raise ValueError(f"fold {self.fold} is not one of 1 to {self.folds}")
        return self

    def share(self, split: Split) -> float:
        """Return the share of a split."""
        return float(getattr(self, split.value))


_MADE_FOR = {
    "fold": SplitMethod.K_FOLD,
    "centre": SplitMethod.LEAVE_ONE_CENTRE_OUT,
}
