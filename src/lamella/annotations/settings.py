"""Which outlines of an annotation mean what, and where their coordinates start."""

from enum import StrEnum

from lamella.settings import Settings


class Origin(StrEnum):
    """Where the coordinates of a drawn file start."""

    CANVAS = "canvas"
    BOUNDS = "bounds"


class AnnotationSettings(Settings):
    """Groups of outlines by name, in any case; an outline of an unknown group is refused."""

    tumor_groups: tuple[str, ...] = ("_0", "_1", "tumor", "metastases", "none")
    """Groups of ASAP or classes of QuPath whose outlines are tumour; `none` is an outline without
    a group or class, `_0` and `_1` are CAMELYON16's, `metastases` is CAMELYON17's."""

    exclusion_groups: tuple[str, ...] = ("_2", "exclusion", "normal")
    """Groups whose outlines are cut out of the tumour; `_2` is CAMELYON16's."""

    ignored_groups: tuple[str, ...] = ()
    """Groups whose outlines are passed over, such as `necrosis`."""

    origin: Origin = Origin.CANVAS
    """`canvas`: coordinates start at the corner of the whole canvas; `bounds`: at the corner of
    the scanned area, as QuPath writes them for MRXS and SCN unless opened with `--no-crop`."""
