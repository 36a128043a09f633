"""Patches: exact in place and size at any pixel size, and the same however they are asked for."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_stem.encoders.base import PatchSpec
from napari_stem.errors import MissingMppError, SlideError
from napari_stem.geometry import Mpp, SizePx, Spots
from napari_stem.slide import open_slide
from napari_stem.slide.array_slide import LevelPixels
from napari_stem.slide.patch_plan import NO_TILE
from napari_stem.slide.patches import PatchReader
from napari_stem.slide.resampling import ONE, triangle
from napari_stem.slide.tile_source import GLASS, TileSource, share

SIDE_PX = 64


def spots_at(x_px, y_px):
    n = len(x_px)
    index = np.arange(n)
    names = tuple(str(i) for i in index)
    return Spots(np.asarray(x_px, float), np.asarray(y_px, float), index, index, 1.0, 1.0, names)


@pytest.fixture(scope="module")
def ramp_path(tmp_path_factory):
    """Red rises mainly with x and green with y, one grey value per 64 / 7 px; three levels.

    Tilted, so that roundings to whole grey values cancel out over a patch.
    """
    y, x = np.mgrid[:2040, :2040]
    rgb = np.stack([(7 * x + y) / 64, (x + 7 * y) / 64, np.zeros_like(x)], axis=2)
    rgb = np.rint(rgb).astype(np.uint8)
    path = tmp_path_factory.mktemp("ramp") / "ramp.png"
    Image.fromarray(rgb).save(path)
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    mpp=st.builds(Mpp, y_um=st.floats(0.1, 2.0), x_um=st.floats(0.1, 2.0)),
    fov_px=st.floats(40, 900),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_place_and_size_are_exact(ramp_path, mpp, fov_px, place):
    """A linear ramp, resampled, is again a ramp: its values tell where each pixel lies."""
    fov_um = fov_px * min(mpp.y_um, mpp.x_um)
    height_px, width_px = fov_um / mpp.y_um, fov_um / mpp.x_um
    edge_px = 16 * max(1.0, fov_px / SIDE_PX)  # the filter must not reach over the slide's border
    x_px = edge_px + width_px / 2 + place[0] * (2040 - width_px - 2 * edge_px)
    y_px = edge_px + height_px / 2 + place[1] * (2040 - height_px - 2 * edge_px)
    slide = open_slide(ramp_path, mpp)
    spec = PatchSpec((fov_um,), SIDE_PX)
    patch = PatchReader(slide, spots_at([x_px], [y_px]), spec).read([0])[0, 0].astype(float)

    steps = (np.arange(SIDE_PX) + 0.5) / SIDE_PX - 0.5
    x, y = x_px + steps * width_px - 0.5, (y_px + steps * height_px - 0.5)[:, None]
    # single pixels are rounded to whole grey values, several times; means are right. A patch out
    # of place by its own pixel is off by 0.4 from 220 px on.
    for channel, expected in enumerate(((7 * x + y) / 64, (x + 7 * y) / 64)):
        difference = patch[..., channel] - expected
        assert np.abs(difference).max() <= 1.2
        if fov_px > 220:
            assert abs(difference.mean()) < 0.15


def crop(pixels, left, top, width, height):
    """Cut a window out of an array; white where it leaves it."""
    window = np.full((height, width, 3), 255, np.uint8)
    y0, y1 = max(top, 0), min(top + height, pixels.shape[0])
    x0, x1 = max(left, 0), min(left + width, pixels.shape[1])
    if y0 < y1 and x0 < x1:
        window[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0:y1, x0:x1]
    return window


def naive(pixels, mpp, x_px, y_px, fov_um, resampling=Image.Resampling.BILINEAR):
    """Crop at full resolution on white, then resize."""
    height_px, width_px = fov_um / mpp.y_um, fov_um / mpp.x_um
    left, top = x_px - width_px / 2, y_px - height_px / 2
    reach = 40 + math.ceil(max(height_px, width_px) / SIDE_PX)
    x0, y0 = math.floor(left) - reach, math.floor(top) - reach
    size = (math.ceil(width_px) + 2 * reach + 1, math.ceil(height_px) + 2 * reach + 1)
    box = (left - x0, top - y0, left - x0 + width_px, top - y0 + height_px)
    whole = Image.fromarray(crop(pixels, x0, y0, *size))
    return np.asarray(whole.resize((SIDE_PX, SIDE_PX), resampling, box=box), float)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    mpp=st.builds(Mpp, y_um=st.floats(0.1, 2.0), x_um=st.floats(0.1, 2.0)),
    fov_px=st.floats(10, 1500),
    place=st.tuples(st.floats(-0.1, 1.1), st.floats(-0.1, 1.1)),
)
def test_a_patch_is_the_full_resolution_crop_resized(svs_path, pixels, mpp, fov_px, place):
    fov_um = fov_px * min(mpp.y_um, mpp.x_um)
    slide = open_slide(svs_path, mpp)
    x_px, y_px = place[0] * slide.size.width_px, place[1] * slide.size.height_px
    spec = PatchSpec((fov_um,), SIDE_PX)
    patch = PatchReader(slide, spots_at([x_px], [y_px]), spec).read([0])[0, 0]
    slide.close()
    difference = patch - naive(pixels, mpp, x_px, y_px, fov_um)
    # half a pixel of an odd last row or column counts whole in coarser levels
    assert abs(difference.mean()) < 2.0
    # a coarser level is an area mean, which is sharper than the triangle: edges differ a little
    assert np.sqrt((difference**2).mean()) < 9.0
    assert np.abs(difference).mean() < 7.0
    if fov_px < 2 * SIDE_PX:
        np.testing.assert_array_less(np.abs(difference), 1.01)  # from level 0: rounding, no more
    if fov_px >= 2 * SIDE_PX:  # the means of 4 x 4 pixels hardly differ
        area = naive(pixels, mpp, x_px, y_px, fov_um, Image.Resampling.BOX)
        blocks = (patch - area).reshape(SIDE_PX // 4, 4, SIDE_PX // 4, 4, 3).mean((1, 3))
        assert np.sqrt((blocks**2).mean()) < 5.0


@pytest.fixture
def reader(svs_path, opened):
    rng = np.random.default_rng(5)
    slide = opened(svs_path, Mpp(y_um=0.5, x_um=0.45))
    spots = spots_at(rng.uniform(-50, 2270, 40), rng.uniform(-50, 3017, 40))
    return PatchReader(slide, spots, PatchSpec((40.0, 300.0), SIDE_PX))


def test_a_patch_does_not_depend_on_the_company_it_is_read_in(reader):
    together = reader.read(slice(None))
    assert together.shape == (40, 2, SIDE_PX, SIDE_PX, 3)
    assert together.dtype == np.uint8
    for order in (np.arange(40)[::-1], np.array([7, 3, 7])):
        np.testing.assert_array_equal(reader.read(order), together[order])
    single = np.concatenate([reader.read([i]) for i in range(40)])
    np.testing.assert_array_equal(single, together)
    mask = np.arange(40) % 3 == 0
    np.testing.assert_array_equal(reader.read(mask), together[mask])
    assert reader.read([]).shape == (0, 2, SIDE_PX, SIDE_PX, 3)
    out = np.zeros_like(together)
    assert reader.read(slice(None), out) is out
    np.testing.assert_array_equal(out, together)
    for unfit in (out[:3], out.astype(float), out.swapaxes(2, 3)):
        with pytest.raises(ValueError, match="cannot be put into"):
            reader.read(slice(None), unfit)


def test_off_the_slide_is_white(svs_path, opened):
    slide = opened(svs_path)
    patch = PatchReader(slide, spots_at([0], [1500]), PatchSpec((64 * 0.499,), 64)).read([0])[0, 0]
    assert (patch[:, :31] == 255).all()
    expected = slide.read_region(2, 1500 - 32, 0, SizePx(64, 30))
    np.testing.assert_array_equal(patch[:, 34:], expected)  # one to one, exactly in place


def test_far_off_the_slide_is_white_and_decodes_nothing(svs_path, opened, decoded):
    far = spots_at([-900, 500, 9000], [500, -900, 9000])
    reader = PatchReader(opened(svs_path), far, PatchSpec((60.0,), SIDE_PX))
    decoded.clear()  # of what opening itself looks at
    patches = reader.read(slice(None))
    assert (patches == 255).all()
    assert decoded == []


@pytest.mark.parametrize("level", [0, 1])
def test_whole_pixels_of_a_level_are_copied(svs_path, opened, level):
    slide = opened(svs_path, Mpp.square(0.5))
    fov_um = SIDE_PX * 2**level * 0.5
    reader = PatchReader(slide, spots_at([800, 801], [1600, 1600]), PatchSpec((fov_um,), SIDE_PX))
    corner = (800 // 2**level - SIDE_PX // 2, 1600 // 2**level - SIDE_PX // 2)
    stored = slide.read_region(*corner, level, SizePx(SIDE_PX, SIDE_PX))
    aligned, shifted = reader.read(slice(None))[:, 0]
    np.testing.assert_array_equal(aligned, stored)
    assert (shifted != stored).any()


@pytest.fixture
def decoded(monkeypatch):
    """Which windows have been read from which level since the slide was opened."""
    asked, window = [], LevelPixels.window

    def counted(self, rows, columns):
        asked.append((self.size, rows.start, columns.start))
        return window(self, rows, columns)

    monkeypatch.setattr(LevelPixels, "window", counted)
    return asked


def lattice_of_spots(pitch_px):
    y, x = (axis.ravel() for axis in np.mgrid[0:2967:pitch_px, 0:2220:pitch_px])
    return spots_at(x, y)


def test_each_tile_is_decoded_once(svs_path, opened, decoded):
    slide = opened(svs_path)
    spots = lattice_of_spots(150)
    reader = PatchReader(slide, spots, PatchSpec((100.0, 200.0), SIDE_PX), max_workers=3)
    decoded.clear()
    for start in range(0, len(spots), 32):
        reader.read(np.arange(start, min(start + 32, len(spots))))
    assert len(decoded) == len(set(decoded))
    n_tiles = sum(
        math.ceil(source.size.height_px / source.native.height_px)
        * math.ceil(source.size.width_px / source.native.width_px)
        for source in slide.sources
        if source.size in {size for size, _, _ in decoded}
    )
    assert len(decoded) == n_tiles


def test_with_little_memory_few_tiles_are_decoded_again(svs_path, opened, decoded):
    slide = opened(svs_path)
    spots, spec = lattice_of_spots(90), PatchSpec((50.0,), SIDE_PX)
    expected = PatchReader(slide, spots, spec).read(slice(None))
    tight = PatchReader(slide, spots, spec, keep_bytes=20 * 3 * 240 * 240)
    decoded.clear()
    backwards = np.arange(len(spots))[::-1]
    np.testing.assert_array_equal(tight.read(backwards), expected[::-1])
    assert len(decoded) < 1.5 * len(set(decoded))


def test_no_more_tiles_are_kept_than_allowed(svs_path, opened, decoded):
    slide = opened(svs_path)  # 10 tiles of 240 px a row, 13 rows
    tiles = TileSource(slide, 0, max_workers=2, keep_bytes=5 * 3 * 240 * 240)
    stored = np.full((13 * 240, 10 * 240, 3), 255, np.uint8)
    stored[:2967, :2220] = slide.sources[0].window(slice(0, 2967), slice(0, 2220))
    memory = tiles.pixels
    for row in range(13):
        for column in range(0, 9, 3):
            numbers = 10 * row + column + np.arange(3)
            for number, slot in zip(numbers, tiles.fetch(numbers), strict=True):
                top, left = 240 * (number // 10), 240 * (number % 10)
                expected = stored[top : top + 240, left : left + 240].reshape(240, 720)
                np.testing.assert_array_equal(tiles.pixels[slot], expected)
    assert tiles.pixels is memory
    assert len(memory) == 6
    decoded.clear()
    tiles.fetch(np.array([126, 127, 128]))  # the last ones
    assert decoded == []
    assert tiles.fetch(np.array([NO_TILE])).tolist() == [GLASS]
    assert (tiles.pixels[GLASS] == 255).all()


def test_room_is_made_for_one_patch_of_many_tiles(svs_path, opened, decoded):
    tiles = TileSource(opened(svs_path), 0, max_workers=2, keep_bytes=0)
    decoded.clear()
    slots = tiles.fetch(np.arange(12))
    assert len(set(slots.tolist())) == 12
    np.testing.assert_array_equal(tiles.fetch(np.arange(12)), slots)
    assert len(decoded) == 12


def test_a_damaged_tile_spoils_only_the_patches_that_show_it(svs_path, opened, monkeypatch):
    window = LevelPixels.window

    def damaged(self, rows, columns):
        if (rows.start, columns.start) == (480, 480):
            raise SlideError("damaged")
        return window(self, rows, columns)

    slide = opened(svs_path)
    monkeypatch.setattr(LevelPixels, "window", damaged)
    reader = PatchReader(slide, lattice_of_spots(300), PatchSpec((40.0,), SIDE_PX), max_workers=4)
    for _ in range(2):  # what failed is not taken for decoded
        with pytest.raises(SlideError, match="damaged"):
            reader.read(slice(None))
    monkeypatch.setattr(LevelPixels, "window", window)
    sound = PatchReader(slide, reader.spots, reader.spec).read(slice(None))
    np.testing.assert_array_equal(reader.read(slice(None)), sound)


def test_threads_may_share_a_reader(svs_path, opened):
    slide = opened(svs_path)
    spots, spec = lattice_of_spots(200), PatchSpec((90.0,), SIDE_PX)
    expected = PatchReader(slide, spots, spec).read(slice(None))
    reader = PatchReader(slide, spots, spec, keep_bytes=2**20)
    parts = np.array_split(np.arange(len(spots)), 12)
    with ThreadPoolExecutor(4) as pool:
        found = np.concatenate(list(pool.map(reader.read, parts)))
    np.testing.assert_array_equal(found, expected)


def test_work_is_shared_until_something_is_raised():
    done = []
    share(done.append, range(50), 3)
    assert sorted(done) == list(range(50))
    entered = []

    def failing(item):
        entered.append(item)
        raise ValueError(item)

    with pytest.raises(ValueError, match=r"^\d+$"):
        share(failing, range(1000), 2)
    assert len(entered) <= 2


@pytest.mark.parametrize("fov_px", [20.0, SIDE_PX, 64.2, 96.0, 127.9, 128.0, 200.3, 700.0])
def test_resampling_is_pillows_to_the_bit(svs_path, pixels, opened, fov_px):
    """From enlarging to many pixels for one, on and off the slide, across tiles."""
    slide = opened(svs_path, Mpp.square(0.5))
    slide.levels = slide.levels[:1]
    rng = np.random.default_rng(1)
    spots = spots_at(rng.uniform(-100, 2300, 12), rng.uniform(-100, 3100, 12))
    reader = PatchReader(slide, spots, PatchSpec((fov_px / 2,), SIDE_PX))
    patches = reader.read(slice(None))[:, 0]
    for patch, x_px, y_px in zip(patches, spots.x_px, spots.y_px, strict=True):
        left, top = x_px - fov_px / 2, y_px - fov_px / 2
        near = math.ceil(max(fov_px / SIDE_PX, 1)) + 1
        x0, y0 = math.floor(left) - near, math.floor(top) - near
        side = math.ceil(fov_px) + 2 * near + 1
        box = (left - x0, top - y0, left - x0 + fov_px, top - y0 + fov_px)
        window = Image.fromarray(crop(pixels, x0, y0, side, side))
        expected = window.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, box=box)
        np.testing.assert_array_equal(patch, np.asarray(expected))


@pytest.mark.parametrize("scale", [0.3, 1.0, 1.37, 4.0, 61.3])
def test_weights_are_a_triangle_and_sum_to_one(scale):
    side, begin, offset = 50, 40.25, -7
    first, weights = np.zeros(side, np.int64), np.zeros((130, side), np.uint64)
    end = triangle(begin, side * scale, offset, first, weights)
    np.testing.assert_allclose(weights.sum(axis=0) / ONE, 1, atol=130 / ONE)
    pixels = first + np.arange(130)[:, None] - offset
    centres = begin + (np.arange(side) + 0.5) * scale
    shape = np.maximum(0, 1 - np.abs(pixels + 0.5 - centres) / max(scale, 1))
    np.testing.assert_allclose(weights / ONE, shape / shape.sum(axis=0), atol=1e-5)
    assert (pixels[weights > 0] + offset).max() < end


FORMS = {
    "plain": {"tile": (256, 256)},
    "deflate": {"tile": (256, 256), "compression": "zlib"},
    "planar": {"tile": (128, 256), "planarconfig": "separate", "compression": "lzw"},
    "jpeg2000": {"tile": (256, 256), "compression": 33005},
    "strips": {"rowsperstrip": 40},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_tiff_gives_the_same_patches(tmp_path, pixels, opened, form):
    part = pixels[1000:1900, 500:1500]
    array = np.moveaxis(part, 2, 0) if form == "planar" else part
    path = tmp_path / f"{form}.tif"
    tifffile.imwrite(path, array, photometric="rgb", **FORMS[form])
    mpp = Mpp.square(0.5)
    spots = spots_at([5, 300.2, 511.9, 990], [880, 256.0, 400.6, 10])
    reader = PatchReader(opened(path, mpp), spots, PatchSpec((45.0,), SIDE_PX))
    for patch, x_px, y_px in zip(reader.read(slice(None)), spots.x_px, spots.y_px, strict=True):
        difference = patch[0] - naive(part, mpp, x_px, y_px, 45.0)
        assert np.abs(difference).max() <= 1


def test_a_slide_without_a_pixel_size_is_refused(jpeg_path, opened):
    with pytest.raises(MissingMppError, match=r"C5-crop\.jpg does not say"):
        PatchReader(opened(jpeg_path), spots_at([5], [5]), PatchSpec((40.0,), 64))
