"""Scanners' TIFF dialects: pixels, pixel size, label and macro.

All but the SVS of CMU are imitations, written with the vendor's own tags and XML (see ``writing``).
"""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from writing import (
    halves,
    write_bif,
    write_generic_pyramid,
    write_ndpi,
    write_philips,
    write_qptiff,
    write_scn,
    write_svs,
)

from napari_stem.errors import SlideError
from napari_stem.slide import describe


@pytest.fixture(scope="session")
def crop(pixels):
    """Odd-sized real tissue: (1030, 1290, 3)."""
    return np.ascontiguousarray(pixels[400:1430, 300:1590])


def even(crop):
    return crop[:1024, :1280]


@pytest.mark.parametrize(
    ("write", "flag", "vendor", "mpp", "source", "power", "others"),
    [
        (write_ndpi, "is_ndpi", "hamamatsu", (0.456, 0.456), "Hamamatsu resolution", 20, {"macro"}),
        (write_scn, "is_scn", "leica", (0.25, 0.25), "Leica SCN", 40, set()),
        (
            write_philips,
            "is_philips",
            "philips",
            (0.226, 0.227),
            "Philips pixel spacing",
            None,
            {"macro", "label"},
        ),
        (write_bif, "is_bif", "ventana", (0.232, 0.232), "Ventana ScanRes", 40, {"label"}),
        (
            write_qptiff,
            "is_qpi",
            "akoya",
            (0.4985, 0.4985),
            "QPTIFF scan profile",
            20,
            {"thumbnail", "macro"},
        ),
    ],
)
def test_imitated_vendor_files(
    write, flag, vendor, mpp, source, power, others, crop, tmp_path, opened
):
    """Imitations, not scanner output: they show that tags are read, not that every file opens."""
    path = tmp_path / "slide.tif"
    crop = even(crop)
    write(path, crop)
    with tifffile.TiffFile(path) as tiff:
        assert getattr(tiff, flag)  # tifffile takes it for that format
    slide = opened(path)
    assert (slide.vendor, slide.reader) == (vendor, "tiff")
    assert (slide.mpp.y_um, slide.mpp.x_um) == pytest.approx(mpp, rel=1e-3)
    assert slide.mpp_sources[0].source == source
    assert slide.properties.get("objective_power") == power
    for level, expected in zip(slide.levels, halves(crop), strict=False):
        np.testing.assert_array_equal(level.pixels.compute(), expected)
    assert slide.properties["native_levels"] == 3
    assert set(slide.associated) == others
    if "macro" in others:
        np.testing.assert_array_equal(slide.associated["macro"].whole(), crop[:90, :60])
    told = describe(path)
    assert {each["name"] for each in told["associated"]} == others
    assert told["mpp_conflict"] is None


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000"])
def test_svs_of_either_compression_shows_what_openslide_shows(compression, crop, tmp_path, opened):
    pytest.importorskip("openslide")
    path = tmp_path / "slide.svs"
    code = "aperio_jp2000_rgb" if compression == "jpeg2000" else "jpeg"
    write_svs(path, crop, compression=code)
    ours, theirs = opened(path), opened(path, reader="openslide")
    for mine, other in zip(ours.levels[:3], theirs.levels[:3], strict=True):
        a, b = (each.pixels.compute().astype(int) for each in (mine, other))
        if compression == "jpeg":
            np.testing.assert_array_equal(a, b)  # the same decoder
        else:
            assert np.abs(a - b).max() <= 1  # both OpenJPEG, of different versions
    error = ours.levels[0].pixels.compute().astype(int) - crop
    # JPEG at quality 95 with halved colours; JPEG 2000 written without loss
    assert np.sqrt((error**2).mean()) < (6 if compression == "jpeg" else 0.01)
    assert ours.mpp == theirs.mpp
    assert set(ours.associated) == {"thumbnail", "label", "macro"}


def test_real_svs_has_its_other_images(svs_path, opened):
    pytest.importorskip("openslide")
    ours, theirs = opened(svs_path), opened(svs_path, reader="openslide")
    assert set(ours.associated) == set(theirs.associated) == {"thumbnail", "label", "macro"}
    for name, image in ours.associated.items():
        np.testing.assert_array_equal(image.whole(), theirs.associated[name].whole())
    np.testing.assert_array_equal(ours.levels[0].pixels, theirs.levels[0].pixels)


def test_overlapping_ventana_tiles_are_left_to_openslide(crop, tmp_path):
    """Shown without stitching, everything right of a joint would be out of place."""
    path = tmp_path / "slide.bif"
    write_bif(path, even(crop), overlap=12)
    assert "overlapping tiles" in describe_reader(path, "tiff")
    with pytest.raises(SlideError, match=r"slide\.bif"):  # OpenSlide misses what we did not imitate
        describe(path)


def describe_reader(path, reader):
    with pytest.raises(SlideError) as caught:
        describe(path, reader=reader)
    return str(caught.value)


@pytest.mark.parametrize(("bigtiff", "byteorder"), [(False, "<"), (True, "<"), (True, ">")])
def test_generic_pyramids(bigtiff, byteorder, crop, tmp_path, opened):
    path = tmp_path / "slide.tif"
    write_generic_pyramid(path, crop, bigtiff=bigtiff, byteorder=byteorder)
    slide = opened(path)
    for level, expected in zip(slide.levels, halves(crop), strict=False):
        np.testing.assert_array_equal(level.pixels.compute(), expected)
    assert slide.mpp.x_um == pytest.approx(0.5)


def test_pyramid_of_libvips(crop, tmp_path, opened):
    pyvips = pytest.importorskip("pyvips")
    path = tmp_path / "vips.tif"
    image = pyvips.Image.new_from_array(crop).copy(interpretation="srgb", xres=2000, yres=2000)
    image.tiffsave(str(path), tile=True, pyramid=True, compression="deflate", bigtiff=True)
    slide = opened(path)
    np.testing.assert_array_equal(slide.levels[0].pixels.compute(), crop)
    assert slide.mpp.x_um == pytest.approx(0.5)  # libvips keeps pixels per millimetre


def test_tiles_that_are_not_stored_are_glass(crop, tmp_path, opened):
    path = tmp_path / "sparse.tif"
    tiles = (
        None if n == 1 else crop[256 * (n // 2) :, 256 * (n % 2) :][:256, :256] for n in range(4)
    )
    tifffile.imwrite(
        path, tiles, shape=(512, 512, 3), dtype="uint8", tile=(256, 256), photometric="rgb"
    )
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages[0].databytecounts[1] == 0
    shown = opened(path).levels[0].pixels.compute()
    assert (shown[:256, 256:] == 255).all()
    np.testing.assert_array_equal(shown[256:], crop[256:512, :512])


def test_an_icc_profile_is_applied_and_named(crop, tmp_path, opened):
    from PIL import Image, ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    same = tmp_path / "srgb.tif"
    tifffile.imwrite(same, crop, tile=(256, 256), photometric="rgb", iccprofile=profile.tobytes())
    slide = opened(same)
    assert slide.properties["colour"] == "as stored (its ICC profile is sRGB)"
    np.testing.assert_array_equal(slide.levels[0].pixels.compute(), crop)

    # a profile that is like sRGB but for its primaries: red and green exchanged
    data = bytearray(profile.tobytes())
    data = data.replace(b"rXYZ", b"tmp0").replace(b"gXYZ", b"rXYZ").replace(b"tmp0", b"gXYZ")
    data = data.replace(b"s\0R\0G\0B", b"t\0e\0s\0t").replace(b"sRGB built-in", b"test built-in")
    other = tmp_path / "scanner.tif"
    tifffile.imwrite(other, crop, tile=(256, 256), photometric="rgb", iccprofile=bytes(data))
    slide = opened(other)
    assert "applied, to sRGB" in slide.properties["colour"]
    shown = slide.levels[0].pixels[100:200, 100:200].compute().astype(int)
    swapped = crop[100:200, 100:200, [1, 0, 2]].astype(int)
    assert np.abs(shown - swapped).max() <= 2
    png = tmp_path / "scanner.png"
    Image.fromarray(crop).save(png, icc_profile=bytes(data))
    flat = opened(png)
    assert "applied" in flat.properties["colour"]
    assert np.abs(flat.levels[0].pixels[100:200, 100:200].compute() - swapped).max() <= 2

    broken = tmp_path / "broken.tif"
    tifffile.imwrite(broken, crop, tile=(256, 256), photometric="rgb", iccprofile=bytes(data[:200]))
    assert "damaged" in opened(broken).properties["colour"]
