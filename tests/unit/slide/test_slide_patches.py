"""Patches: exact in place and size at any pixel size, and the same however they are asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patch_reference import SIDE_PX, lattice_of_spots, naive, spots_at
from PIL import Image

from napari_stem.encoders.base import PatchSpec
from napari_stem.errors import MissingMppError
from napari_stem.geometry import Mpp, SizePx, lattice
from napari_stem.slide import open_slide
from napari_stem.slide.patches import PatchReader

SLOPE = 21 * np.pi  # px per grey value, at most 255; a whole number rounds alike again and again


@pytest.fixture(scope="module")
def ramp_path(tmp_path_factory):
    """Red rises mainly with x and green with y, one grey value per 9 px; three levels.

    Tilted, so that roundings to whole grey values cancel out over a patch.
    """
    y, x = np.mgrid[:2040, :2040]
    rgb = np.stack([(7 * x + y) / SLOPE, (x + 7 * y) / SLOPE, np.zeros_like(x)], axis=2)
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
    patch = PatchReader(slide, spec).read(spots_at([x_px], [y_px]))[0, 0].astype(float)

    steps = (np.arange(SIDE_PX) + 0.5) / SIDE_PX - 0.5
    x, y = x_px + steps * width_px - 0.5, (y_px + steps * height_px - 0.5)[:, None]
    # single pixels are rounded to whole grey values, several times; means are right. A patch out
    # of place by its own pixel is off by 0.4 from 220 px on.
    for channel, expected in enumerate(((7 * x + y) / SLOPE, (x + 7 * y) / SLOPE)):
        difference = patch[..., channel] - expected
        assert np.abs(difference).max() <= 1.2
        if fov_px > 220:
            assert abs(difference.mean()) < 0.15


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
    patch = PatchReader(slide, spec).read(spots_at([x_px], [y_px]))[0, 0]
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
def scattered():
    rng = np.random.default_rng(5)
    return spots_at(rng.uniform(-50, 2270, 40), rng.uniform(-50, 3017, 40))


def test_a_patch_does_not_depend_on_the_company_it_is_read_in(svs_path, opened, scattered):
    slide = opened(svs_path, Mpp(y_um=0.5, x_um=0.45))
    reader = PatchReader(slide, PatchSpec((40.0, 300.0), SIDE_PX))
    together = reader.read(scattered)
    assert together.shape == (40, 2, SIDE_PX, SIDE_PX, 3)
    assert together.dtype == np.uint8
    for order in (np.arange(40)[::-1], np.array([7, 3])):
        np.testing.assert_array_equal(reader.read(scattered.take(order)), together[order])
    single = np.concatenate([reader.read(scattered.take([i])) for i in range(40)])
    np.testing.assert_array_equal(single, together)
    none = scattered.take(np.empty(0, np.int64))
    assert reader.read(none).shape == (0, 2, SIDE_PX, SIDE_PX, 3)
    assert list(reader.read_ahead([])) == []
    parts = [scattered.take(slice(0, 9)), none, scattered.take(slice(9, 40))]
    groups = [sum(reader.looks(part), ()) for part in parts]
    np.testing.assert_array_equal(np.concatenate(list(reader.read_ahead(groups))), together)


@settings(max_examples=100, deadline=None)
@given(
    x_um=st.floats(-600, 2000),
    y_um=st.floats(-600, 2000),
    steps_um=st.tuples(st.just(0.0) | st.floats(1, 300), st.floats(1, 300)),
)
def test_the_patch_of_a_lattice_is_the_nearest(ramp_path, x_um, y_um, steps_um):
    mpp = Mpp(y_um=0.5, x_um=0.45)
    slide = open_slide(ramp_path, mpp)
    spot = spots_at([x_um / mpp.x_um], [y_um / mpp.y_um])
    (looks,) = PatchReader(slide, PatchSpec((50.0, 200.0), SIDE_PX, steps_um)).looks(spot)
    assert [look.fields for look in looks] == [(0,), (1,)]
    for look, step_um in zip(looks, steps_um, strict=True):
        away_um = np.array([look.x_px * mpp.x_um - x_um, look.y_px * mpp.y_um - y_um])
        assert np.abs(away_um).max() <= step_um / 2 + 1e-6
        if step_um:  # fixed to the slide's corner
            at = np.array([look.x_px * mpp.x_um, look.y_px * mpp.y_um]) / step_um
            np.testing.assert_allclose((at - 0.25) % 1 % (1 - 1e-6), 0, atol=2e-6)


def test_neighbours_share_the_patches_of_a_lattice(svs_path, opened):
    """49 spots 50 um apart share 25 patches that lie 75 um apart, and 9 that lie 150 um apart."""
    mpp = Mpp(y_um=0.5, x_um=0.45)
    slide, fields_um = opened(svs_path, mpp), (60.0, 100.0, 200.0)
    spots = lattice(slide.size, mpp, 50.0)
    spots = spots.take((spots.array_row < 7) & (spots.array_col < 7))
    reader = PatchReader(slide, PatchSpec(fields_um, SIDE_PX, (0.0, 75.0, 150.0)))
    looks = reader.looks(spots)
    assert [len(set(of_field)) for of_field in zip(*looks, strict=True)] == [49, 25, 9]
    patches = reader.read(spots)
    for field, field_um in enumerate(fields_um):
        centres = spots_at(*np.transpose([of_spot[field][1:3] for of_spot in looks]))
        alone = PatchReader(slide, PatchSpec((field_um,), SIDE_PX)).read(centres)
        np.testing.assert_array_equal(patches[:, field], alone[:, 0])


def test_off_the_slide_is_white(svs_path, opened):
    slide = opened(svs_path)
    reader = PatchReader(slide, PatchSpec((64 * 0.499,), 64))
    patch = reader.read(spots_at([0], [1500]))[0, 0]
    assert (patch[:, :31] == 255).all()
    expected = slide.read_region(2, 1500 - 32, 0, SizePx(64, 30))
    np.testing.assert_array_equal(patch[:, 34:], expected)  # one to one, exactly in place


@pytest.mark.parametrize("level", [0, 1])
def test_whole_pixels_of_a_level_stay_as_they_are(svs_path, opened, level):
    slide = opened(svs_path, Mpp.square(0.5))
    fov_um = SIDE_PX * 2**level * 0.5
    reader = PatchReader(slide, PatchSpec((fov_um,), SIDE_PX))
    corner = (800 // 2**level - SIDE_PX // 2, 1600 // 2**level - SIDE_PX // 2)
    stored = slide.read_region(*corner, level, SizePx(SIDE_PX, SIDE_PX))
    aligned, shifted = reader.read(spots_at([800, 801], [1600, 1600]))[:, 0]
    np.testing.assert_array_equal(aligned, stored)
    assert (shifted != stored).any()


def test_threads_may_share_a_reader(svs_path, opened):
    slide = opened(svs_path)
    spots, spec = lattice_of_spots(200), PatchSpec((90.0,), SIDE_PX)
    expected = PatchReader(slide, spec, max_workers=1).read(spots)
    reader = PatchReader(slide, spec, keep_bytes=2**20)
    parts = [spots.take(part) for part in np.array_split(np.arange(len(spots)), 12)]
    with ThreadPoolExecutor(4) as pool:
        found = np.concatenate(list(pool.map(reader.read, parts)))
    np.testing.assert_array_equal(found, expected)


def test_a_slide_without_a_pixel_size_is_refused(jpeg_path, opened):
    with pytest.raises(MissingMppError, match=r"C5-crop\.jpg does not say"):
        PatchReader(opened(jpeg_path), PatchSpec((40.0,), 64))
