"""Opening: which reader, whose pixel size, and what is said of files that are no slides."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_stem.errors import MissingMppError, SlideError
from napari_stem.geometry import Mpp, SizePx
from napari_stem.slide import describe, open_slide
from napari_stem.slide.recognising import READERS


def test_importing_the_package_loads_nothing_heavy():
    heavy = "{'torch', 'napari', 'dask', 'zarr', 'tifffile', 'PIL', 'skimage', 'scipy'}"
    code = f"import sys, napari_stem.slide; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_readers_are_chosen_by_content_not_by_name(svs_path, jpeg_path, tmp_path, opened):
    shutil.copy(svs_path, tmp_path / "really-a-tiff.jpg")
    shutil.copy(jpeg_path, tmp_path / "really-a-jpeg.svs")
    assert opened(tmp_path / "really-a-tiff.jpg").reader == "tiff"
    assert opened(tmp_path / "really-a-jpeg.svs").reader == "raster"


def test_one_reader_can_be_insisted_on(svs_path, jpeg_path, opened):
    assert opened(svs_path, reader="raster").reader == "raster"
    with pytest.raises(SlideError, match=r"C5-crop\.jpg cannot be opened by the reader 'tiff'"):
        open_slide(jpeg_path, reader="tiff")
    with pytest.raises(SlideError, match="choose from tiff, czi, openslide"):
        open_slide(jpeg_path, reader="bioformats")


def test_print_resolution_is_not_a_pixel_size(jpeg_path, opened):
    with Image.open(jpeg_path) as image:
        assert image.info["dpi"] == (98, 98)
    slide = opened(jpeg_path)
    assert slide.mpp is None
    with pytest.raises(MissingMppError, match="--mpp"):
        slide.require_mpp()


def test_pixel_size_of_the_user_then_of_the_data_set_then_of_the_file(svs_path, tmp_path, opened):
    assert opened(svs_path).mpp == Mpp.square(0.499)
    path = tmp_path / "wsis" / "S1.svs"
    path.parent.mkdir()
    shutil.copy(svs_path, path)
    (tmp_path / "metadata").mkdir()
    sidecar = tmp_path / "metadata" / "S1.json"
    sidecar.write_text(json.dumps({"pixel_size_um_estimated": 0.6907}))
    assert opened(path).mpp == Mpp.square(0.6907)
    assert opened(path, Mpp.square(0.25)).mpp == Mpp.square(0.25)
    assert describe(path)["mpp"] == [0.6907, 0.6907]
    sidecar.write_text(json.dumps({"pixel_size_um_estimated": None}))
    assert opened(path).mpp == Mpp.square(0.499)
    sidecar.write_text('{"pixel_size_um_estimated": NaN}')  # as HEST-1k writes what is not known
    assert opened(path).mpp == Mpp.square(0.499)


@pytest.mark.parametrize("text", ["{", "[]", '{"pixel_size_um_estimated": -1}'])
def test_unusable_metadata_are_named(jpeg_path, tmp_path, text):
    (tmp_path / "wsis").mkdir()
    (tmp_path / "metadata").mkdir()
    shutil.copy(jpeg_path, tmp_path / "wsis" / "S1.jpg")
    (tmp_path / "metadata" / "S1.json").write_text(text)
    with pytest.raises(SlideError, match=r"S1\.json should state the pixel size of S1\.jpg"):
        open_slide(tmp_path / "wsis" / "S1.jpg")


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "C5-crop.jpg"])
def test_describe_agrees_with_the_opened_slide_and_makes_no_levels(slides, name, cache, opened):
    told = describe(slides / name)
    assert not cache.exists()
    slide = opened(slides / name)
    assert json.loads(json.dumps(told)) == told
    assert (told["height_px"], told["width_px"]) == slide.levels[0].pixels.shape[:2]
    assert told["levels"] == [
        {"height_px": v.size.height_px, "width_px": v.size.width_px, "downsample": v.downsample}
        for v in slide.levels
    ]
    for key in ("reader", "vendor", "fingerprint", "properties"):
        assert told[key] == getattr(slide, key)
    assert told["readers"][slide.reader] is None


def test_describe_tells_why_a_reader_cannot(jpeg_path):
    why_not = describe(jpeg_path)["readers"]
    assert list(why_not) == list(READERS)
    assert [name for name, reason in why_not.items() if reason is None] == ["raster"]
    assert why_not["tiff"] == "not a TIFF by its content"
    assert why_not["czi"] == "not a CZI by its content"
    assert why_not["ome-zarr"] == "not a Zarr folder or zip file"
    assert why_not["openslide"]  # installed or not


def test_fingerprint_follows_content_alone(svs_path, tmp_path):
    copy = tmp_path / "copy.tif"
    shutil.copyfile(svs_path, copy)
    assert describe(copy)["fingerprint"] == describe(svs_path)["fingerprint"]
    with copy.open("ab") as file:
        file.write(b"\0")
    assert describe(copy)["fingerprint"] != describe(svs_path)["fingerprint"]


def test_fingerprint_sees_the_middle_of_large_files(tmp_path):
    from napari_stem.slide.stored import fingerprint

    path = tmp_path / "large.bin"
    path.write_bytes(bytes(9 * 2**20))
    before = fingerprint(path)
    n_read = 16 * 256 * 1024
    with path.open("r+b") as file:
        file.seek((9 * 2**20 - 256 * 1024) * 7 // 15 + 1000)
        file.write(b"x")
    assert fingerprint(path) != before
    assert n_read < 9 * 2**20  # or the whole file was hashed and this proved nothing


def test_files_that_are_no_slides_are_told_in_one_sentence(tmp_path, svs_path, jpeg_path):
    text, empty, cut_tiff, cut_jpeg = (
        tmp_path / name for name in ("notes.tif", "empty.svs", "cut.svs", "cut.jpg")
    )
    text.write_text("not an image\n" * 50)
    empty.touch()
    cut_tiff.write_bytes(svs_path.read_bytes()[:900_000])
    cut_jpeg.write_bytes(jpeg_path.read_bytes()[:-20_000])
    for path, words in {
        text: r"notes\.tif is not a slide image by its content.*export it as SVS",
        empty: r"empty\.svs is empty \(0 bytes\); copy",
        cut_tiff: r"cut\.svs is (cut short|a damaged).*copy",
        cut_jpeg: r"cut\.jpg is cut short.*copy it again",
        tmp_path / "absent.svs": r"There is no file .*absent\.svs; check the path",
        tmp_path: "is not a slide image by its content, but a folder; choose the slide itself",
    }.items():
        for using in (open_slide, describe):
            with pytest.raises(SlideError, match=words) as caught:
                using(path)
            assert "\n" not in str(caught.value)


def test_a_cut_jpeg_is_not_shown_grey_though_an_end_mark_is_in_it(jpeg_path, tmp_path):
    path = tmp_path / "cut.jpg"
    whole = jpeg_path.read_bytes()
    comment = b"\xff\xfe\x00\x04\xff\xd9"  # as an embedded preview would have
    path.write_bytes(whole[:2] + comment + whole[2:40_000])
    with pytest.raises(SlideError, match=r"cut\.jpg is damaged or incomplete .*truncated"):
        open_slide(path)


@pytest.mark.parametrize(
    ("image", "options", "words"),
    [
        (np.zeros((64, 64), np.uint16), {}, "stores uint16 pixels"),
        (np.zeros((64, 64, 3), np.float32), {"photometric": "rgb"}, "stores float32 pixels"),
        (np.zeros((5, 64, 64), np.uint8), {"metadata": {"axes": "CYX"}}, "is not one RGB image"),
    ],
)
def test_tiffs_that_are_not_8_bit_rgb_say_so(tmp_path, image, options, words):
    path = tmp_path / "odd.ome.tif"
    tifffile.imwrite(path, image, **options)
    with pytest.raises(SlideError, match=f"odd.ome.tif {words}.*8-bit RGB"):
        open_slide(path)


def test_an_ome_tiff_whose_colours_lie_in_several_files_is_refused(pixels, tmp_path):
    """All three would have been read from the file that was named, which shows the slide in grey."""
    channels = '<Channel ID="Channel:0:{0}" SamplesPerPixel="1"/>'
    place = '<TiffData FirstC="{0}" PlaneCount="1"><UUID FileName="{0}.ome.tif">urn:{0}</UUID></TiffData>'
    for number in range(3):
        parts = "".join(text.format(n) for text in (channels, place) for n in range(3))
        xml = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:{number}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" '
            f'Type="uint8" SizeX="128" SizeY="64" SizeC="3" SizeZ="1" SizeT="1">{parts}</Pixels></Image></OME>'
        )
        path, plane = tmp_path / f"{number}.ome.tif", pixels[:64, :128, number]
        tifffile.imwrite(path, plane, description=xml, metadata=None, tile=(64, 64))
    with pytest.raises(
        SlideError, match=r"0\.ome\.tif is one of several files .*export .* as one file"
    ):
        open_slide(tmp_path / "0.ome.tif")


def test_16_bit_png_says_so(tmp_path):
    Image.fromarray(np.zeros((64, 64), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(SlideError, match=r"deep\.png stores I;16 pixels, not 8-bit RGB"):
        open_slide(tmp_path / "deep.png")


def test_an_image_too_large_to_decode_is_refused_by_its_header(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("L", (6, 2)).save(path)
    header = path.read_bytes()
    size = struct.pack(">II", 60_000, 20_000)
    kind = b"IHDR" + size + header[24:29]
    path.write_bytes(header[:12] + kind + struct.pack(">I", zlib.crc32(kind)) + header[33:])
    with pytest.raises(SlideError, match=r"bomb\.png is too large to decode at once"):
        open_slide(path)


def test_a_tiff_that_pillow_finds_too_large_when_it_decodes_it_is_refused(
    pixels, tmp_path, monkeypatch
):
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, pixels[:100, :100], photometric="rgb")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # for what is opened with its own limit
    with pytest.raises(SlideError, match=r"large\.tif is too large to decode at once"):
        open_slide(path, reader="raster").levels[0].whole()


def test_the_packaged_jpeg_shows_the_pixels_of_another_decoder():
    import imagecodecs

    from napari_stem.sample_data import sample_path

    expected = imagecodecs.jpeg8_decode(sample_path().read_bytes())[3000:3200, 4000:4300].copy()
    slide = open_slide(sample_path())
    assert np.array_equal(slide.read_region(4000, 3000, 0, SizePx(200, 300)), expected)
