"""What is a brightfield slide by the look of it, and what is left to others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from npe2 import PluginManifest
from PIL import Image

import napari_stem
from napari_stem.sample_data import sample_path
from napari_stem.slide.opening import READERS, describe
from napari_stem.slide.recognising import (
    MANIFEST_ENDINGS,
    SLIDE_ENDINGS,
    TRUSTED_ENDINGS,
    looks_like_slide,
)

MANIFEST = Path(napari_stem.__file__).parent / "napari.yaml"
SLIDES = Path(__file__).parents[2] / "data" / "slides"
SMALL, LARGE = (300, 400), (4100, 4100)


def tiff(path: Path, shape, dtype=np.uint8, **options) -> Path:
    tifffile.imwrite(path, np.zeros(shape, dtype), compression="deflate", **options)
    return path


def ome_zarr(path: Path, *, axes="cyx", shape=(3, 64, 64), dtype="uint8", zarr_format=3, **about):
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    group.create_array("0", shape=shape, chunks=shape, dtype=dtype)
    told = {"multiscales": [{"axes": [{"name": a} for a in axes], "datasets": [{"path": "0"}]}]}
    told |= about
    group.attrs.update({"ome": told} if zarr_format == 3 else told)
    return path


def test_the_manifest_names_the_endings_that_slides_have_and_pictures_have_not():
    (reader,) = PluginManifest.from_file(MANIFEST).contributions.readers
    others = {"*.h5ad", "*.geojson", "*.geojson.gz"}
    assert set(reader.filename_patterns) - others == {f"*{each}" for each in MANIFEST_ENDINGS}
    assert not {".png", ".jpg", ".tif"} & set(MANIFEST_ENDINGS)


def test_every_ending_belongs_to_one_reader_and_every_reader_is_there(jpeg_path):
    assert len(set(SLIDE_ENDINGS)) == len(SLIDE_ENDINGS)
    assert {*TRUSTED_ENDINGS, *MANIFEST_ENDINGS} < set(SLIDE_ENDINGS)
    assert list(describe(jpeg_path)["readers"]) == list(READERS)


def test_slides_are_recognised(tmp_path):
    assert looks_like_slide(SLIDES / "CMU-1-Small-Region.svs")
    assert looks_like_slide(next((SLIDES / "CMU-1-Small-Region-dicom").iterdir()))
    assert looks_like_slide(sample_path())
    rgb = {"photometric": "rgb"}
    assert looks_like_slide(tiff(tmp_path / "tiled.tif", (*SMALL, 3), tile=(64, 64), **rgb))
    assert looks_like_slide(tiff(tmp_path / "large.tif", (*LARGE, 3), **rgb))
    letter = tmp_path / "letter.svs"  # why it cannot be read is worth a sentence
    letter.write_text("Dear colleague,")
    assert looks_like_slide(letter)


@pytest.mark.parametrize(
    ("shape", "dtype", "options"),
    [
        ((*LARGE,), np.uint8, {}),
        ((*LARGE,), np.uint16, {}),
        ((*SMALL,), np.int32, {"tile": (64, 64)}),
        ((*LARGE, 3), np.uint16, {"photometric": "rgb"}),
        ((*SMALL, 3), np.uint8, {"photometric": "rgb"}),
        ((3, *SMALL), np.uint8, {"photometric": "minisblack", "tile": (64, 64)}),
    ],
    ids=["grey", "16 bit", "labels", "16-bit RGB", "small", "channels"],
)
def test_other_tiffs_are_left_to_others(tmp_path, shape, dtype, options):
    assert not looks_like_slide(tiff(tmp_path / "x.tif", shape, dtype, **options))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "I;16"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_ordinary_pictures_are_left_to_others(tmp_path, mode, suffix):
    size = SMALL if mode == "RGB" else LARGE
    Image.new(mode, size).save(tmp_path / f"x.{suffix}")
    assert not looks_like_slide(tmp_path / f"x.{suffix}")


@pytest.mark.parametrize("name", ["notes.txt", "cut.jpg", "cut.tif", "scan.dcm", "gone.svs", ""])
def test_what_is_no_image_is_left_to_others(tmp_path, name):
    contents = {"cut.jpg": b"\xff\xd8\xff", "cut.tif": b"II*\0", "scan.dcm": bytes(128) + b"DICM"}
    if name and name != "gone.svs":
        (tmp_path / name).write_bytes(contents.get(name, b"x"))
    assert not looks_like_slide(tmp_path / name)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_ome_zarr_is_a_slide_if_it_is_one_rgb_image(tmp_path, zarr_format):
    def look(**options) -> bool:
        return looks_like_slide(ome_zarr(tmp_path / "x.zarr", zarr_format=zarr_format, **options))

    assert look()
    assert look(axes="tczyx", shape=(1, 3, 1, 64, 64))
    assert not look(dtype="uint16")
    assert not look(axes="yx", shape=(64, 64))
    assert not look(shape=(2, 64, 64))
    assert not look(axes="zcyx", shape=(5, 3, 64, 64))
    assert not look(**{"image-label": {}})
    assert not look(omero={"channels": [{"color": c} for c in ("0000FF", "00FF00", "FF0000")]})
    assert look(omero={"channels": [{"color": c} for c in ("FF0000", "00FF00", "0000FF")]})


def test_images_beneath_are_found_and_other_zarrs_are_left_to_others(tmp_path):
    ome_zarr(tmp_path / "spatial.zarr" / "images" / "he")
    assert looks_like_slide(tmp_path / "spatial.zarr")
    ome_zarr(tmp_path / "raw.zarr" / "0")
    assert looks_like_slide(tmp_path / "raw.zarr")
    zarr.open_group(tmp_path / "other.zarr", mode="w").create_array("a", shape=(4, 4), dtype="f4")
    assert not looks_like_slide(tmp_path / "other.zarr")
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / ".zattrs").write_text(json.dumps({"multiscales": [{}]}))
    assert not looks_like_slide(tmp_path / "broken.zarr")


def test_looking_loads_nothing_heavy(tmp_path):
    ome_zarr(tmp_path / "x.zarr")
    code = (
        "import sys; from pathlib import Path\n"
        "from napari_stem.slide.recognising import looks_like_slide\n"
        f"assert looks_like_slide(Path({str(tmp_path / 'x.zarr')!r}))\n"
        f"assert looks_like_slide(Path({str(sample_path())!r}))\n"
        "print(sorted({'zarr', 'dask', 'anndata', 'torch', 'napari'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"
