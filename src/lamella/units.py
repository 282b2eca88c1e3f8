"""Lengths carry their frame of reference in their type; resolution is microns per pixel."""

from typing import NewType

Level0Pixels = NewType("Level0Pixels", int)
"""A length in pixels of the slide's finest level, the full canvas."""

LevelPixels = NewType("LevelPixels", int)
"""A length in pixels of the level that is read."""

Mpp = NewType("Mpp", float)
"""Microns per pixel."""
