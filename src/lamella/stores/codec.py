"""How patches are stored; apart from the shards, so that settings need no HDF5 library."""

from enum import StrEnum


class Codec(StrEnum):
    """How the pixels of a patch are packed."""

    NONE = "none"
    ZSTD = "zstd"


class Storage(StrEnum):
    """What a shard holds of its patches, besides where they lie and what they show."""

    PIXELS = "pixels"
    JPEG = "jpeg"
    PASSTHROUGH = "passthrough"
    COORDINATES = "coordinates"
