"""Patches: exact in place and size at any pixel size, and the same however they are asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_stem.encoders.base import PatchSpec
from napari_stem.errors import MissingMppError
from napari_stem.geometry import Mpp, SizePx, Spots
from napari_stem.slide import open_slide
from napari_stem.slide.patches import PatchReader

SIDE_PX = 64


def spots_at(x_px, y_px):
    n = len(x_px)
    index = np.arange(n)
    names = tuple(str(i) for i in index)
    return Spots(np.asarray(x_px, float), np.asarray(y_px, float), index, index, 1.0, 1.0, names)


@pytest.fixture(scope="module")
def ramp_path(tmp_path_factory):
    """Red rises with x and green with y, one grey value per 8 px; three levels."""
    y, x = np.mgrid[:2040, :2040]
    rgb = np.stack([x // 8, y // 8, np.zeros_like(x)], axis=2).astype(np.uint8)
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
    # value v covers the pixels 8 v to 8 v + 8, whose middle is 8 (v + 0.5)
    red = (x_px + steps * width_px) / 8 - 0.5
    green = (y_px + steps * height_px) / 8 - 0.5
    # grey values are whole numbers, hence steps of 8 px: single pixels may be 1 off. Means are nearly
    # right, but where a patch pixel is close to a simple fraction of a step (2/3, say), rounding always
    # falls the same way and leaves up to some .2; a patch out of place by its own pixel is off by .4 or more.
    assert np.abs(patch[..., 0] - red).max() <= 1.2
    assert np.abs(patch[..., 1] - green[:, None]).max() <= 1.2
    if fov_px > 200:
        assert abs((patch[..., 0] - red).mean()) < 0.25
        assert abs((patch[..., 1] - green[:, None]).mean()) < 0.25


def naive(pixels, mpp, x_px, y_px, fov_um):
    """Crop at full resolution on white, then resize."""
    height_px, width_px = fov_um / mpp.y_um, fov_um / mpp.x_um
    pad_px = math.ceil(max(height_px, width_px) * 2) + 50  # the crop begins 40 px outside the patch
    padded = np.pad(pixels, ((pad_px, pad_px), (pad_px, pad_px), (0, 0)), constant_values=255)
    left, top = x_px + pad_px - width_px / 2, y_px + pad_px - height_px / 2
    x0, y0 = int(left) - 40, int(top) - 40
    crop = padded[y0 : y0 + int(height_px) + 82, x0 : x0 + int(width_px) + 82]
    box = (left - x0, top - y0, left - x0 + width_px, top - y0 + height_px)
    resized = Image.fromarray(crop).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized, float)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    mpp=st.builds(Mpp, y_um=st.floats(0.2, 1.0), x_um=st.floats(0.2, 1.0)),
    fov_um=st.floats(20, 200),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_patch_is_the_full_resolution_crop_resized(svs_path, pixels, mpp, fov_um, place):
    slide = open_slide(svs_path, mpp)
    x_px, y_px = place[0] * slide.size.width_px, place[1] * slide.size.height_px
    spec = PatchSpec((fov_um,), SIDE_PX)
    patch = PatchReader(slide, spots_at([x_px], [y_px]), spec).read([0])[0, 0]
    slide.close()
    difference = patch - naive(pixels, mpp, x_px, y_px, fov_um)
    # half a pixel of an odd last row or column counts whole in coarser levels
    assert abs(difference.mean()) < 2.0
    # a coarser level was smoothed before: sharp edges differ a little, no more
    assert np.sqrt((difference**2).mean()) < 6.0
    assert np.abs(difference).mean() < 4.0


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


def test_off_the_slide_is_white(svs_path, opened):
    slide = opened(svs_path)
    patch = PatchReader(slide, spots_at([0], [1500]), PatchSpec((64 * 0.499,), 64)).read([0])[0, 0]
    assert (patch[:, :31] == 255).all()
    expected = slide.read_region(2, 1500 - 32, 0, SizePx(64, 30))
    np.testing.assert_array_equal(patch[:, 34:], expected)  # one to one, exactly in place


def test_a_slide_without_a_pixel_size_is_refused(jpeg_path, opened):
    with pytest.raises(MissingMppError, match=r"C5-crop\.jpg does not say"):
        PatchReader(opened(jpeg_path), spots_at([5], [5]), PatchSpec((40.0,), 64))
