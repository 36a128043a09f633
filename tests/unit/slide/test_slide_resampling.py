"""Resampling: the triangle filter as defined."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tifffile
from patch_reference import SIDE_PX, crop, filtered, spots_at

from napari_stem.encoders.base import PatchSpec
from napari_stem.geometry import Mpp
from napari_stem.slide.patches import PatchReader


@pytest.mark.parametrize("kind", ["tissue", "extremes"])
@pytest.mark.parametrize(
    "fov_px", [20.0, 63.8, SIDE_PX, 64.2, 64.9, 96.0, 127.9, 128.0, 128.3, 140.7, 200.3, 700.0]
)
def test_resampling_is_the_triangle_filter(tmp_path, pixels, opened, fov_px, kind):
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
    patches = PatchReader(slide, PatchSpec((fov_px / 2,), SIDE_PX)).read(spots)[:, 0]
    for patch, x_px, y_px in zip(patches, spots.x_px, spots.y_px, strict=True):
        left, top = x_px - fov_px / 2, y_px - fov_px / 2
        near = math.ceil(max(fov_px / SIDE_PX, 1)) + 1
        x0, y0 = math.floor(left) - near, math.floor(top) - near
        side = math.ceil(fov_px) + 2 * near + 1
        window = crop(pixels, x0, y0, side, side)
        exact = filtered(window, top - y0, left - x0, fov_px)
        assert np.abs(patch - exact).max() < 1.1  # rounded between rows and columns, and at the end


@pytest.mark.parametrize("grey", [0, 1, 128, 254, 255])
@pytest.mark.parametrize("side_px", [50, 224])
def test_one_grey_stays_what_it_is(tmp_path, opened, grey, side_px):
    path = tmp_path / "grey.tif"
    tifffile.imwrite(path, np.full((900, 900, 3), grey, np.uint8), photometric="rgb", tile=(64, 64))
    slide = opened(path, Mpp.square(0.5))
    spec = PatchSpec((20.0, 55.3, 112.0, 200.0), side_px)
    assert (PatchReader(slide, spec).read(spots_at([450.3], [449.8])) == grey).all()
