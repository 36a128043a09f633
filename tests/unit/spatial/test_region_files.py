"""Regions read and written as QuPath does."""

from __future__ import annotations

import gzip
import json
import time

import numpy as np
import pytest
import shapely

from napari_stem.errors import OutputError, RegionError
from napari_stem.geometry import Region
from napari_stem.spatial.region_files import (
    CLASS_COLOURS,
    UNCLASSIFIED,
    ClassedRegion,
    class_colour,
    parse_regions,
    read_regions,
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
    (region,) = parse_regions(feature({"classification": classification}), "here")
    assert (region.classification, region.colour) == (name, colour)
    assert region.name == (name or "region 1")


def test_a_name_comes_before_a_class():
    (region,) = parse_regions(
        feature({"name": "left", "classification": {"name": "Tumor"}}), "here"
    )
    assert (region.name, region.classification) == ("left", "Tumor")


def test_small_objects_are_no_regions():
    both = [feature({"objectType": "annotation", "name": "a"}), feature({"objectType": "tile"})]
    assert [region.name for region in parse_regions(both, "here")] == ["a"]
    for kind in ("tile", "detection", "cell"):
        with pytest.raises(RegionError, match="here holds detections, cells or tiles only"):
            parse_regions(feature({"objectType": kind}), "here")
    older = [feature({"name": "a"}), {**feature({}), "id": "PathDetectionObject"}]  # QuPath 0.2
    assert [region.name for region in parse_regions(older, "here")] == ["a"]


def test_holes_and_parts_are_kept():
    (region,) = parse_regions(feature({}, [[RING, HOLE], [ISLAND]], "MultiPolygon"), "here")
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


def collection(*features):
    return {"type": "FeatureCollection", "features": list(features)}


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-le"),
        lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
        lambda text: text.encode("cp1252"),
        lambda text: gzip.compress(text.encode()),
        lambda text: gzip.compress(text.encode("cp1252")),
    ],
)
def test_whatever_the_bytes_the_text_is_read(tmp_path, encode):
    path = tmp_path / "r.geojson"
    content = collection(feature({"name": "Läsion – µ"}))
    path.write_bytes(encode(json.dumps(content, ensure_ascii=False)))
    assert [region.name for region in read_regions(path)] == ["Läsion – µ"]


@pytest.mark.parametrize(
    "content", [gzip.compress(b"{}" * 99, mtime=0)[:-9], b"\x89PNG\r\n\x1a\n\0\0", b"[" * 99_999]
)
def test_what_is_no_text_is_told(tmp_path, content):
    path = tmp_path / "r.geojson"
    path.write_bytes(content)
    with pytest.raises(RegionError, match="cannot be read as GeoJSON"):
        read_regions(path)


def test_a_packed_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_stem.texts.MOST_UNPACKED_BYTES", 2 * 1024**2)
    path = tmp_path / "r.geojson.gz"
    path.write_bytes(gzip.compress(b" " * 3 * 1024**2, mtime=0))
    with pytest.raises(RegionError, match="unpacks to more than 2 MB"):
        read_regions(path)


BROKEN = {
    "one point": {"type": "Polygon", "coordinates": [[[5, 5]]]},
    "part without ring": {"type": "MultiPolygon", "coordinates": [[RING], []]},
    "words": {"type": "Polygon", "coordinates": [[["a", "b"]] * 4]},
    "no coordinates": {"type": "Polygon"},
    "another type": {"type": "Circle", "coordinates": [1, 2]},
    "a number": {"type": "Polygon", "coordinates": 7},
}


@pytest.mark.parametrize("geometry", BROKEN.values(), ids=BROKEN)
def test_a_broken_outline_is_passed_over_and_named(geometry, caplog):
    odd = {"type": "Feature", "geometry": geometry, "properties": {"name": "odd"}}
    regions = parse_regions(
        collection(feature({"name": "first"}), odd, feature({"name": "last"})), "r"
    )
    assert [region.name for region in regions] == ["first", "last"]
    assert "Outline 'odd' of r is broken" in caplog.text
    with pytest.raises(RegionError, match="Outline 1 of r is broken"):
        parse_regions({**odd, "properties": {}}, "r")


def star(n_corners):
    angles = np.arange(n_corners + 1) * (n_corners // 2) * 2 * np.pi / n_corners
    return [np.column_stack([np.cos(angles), np.sin(angles)]).tolist()]


def test_outlines_that_cross_themselves_are_filled():
    (region,) = parse_regions(feature({}, star(41)), "r")
    expected = shapely.Polygon(star(41)[0]).buffer(0)  # another algorithm of GEOS
    assert region.polygon.symmetric_difference(expected).area < 1e-9
    overlapping = [
        [[[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]],
        [[[1, 0], [3, 0], [3, 2], [1, 2], [1, 0]]],
    ]
    (region,) = parse_regions(feature({}, overlapping, "MultiPolygon"), "r")
    assert region.polygon.area == 6


def test_a_tangle_is_refused_before_it_takes_minutes():
    tangle = feature({"name": "star"}, star(2501))
    began = time.process_time()
    with pytest.raises(
        RegionError, match=r"'star' of .* is broken .it crosses itself more than 10,000 times"
    ):
        parse_regions(tangle, "r")
    assert time.process_time() - began < 10
