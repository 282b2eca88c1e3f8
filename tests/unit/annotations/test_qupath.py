"""QuPath's GeoJSON becomes exact areas, in every form that it has been written in."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from lamella.annotations.frame import Frame
from lamella.annotations.read import read_outlines, read_tumor
from lamella.annotations.settings import AnnotationSettings, Origin
from lamella.errors import AnnotationError

DATA = Path(os.environ.get("LAMELLA_TEST_DATA", "../shared/data")) / "annotations"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="LAMELLA_TEST_DATA has no annotations")
CANVAS = Frame(0, 0, 1000, 800)


def box(x: float, y: float, width: float, height: float) -> list[list[float]]:
    return [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]


def feature(kind: str, coordinates: Any, **properties: Any) -> dict[str, Any]:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


RING = feature("Polygon", [box(10, 20, 100, 50), box(30, 30, 20, 10)])
PAIR = feature("MultiPolygon", [[box(300, 0, 10, 20)], [box(400, 5, 4, 3), box(401, 6, 1, 1)]])


def file_of(folder: Path, content: Any) -> Path:
    path = folder / "a.geojson"
    path.write_text(json.dumps(content))
    return path


def tumor_of(path: Path, frame: Frame = CANVAS, **settings: Any) -> shapely.Geometry:
    return read_tumor(path, AnnotationSettings(**settings), frame=frame)


def shoelace(ring: list[list[float]]) -> float:
    x, y = np.array(ring, dtype=np.float64).T
    return abs(float(x[:-1] @ y[1:] - x[1:] @ y[:-1])) / 2


def vertices_area(geometry: dict[str, Any]) -> float:
    polygons = geometry["coordinates"]
    if geometry["type"] == "Polygon":
        polygons = [polygons]
    return sum(shoelace(outer) - sum(map(shoelace, holes)) for outer, *holes in polygons)


@pytest.mark.parametrize(
    "content",
    [
        [RING, PAIR],
        {"type": "FeatureCollection", "features": [RING, PAIR]},
        {"type": "GeometryCollection", "geometries": [RING["geometry"], PAIR["geometry"]]},
        {
            "type": "Feature",
            "properties": None,
            "geometry": {
                "type": "GeometryCollection",
                "geometries": [RING["geometry"], PAIR["geometry"]],
            },
        },
    ],
    ids=["list", "collection", "geometries", "feature"],
)
def test_every_wrapping_gives_the_same_areas_with_their_holes(tmp_path: Path, content: Any) -> None:
    tumor = tumor_of(file_of(tmp_path, content))
    assert tumor.area == (100 * 50 - 20 * 10) + 10 * 20 + (4 * 3 - 1)
    assert tumor.bounds == (10, 0, 404, 70)
    assert not tumor.contains(shapely.Point(40, 35))


def test_a_single_feature_and_a_bare_geometry_are_read(tmp_path: Path) -> None:
    assert tumor_of(file_of(tmp_path, RING)).area == 4800
    assert tumor_of(file_of(tmp_path, PAIR["geometry"])).area == 211


@pytest.mark.parametrize(
    ("classification", "group"),
    [
        ({"name": "Stroma", "colorRGB": -3670016}, "Stroma"),
        ({"name": "Stroma", "color": [200, 0, 0]}, "Stroma"),
        ({"names": ["Stroma", "Positive"], "color": [200, 0, 0]}, "Stroma: Positive"),
        ("Stroma", "Stroma"),
        (None, "none"),
        ({}, "none"),
    ],
)
def test_the_class_is_the_group_in_every_version(
    tmp_path: Path, classification: Any, group: str
) -> None:
    content = feature("Polygon", [box(0, 0, 9, 9)], classification=classification, name="A")
    (outline,) = read_outlines(file_of(tmp_path, content))
    assert (outline.name, outline.group) == ("A", group)


def test_groups_are_matched_in_any_case_and_unknown_ones_refused(tmp_path: Path) -> None:
    content = [
        feature("Polygon", [box(0, 0, 9, 9)], classification={"name": "TUMOR"}),
        feature("Polygon", [box(0, 0, 5, 5)], classification={"name": "Necrosis"}, name="B"),
    ]
    path = file_of(tmp_path, content)
    with pytest.raises(AnnotationError, match="'B' is of the unknown group 'Necrosis'"):
        tumor_of(path)
    assert tumor_of(path, ignored_groups=("necrosis",)).area == 81
    assert tumor_of(path, exclusion_groups=("necrosis",)).area == 56


def test_points_lines_and_cells_are_counted_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cell = feature("Polygon", [box(0, 0, 3, 3)], objectType="cell")
    cell["nucleusGeometry"] = {"type": "Polygon", "coordinates": [box(1, 1, 1, 1)]}
    old = feature("Polygon", [box(50, 50, 3, 3)]) | {"id": "PathDetectionObject"}
    content = [
        feature("Point", [5, 5]),
        feature("LineString", [[5, 5], [6, 9]]),
        feature("MultiPoint", [[5, 5], [6, 9]]),
        feature("Point", [6, 6]),
        {"type": "Feature", "geometry": None, "properties": {}},
        cell,
        old,
        RING,
    ]
    assert tumor_of(file_of(tmp_path, content)).area == 4800
    counts = "1 LineString, 1 MultiPoint, 2 Point, 1 cell, 1 detection"
    assert [record.message.split("area: ")[1] for record in caplog.records] == [counts]


def test_self_intersecting_outline_keeps_both_halves(tmp_path: Path) -> None:
    bow = feature("Polygon", [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]])
    assert tumor_of(file_of(tmp_path, bow)).area == pytest.approx(50)


def test_coordinates_that_start_at_the_bounds_are_moved_to_the_canvas(tmp_path: Path) -> None:
    path = file_of(tmp_path, RING)
    bounds = Frame.of((2000, 900), (1024, 512, 500, 300), Origin.BOUNDS)
    assert tumor_of(path, bounds).bounds == (1034, 532, 1134, 582)
    canvas = Frame.of((2000, 900), (1024, 512, 500, 300), Origin.CANVAS)
    assert tumor_of(path, canvas).bounds == (10, 20, 110, 70)
    assert Frame.of((2000, 900), None, Origin.BOUNDS) == Frame(0, 0, 2000, 900)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "cannot be read"),
        ('[{"a": 1}]', "no GeoJSON"),
        ('[["a"]]', "no GeoJSON"),
        ('{"type": "Feature", "geometry": {"type": "Polygon"}}', "a geometry cannot be read"),
        ('{"type": "GeometryCollection"}', "a geometry cannot be read"),
        ('{"type": "Feature", "geometry": {"type": "Blob", "coordinates": []}}', "a geometry"),
        (
            '{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 1]]]}}',
            "a geometry cannot be read",
        ),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(AnnotationError, match=message):
        tumor_of(path)


@needs_data
@pytest.mark.parametrize("name", ["brush", "ellipse", "polygon", "rectangle", "wand"])
def test_areas_of_real_exports_are_those_of_their_vertices(name: str) -> None:
    path = DATA / f"wsidicom_samples/qupath_geojson/qupath-{name}.json"
    expected = vertices_area(json.loads(path.read_text())["geometry"])
    assert tumor_of(path).area == pytest.approx(expected, rel=1e-9)


@needs_data
@pytest.mark.parametrize("name", ["line", "multipoint", "point", "polyline"])
def test_real_points_and_lines_outline_nothing(name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert tumor_of(DATA / f"wsidicom_samples/qupath_geojson/qupath-{name}.json").is_empty
    assert "outline no area: 1" in caplog.text


@needs_data
@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("qupath/geojson_example.json", ["Tumor", "Invborder"]),
        ("qupath/qupath05.geojson", ["none", "none", "none"]),
        (
            "wsidicom_samples/qupath_geojson_advanced/qupath-polygon-cell-classified.json",
            ["Cell", "Cell", "Nucleus", "Nucleus"],
        ),
    ],
)
def test_real_collections_keep_classes_and_areas(name: str, groups: list[str]) -> None:
    content = json.loads((DATA / name).read_text())
    features = content if isinstance(content, list) else content["features"]
    outlines = read_outlines(DATA / name)
    assert [outline.group for outline in outlines] == groups
    for outline, given in zip(outlines, features, strict=True):
        assert outline.area.is_valid
        assert outline.area.area == pytest.approx(vertices_area(given["geometry"]), rel=1e-6)
