"""How colours are normalised."""

from enum import StrEnum


class StainMethod(StrEnum):
    """How the colours of a slide are made like those of a reference."""

    NONE = "none"
    MACENKO = "macenko"
    REINHARD = "reinhard"
