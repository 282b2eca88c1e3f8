"""The base of every settings class: frozen, closed, described by the strings below its fields.

And the one choice that several rooms offer.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Device(StrEnum):
    """Where a network is trained or runs."""

    CPU = "cpu"
    CUDA = "cuda"


class Settings(BaseModel):
    """One section of the config file.

    Unknown names are refused. The string below a field is its description, with unit and range;
    the JSON schema and the tables of ``config/README.md`` are generated from it.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )

    def as_params(self) -> dict[str, Any]:
        """Return plain values for a Snakemake ``params`` entry; ``from_params`` reads them back."""
        return self.model_dump(mode="json")

    def paths(self) -> list[Path]:
        """Return all files and folders that the settings name, also in the sections below."""
        return list(_paths(self.model_dump()))

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Self:
        """Return the settings that ``as_params`` wrote."""
        return cls.model_validate(params)


def _paths(value: object) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _paths(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _paths(each)
