"""Outlines in the GeoJSON of QuPath, in every form that its versions have written."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from lamella.annotations.outlines import UNGROUPED, Outline, report_left_out, valid_area
from lamella.errors import AnnotationError

_NO_ANNOTATIONS = {
    "PathCellObject": "cell",
    "PathDetectionObject": "detection",
    "PathTileObject": "tile",
    "TMACoreObject": "tma_core",
}
_DETECTED = frozenset({*_NO_ANNOTATIONS.values(), "tmacore"})


def read_qupath(path: Path) -> list[Outline]:
    """Return the outlines of a QuPath export.

    Args:
        path: GeoJSON: a list of features, a single feature, a ``FeatureCollection`` or bare
            geometries. An outline's group is its classification; a derived class is
            ``Tumor: Positive``. Points, lines and detected objects (cells with or without
            ``nucleusGeometry``, tiles, cores) are reported and left out.

    Returns:
        Outlines in the order of the file, polygons with their holes; empty when it has none.

    Raises:
        AnnotationError: the file is missing, no JSON or no GeoJSON.
    """
    outlines, left_out = [], []
    for feature in _features(_content(path), path):
        properties = feature.get("properties") or {}
        kind = _object_type(feature, properties)
        if kind in _DETECTED:
            left_out.append(kind)
            continue
        for part in _parts(feature.get("geometry"), path):
            if part.geom_type in {"Polygon", "MultiPolygon"}:
                name = str(properties.get("name") or "")
                outlines.append(Outline(name, _group(properties), valid_area(part)))
            else:
                left_out.append(part.geom_type)
    report_left_out(path, left_out)
    return outlines


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise AnnotationError(
            f"the annotation cannot be read ({error})", str(path), "Export it again from QuPath"
        ) from error


def _features(content: Any, path: Path) -> Iterator[dict[str, Any]]:
    if isinstance(content, list):
        for entry in content:
            yield from _features(entry, path)
    elif not isinstance(content, dict) or "type" not in content:
        raise _no_geojson(path, "an entry has no type")
    elif content["type"] == "FeatureCollection":
        yield from _features(content.get("features", []), path)
    elif content["type"] == "Feature":
        yield content
    else:
        yield {"geometry": content}


def _object_type(feature: dict[str, Any], properties: dict[str, Any]) -> str:
    """Return what an object is; before version 0.4 only its ``id`` tells."""
    stated = properties.get("objectType") or properties.get("object_type")
    return str(stated or _NO_ANNOTATIONS.get(str(feature.get("id")), "annotation")).lower()


def _group(properties: dict[str, Any]) -> str:
    found = properties.get("classification")
    if isinstance(found, dict):
        found = found.get("name") or ": ".join(found.get("names", []))
    return str(found or UNGROUPED)


def _parts(geometry: dict[str, Any] | None, path: Path) -> list[BaseGeometry]:
    """Return a geometry, or the members of a collection; nothing for an object without one."""
    if geometry is None:
        return []
    try:
        if geometry.get("type") == "GeometryCollection":
            return [part for member in geometry["geometries"] for part in _parts(member, path)]
        return [shape(geometry)]
    except (
        AttributeError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
        shapely.errors.ShapelyError,
    ) as error:
        raise _no_geojson(path, f"a geometry cannot be read: {error}") from error


def _no_geojson(path: Path, why: str) -> AnnotationError:
    return AnnotationError(f"it is no GeoJSON ({why})", str(path), "Export it again from QuPath")
