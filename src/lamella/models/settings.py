"""What can be chosen about a network besides its name."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from lamella.settings import Settings

KERAS_MODELS = ("resnet50", "resnet101", "inception_v3")
"""The networks of Keras' applications that TensorFlow trains."""

KERAS_SUFFIX = ".h5"
"""Of files of weights as Keras' applications offer them."""


class Preparation(StrEnum):
    """How images are prepared for a network."""

    LAMELLA = "lamella"
    KERAS = "keras"


class HeadSettings(Settings):
    """What stands between a network's pooled features and its outputs."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Units of each hidden layer, with ReLU; empty: none."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the units of every hidden layer that is dropped in training; without hidden layers,
    of the pooled features."""
