"""Regions in GeoJSON files, as QuPath and most annotation tools write and read them, and in LazySlide stores.

QuPath (its ``QuPathTypeAdapters``, versions 0.2 to 0.6): level-0 px instead of degrees; under ``properties``
``objectType`` (annotation, detection, cell, tile), ``name``, and ``classification`` with a ``name`` or, for a
derived class, ``names``, and a colour: ``color`` as [r, g, b], before version 0.4 ``colorRGB`` as an integer.
"""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.geometry import mapping, shape

from napari_stem.errors import RegionError
from napari_stem.foreign import read_json
from napari_stem.geometry import Mpp, Region
from napari_stem.io import DAMAGE, write_file
from napari_stem.spatial.lazyslide import SHAPES, LazySlideStore
from napari_stem.texts import quoted, read_text, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


Colour = tuple[int, int, int]
_log = logging.getLogger(__name__)

# QuPath's own classes in its own colours, so that both programs show a region alike
CLASS_COLOURS: dict[str, Colour] = {
    "Tumor": (200, 0, 0),
    "Stroma": (150, 200, 150),
    "Immune cells": (160, 90, 160),
    "Necrosis": (50, 50, 50),
    "Other": (255, 200, 0),
}
UNCLASSIFIED: Colour = (255, 212, 0)  # absent from H&E, and told apart from it by every eye
DERIVED = ": "  # between the names of a derived class, as QuPath shows it
SMALL_OBJECTS = {
    "detection",
    "cell",
    "tile",
    "PathDetectionObject",
    "PathCellObject",
    "PathTileObject",
}
DECIMALS_PX = 2
MOST_CROSSINGS = 10_000  # a hand makes a few; mending takes a second by here
MOST_PAIRS = 50_000  # of sides compared at once: half a second
# What shapely and NumPy raise on coordinates that make no outline.
_BROKEN = (shapely.errors.ShapelyError, *DAMAGE)


@dataclass(frozen=True)
class ClassedRegion(Region):
    """A region with the class that a pathologist gave it, such as "Tumor"; empty where none was given.

    ``colour`` is (red, green, blue), 0 to 255, in which the class is drawn.
    """

    classification: str = ""
    colour: Colour = UNCLASSIFIED


def class_colour(classification: str, known: Mapping[str, Colour] | None = None) -> Colour:
    """Colour of a class: as used so far, QuPath's own, or one made from the name, always the same."""
    if not classification:
        return UNCLASSIFIED
    hue = uuid.uuid5(uuid.NAMESPACE_OID, classification).int % len(_SPARE_COLOURS)
    return {**CLASS_COLOURS, **(known or {})}.get(classification, _SPARE_COLOURS[hue])


# Tol's bright scheme without its yellow and grey: told apart with every kind of colour vision
_SPARE_COLOURS: tuple[Colour, ...] = (
    (68, 119, 170),
    (102, 204, 238),
    (34, 136, 51),
    (238, 102, 119),
    (170, 51, 119),
)


def as_regions(regions: Region | Sequence[Region] | str | Path | None) -> Sequence[Region]:
    """Regions as a user may give them: one, several, a GeoJSON file (`read_regions`), or none."""
    if regions is None:
        return ()
    if isinstance(regions, Region):
        return (regions,)
    return read_regions(regions) if isinstance(regions, (str, Path)) else regions


def read_regions(path: str | Path) -> list[ClassedRegion]:
    """Read every area of a GeoJSON file (RFC 7946, but in level-0 px, as QuPath exports) or LazySlide store.

    It is a FeatureCollection, a Feature, a list of Features or a bare geometry. A region's name is
    ``properties.name``, else that of its QuPath class, else "tissue 1" and so on in files of TRIDENT and
    LazySlide, else "region 1". Points and lines are passed over; so are detections, cells and tiles, and broken
    outlines, which are logged. The file may be gzipped, in UTF-16 or in Windows' code page. Of a store, the
    tissue, or other outlines where the path names them (``SLIDE.zarr/shapes/annotations``).

    RegionError: the file cannot be read, or holds no area. StoreError: a LazySlide store cannot be read, or has
    no such outlines.
    """
    path = Path(path)
    store = LazySlideStore.at(path, SHAPES)
    if store is not None:
        return parse_regions(store.areas(), str(path))
    try:
        content = read_json(read_text(path))
    except FileNotFoundError:
        raise RegionError(f"There is no region file {path}; check the path.") from None
    except (OSError, ValueError) as error:
        raise RegionError(
            f"{path} cannot be read as GeoJSON ({reason_of(error)}); export the regions again."
        ) from error
    return parse_regions(content, str(path))


def read_outlines(path: Path, mpp: Mpp) -> list[Region]:
    """Read the outlines in um, with names, that an exported SpatialData keeps; none where it has none.

    RegionError where they cannot be read.
    """
    if not path.is_file():
        return []
    import geopandas

    try:
        table = geopandas.read_parquet(path)
        px_per_um = (1 / mpp.x_um, 1 / mpp.y_um)
        return [
            Region(shapely.transform(outline, lambda xy: xy * px_per_um), str(name))
            for outline, name in zip(table.geometry, table["name"], strict=True)
        ]
    except (OSError, ValueError, LookupError) as error:
        raise RegionError(f"{path} cannot be read ({error}); export it again.") from error


def parse_regions(content: object, source: str) -> list[ClassedRegion]:
    """Read the areas of parsed GeoJSON, as `read_regions` does, whose messages name the ``source``.

    RegionError: it holds no area, or none that is not broken.
    """
    features = list(_features(content))
    annotations = [
        (feature.get("geometry"), about)
        for feature, about in features
        # QuPath 0.2 says what it is in the id
        if not SMALL_OBJECTS & {str(about.get("objectType")), str(feature.get("id"))}
    ]
    if features and not annotations:
        raise RegionError(
            f"{source} holds detections, cells or tiles only; export annotations, the outlines that "
            f"were drawn."
        )
    regions: list[ClassedRegion] = []
    broken = ""
    for number, (geometry, about) in enumerate(annotations, 1):
        name = "" if about.get("name") is None else str(about["name"])
        classification, colour = _classification(about.get("classification"))
        try:
            area = _area(geometry)
        except _BROKEN as error:
            what = f"Outline '{quoted(name)}'" if name else f"Outline {number}"
            broken = f"{what} of {source} is broken ({reason_of(error)})"
            _log.warning("%s and is passed over.", broken)
            continue
        if area is None:
            continue
        kind = "tissue" if "tissue_id" in about else "region"  # as TRIDENT and LazySlide number it
        fallback = classification or f"{kind} {len(regions) + 1}"
        regions.append(ClassedRegion(area, name or fallback, classification, colour))
    if not regions and broken:
        raise RegionError(f"{broken}, and there is no other; export the regions again.")
    if not regions:
        raise RegionError(
            f"{source} holds no polygon; export areas, not points or lines, as GeoJSON."
        )
    return regions


def write_regions(regions: Sequence[Region], path: Path) -> None:
    """Write or replace a file of annotations that QuPath opens (File > Import objects), whole or not at all.

    Holes, parts, names, classes and colours are kept. OutputError where the place cannot be written.
    """
    write_file(path, json.dumps(as_geojson(regions), ensure_ascii=False, indent=1) + "\n")


def as_geojson(regions: Sequence[Region]) -> dict[str, Any]:
    """FeatureCollection of regions in level-0 px, JSON-ready."""
    features = [feature(region.polygon, annotation(region)) for region in regions]
    return {"type": "FeatureCollection", "features": features}


def annotation(region: Region) -> dict[str, Any]:
    """Properties of a region as QuPath writes them; class and colour where it has a class."""
    properties: dict[str, Any] = {"objectType": "annotation", "name": region.name}
    if isinstance(region, ClassedRegion) and region.classification:
        names = region.classification.split(DERIVED)
        named = {"name": names[0]} if len(names) == 1 else {"names": names}
        properties["classification"] = {**named, "color": list(region.colour)}
    return properties


def feature(
    outline: shapely.Geometry, properties: dict[str, Any], identity: uuid.UUID | None = None
) -> dict[str, Any]:
    """Object in level-0 px; without an ``identity`` it has one by name and place, always the same."""
    rounded = shapely.transform(outline, lambda xy: np.round(xy, DECIMALS_PX))
    identity = identity or uuid.uuid5(uuid.NAMESPACE_OID, f"{properties['name']} {rounded.wkt}")
    return {
        "type": "Feature",
        "id": str(identity),
        "geometry": mapping(rounded),
        "properties": properties,
    }


def _features(content: object) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield features and their properties, whatever form of GeoJSON this is; nothing if it is none."""
    if isinstance(content, list):
        for item in content:
            yield from _features(item)
    elif isinstance(content, dict):
        if content.get("type") == "FeatureCollection":
            yield from _features(content.get("features"))
        elif content.get("type") == "Feature":
            properties = content.get("properties")
            yield content, properties if isinstance(properties, dict) else {}
        elif "type" in content:
            yield {"geometry": content}, {}


def _area(geometry: object) -> shapely.Polygon | shapely.MultiPolygon | None:
    """Polygon or MultiPolygon in a geometry; None where it encloses nothing."""
    if not isinstance(geometry, dict):
        return None
    drawn = shape(geometry)
    if drawn.is_valid and drawn.geom_type in ("Polygon", "MultiPolygon"):
        return drawn if drawn.area > 0 else None
    _refuse_tangle(drawn)
    # what an outline winds round twice, or two parts share, is within it
    valid = shapely.make_valid(drawn, method="structure", keep_collapsed=False)
    parts = shapely.get_parts(shapely.get_parts(valid))
    area = shapely.union_all([part for part in parts if part.geom_type == "Polygon"])
    return area if area.area > 0 else None


def _refuse_tangle(drawn: shapely.Geometry) -> None:
    """Refuse, by a ValueError, what crosses itself so often that mending takes minutes and gigabytes."""
    parts = shapely.get_parts(shapely.get_parts(shapely.get_parts(drawn)))
    rings = shapely.get_rings(parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON])
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    ends = np.stack([xy[:-1], xy[1:]], axis=1)
    sides = shapely.linestrings(ends[ring[1:] == ring[:-1]])
    tree, n_found = shapely.STRtree(sides), 0
    step = max(16, MOST_PAIRS // max(1, len(sides)))
    for start in range(0, len(sides), step):
        n_found += tree.query(sides[start : start + step], predicate="crosses").shape[1]
        if n_found > 2 * MOST_CROSSINGS:  # each is met from both sides
            raise ValueError(f"it crosses itself more than {MOST_CROSSINGS:,} times")


def _classification(stated: object) -> tuple[str, Colour]:
    """Class and its colour; ("", the unclassified colour) where there is none."""
    if isinstance(stated, str):
        return stated, class_colour(stated)
    if not isinstance(stated, dict):
        return "", UNCLASSIFIED
    names = stated.get("names")
    name = (
        DERIVED.join(map(str, names)) if isinstance(names, list) else str(stated.get("name") or "")
    )
    return name, _colour(stated) or class_colour(name)


def _colour(classification: dict[str, Any]) -> Colour | None:
    rgb, packed = classification.get("color"), classification.get("colorRGB")
    if isinstance(packed, int):
        rgb = [packed >> shift & 255 for shift in (16, 8, 0)]
    if isinstance(rgb, list) and all(isinstance(v, int) and 0 <= v <= 255 for v in rgb):
        return (rgb[0], rgb[1], rgb[2]) if len(rgb) == 3 else None
    return None
