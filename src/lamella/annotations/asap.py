"""Outlines in the XML of ASAP, with the conventions of CAMELYON16 and CAMELYON17."""

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse
from shapely.geometry import Polygon

from lamella.annotations.outlines import UNGROUPED, Outline, report_left_out, valid_area
from lamella.errors import AnnotationError

_AREAS = frozenset({"polygon", "spline", "rectangle"})


def read_asap(path: Path) -> list[Outline]:
    """Return the outlines of an ASAP file.

    Args:
        path: ASAP XML. Points, dots and outlines of fewer than three corners are reported and
            left out.

    Returns:
        Outlines in the order of the file; empty when it has none.

    Raises:
        AnnotationError: the file is missing, no XML, not ASAP's, or has a coordinate that is not
            a number.

    Source:
        CAMELYON16, doi:10.1001/jama.2017.14585; CAMELYON17, doi:10.1109/TMI.2018.2867350.
    """
    outlines, left_out = [], []
    for annotation in _root(path).iter("Annotation"):
        kind = annotation.get("Type", "Polygon")
        corners = _corners(annotation, path) if kind.lower() in _AREAS else []
        if len(corners) < 3:
            left_out.append(kind)
            continue
        group = annotation.get("PartOfGroup", UNGROUPED)
        outlines.append(Outline(annotation.get("Name", ""), group, valid_area(Polygon(corners))))
    report_left_out(path, left_out)
    return outlines


def _root(path: Path) -> Element:
    try:
        root: Element = parse(path).getroot()
    except (OSError, ParseError, DefusedXmlException) as error:
        raise AnnotationError(
            f"the annotation cannot be read ({error})",
            str(path),
            "Export it as ASAP XML, QuPath GeoJSON or a PNG or TIFF mask",
        ) from error
    if root.tag != "ASAP_Annotations":
        raise AnnotationError(
            f"the root element is {root.tag!r}, not 'ASAP_Annotations'",
            str(path),
            "Export the annotation as ASAP XML",
        )
    return root


def _corners(annotation: Element, path: Path) -> list[tuple[float, float]]:
    found = annotation.iter("Coordinate")
    try:
        corners = sorted(found, key=lambda corner: int(corner.get("Order", 0)))
        return [(float(corner.attrib["X"]), float(corner.attrib["Y"])) for corner in corners]
    except (KeyError, ValueError) as error:
        raise AnnotationError(
            f"outline {annotation.get('Name')!r} has a corner without numbers X and Y, "
            "or whose Order is none",
            str(path),
            "Export the annotation again from ASAP",
        ) from error
