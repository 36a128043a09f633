"""Patches by definition, and spots to read them at."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from napari_stem.geometry import Spots

SIDE_PX = 64


def spots_at(x_px, y_px):
    n = len(x_px)
    index = np.arange(n)
    names = tuple(str(i) for i in index)
    return Spots(np.asarray(x_px, float), np.asarray(y_px, float), index, index, 1.0, 1.0, names)


def lattice_of_spots(pitch_px):
    y, x = (axis.ravel() for axis in np.mgrid[0:2967:pitch_px, 0:2220:pitch_px])
    return spots_at(x, y)


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


def filtered(pixels, top, left, extent_px):
    """Weigh pixels by a triangle as wide as two new pixels, in 64 bits: by definition."""

    def weights(begin_px, n_px):
        scale = extent_px / SIDE_PX
        centres = begin_px + (np.arange(SIDE_PX) + 0.5) * scale
        distance = np.abs(np.arange(n_px) + 0.5 - centres[:, None])
        shares = np.maximum(0, 1 - distance / max(scale, 1))
        return shares / shares.sum(axis=1, keepdims=True)

    by_row, by_column = weights(top, pixels.shape[0]), weights(left, pixels.shape[1])
    return np.einsum("ay,yxc,bx->abc", by_row, pixels.astype(float), by_column, optimize=True)
