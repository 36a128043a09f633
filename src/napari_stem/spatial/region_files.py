"""Regions from GeoJSON files, as QuPath and most annotation tools write them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import shapely
from shapely.geometry import shape

from napari_stem.errors import RegionError
from napari_stem.geometry import Region

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_regions(path: Path) -> list[Region]:
    """Read every polygon of a GeoJSON file (RFC 7946, but in level-0 px, as QuPath exports).

    Parameters
    ----------
    path
        A FeatureCollection, a Feature, a list of Features or a bare geometry. A region's name is
        ``properties.name``, else that of its QuPath class, else "region 1" and so on. Points and
        lines are passed over.

    Raises
    ------
    RegionError
        The file cannot be read, or holds no area.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"There is no region file {path}; check the path."
        raise RegionError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read as GeoJSON ({error}); export the regions again."
        raise RegionError(msg) from error
    regions: list[Region] = []
    for feature in _features(content):
        area = _area(feature.get("geometry"), path)
        if area is not None:
            regions.append(Region(area, _name(feature) or f"region {len(regions) + 1}"))
    if not regions:
        msg = f"{path} holds no polygon; export areas, not points or lines, as GeoJSON."
        raise RegionError(msg)
    return regions


def _features(content: object) -> Iterator[dict[str, Any]]:
    """Yield the features of whatever form of GeoJSON this is; nothing if it is none."""
    if isinstance(content, list):
        for item in content:
            yield from _features(item)
    elif isinstance(content, dict):
        if content.get("type") == "FeatureCollection":
            yield from _features(content.get("features"))
        elif content.get("type") == "Feature":
            yield content
        elif "type" in content:
            yield {"geometry": content}


def _area(geometry: object, path: Path) -> shapely.Polygon | shapely.MultiPolygon | None:
    """Polygon or MultiPolygon in a geometry; None where it encloses nothing."""
    if not isinstance(geometry, dict):
        return None
    try:
        valid = shapely.make_valid(shape(geometry))
    except (
        shapely.errors.ShapelyError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ) as error:
        msg = f"{path} holds a geometry that is not GeoJSON ({error}); export the regions again."
        raise RegionError(msg) from error
    # a crossing outline or a collection leaves stray lines and points behind
    parts = shapely.get_parts(shapely.get_parts(valid))
    area = shapely.union_all([part for part in parts if part.geom_type == "Polygon"])
    return area if area.area > 0 else None


def _name(feature: dict[str, Any]) -> str | None:
    properties = feature.get("properties") or {}
    named = properties.get("name") or (properties.get("classification") or {}).get("name")
    return None if named is None else str(named)
