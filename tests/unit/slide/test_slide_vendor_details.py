"""What scanners' files have beyond plain pages, written from real pixels and compared with OpenSlide."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from vendor_files import (
    write_bif,
    write_ndpi,
    write_philips,
    write_qptiff_fluorescence,
    write_scn,
)

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide import describe


@pytest.fixture(scope="session")
def crop(pixels):
    """Real tissue: (1024, 1280, 3)."""
    return np.ascontiguousarray(pixels[400:1424, 300:1580])


def both(path, opened):
    """The same file, read by us and by OpenSlide."""
    pytest.importorskip("openslide")
    return opened(path, reader="tiff"), opened(path, reader="openslide")


def level(slide, number=0):
    return slide.levels[number].pixels.compute()


@pytest.mark.parametrize("marks_segments", [True, False])
def test_ndpi_as_one_jpeg_per_level(marks_segments, crop, tmp_path, opened):
    path = tmp_path / "slide.ndpi"
    levels = [np.ascontiguousarray(crop[:: 2**n, :: 2**n]) for n in range(2)]
    write_ndpi(path, levels, crop[:90, :160], marks_segments=marks_segments)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.tiff.is_ndpi  # 64-bit links
        assert (len(tiff.pages[0].dataoffsets) > 1) is marks_segments
    ours, theirs = both(path, opened)
    assert ours.vendor == theirs.vendor == "hamamatsu"
    assert ours.size == theirs.size
    assert ours.mpp.x_um == pytest.approx(theirs.mpp.x_um)
    assert ours.mpp.x_um == pytest.approx(0.4417, rel=1e-4)
    assert ours.properties["objective_power"] == theirs.properties["objective_power"] == 20
    for number in range(2):
        differs = level(ours, number) != level(theirs, number)
        # without marks, colours are smoothed across the segments' borders, where OpenSlide starts anew
        assert differs.mean() < (1e-9 if marks_segments else 2e-3)
    assert np.abs(level(ours).astype(int) - crop).mean() < 6
    assert set(ours.associated) == set(theirs.associated) == {"macro"}
    np.testing.assert_array_equal(
        ours.associated["macro"].whole(), theirs.associated["macro"].whole()
    )


def test_ndpi_wider_than_a_jpeg_can_be(crop, tmp_path, opened):
    path = tmp_path / "slide.ndpi"
    wide = np.tile(crop[:32], (1, 52, 1))
    assert wide.shape[1] == 66_560
    write_ndpi(path, [wide, np.ascontiguousarray(wide[::4, ::4])], crop[:90, :160])
    ours, theirs = both(path, opened)
    assert ours.size == theirs.size
    places = (slice(0, 32), slice(66_560 - 1500, 66_560))
    mine, other = (each.levels[0].pixels[places].compute() for each in (ours, theirs))
    np.testing.assert_array_equal(mine, other)
    assert np.abs(mine.astype(int) - wide[places]).mean() < 6


def test_of_ndpi_focal_planes_openslide_takes_the_middle_one(crop, tmp_path, opened):
    pytest.importorskip("openslide")
    path, plain = tmp_path / "slide.ndpi", tmp_path / "plain.ndpi"
    levels = [crop, np.ascontiguousarray(crop[::2, ::2])]
    write_ndpi(path, levels, crop[:90, :160], focus_nm=(0, 2000, -2000))
    write_ndpi(plain, levels, crop[:90, :160])
    with pytest.raises(SlideError, match="3 focal planes, of which one must be taken"):
        describe(path, reader="tiff")
    slide = opened(path)
    assert slide.reader == "openslide"
    np.testing.assert_array_equal(level(slide), level(opened(plain)))


def test_scn_of_one_region_has_its_macro(crop, tmp_path, opened):
    path = tmp_path / "slide.scn"
    write_scn(path, [(crop, 200_000, 100_000)], crop[:600, :900])
    ours, theirs = both(path, opened)
    assert ours.size.width_px == crop.shape[1]
    np.testing.assert_array_equal(level(ours), crop)
    assert ours.mpp.x_um == pytest.approx(0.25)
    assert set(ours.associated) == set(theirs.associated) == {"macro"}
    np.testing.assert_array_equal(ours.associated["macro"].whole(), crop[:600, :900])
    # OpenSlide shows the whole glass; the region lies where the view says
    corner = (200_000 // 250, 100_000 // 250)
    np.testing.assert_array_equal(theirs.read_region(*corner, 0, ours.size), crop)


def test_scn_of_several_regions_is_put_together_by_openslide(crop, tmp_path, opened):
    pytest.importorskip("openslide")
    path = tmp_path / "slide.scn"
    left, right = np.ascontiguousarray(crop[:512, :512]), np.ascontiguousarray(crop[512:, 512:1024])
    write_scn(path, [(left, 100_000, 50_000), (right, 400_000, 50_000)], crop[:600, :900])
    with pytest.raises(SlideError, match="2 scanned regions, which must be put side by side"):
        describe(path, reader="tiff")
    slide = opened(path)
    assert slide.reader == "openslide"
    for pixels, x_nm in ((left, 100_000), (right, 400_000)):
        shown = slide.read_region(x_nm // 250, 50_000 // 250, 0, SizePx(512, 512))
        np.testing.assert_array_equal(shown, pixels)


ONE_AREA = [(0, 0, 3, 4, 0, 0)]
TWO_AREAS = [(0, 0, 2, 2, 0, 0), (1, 2, 2, 2, 512, 640)]  # farther apart than they are stored


@pytest.mark.parametrize(
    ("areas", "overlap_px", "told"),
    [
        (ONE_AREA, 16, "overlapping tiles, which must be stitched"),
        (TWO_AREAS, 16, "overlapping tiles, which must be stitched"),
        (TWO_AREAS, 0, "2 scanned areas, which must be put side by side"),
    ],
)
def test_bif_in_pieces_is_put_together_by_openslide(
    areas, overlap_px, told, crop, tmp_path, opened
):
    pytest.importorskip("openslide")
    path = tmp_path / "slide.bif"
    write_bif(path, crop, areas, overlap_px=overlap_px)
    with pytest.raises(SlideError, match=told):
        describe(path, reader="tiff")
    slide = opened(path)
    assert (slide.reader, slide.vendor) == ("openslide", "ventana")
    assert slide.mpp.x_um == pytest.approx(0.232)
    shown, step = level(slide), 256 - overlap_px
    top_px = min(area[4] for area in areas)
    for _, _, down, right, y, x in areas:
        height, width = down * step + overlap_px, right * step + overlap_px
        part = shown[y - top_px : y - top_px + height, x : x + width].astype(int)
        assert np.abs(part - crop[y : y + height, x : x + width]).max() <= 1


def test_bif_of_one_area_without_overlaps(crop, tmp_path, opened):
    path = tmp_path / "slide.bif"
    write_bif(path, crop, [(0, 0, 3, 4, 0, 0)])
    ours, theirs = both(path, opened)
    np.testing.assert_array_equal(level(ours), crop[:768, :1024])
    np.testing.assert_array_equal(level(ours), level(theirs))
    assert ours.mpp == theirs.mpp
    assert set(ours.associated) == {"label"}


def test_philips_with_padded_levels_missing_tiles_and_images_in_its_xml(crop, tmp_path, opened):
    path = tmp_path / "slide.tiff"
    missing = {(0, 1), (2, 3)}
    write_philips(path, crop, missing=missing)
    ours, theirs = both(path, opened)
    assert ours.vendor == theirs.vendor == "philips"
    assert ours.mpp == theirs.mpp
    expected = crop.copy()
    for row, column in missing:
        expected[256 * row :, 256 * column :][:256, :256] = 255
    np.testing.assert_array_equal(level(ours), expected)
    for number in range(3):
        assert ours.levels[number].size == theirs.levels[number].size
        np.testing.assert_array_equal(level(ours, number), level(theirs, number))
    assert set(ours.associated) == set(theirs.associated) == {"label", "macro"}
    for name, image in ours.associated.items():
        np.testing.assert_array_equal(image.whole(), theirs.associated[name].whole())


def test_a_damaged_label_in_philips_xml_is_left_out(crop, tmp_path, opened):
    path = tmp_path / "slide.tiff"
    write_philips(path, crop)
    data = path.read_bytes()
    at = data.index(b'PIM_DP_IMAGE_DATA">') + len(b'PIM_DP_IMAGE_DATA">')
    path.write_bytes(data[:at] + bytes(reversed(data[at : at + 400])) + data[at + 400 :])
    assert set(opened(path, reader="tiff").associated) == {"macro"}


@pytest.mark.parametrize("n_channels", [3, 4, 7])
def test_fluorescence_is_refused_in_words(n_channels, crop, tmp_path):
    path = tmp_path / "slide.qptiff"
    write_qptiff_fluorescence(path, crop, n_channels)
    with pytest.raises(SlideError, match=rf"fluorescence scan \({n_channels} channels\).*H&E"):
        describe(path)
    path = tmp_path / "slide.scn"
    grey = np.ascontiguousarray(crop[..., 0])
    write_scn(path, [(grey, 200_000, 100_000)], crop[:300, :450], channels=n_channels)
    with pytest.raises(SlideError, match=rf"fluorescence scan \({n_channels} channels\)"):
        describe(path)


def test_fluorescence_in_ome_tiff_is_not_taken_for_red_green_and_blue(crop, tmp_path, opened):
    planes = np.ascontiguousarray(np.moveaxis(crop, 2, 0))
    options = {"photometric": "minisblack", "tile": (256, 256)}
    about = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    path = tmp_path / "slide.ome.tif"
    tifffile.imwrite(path, planes, metadata=about, **options)
    np.testing.assert_array_equal(level(opened(path)), crop)  # colours kept apart
    for told in ({"EmissionWavelength": [461, 520, 570]}, {"Fluor": ["DAPI", "FITC", "Cy3"]}):
        tifffile.imwrite(path, planes, metadata=about | {"Channel": told}, **options)
        with pytest.raises(SlideError, match=r"fluorescence scan \(3 channels\)"):
            describe(path)
