"""The npe2 reader and the manifest, on real files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import napari_builtins
import numpy as np
import pytest
import shapely
import tifffile
from napari.components import ViewerModel
from npe2 import PluginManifest
from PIL import Image

from napari_stem.exporting.options import ExportOptions
from napari_stem.exporting.selection import Selection
from napari_stem.exporting.spatial_data import write_spatialdata
from napari_stem.exporting.table import write_anndata
from napari_stem.file_kinds import SlideWarning, read
from napari_stem.geometry import Region
from napari_stem.results import Prediction
from napari_stem.sample_data import SAMPLE_NAME, her2st_c5, sample_path
from napari_stem.slide import open_slide
from napari_stem.spatial.region_files import ClassedRegion, write_regions
from napari_stem.widgets.slide.reading import get_reader
from napari_stem.widgets.slide.slide_panel import FILE_FILTER

MANIFEST = Path(__file__).parents[2] / "src" / "napari_stem" / "napari.yaml"
COUNTS = sample_path().parents[1] / "st" / "C5.h5ad"


def test_the_window_offers_every_kind_of_slide():
    offered = FILE_FILTER.partition("(")[2].partition(")")[0].split()
    assert {"*.vmu", "*.svslide", "*.tf8", "*.zarr.zip", "*.svs", "*.png"} <= set(offered)
    assert "*.zvi" not in offered  # which no reader reads


@pytest.fixture(scope="module")
def tissue_crop(tmp_path_factory) -> Path:
    """A real piece of the packaged section, as a file of its own that says no pixel size."""
    path = tmp_path_factory.mktemp("crop") / "crop.png"
    slide = open_slide(sample_path())
    Image.fromarray(slide.levels[2].pixels[600:750, 800:1000].compute()).save(path)
    return path


def test_reads_a_slide_without_pixel_size_and_says_so(tissue_crop):
    with pytest.warns(SlideWarning, match=r"crop\.png does not say how large its pixels are"):
        ((levels, options, kind),) = read("slide", str(tissue_crop))
    assert kind == "image"
    assert options["units"] == ("pixel", "pixel")
    with Image.open(tissue_crop) as image:
        np.testing.assert_array_equal(np.asarray(levels[0]), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("name", ["notes.txt", "table.csv", "volume.nii"])
def test_leaves_other_files_to_others(tmp_path, name):
    (tmp_path / name).write_text("x")
    assert get_reader(str(tmp_path / name)) is None


def test_leaves_lists_pictures_and_missing_files_to_others(tissue_crop):
    assert get_reader([str(sample_path())]) is None
    assert get_reader(str(tissue_crop)) is None
    assert get_reader(str(tissue_crop.with_name("missing.svs"))) is None


def test_sources_of_the_pixel_size_that_disagree_are_told(tissue_crop, tmp_path):
    path = tmp_path / "slide.tif"
    with Image.open(tissue_crop) as image:
        tifffile.imwrite(
            path,
            np.asarray(image.convert("RGB")),
            description="Aperio Image Library v1\r\n1x1|MPP = 0.25",
            tile=(256, 256),
            photometric="rgb",
            resolution=(20_000, 20_000),
            resolutionunit="centimeter",
            metadata=None,
        )
    with pytest.warns(SlideWarning, match="disagree by a factor of 2") as caught:
        ((_, options, _),) = get_reader(str(path))(str(path))
    assert len(caught) == 1
    assert options["scale"] == (0.25, 0.25)


def test_what_a_scanner_is_said_to_have_written_ends_in_one_sentence_every_time(tmp_path):
    path = tmp_path / "letter.svs"
    path.write_text("Dear colleague,")
    read_it = get_reader(str(path))
    lines = []
    for _ in range(2):
        with pytest.warns(SlideWarning, match=r"letter\.svs") as caught:
            assert read_it(str(path)) == [(None,)]
        assert len(caught) == 1
        assert str(caught[0].message).count("\n") == 0
        lines.append(caught[0].lineno)
    assert lines[0] != lines[1]  # or napari would swallow the second notification


def test_truncated_jpeg_ends_in_one_sentence(tmp_path):
    path = tmp_path / "cut.jpg"
    path.write_bytes(sample_path().read_bytes()[:100_000])
    with pytest.warns(SlideWarning, match=r"cut\.jpg") as caught:
        assert get_reader(str(path))(str(path)) == [(None,)]
    assert len(caught) == 1


@pytest.mark.slow
def test_sample_is_a_slide_in_um():
    ((levels, options, kind),) = her2st_c5()
    assert kind == "image"
    assert options["name"] == SAMPLE_NAME
    assert options["units"] == ("um", "um")
    assert 0.1 < options["scale"][0] < 2
    assert max(levels[-1].shape) <= 1024


def test_manifest_is_valid_and_its_functions_exist():
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert manifest.name == "napari-stem"
    samples = manifest.contributions.sample_data
    assert [s.display_name for s in samples] == [SAMPLE_NAME]


@pytest.fixture
def viewer_with_plugin(npe2pm):
    """A viewer with napari's own readers and writers, and ours."""
    own = Path(napari_builtins.__file__).parent / "builtins.yaml"
    with (
        npe2pm.tmp_plugin(manifest=PluginManifest.from_file(own)),
        npe2pm.tmp_plugin(manifest=PluginManifest.from_file(MANIFEST)),
    ):
        yield ViewerModel()


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg", "scan.tif", "labels.tif", "x.ome.tif"])
def test_napari_opens_ordinary_pictures_without_asking_for_a_reader(
    viewer_with_plugin, tmp_path, name
):
    path = tmp_path / name
    if "photo" in name:
        Image.new("RGB", (40, 30), "red").save(path)
    else:
        tifffile.imwrite(path, np.eye(30, dtype=np.uint16 if "labels" in name else np.uint8))
    (layer,) = viewer_with_plugin.open(
        str(path), plugin=None
    )  # MultipleReaderError where it would ask
    assert layer.source.reader_plugin == "napari"


def test_a_slide_that_cannot_be_opened_brings_one_warning_and_no_layer(
    viewer_with_plugin, tmp_path
):
    path = tmp_path / "letter.mrxs"  # which napari itself does not open
    path.write_text("Dear colleague,")
    with pytest.warns(SlideWarning, match=r"letter\.mrxs") as caught:
        assert viewer_with_plugin.open(str(path), plugin=None) == []
    assert len(caught) == 1


@pytest.mark.gui
def test_without_a_window_napari_waits_for_the_pixels(viewer_with_plugin, tmp_path, monkeypatch):
    from napari_stem.widgets.slide.slide_layers import pyramid_of

    monkeypatch.setenv("NAPARI_STEM_CACHE", str(tmp_path / "cache"))
    crop = Path(__file__).parents[1] / "data" / "slides" / "C5-crop.jpg"
    path = shutil.copy(crop, tmp_path / "slide.svs")  # by its name a slide
    with pytest.warns(SlideWarning, match="how large its pixels are"):
        (layer,) = viewer_with_plugin.open(str(path), plugin="napari-stem")
    pyramid = pyramid_of(layer)
    assert pyramid.patience_s is None
    assert pyramid.slide.is_complete  # its thumbnail was read
    with Image.open(crop) as image:
        np.testing.assert_array_equal(layer.data[0][:50, :60], np.asarray(image)[:50, :60])


@pytest.fixture
def exported(c5_prediction, tmp_path) -> Path:
    path = tmp_path / "P.h5ad"
    write_anndata(Selection.of(Prediction.open(c5_prediction)), path)
    return path


@pytest.mark.parametrize("form", ["zarr", "h5ad"])
def test_a_prediction_opens_as_maps_on_its_overview(
    viewer_with_plugin, c5_prediction, exported, form, tmp_path, new_cache, monkeypatch
):
    monkeypatch.setenv("NAPARI_STEM_CACHE", str(new_cache(tmp_path / "cache")))
    path = c5_prediction if form == "zarr" else exported
    overview, deviation, mean = viewer_with_plugin.open(str(path), plugin="napari-stem")
    prediction = Prediction.open(c5_prediction)
    gene = mean.metadata["napari_stem"]["gene"]
    assert gene == next(iter(prediction.reliability))
    assert mean.name == f"{gene} predicted, {prediction.unit}"
    assert "uncertainty" in deviation.name
    assert (overview.visible, deviation.visible, mean.visible) == (True, False, True)
    assert {str(unit) for layer in viewer_with_plugin.layers for unit in layer.units} == {
        "micrometer"
    }
    slide = open_slide(sample_path())
    spots, mpp = prediction.spots, slide.mpp
    for spot in (0, 7, len(spots) - 1):
        at_um = spots.y_px[spot] * mpp.y_um, spots.x_px[spot] * mpp.x_um
        row, col = np.round(mean.world_to_data(at_um)).astype(int)
        assert mean.data[row, col] == pytest.approx(prediction.values(gene)[spot])
        assert deviation.data[row, col] == pytest.approx(prediction.values(gene, "sd")[spot])
    size_um = slide.size.height_px * mpp.y_um, slide.size.width_px * mpp.x_um
    corner_px = overview.world_to_data(size_um)
    assert corner_px + 0.5 == pytest.approx(overview.data.shape[:2], rel=0.01)


def test_an_exported_spatialdata_opens_with_its_scale_its_map_and_its_regions(
    viewer_with_plugin, c5_prediction, tmp_path
):
    slide = open_slide(sample_path())
    square = Region(shapely.box(4400, 3400, 5561, 4561), "tumour")
    selection = Selection.of(Prediction.open(c5_prediction), (), [square])
    write_spatialdata(
        selection, tmp_path / "SD.zarr", ExportOptions(slide=slide, image_max_px=1500)
    )
    layers = viewer_with_plugin.open(str(tmp_path / "SD.zarr"), plugin="napari-stem")
    picture, _, mean, regions = layers
    assert picture.multiscale
    height_um = slide.size.height_px * slide.mpp.y_um
    assert picture.extent.world[1, 0] == pytest.approx(height_um, rel=0.01)
    assert list(regions.features["name"]) == ["tumour"]
    low, high = regions.extent.world
    assert low == pytest.approx((3400 * slide.mpp.y_um, 4400 * slide.mpp.x_um), rel=0.01)
    assert (low <= mean.extent.world[0] + 1).all()
    assert (mean.extent.world[1] <= high + 1).all()


def test_regions_open_in_pixels_and_measured_counts_in_what_is_known(viewer_with_plugin, tmp_path):
    path = tmp_path / "R.geojson"
    write_regions([ClassedRegion(shapely.box(10, 20, 40, 80), "a", "Tumor", (200, 0, 0))], path)
    (regions,) = viewer_with_plugin.open(str(path), plugin=None)
    np.testing.assert_allclose(regions.extent.data, [[20, 10], [80, 40]])
    assert str(regions.units[0]) == "pixel"
    assert regions.edge_color[0] == pytest.approx((200 / 255, 0, 0, 1))
    (counts,) = viewer_with_plugin.open(str(COUNTS), plugin=None)
    assert str(counts.units[0]) == "micrometer"  # the data set states the pixel size
    bare = shutil.copy(COUNTS, tmp_path / "bare.h5ad")
    (in_px,) = viewer_with_plugin.open(str(bare), plugin=None)
    assert str(in_px.units[0]) == "pixel"
    mpp_um = open_slide(sample_path()).mpp.x_um
    np.testing.assert_allclose(in_px.extent.world * mpp_um, counts.extent.world, atol=1)


def test_measured_spots_without_a_position_are_told(tmp_path):
    import anndata

    table = anndata.AnnData(np.eye(3, dtype=np.float32))
    table.obsm["spatial"] = np.array([[0, 0], [100, 0], [np.nan, np.nan]])
    table.write_h5ad(tmp_path / "odd.h5ad")
    with pytest.warns(SlideWarning, match=r"odd\.h5ad must state a position .* of every spot"):
        assert read("measured", str(tmp_path / "odd.h5ad")) == [(None,)]


def test_tables_and_folders_of_others_are_left_to_others(tmp_path):
    import anndata
    import zarr

    anndata.AnnData(np.eye(3, dtype=np.float32)).write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "broken.h5ad").write_text("x")
    zarr.open_group(tmp_path / "other.zarr", mode="w").create_array("a", shape=(4, 4), dtype="f4")
    (tmp_path / "pictures").mkdir()
    for path in tmp_path.iterdir():
        assert get_reader(str(path)) is None


@pytest.mark.slow
def test_napari_opens_the_sample_through_the_manifest(viewer_with_plugin):
    (layer,) = viewer_with_plugin.open_sample("napari-stem", "her2st_c5")
    assert layer.name == SAMPLE_NAME
    assert [str(u) for u in layer.units] == ["micrometer", "micrometer"]


def test_reader_brings_neither_a_viewer_nor_torch():
    code = (
        "import sys, napari_stem.file_kinds, napari_stem.sample_data\n"
        "from napari_stem.layers import from_files, placement, values\n"
        "print(sorted({'napari', 'qtpy', 'torch', 'vispy'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"
