"""Resampling: the triangle filter as defined, rounded once."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from patch_reference import SIDE_PX, crop, filtered, spots_at
from PIL import Image

from napari_stem.encoders.base import PatchSpec
from napari_stem.geometry import Mpp
from napari_stem.slide.patches import PatchReader
from napari_stem.slide.resampling import ALL, resample, triangle


@pytest.mark.parametrize("kind", ["tissue", "extremes"])
@pytest.mark.parametrize(
    "fov_px", [20.0, 63.8, SIDE_PX, 64.2, 64.9, 96.0, 127.9, 128.0, 128.3, 140.7, 200.3, 700.0]
)
def test_resampling_is_the_triangle_filter_rounded_once(tmp_path, pixels, opened, fov_px, kind):
    """From enlarging to many pixels for one, on and off the slide, across tiles."""
    if kind == "extremes":  # black beside white, where wrong weights show most
        pixels = 255 * np.random.default_rng(2).integers(0, 2, (1500, 1100, 3), np.uint8)
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(256, 240))
    slide = opened(path, Mpp.square(0.5))
    slide.levels = slide.levels[:1]
    rng = np.random.default_rng(1)
    height, width = pixels.shape[:2]
    spots = spots_at(rng.uniform(-100, width + 80, 12), rng.uniform(-100, height + 80, 12))
    patches = PatchReader(slide, spots, PatchSpec((fov_px / 2,), SIDE_PX)).read(slice(None))[:, 0]
    for patch, x_px, y_px in zip(patches, spots.x_px, spots.y_px, strict=True):
        left, top = x_px - fov_px / 2, y_px - fov_px / 2
        near = math.ceil(max(fov_px / SIDE_PX, 1)) + 1
        x0, y0 = math.floor(left) - near, math.floor(top) - near
        side = math.ceil(fov_px) + 2 * near + 1
        window = crop(pixels, x0, y0, side, side)
        exact = filtered(window, top - y0, left - x0, fov_px)
        assert np.abs(patch - exact).max() < 0.5 + 0.03  # half a grey value by rounding
        box = (left - x0, top - y0, left - x0 + fov_px, top - y0 + fov_px)
        bilinear = Image.Resampling.BILINEAR  # rounds between rows and columns as well
        pillow = Image.fromarray(window).resize((SIDE_PX, SIDE_PX), bilinear, box=box)
        assert np.abs(patch - np.asarray(pillow, float)).max() <= 1


@pytest.mark.parametrize("grey", [0, 1, 128, 254, 255])
@pytest.mark.parametrize("side_px", [50, 224])
def test_one_grey_stays_what_it_is(tmp_path, opened, grey, side_px):
    path = tmp_path / "grey.tif"
    tifffile.imwrite(path, np.full((900, 900, 3), grey, np.uint8), photometric="rgb", tile=(64, 64))
    slide = opened(path, Mpp.square(0.5))
    spec = PatchSpec((20.0, 55.3, 112.0, 200.0), side_px)
    assert (PatchReader(slide, spots_at([450.3], [449.8]), spec).read([0]) == grey).all()


@pytest.mark.parametrize("scale", [0.3, 1.0, 1.37, 4.0, 61.3])
def test_weights_are_a_triangle_and_sum_to_one(scale):
    side, begin, offset = 50, 70.25, -7
    first, used = np.zeros(side, np.int64), np.zeros(side, np.int64)
    weights = np.full((side, 130), np.nan, np.float32)
    numbers = np.zeros(weights.shape, np.uint16)
    end = triangle(begin, side * scale, offset, first, used, weights, numbers)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    pixels = first[:, None] + np.arange(130) - offset
    centres = begin + (np.arange(side)[:, None] + 0.5) * scale
    shape = np.maximum(0, 1 - np.abs(pixels + 0.5 - centres) / max(scale, 1))
    np.testing.assert_allclose(weights, shape / shape.sum(axis=1, keepdims=True), atol=1e-6)
    assert (pixels[weights > 0] + offset).max() < end
    assert (weights[np.arange(130) >= used[:, None]] == 0).all()


@settings(max_examples=50, deadline=None)
@given(st.floats(0.05, 60.0), st.floats(130.0, 150.0))
def test_whole_weights_sum_to_one_exactly(scale, begin):
    side, taps = 9, 130
    first, used = np.zeros(side, np.int64), np.zeros(side, np.int64)
    weights, numbers = np.zeros((side, taps), np.float32), np.full((side, taps), 9, np.uint16)
    triangle(begin, side * scale, 0, first, used, weights, numbers)
    assert (numbers.sum(axis=1, dtype=int) == ALL).all()
    np.testing.assert_allclose(numbers, weights * float(ALL), atol=1.1)


@pytest.mark.parametrize("grey", [0, 3, 255])
def test_one_grey_stays_what_it_is_however_many_pixels_are_one(grey):
    tiles = np.full((9, 500, 1500), grey, np.uint8)
    slots, corner = np.arange(9).reshape(1, 3, 3), np.array([[380.5, 380.0]])
    patch = np.full((1, 1, 2, 6), 99, np.uint8)
    one = np.zeros(1, np.intp)
    resample(tiles, slots, corner, np.zeros((1, 2), np.intp), (700.0, 680.0), patch, one, 0)
    assert (patch == grey).all()
