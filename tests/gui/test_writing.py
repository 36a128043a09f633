"""What napari saves through the manifest: regions for QuPath, predictions as tables."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import napari_builtins
import numpy as np
import pandas as pd
import pytest
import shapely
from napari.components import ViewerModel
from napari.layers import Layer
from npe2 import PluginManifest

import napari_stem
from napari_stem.errors import StemError
from napari_stem.file_kinds import read
from napari_stem.geometry import Region
from napari_stem.layers.placement import slide_layer
from napari_stem.results import Prediction
from napari_stem.sample_data import sample_path
from napari_stem.slide import open_slide
from napari_stem.spatial.region_files import ClassedRegion, read_regions, write_regions

MANIFEST = Path(napari_stem.__file__).parent / "napari.yaml"
TUMOUR = ClassedRegion(shapely.box(4400, 3400, 5561, 4561), "a", "Tumor", (10, 20, 30))
HOLED = ClassedRegion(shapely.box(100, 100, 900, 900) - shapely.box(300, 300, 500, 500), "b")


@pytest.fixture
def viewer(npe2pm):
    own = Path(napari_builtins.__file__).parent / "builtins.yaml"
    with (
        npe2pm.tmp_plugin(manifest=PluginManifest.from_file(own)),
        npe2pm.tmp_plugin(manifest=PluginManifest.from_file(MANIFEST)),
    ):
        yield ViewerModel()


def add(viewer, kind, path: Path) -> list[Layer]:
    layers = [Layer.create(*each) for each in read(kind, str(path))]
    viewer.layers.extend(layers)
    return layers


def is_same(one: Region, other: Region) -> bool:
    return one.polygon.symmetric_difference(other.polygon).area < 0.1


def test_regions_come_back_as_they_were_read(viewer, tmp_path):
    before, after = tmp_path / "R.geojson", tmp_path / "again.geojson"
    write_regions([TUMOUR, HOLED], before)
    add(viewer, "regions", before)
    assert viewer.layers.save(str(after)) == [str(after)]
    first, second = read_regions(after)
    assert (first.name, first.classification, first.colour) == ("a", "Tumor", (10, 20, 30))
    assert (second.name, second.classification) == ("b", "")
    assert is_same(first, TUMOUR)
    assert is_same(second, HOLED)


def test_shapes_of_anybody_are_written_in_the_pixels_of_the_slide(model_road, tmp_path):
    """On a slide in um; beside it all other layers are saved too, and passed over."""
    from napari_stem.widgets.writing import regions_of_layer, write_regions

    viewer = model_road.viewer
    viewer.add_layer(Layer.create(*slide_layer(open_slide(sample_path()))))
    mpp = model_road.dock.coordinator.slide.mpp
    corners_um = np.array([(0, 0), (0, 800), (500, 800), (500, 0)]) * (mpp.y_um, mpp.x_um)
    shapes = viewer.add_shapes(
        [corners_um, corners_um[:2]],
        shape_type=["polygon", "line"],
        features=pd.DataFrame({"name": ["edge", ""]}),
        units=("um", "um"),
    )
    (region,) = regions_of_layer(shapes, viewer)
    assert region.name == "edge"
    assert is_same(region, Region(shapely.box(0, 0, 800, 500)))
    data = [layer.as_layer_data_tuple() for layer in viewer.layers]
    with pytest.raises(StemError, match="open its slide"):  # no viewer of napari's own is there
        write_regions(str(tmp_path / "x.geojson"), data)


def test_shapes_on_another_program_s_image_are_written_in_its_pixels(viewer, tmp_path):
    viewer.add_image(np.zeros((50, 60)))
    viewer.add_shapes([[[0, 0], [0, 9], [4, 9], [4, 0]]])  # centres of pixels, as napari counts
    viewer.layers.save(str(tmp_path / "R.geojson"))
    (region,) = read_regions(tmp_path / "R.geojson")
    assert region.name == "region 1"
    assert region.polygon.bounds == (0.5, 0.5, 9.5, 4.5)


def test_regions_of_the_dock_are_saved_by_napari_too(model_road, tmp_path):
    from napari_stem.widgets.writing import write_regions

    model_road.open(sample_path())
    coordinator = model_road.dock.coordinator
    coordinator.panels.region.add(coordinator.slide, [TUMOUR, HOLED])
    data = [layer.as_layer_data_tuple() for layer in model_road.viewer.layers]
    write_regions(str(tmp_path / "R.geojson"), data)
    first, second = read_regions(tmp_path / "R.geojson")
    assert (first.name, first.classification, first.colour) == ("a", "Tumor", (10, 20, 30))
    assert is_same(first, TUMOUR)
    assert is_same(second, HOLED)


def test_lines_alone_are_no_regions(viewer, tmp_path):
    viewer.add_shapes([[[0, 0], [5, 9]]], shape_type="line")
    with pytest.raises(StemError, match="encloses an area"):
        viewer.layers.save(str(tmp_path / "R.geojson"))


@pytest.mark.parametrize("suffix", ["h5ad", "csv", "geojson"])
def test_a_map_is_saved_as_the_prediction_that_it_is_of(viewer, c5_prediction, tmp_path, suffix):
    *_, mean = add(viewer, "prediction", c5_prediction)
    prediction, path = Prediction.open(c5_prediction), tmp_path / f"P.{suffix}"
    gene = mean.metadata["napari_stem"]["gene"]
    for _ in range(2):  # File > Save has asked whether to replace it
        assert viewer.layers.save(str(path)) == [str(path)]
    if suffix == "h5ad":
        assert list(anndata.read_h5ad(path).var_names) == list(prediction.genes)
    elif suffix == "csv":
        text = path.read_text()
        assert gene in text
        assert prediction.genes[0] == gene or prediction.genes[0] not in text
    else:
        features = json.loads(path.read_text())["features"]
        assert len(features) == len(prediction.spots)
        assert any(gene in key for key in features[0]["properties"]["measurements"])


def test_an_image_is_no_prediction(viewer, tmp_path):
    viewer.add_image(np.zeros((5, 5)))
    with pytest.raises(StemError, match="predicted map only"):
        viewer.layers.save(str(tmp_path / "P.h5ad"))


@pytest.mark.parametrize(
    ("kinds", "name", "writer"),
    [
        (["image"], "x", "napari.write_image"),
        (["shapes"], "x", "napari.write_shapes"),
        (["shapes"], "x.csv", "napari.write_shapes"),
        (["shapes", "image"], "x.geojson", "napari-stem.write_regions"),
        (["image"], "x.geojson", "napari-stem.write_prediction"),
    ],
)
def test_what_napari_writes_by_itself_is_left_to_it(viewer, npe2pm, kinds, name, writer):
    found, _ = npe2pm.get_writer(name, kinds)
    assert found.command == writer
