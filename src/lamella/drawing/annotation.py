"""The truth as an ASAP annotation, in the way of CAMELYON16.

Group ``_0`` is tumour, group ``_2`` is what lies inside a tumour and is none.
"""

from collections.abc import Iterator
from xml.sax.saxutils import quoteattr

from lamella.drawing.plan import SlidePlan
from lamella.drawing.polygons import Points

TUMOR_GROUP = "_0"
EXCLUSION_GROUP = "_2"

_COLOURS = {TUMOR_GROUP: "#F4FA58", EXCLUSION_GROUP: "#64FE2E"}


def annotation_xml(plan: SlidePlan) -> str:
    """Return the ASAP XML of a slide, coordinates in level-0 pixels of the full canvas.

    Returns:
        The text of the file; without annotations for a slide without tumour.
    """
    lines = ['<?xml version="1.0"?>', "<ASAP_Annotations>", "\t<Annotations>"]
    for group, name, polygons in (
        (TUMOR_GROUP, "Tumor", plan.tumors),
        (EXCLUSION_GROUP, "Exclusion", plan.exclusions),
    ):
        for number, polygon in enumerate(polygons, start=1):
            lines += _annotation(f"{name}{number}", group, plan.level0(polygon))
    lines += ["\t</Annotations>", "\t<AnnotationGroups>"]
    lines += [
        f'\t\t<Group Name="{group}" PartOfGroup="None" Color="{colour}"><Attributes /></Group>'
        for group, colour in _COLOURS.items()
    ]
    lines += ["\t</AnnotationGroups>", "</ASAP_Annotations>"]
    return "\n".join(lines) + "\n"


def _annotation(name: str, group: str, polygon: Points) -> Iterator[str]:
    yield (
        f'\t\t<Annotation Name={quoteattr(name)} Type="Polygon" PartOfGroup="{group}"'
        f' Color="{_COLOURS[group]}">'
    )
    yield "\t\t\t<Coordinates>"
    for order, (x, y) in enumerate(polygon):
        yield f'\t\t\t\t<Coordinate Order="{order}" X="{x:.1f}" Y="{y:.1f}" />'
    yield "\t\t\t</Coordinates>"
    yield "\t\t</Annotation>"
