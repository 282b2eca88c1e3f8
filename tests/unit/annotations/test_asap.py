"""ASAP XML becomes exact areas."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image, ImageDraw

from lamella.annotations.frame import Frame
from lamella.annotations.read import read_tumor as read_tumor_of
from lamella.annotations.settings import AnnotationSettings
from lamella.errors import AnnotationError

DATA = Path(os.environ.get("LAMELLA_TEST_DATA", "../shared/data")) / "annotations"


def read_tumor(path: Path, **settings: object) -> shapely.Geometry:
    return read_tumor_of(path, AnnotationSettings(**settings), frame=Frame(0, 0, 9, 9))


def xml(folder: Path, *outlines: tuple[str, str, list[tuple[float, float]]]) -> Path:
    parts = []
    for kind, group, points in outlines:
        corners = "".join(
            f'<Coordinate Order="{order}" X="{x}" Y="{y}" />' for order, (x, y) in enumerate(points)
        )
        parts.append(
            f'<Annotation Name="A" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58">'
            f"<Coordinates>{corners}</Coordinates></Annotation>"
        )
    path = folder / "a.xml"
    path.write_text(
        f'<?xml version="1.0"?><ASAP_Annotations><Annotations>{"".join(parts)}</Annotations>'
        "<AnnotationGroups /></ASAP_Annotations>"
    )
    return path


def box(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def test_exclusions_are_cut_out(tmp_path: Path) -> None:
    path = xml(
        tmp_path,
        ("Polygon", "_0", box(10, 20, 100, 50)),
        ("Polygon", "_2", box(30, 30, 20, 10)),
        ("Polygon", "metastases", box(300, 0, 10, 20)),
    )
    tumor = read_tumor(path)
    assert tumor.area == 100 * 50 - 20 * 10 + 10 * 20
    assert not tumor.contains(shapely.Point(40, 35))
    assert tumor.contains(shapely.Point(105, 65))
    assert tumor.bounds == (10, 0, 310, 70)


def test_self_intersecting_outline_keeps_both_halves(tmp_path: Path) -> None:
    path = xml(tmp_path, ("Polygon", "_0", [(0, 0), (10, 10), (10, 0), (0, 10)]))
    assert read_tumor(path).area == pytest.approx(50)


def test_points_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = xml(
        tmp_path,
        ("Dot", "_0", [(5, 5)]),
        ("PointSet", "_0", box(0, 0, 2, 3)),
        ("Dot", "Stroma", [(6, 5)]),
        ("Polygon", "_0", box(0, 0, 2, 3)),
        ("Polygon", "_0", [(0, 0), (9, 9)]),
    )
    assert read_tumor(path).area == 6
    assert "outline no area: 2 Dot, 1 PointSet, 1 Polygon" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no xml at all", "cannot be read"),
        ("<other />", "root element is 'other'"),
        (
            '<ASAP_Annotations><Annotation Name="A"><Coordinate Order="0" X="1" Y="two"/>'
            "</Annotation></ASAP_Annotations>",
            "without numbers X and Y",
        ),
        (
            '<ASAP_Annotations><Annotation Name="A"><Coordinate Order="one" X="1" Y="2"/>'
            "</Annotation></ASAP_Annotations>",
            "whose Order is none. Export the annotation again",
        ),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=message):
        read_tumor(path)


@pytest.mark.skipif(not DATA.is_dir(), reason="LAMELLA_TEST_DATA has no annotations")
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("patient_004_node_4.xml", 3),
        ("wsidicom_samples/asap/asap-polygon.xml", 1),
        ("wsidicom_samples/asap/asap-dot.xml", 0),
    ],
)
def test_real_annotations_are_read(name: str, parts: int) -> None:
    tumor = read_tumor(DATA / name)
    assert shapely.get_num_geometries(tumor) * (not tumor.is_empty) == parts
    assert tumor.is_valid


def test_unknown_groups_are_refused_unless_they_are_named(tmp_path: Path) -> None:
    path = xml(
        tmp_path, ("Polygon", "Tumor", box(0, 0, 9, 9)), ("Polygon", "Stroma", box(0, 0, 5, 5))
    )
    with pytest.raises(AnnotationError, match="unknown group 'Stroma'"):
        read_tumor(path)
    assert read_tumor(path, ignored_groups=("stroma",)).area == 81
    assert read_tumor(path, exclusion_groups=("stroma",)).area == 56


@pytest.mark.skipif(not DATA.is_dir(), reason="LAMELLA_TEST_DATA has no annotations")
@pytest.mark.parametrize("name", ["001", "103"])
def test_camelyon16_tumour_is_what_its_outlines_cover_pixel_by_pixel(name: str) -> None:
    vertices = json.loads((DATA / f"camelyon16_ncrf_json/Tumor_{name}.json").read_text())
    painted = {kind: sum(map(painted_area, vertices[kind])) for kind in ("positive", "negative")}
    tumor = read_tumor(DATA / f"camelyon16_asap_DERIVED/tumor_{name}.xml")
    assert tumor.is_valid
    assert tumor.area == pytest.approx(painted["positive"] - painted["negative"], rel=0.01)


def painted_area(outline: dict) -> float:
    """Paint an outline with Pillow, 3,000 pixels wide or high, and count."""
    corners = np.array(outline["vertices"], dtype=float)
    scale = np.ptp(corners, axis=0).max() / 3000
    canvas = Image.new("1", (3010, 3010))
    inside = [tuple(corner) for corner in (corners - corners.min(axis=0)) / scale]
    ImageDraw.Draw(canvas).polygon(inside, fill=1)
    return float(np.asarray(canvas).sum() * scale**2)
