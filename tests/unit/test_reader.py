"""The npe2 reader and the manifest, on real files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from npe2 import PluginManifest
from PIL import Image

from napari_stem.reader import SUFFIXES, ZIPPED, SlideWarning, get_reader
from napari_stem.sample_data import SAMPLE_NAME, her2st_c5, sample_path
from napari_stem.slide import open_slide

MANIFEST = Path(__file__).parents[2] / "src" / "napari_stem" / "napari.yaml"


@pytest.fixture(scope="module")
def tissue_crop(tmp_path_factory) -> Path:
    """A real piece of the packaged section, as a file of its own that says no pixel size."""
    path = tmp_path_factory.mktemp("crop") / "crop.png"
    slide = open_slide(sample_path())
    Image.fromarray(slide.levels[2].pixels[600:750, 800:1000].compute()).save(path)
    return path


def test_reads_a_slide_without_pixel_size_and_says_so(tissue_crop):
    read = get_reader(str(tissue_crop))
    with pytest.warns(SlideWarning, match=r"crop\.png does not say how large its pixels are"):
        ((levels, options, kind),) = read(str(tissue_crop))
    assert kind == "image"
    assert options["units"] == ("pixel", "pixel")
    with Image.open(tissue_crop) as image:
        np.testing.assert_array_equal(np.asarray(levels[0]), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("name", ["notes.txt", "table.csv", "volume.nii"])
def test_leaves_other_files_to_others(tmp_path, name):
    (tmp_path / name).write_text("x")
    assert get_reader(str(tmp_path / name)) is None


def test_leaves_lists_and_missing_files_to_others(tissue_crop):
    assert get_reader([str(tissue_crop)]) is None
    assert get_reader(str(tissue_crop.with_name("missing.svs"))) is None


def test_manifest_and_reader_name_the_same_files():
    (contribution,) = PluginManifest.from_file(MANIFEST).contributions.readers
    patterns = {pattern.removeprefix("*") for pattern in contribution.filename_patterns}
    assert patterns == SUFFIXES | {ZIPPED}
    assert contribution.accepts_directories


def test_takes_zarr_folders_and_leaves_other_folders_to_others(tmp_path):
    (tmp_path / "slide.zarr").mkdir()
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "slide.zarr.zip").touch()
    (tmp_path / "papers.zip").touch()
    assert get_reader(str(tmp_path / "slide.zarr")) is not None
    assert get_reader(str(tmp_path / "slide.zarr.zip")) is not None
    assert get_reader(str(tmp_path / "folder.tif")) is None
    assert get_reader(str(tmp_path / "papers.zip")) is None


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


def test_text_file_named_tif_ends_in_one_sentence_every_time(tmp_path):
    path = tmp_path / "letter.tif"
    path.write_text("Dear colleague,")
    read = get_reader(str(path))
    lines = []
    for _ in range(2):
        with pytest.warns(SlideWarning, match=r"letter\.tif") as caught:
            assert read(str(path)) == [(None,)]
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
    with npe2pm.tmp_plugin(manifest=PluginManifest.from_file(MANIFEST)):
        yield ViewerModel()


def test_napari_opens_a_slide_through_the_manifest(viewer_with_plugin, tissue_crop):
    with pytest.warns(SlideWarning, match="pixels"):
        (layer,) = viewer_with_plugin.open(str(tissue_crop), plugin="napari-stem")
    assert layer.rgb
    assert layer.multiscale


def test_napari_opens_nothing_from_a_broken_file_and_raises_nothing(viewer_with_plugin, tmp_path):
    path = tmp_path / "letter.svs"
    path.write_text("Dear colleague,")
    with pytest.warns(SlideWarning, match=r"letter\.svs"):
        assert viewer_with_plugin.open(str(path), plugin="napari-stem") == []


@pytest.mark.slow
def test_napari_opens_the_sample_through_the_manifest(viewer_with_plugin):
    (layer,) = viewer_with_plugin.open_sample("napari-stem", "her2st_c5")
    assert layer.name == SAMPLE_NAME
    assert [str(u) for u in layer.units] == ["micrometer", "micrometer"]


def test_reader_brings_neither_a_viewer_nor_torch():
    code = (
        "import sys, napari_stem.reader, napari_stem.sample_data, napari_stem.layers\n"
        "print(sorted({'napari', 'qtpy', 'torch', 'vispy'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"
