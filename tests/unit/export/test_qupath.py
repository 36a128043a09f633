"""GeoJSON as QuPath reads it."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import shapely
from shapely.geometry import shape

from napari_stem.exporting.qupath import write_geojson
from napari_stem.exporting.selection import Selection
from napari_stem.spatial.region_files import ClassedRegion, read_regions

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.results import Prediction

GENES = ("SCD", "GNAS")


def features(selection: Selection, folder: Path) -> list[dict[str, Any]]:
    write_geojson(selection, folder / "p.geojson")

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    text = (folder / "p.geojson").read_text(encoding="utf-8")
    content = json.loads(text, parse_constant=refuse)
    assert content["type"] == "FeatureCollection"
    assert "not measured" in content["napari_stem"]["notice"]
    return content["features"]


def test_spots_are_tiles_with_measurements(prediction: Prediction, tmp_path: Path) -> None:
    found = features(Selection.of(prediction, GENES), tmp_path)
    spots = prediction.spots
    assert [f["properties"]["name"] for f in found] == list(spots.names)
    assert {f["properties"]["objectType"] for f in found} == {"tile"}
    side_px = spots.diameter_um / prediction.provenance["mpp"][0]
    for row, feature in enumerate(found):
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        square = shape(feature["geometry"])
        centre = (square.centroid.x, square.centroid.y)
        assert centre == pytest.approx((spots.x_px[row], spots.y_px[row]), abs=0.02)
        assert square.area == pytest.approx(side_px**2, rel=1e-3)
        measured = feature["properties"]["measurements"]
        assert measured["GNAS predicted mean"] == pytest.approx(
            prediction.values("GNAS")[row], rel=1e-5
        )
        assert measured["SCD predicted q05"] == pytest.approx(
            prediction.values("SCD", "q05")[row], rel=1e-5
        )
        assert measured["unlike training data"] in (0, 1)


def test_identities_are_uuids_that_stay(prediction: Prediction, regions, tmp_path: Path) -> None:
    selection = Selection.of(prediction, GENES, regions)
    first = [f["id"] for f in features(selection, tmp_path)]
    (tmp_path / "p.geojson").unlink()
    assert [f["id"] for f in features(selection, tmp_path)] == first
    assert len(set(first)) == len(first)
    assert all(str(uuid.UUID(identity)) == identity for identity in first)


def test_regions_are_annotations_with_means(
    prediction: Prediction, regions, tmp_path: Path
) -> None:
    ring, glass = features(Selection.of(prediction, GENES, regions), tmp_path)[:2]
    assert ring["properties"]["objectType"] == "annotation"
    assert ring["properties"]["name"] == regions[0].name
    assert len(ring["geometry"]["coordinates"]) == 2  # the hole is there
    measured = ring["properties"]["measurements"]
    assert measured["SCD predicted q05"] < measured["SCD predicted mean"]
    assert measured["predicted spots"] > 0
    assert ring["properties"]["metadata"]["unit"] == prediction.unit
    assert glass["properties"]["measurements"]["predicted spots"] == 0
    assert "SCD predicted mean" not in glass["properties"]["measurements"]


def test_regions_come_back(prediction: Prediction, regions, tmp_path: Path) -> None:
    features(Selection.of(prediction, GENES, regions), tmp_path)
    found = {region.name: region.polygon for region in read_regions(tmp_path / "p.geojson")}
    for region in regions:
        assert shapely.symmetric_difference(found[region.name], region.polygon).area < 1


def test_classes_and_colours_go_out_and_come_back(prediction, regions, tmp_path: Path) -> None:
    area = regions[0].polygon
    drawn = (
        ClassedRegion(area, "one", "Tumor", (200, 0, 0)),
        ClassedRegion(area, "two", "Immune cells: CD8", (1, 2, 3)),
        ClassedRegion(area, "three"),
        regions[1],
    )
    found = features(Selection.of(prediction, GENES, drawn), tmp_path)[:4]
    classes = [feature["properties"].get("classification") for feature in found]
    assert classes == [
        {"name": "Tumor", "color": [200, 0, 0]},
        {"names": ["Immune cells", "CD8"], "color": [1, 2, 3]},
        None,
        None,
    ]
    again = {region.name: region for region in read_regions(tmp_path / "p.geojson")}
    for region in drawn[:3]:
        assert again[region.name].classification == region.classification
        assert again[region.name].colour == region.colour


def test_measured_spots_are_round(altered, tmp_path: Path) -> None:
    prediction = altered(spot_diameter_um=100.0)
    found = features(Selection.of(prediction, GENES), tmp_path)
    assert {f["properties"]["objectType"] for f in found} == {"detection"}
    mpp = prediction.provenance["mpp"][0]
    disc = shape(found[0]["geometry"])
    assert disc.area == pytest.approx(np.pi * (50 / mpp) ** 2, rel=0.02)


def test_spots_unlike_the_training_data_have_a_class(unlike: Prediction, tmp_path: Path) -> None:
    found = features(Selection.of(unlike, GENES), tmp_path)
    names = [f["properties"]["classification"]["name"] for f in found]
    assert [("unlike" in name) for name in names] == list(unlike.ood)
    colours = [f["properties"]["classification"]["color"] for f in found]
    assert all(len(c) == 3 and all(0 <= v <= 255 for v in c) for c in colours)


def test_a_model_that_cannot_tell_says_nothing_of_domains(altered, regions, tmp_path: Path) -> None:
    found = features(Selection.of(altered(domain="unknown"), GENES, regions), tmp_path)
    assert not any("unlike" in key for f in found for key in f["properties"]["measurements"])
