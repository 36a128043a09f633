"""Regions read and written as QuPath does."""

from __future__ import annotations

import json

import pytest
import shapely

from napari_stem.errors import OutputError, RegionError
from napari_stem.geometry import Region
from napari_stem.spatial.region_files import (
    CLASS_COLOURS,
    UNCLASSIFIED,
    ClassedRegion,
    class_colour,
    read_regions,
    regions_of,
    write_regions,
)

RING = [[0, 0], [100, 0], [100, 80], [0, 80], [0, 0]]
HOLE = [[20, 20], [20, 40], [40, 40], [40, 20], [20, 20]]
ISLAND = [[200, 0], [250, 0], [250, 50], [200, 50], [200, 0]]


def feature(properties, coordinates=(RING,), kind="Polygon"):
    geometry = {"type": kind, "coordinates": list(coordinates)}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def test_what_is_written_is_read_again(tmp_path):
    holed = shapely.Polygon(RING, [HOLE])
    parts = shapely.MultiPolygon([holed, shapely.Polygon(ISLAND)])
    regions = [
        ClassedRegion(parts, "Herd ä", "Tumor", (200, 0, 0)),
        ClassedRegion(holed, "edge", "Tumor: Positive", (1, 2, 3)),
        ClassedRegion(shapely.Polygon(ISLAND), "plain"),
    ]
    path = tmp_path / "regions.geojson"
    write_regions(regions, path)
    found = read_regions(path)
    assert [(r.name, r.classification, r.colour) for r in found] == [
        (r.name, r.classification, r.colour) for r in regions
    ]
    for region, again in zip(regions, found, strict=True):
        assert again.polygon.equals(region.polygon)
    assert [p.name for p in tmp_path.iterdir()] == ["regions.geojson"]


def test_written_features_are_what_qupath_reads(tmp_path):
    path = tmp_path / "regions.geojson"
    write_regions([ClassedRegion(shapely.Polygon(RING), "a", "Tumor: Positive", (1, 2, 3))], path)
    (written,) = json.loads(path.read_text())["features"]
    assert written["type"] == "Feature"
    assert written["properties"]["objectType"] == "annotation"
    assert written["properties"]["classification"] == {
        "names": ["Tumor", "Positive"],
        "color": [1, 2, 3],
    }
    ring = written["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1]
    assert len(written["id"]) == 36


def test_regions_without_a_class_are_written_without_one(tmp_path):
    path = tmp_path / "r.geojson"
    write_regions([Region(shapely.Polygon(RING), "a")], path)
    (written,) = json.loads(path.read_text())["features"]
    assert "classification" not in written["properties"]


@pytest.mark.parametrize(
    ("classification", "name", "colour"),
    [
        ({"name": "Tumor", "colorRGB": -3670016}, "Tumor", (200, 0, 0)),  # QuPath 0.2
        ({"name": "Rind", "color": [9, 8, 7]}, "Rind", (9, 8, 7)),
        (
            {"names": ["Tumor", "Positive"], "color": [250, 62, 62]},
            "Tumor: Positive",
            (250, 62, 62),
        ),
        ({"name": "Stroma"}, "Stroma", CLASS_COLOURS["Stroma"]),
        ({"name": "Stroma", "color": "red"}, "Stroma", CLASS_COLOURS["Stroma"]),
        ({"name": "Stroma", "color": [1, 2, 999]}, "Stroma", CLASS_COLOURS["Stroma"]),
        ("Necrosis", "Necrosis", CLASS_COLOURS["Necrosis"]),
        (None, "", UNCLASSIFIED),
        ({}, "", UNCLASSIFIED),
    ],
)
def test_classes_of_every_version(classification, name, colour):
    (region,) = regions_of(feature({"classification": classification}), "here")
    assert (region.classification, region.colour) == (name, colour)
    assert region.name == (name or "region 1")


def test_a_name_comes_before_a_class():
    (region,) = regions_of(feature({"name": "left", "classification": {"name": "Tumor"}}), "here")
    assert (region.name, region.classification) == ("left", "Tumor")


def test_small_objects_are_no_regions():
    both = [feature({"objectType": "annotation", "name": "a"}), feature({"objectType": "tile"})]
    assert [region.name for region in regions_of(both, "here")] == ["a"]
    for kind in ("tile", "detection", "cell"):
        with pytest.raises(RegionError, match="here holds detections, cells or tiles only"):
            regions_of(feature({"objectType": kind}), "here")
    older = [feature({"name": "a"}), {**feature({}), "id": "PathDetectionObject"}]  # QuPath 0.2
    assert [region.name for region in regions_of(older, "here")] == ["a"]


def test_holes_and_parts_are_kept():
    (region,) = regions_of(feature({}, [[RING, HOLE], [ISLAND]], "MultiPolygon"), "here")
    assert region.polygon.area == 100 * 80 - 20 * 20 + 50 * 50


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        3,
        {"type": "Feature"},
        {"type": "Point", "coordinates": [1, 2]},
        feature(None, [], "Polygon"),
    ],
)
def test_what_holds_no_area_is_refused_in_one_sentence(content, tmp_path):
    path = tmp_path / "nothing.geojson"
    path.write_text(json.dumps(content))
    with pytest.raises(RegionError, match=r"nothing\.geojson"):
        read_regions(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        write_regions([], tmp_path / "file" / "r.geojson")


def test_colours_of_classes_are_steady():
    assert class_colour("Tumor") == CLASS_COLOURS["Tumor"]
    assert class_colour("Tumor", {"Tumor": (1, 2, 3)}) == (1, 2, 3)
    assert class_colour("my own class") == class_colour("my own class")
    assert class_colour("") == UNCLASSIFIED
