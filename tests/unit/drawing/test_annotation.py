from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import shapely

from lamella.drawing.annotation import annotation_xml
from lamella.drawing.plan import SlideSpec, plan_slide
from lamella.drawing.settings import Scanner

SPEC = SlideSpec(30_000.0, 12_000.0, scanner=Scanner.LEICA, seed=4)


def polygons_of(text, group):
    root = ET.fromstring(text)
    return [
        np.array([[float(c.get("X")), float(c.get("Y"))] for c in annotation.iter("Coordinate")])
        for annotation in root.iter("Annotation")
        if annotation.get("PartOfGroup") == group
    ]


def test_tumours_and_exclusions_are_written_as_camelyon_writes_them():
    plan = plan_slide(SPEC)
    text = annotation_xml(plan)
    root = ET.fromstring(text)
    assert root.tag == "ASAP_Annotations"
    assert [group.get("Name") for group in root.iter("Group")] == ["_0", "_2"]
    assert {annotation.get("Type") for annotation in root.iter("Annotation")} == {"Polygon"}
    assert len(polygons_of(text, "_0")) == len(plan.tumors)
    assert len(polygons_of(text, "_2")) == 1


def test_coordinates_are_whole_level_0_pixels_of_the_canvas():
    plan = plan_slide(SPEC)
    (exclusion,) = polygons_of(annotation_xml(plan), "_2")
    assert np.array_equal(exclusion, np.rint(exclusion))
    assert exclusion.tolist() == (plan.exclusions[0] * 2 + (1024, 512)).tolist()
    assert exclusion[:, 0].max() > 10_000
    tumor = shapely.Polygon(polygons_of(annotation_xml(plan), "_0")[0])
    assert tumor.contains(shapely.Polygon(exclusion))


def test_a_slide_without_tumour_has_no_annotations():
    text = annotation_xml(plan_slide(replace(SPEC, tumor=False)))
    assert list(ET.fromstring(text).iter("Annotation")) == []
