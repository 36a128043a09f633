"""Tiles for patches: decoded once, in place where that can be done, and let go of in time."""

from __future__ import annotations

import math
import time

import imagecodecs
import numpy as np
import pytest
import tifffile
from patch_reference import SIDE_PX, lattice_of_spots, naive, spots_at

from napari_stem.encoders.base import PatchSpec
from napari_stem.errors import SlideError
from napari_stem.geometry import Mpp
from napari_stem.slide import tile_source
from napari_stem.slide.array_slide import LevelPixels
from napari_stem.slide.patch_plan import NO_TILE
from napari_stem.slide.patches import PatchReader
from napari_stem.slide.relay import Gate
from napari_stem.slide.tiff_tiles import LevelReader
from napari_stem.slide.tile_source import GLASS, TileSource


@pytest.fixture
def decoded(monkeypatch):
    """Which tiles have been decoded for patches, of which level."""
    asked, window_into = [], LevelPixels.window_into

    def counted(self, rows, columns, out):
        asked.append((self.size, rows.start, columns.start))
        window_into(self, rows, columns, out)

    monkeypatch.setattr(LevelPixels, "window_into", counted)
    return asked


def fetched(tiles, numbers):
    """Slots of tiles, decoded at once, of which none is needed any more."""
    step = tiles.step(np.asarray(numbers), Gate(0), np.empty(0, np.int64))
    for job in step.jobs:
        job.work()
        job.gate.left -= 1
    assert not any(gate.left for gate in step.decoded)
    return step.slots


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
    tiles = TileSource(slide, 0, keep_bytes=5 * 3 * 240 * 240)
    stored = np.full((13 * 240, 10 * 240, 3), 255, np.uint8)
    stored[:2967, :2220] = slide.sources[0].window(slice(0, 2967), slice(0, 2220))
    memory = tiles.pixels
    for row in range(13):
        for column in range(0, 9, 3):
            numbers = 10 * row + column + np.arange(3)
            for number, slot in zip(numbers, fetched(tiles, numbers), strict=True):
                top, left = 240 * (number // 10), 240 * (number % 10)
                expected = stored[top : top + 240, left : left + 240].reshape(240, 720)
                np.testing.assert_array_equal(tiles.pixels[slot], expected)
    assert tiles.pixels is memory
    assert len(memory) == 6
    decoded.clear()
    fetched(tiles, [126, 127, 128])  # the last ones
    assert decoded == []
    assert fetched(tiles, [NO_TILE]).tolist() == [GLASS]
    assert (tiles.pixels[GLASS] == 255).all()


def test_memory_of_tiles_that_no_patch_needs_is_used_again(svs_path, opened, decoded, monkeypatch):
    """Row by row: no more is touched than two rows of patches need, though more may be kept."""
    monkeypatch.setattr(tile_source, "PART_BYTES", 12 * 3 * 240 * 240)
    plan, slots = TileSource.step, set()

    def step(self, *args):
        found = plan(self, *args)
        slots.update(found.slots.tolist())
        return found

    monkeypatch.setattr(TileSource, "step", step)
    spots = lattice_of_spots(150)
    reader = PatchReader(opened(svs_path), spots, PatchSpec((60.0,), SIDE_PX))
    decoded.clear()
    for begin in range(0, len(spots), 15):
        reader.read(slice(begin, begin + 15))
    assert len(decoded) == len(set(decoded)) == 130
    assert len(slots - {GLASS}) <= 35
    again = reader.read(slice(None))  # all have been used: still right
    fresh = PatchReader(reader.slide, spots, reader.spec).read(slice(None))
    np.testing.assert_array_equal(again, fresh)


def test_room_is_made_for_one_patch_of_many_tiles(svs_path, opened, decoded):
    tiles = TileSource(opened(svs_path), 0, keep_bytes=0)
    decoded.clear()
    slots = fetched(tiles, np.arange(12))
    assert len(set(slots.tolist())) == 12
    np.testing.assert_array_equal(fetched(tiles, np.arange(12)), slots)
    assert len(decoded) == 12


def test_far_off_the_slide_is_white_and_decodes_nothing(svs_path, opened, decoded):
    far = spots_at([-900, 500, 9000], [500, -900, 9000])
    reader = PatchReader(opened(svs_path), far, PatchSpec((60.0,), SIDE_PX))
    decoded.clear()  # of what opening itself looks at
    patches = reader.read(slice(None))
    assert (patches == 255).all()
    assert decoded == []


def test_a_damaged_tile_spoils_only_the_patches_that_show_it(svs_path, opened, monkeypatch):
    window_into = LevelPixels.window_into

    def damaged(self, rows, columns, out):
        if (rows.start, columns.start) == (480, 480):
            raise SlideError("damaged")
        window_into(self, rows, columns, out)

    slide = opened(svs_path)
    monkeypatch.setattr(LevelPixels, "window_into", damaged)
    reader = PatchReader(slide, lattice_of_spots(300), PatchSpec((40.0,), SIDE_PX), max_workers=4)
    for _ in range(2):  # what failed is not taken for decoded
        with pytest.raises(SlideError, match="damaged"):
            reader.read(slice(None))
    monkeypatch.setattr(LevelPixels, "window_into", window_into)
    sound = PatchReader(slide, reader.spots, reader.spec).read(slice(None))
    np.testing.assert_array_equal(reader.read(slice(None)), sound)


@pytest.mark.parametrize("n_kept", [4, 11, 30])
def test_no_tile_is_overwritten_before_its_patches_are_cut(svs_path, opened, monkeypatch, n_kept):
    """However little is kept and however long a tile takes."""
    slide, rng = opened(svs_path), np.random.default_rng(n_kept)
    spots, spec = lattice_of_spots(150), PatchSpec((50.0, 180.0), SIDE_PX)
    expected = PatchReader(slide, spots, spec, max_workers=1).read(slice(None))
    decode = TileSource._decode

    def late(self, number, slot):
        time.sleep(rng.choice([0, 0.003]))
        slot[:] = 7  # what somebody would see who is too early, or too late
        decode(self, number, slot)

    monkeypatch.setattr(TileSource, "_decode", late)
    monkeypatch.setattr(tile_source, "PART_BYTES", 6 * 3 * 240 * 240)
    keep_bytes = 2 * n_kept * 3 * 240 * 240
    reader = PatchReader(slide, spots, spec, max_workers=4, keep_bytes=keep_bytes)
    for index in (np.arange(150), rng.permutation(150), rng.integers(0, 150, 90)):
        np.testing.assert_array_equal(reader.read(index), expected[index])


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
    reader = PatchReader(opened(path, mpp), spots, PatchSpec((45.0,), SIDE_PX))
    for patch, x_px, y_px in zip(reader.read(slice(None)), spots.x_px, spots.y_px, strict=True):
        difference = patch[0] - naive(stored, mpp, x_px, y_px, 45.0)
        assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("form", ["svs", "jpeg", "jpeg-rgb"])
def test_jpeg_tiles_are_decoded_in_place_and_alike(
    tmp_path, svs_path, pixels, opened, monkeypatch, form
):
    path = svs_path
    if form != "svs":
        path = tmp_path / f"{form}.tif"
        tifffile.imwrite(path, pixels[1000:1900, 500:1500], photometric="rgb", **FORMS[form])
    in_place, into = [], LevelReader.into
    monkeypatch.setattr(
        LevelReader, "into", lambda *args: in_place.append(into(*args)) or in_place[-1]
    )
    source = opened(path, Mpp.square(0.5)).sources[0]
    height, width = source.native.height_px, source.native.width_px
    for top in range(0, source.size.height_px, height):
        for left in range(0, source.size.width_px, width):
            rows = slice(top, min(top + height, source.size.height_px))
            columns = slice(left, min(left + width, source.size.width_px))
            out = np.zeros((rows.stop - top, columns.stop - left, 3), np.uint8)
            source.window_into(rows, columns, out)
            np.testing.assert_array_equal(out, source.window(rows, columns))
            assert in_place[-1] == (out.shape == (height, width, 3))
    assert any(in_place)


def test_a_tile_that_is_not_what_the_file_says_is_refused(tmp_path, pixels, opened):
    part = pixels[1000:1512, 500:1012]
    path = tmp_path / "short.tif"
    small = [imagecodecs.jpeg8_encode(np.ascontiguousarray(part[:128, :128]), level=90)] * 4
    stated = {"shape": part.shape, "dtype": np.uint8, "tile": (256, 256), "compression": "jpeg"}
    tifffile.imwrite(path, iter(small), photometric="ycbcr", subsampling=(2, 2), **stated)
    source = opened(path, Mpp.square(0.5)).sources[0]
    out = np.zeros((256, 256, 3), np.uint8)
    with pytest.raises(SlideError, match="damaged"):
        source.window_into(slice(0, 256), slice(256, 512), out)
