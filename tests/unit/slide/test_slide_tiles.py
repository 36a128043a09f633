"""Tiles for patches: decoded once while there is room, and the same in every form of TIFF."""

from __future__ import annotations

import math

import imagecodecs
import numpy as np
import pytest
import tifffile
from patch_reference import SIDE_PX, lattice_of_spots, naive, spots_at

from napari_stem.encoders.base import PatchSpec
from napari_stem.errors import SlideError
from napari_stem.geometry import Mpp
from napari_stem.slide.level import Level
from napari_stem.slide.patches import PatchReader

TILE_BYTES = 3 * 240 * 240  # of the SVS


@pytest.fixture
def decoded(monkeypatch):
    """Which windows have been decoded for patches, of which level."""
    asked, kept, window, cached = [], [], Level.window, Level.cached

    def keeping(self, *args):
        kept.append(cached(self, *args))
        return kept[-1]

    def counted(self, rows, columns):
        if self not in kept:
            asked.append((self.size, rows.start, columns.start))
        return window(self, rows, columns)

    monkeypatch.setattr(Level, "cached", keeping)
    monkeypatch.setattr(Level, "window", counted)
    return asked


def groups(spots, n):
    return [spots.take(slice(start, start + n)) for start in range(0, len(spots), n)]


def test_each_tile_is_decoded_once(svs_path, opened, decoded):
    slide = opened(svs_path)
    reader = PatchReader(slide, PatchSpec((100.0, 200.0), SIDE_PX), max_workers=1)
    decoded.clear()
    for group in groups(lattice_of_spots(150), 32):
        reader.read(group)
    assert len(decoded) == len(set(decoded))
    sizes = {size for size, _, _ in decoded}
    stored = [level for level in slide.levels if level.size in sizes]
    assert len(decoded) <= sum(
        math.ceil(source.size.height_px / source.chunk.height_px)
        * math.ceil(source.size.width_px / source.chunk.width_px)
        for source in stored
    )


def test_with_little_memory_few_tiles_are_decoded_again(svs_path, opened, decoded):
    slide = opened(svs_path)
    spots, spec = lattice_of_spots(90), PatchSpec((50.0,), SIDE_PX)
    expected = PatchReader(slide, spec).read(spots)
    tight = PatchReader(slide, spec, max_workers=1, keep_bytes=30 * TILE_BYTES)
    decoded.clear()
    np.testing.assert_array_equal(tight.read(spots), expected)
    assert len(decoded) < 1.5 * len(set(decoded))
    nothing = PatchReader(slide, spec, keep_bytes=0).read(spots.take(slice(0, 20)))
    np.testing.assert_array_equal(nothing, expected[:20])


def test_no_more_tiles_are_kept_than_allowed(svs_path, opened, decoded):
    kept = opened(svs_path).levels[0].cached(240, 9 * TILE_BYTES)
    decoded.clear()

    def read(*tiles):
        for tile in tiles:
            kept.window(slice(240 * tile, 240 * tile + 9), slice(0, 9))

    read(*range(9), *range(9))
    assert len(decoded) == 9
    read(9, 9, 0)
    assert len(decoded) == 11


def test_far_off_the_slide_is_white_and_decodes_nothing(svs_path, opened, decoded):
    reader = PatchReader(opened(svs_path), PatchSpec((60.0,), SIDE_PX))
    decoded.clear()  # of what opening itself looks at
    patches = reader.read(spots_at([-900, 500, 9000], [500, -900, 9000]))
    assert (patches == 255).all()
    assert decoded == []


def test_a_damaged_tile_spoils_only_the_patches_that_show_it(svs_path, opened, monkeypatch):
    window = Level.window

    def damaged(self, rows, columns):
        if (rows.start, columns.start) == (480, 480):
            raise SlideError("damaged")
        return window(self, rows, columns)

    slide, spots = opened(svs_path), lattice_of_spots(300)
    monkeypatch.setattr(Level, "window", damaged)
    reader = PatchReader(slide, PatchSpec((40.0,), SIDE_PX), max_workers=4)
    for _ in range(2):  # what failed is not taken for decoded
        with pytest.raises(SlideError, match="damaged"):
            reader.read(spots)
        with pytest.raises(SlideError, match="damaged"):
            list(reader.read_ahead([sum(reader.looks(part), ()) for part in groups(spots, 20)]))
    monkeypatch.setattr(Level, "window", window)
    sound = PatchReader(slide, reader.spec).read(spots)
    np.testing.assert_array_equal(reader.read(spots), sound)


FORMS = {
    "plain": {"tile": (256, 256)},
    "deflate": {"tile": (256, 256), "compression": "zlib"},
    "planar": {"tile": (128, 256), "planarconfig": "separate", "compression": "lzw"},
    "jpeg": {"tile": (256, 256), "compression": "jpeg", "compressionargs": {"level": 100}},
    "jpeg-rgb": {
        "tile": (240, 256),
        "compression": "jpeg",
        "compressionargs": {"level": 100, "outcolorspace": "rgb"},
    },
    "jpeg2000": {"tile": (256, 256), "compression": 33005},
    "strips": {"rowsperstrip": 40},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_tiff_gives_the_same_patches(tmp_path, pixels, opened, form):
    part = pixels[1000:1900, 500:1500]
    array = np.moveaxis(part, 2, 0) if form == "planar" else part
    path = tmp_path / f"{form}.tif"
    tifffile.imwrite(path, array, photometric="rgb", **FORMS[form])
    stored = tifffile.imread(path)
    stored = np.moveaxis(stored, 0, 2) if form == "planar" else stored
    assert np.abs(stored.astype(float) - part).mean() < 5
    mpp = Mpp.square(0.5)
    spots = spots_at([5, 300.2, 511.9, 990], [880, 256.0, 400.6, 10])
    patches = PatchReader(opened(path, mpp), PatchSpec((45.0,), SIDE_PX)).read(spots)
    for patch, x_px, y_px in zip(patches, spots.x_px, spots.y_px, strict=True):
        difference = patch[0] - naive(stored, mpp, x_px, y_px, 45.0)
        assert np.abs(difference).max() <= 1


def test_a_tile_that_is_not_what_the_file_says_is_refused(tmp_path, pixels, opened):
    part = pixels[1000:1512, 500:1012]
    path = tmp_path / "short.tif"
    small = [imagecodecs.jpeg8_encode(np.ascontiguousarray(part[:128, :128]), level=90)] * 4
    stated = {"shape": part.shape, "dtype": np.uint8, "tile": (256, 256), "compression": "jpeg"}
    tifffile.imwrite(path, iter(small), photometric="ycbcr", subsampling=(2, 2), **stated)
    source = opened(path, Mpp.square(0.5)).levels[0]
    with pytest.raises(SlideError, match="damaged"):
        source.window(slice(0, 256), slice(256, 512))
