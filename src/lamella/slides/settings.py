"""How slide files are read."""

from enum import StrEnum

from pydantic import Field

from lamella.settings import Settings


class ReaderName(StrEnum):
    """Which code reads the pixels of a file."""

    AUTO = "auto"
    OPENSLIDE = "openslide"
    TILES = "tiles"
    IMAGE = "image"


class Resampling(StrEnum):
    """The filter that makes pixels of the requested size out of finer ones."""

    LANCZOS = "lanczos"
    BICUBIC = "bicubic"
    BILINEAR = "bilinear"
    HAMMING = "hamming"
    BOX = "box"


class ReadingSettings(Settings):
    """How slide files are read; the same for tissue, patches and predictions."""

    reader: ReaderName = ReaderName.AUTO
    """`tiles`: each tile of a TIFF pyramid is decoded once; `openslide`: everything OpenSlide
    knows; `image`: PNG, JPEG and TIFF without tiles; `auto`: the first of `tiles`, `openslide`,
    `image` that knows the file's format. The reader is stored with the patches."""

    level_tolerance: float = Field(default=0.02, ge=0.0, le=0.25)
    """A level whose resolution differs from the requested one by up to this share is read as it
    is, without resampling."""

    resampling: Resampling = Resampling.LANCZOS
    """Filter by which patches are made from a finer level than requested."""


DEFAULT_READING = ReadingSettings()
