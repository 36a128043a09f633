"""Pixels: every form of a slide gives the same pixels at every level, and the store is safe."""

from __future__ import annotations

import gc
import logging
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from napari_stem.errors import SlideError
from napari_stem.geometry import Mpp, SizePx
from napari_stem.slide import describe, open_slide, raster_reader, tiff_reader
from napari_stem.slide.level import downsample
from napari_stem.slide.location import locate


def test_huge_tiles_of_a_slide_larger_than_memory_are_decoded_one_by_one(
    pixels, tmp_path, cache, opened, monkeypatch
):
    path = tmp_path / "huge-tiles.tif"
    tifffile.imwrite(path, pixels, tile=(2064, 2064), photometric="rgb", compression="deflate")
    monkeypatch.setattr(tiff_reader, "WHOLE_LIMIT_BYTES", 3 * 2064**2)  # one tile, not the slide
    monkeypatch.setattr(tiff_reader, "level_of_array", None)  # decodes all of it at once
    assert_pyramid(opened(path), pixels)


def halved(pixels):
    """Area mean of 2 x 2, an odd edge being averaged over what there is."""
    h, w = pixels.shape[:2]
    padded = np.pad(pixels.astype(np.float32), ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    return padded.reshape((h + 1) // 2, 2, (w + 1) // 2, 2, 3).mean(axis=(1, 3))


def assert_pyramid(slide, pixels):
    """Level 0 is ``pixels``; each coarser level is the mean of the one before, within rounding."""
    assert max(slide.levels[-1].pixels.shape[:2]) <= 1024
    below = slide.levels[0].pixels.compute()
    np.testing.assert_array_equal(below, pixels)
    for number, level in enumerate(slide.levels[1:], start=1):
        here = level.pixels.compute()
        assert level.downsample == 2.0**number
        assert np.abs(here - halved(below)).max() <= 0.51
        below = here


def write_tiled(path, pixels):
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", compression="deflate")


def write_striped(path, pixels):
    tifffile.imwrite(path, pixels, rowsperstrip=16, photometric="rgb", compression="deflate")


def write_one_strip(path, pixels):
    tifffile.imwrite(path, pixels, rowsperstrip=len(pixels), photometric="rgb", compression="lzw")


def write_planes(path, pixels):
    planes = np.moveaxis(pixels, 2, 0)
    tifffile.imwrite(path, planes, tile=(256, 256), photometric="rgb", planarconfig="separate")


def write_ome_channels(path, pixels):
    planes = np.moveaxis(pixels, 2, 0)
    metadata = {"axes": "CYX", "PhysicalSizeX": 499, "PhysicalSizeXUnit": "nm"}
    metadata |= {"PhysicalSizeY": 0.499, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(
        path, planes, ome=True, tile=(256, 256), photometric="minisblack", metadata=metadata
    )


def write_alpha(path, pixels):
    opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    rgba = np.concatenate([pixels, opaque], axis=2)
    tifffile.imwrite(path, rgba, tile=(256, 256), photometric="rgb", extrasamples=["unassalpha"])


def write_png(path, pixels):
    Image.fromarray(pixels).save(path, format="PNG", compress_level=1)


@pytest.mark.parametrize(
    "write",
    [
        write_tiled,
        write_striped,
        write_one_strip,
        write_planes,
        write_ome_channels,
        write_alpha,
        write_png,
    ],
)
def test_every_form_of_a_slide_has_the_same_pixels(write, pixels, tmp_path, cache, opened):
    path, pixels = tmp_path / "slide.ome.tif", np.ascontiguousarray(pixels[:1501, :1203])
    write(path, pixels)
    slide = opened(path)
    assert_pyramid(slide, pixels)
    again = opened(path)
    assert_pyramid(again, pixels)
    assert len(describe(path)["levels"]) == len(slide.levels)


def test_ome_pixel_size_in_another_unit(pixels, tmp_path, opened):
    write_ome_channels(tmp_path / "slide.ome.tif", pixels[:300, :200])
    mpp = opened(tmp_path / "slide.ome.tif").mpp
    assert (mpp.y_um, mpp.x_um) == pytest.approx((0.499, 0.499))


def test_a_viewer_may_outlive_the_slide_and_the_file_closes_with_its_last_user(svs_path, pixels):
    level_0 = open_slide(svs_path).levels[0].pixels  # the slide itself is gone
    gc.collect()
    np.testing.assert_array_equal(level_0[:50, :50].compute(), pixels[:50, :50])
    del level_0
    gc.collect()  # a file left open would be a ResourceWarning, which fails the test


def test_svs(svs_path, pixels, cache, opened):
    slide = opened(svs_path)
    assert (slide.vendor, slide.reader, slide.mpp) == ("aperio", "tiff", Mpp.square(0.499))
    assert slide.properties["objective_power"] == 20
    assert slide.levels[0].pixels.chunksize == (960, 960, 3)  # multiples of its 240 px tiles
    assert_pyramid(slide, pixels)


def test_grey_is_read_as_rgb(pixels, tmp_path, opened):
    grey = pixels[:700, :800, 1]
    rgb = np.repeat(grey[:, :, None], 3, axis=2)
    tifffile.imwrite(tmp_path / "grey.tif", grey, tile=(128, 128))
    tifffile.imwrite(
        tmp_path / "inverted.tif", 255 - grey, tile=(128, 128), photometric="miniswhite"
    )
    Image.fromarray(grey).save(tmp_path / "grey.png")
    for name in ("grey.tif", "inverted.tif", "grey.png"):
        np.testing.assert_array_equal(opened(tmp_path / name).levels[0].pixels.compute(), rgb)


def test_a_grey_file_that_is_written_over_after_it_was_decoded_is_shown_as_it_was(pixels, tmp_path):
    path = tmp_path / "grey.bmp"  # stored as it is: Pillow would map it into memory
    Image.fromarray(pixels[..., 0]).save(path)
    level = raster_reader.read_header(locate(path)).decode_coarsest()
    with path.open("r+b") as file:  # a killed process, where it were still mapped and cut short
        file.seek(-pixels[..., 0].size // 2, os.SEEK_END)
        file.write(bytes(pixels[..., 0].size // 2))
    np.testing.assert_array_equal(level.whole(), np.repeat(pixels[..., :1], 3, axis=2))


def test_levels_in_the_file_are_used_and_only_missing_ones_are_made(
    pixels, tmp_path, cache, opened
):
    path = tmp_path / "pyramid.ome.tif"
    marked = pixels[::2, ::2].copy()
    marked[:8, :8] = (1, 2, 3)  # shows where level 1 comes from
    options = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate"}
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(
            pixels,
            subifds=1,
            metadata={"axes": "YXS", "PhysicalSizeX": 0.4, "PhysicalSizeY": 0.5},
            **options,
        )
        writer.write(marked, subfiletype=1, **options)
    slide = opened(path)
    assert slide.mpp == Mpp(y_um=0.5, x_um=0.4)  # the default unit of OME is um
    assert [level.downsample for level in slide.levels] == [1, 2, 4]
    np.testing.assert_array_equal(slide.levels[1].pixels.compute(), marked)
    np.testing.assert_allclose(slide.levels[2].pixels.compute(), halved(marked), atol=0.51)
    assert not cache.exists()  # the last level is so small that storing it would gain nothing


def test_only_missing_levels_are_stored(pixels, tmp_path, cache, opened):
    path = tmp_path / "wide.tif"
    wide = np.tile(pixels, (1, 3, 1))
    options = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate"}
    with tifffile.TiffWriter(path) as writer:
        writer.write(wide, **options)
        writer.write(wide[::2, ::2], subfiletype=1, **options)
    slide = opened(path)
    assert [level.downsample for level in slide.levels] == [1, 2, 4, 8]
    np.testing.assert_allclose(slide.levels[2].pixels.compute(), halved(wide[::2, ::2]), atol=0.51)
    (store,) = (cache / "pyramids").iterdir()
    assert sorted(zarr.open_group(store, mode="r").array_keys()) == ["0", "1"]


def test_resolution_tags_only_where_they_can_be_a_pixel_size(pixels, tmp_path, opened):
    def mpp(resolution, unit):
        path = tmp_path / "tagged.tif"
        tifffile.imwrite(
            path, pixels[:300, :300], tile=(128, 128), resolution=resolution, resolutionunit=unit
        )
        return opened(path).mpp

    assert mpp((20_000, 10_000), "centimeter") == Mpp(y_um=1.0, x_um=0.5)
    assert mpp((50_800, 50_800), "inch") == Mpp.square(0.5)
    for dpi in (72, 98, 300, 2400):
        assert mpp((dpi, dpi), "inch") is None
    assert mpp((20_000, 20_000), "none") is None


def test_windows_off_the_slide_are_white(svs_path, pixels, opened):
    slide = opened(svs_path)
    window = slide.read_region(-10, -20, 0, SizePx(50, 60))
    assert (window[:20] == 255).all()
    assert (window[:, :10] == 255).all()
    np.testing.assert_array_equal(window[20:, 10:], pixels[:30, :50])
    corner = slide.read_region(2200, 2960, 0, SizePx(20, 40))
    np.testing.assert_array_equal(corner[:7, :20], pixels[2960:, 2200:])
    assert (corner[7:] == 255).all()
    assert (slide.read_region(9000, -9000, 0, SizePx(5, 5)) == 255).all()
    with pytest.raises(SlideError, match="has levels 0 to 2, not 3"):
        slide.read_region(0, 0, 3, SizePx(5, 5))


@pytest.mark.parametrize(
    "key",
    [
        np.s_[5:50, 7, :],
        np.s_[..., 0],
        np.s_[-30:, ::7, 1:],
        np.s_[100:20:-3, 40:40],
        np.s_[::-50, 3],
        np.s_[2960:2967, -1, 2],
    ],
)
def test_dask_arrays_are_indexed_as_arrays_are(key, svs_path, pixels, opened):
    np.testing.assert_array_equal(opened(svs_path).levels[0].pixels[key].compute(), pixels[key])


@pytest.mark.parametrize("system", ["POSIX", "Windows"])
def test_many_threads_read_what_one_reads(svs_path, pixels, opened, system, monkeypatch):
    if system == "Windows":
        monkeypatch.delattr(os, "pread", raising=False)  # which there is none of
    slide = opened(svs_path)
    corners = [(x, y) for x in range(0, 2100, 150) for y in range(0, 2800, 200)]

    def right(corner):
        x, y = corner
        window = slide.read_region(x, y, 0, SizePx(167, 120))
        return np.array_equal(window, pixels[y : y + 167, x : x + 120])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, corners))


def test_a_closed_slide_says_so(svs_path):
    slide = open_slide(svs_path)
    slide.close()
    with pytest.raises(SlideError, match=r"CMU-1-Small-Region\.svs cannot be read .*closed"):
        slide.read_region(0, 0, 0, SizePx(5, 5))


def test_a_damaged_tile_is_told_when_it_is_read(pixels, tmp_path, opened):
    path = tmp_path / "damaged.tif"
    write_tiled(path, pixels[:800, :800])
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[0].dataoffsets[5]
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * 200)
    slide = opened(path)
    assert slide.read_region(0, 0, 0, SizePx(100, 100)).shape == (100, 100, 3)
    with pytest.raises(SlideError, match=r"damaged\.tif cannot be read at rows 256-300"):
        slide.read_region(256, 256, 0, SizePx(44, 44))
    with pytest.raises(SlideError, match="it is damaged"):
        slide.levels[0].pixels.compute()


def test_the_store_is_made_once_with_progress_and_is_ome_zarr(jpeg_path, cache, opened):
    told = []
    first = opened(jpeg_path, progress=lambda *news: told.append(news))
    assert told[0] == ("Decoding C5-crop.jpg", 0, 1)
    assert [done for _, done, _ in told[1:]] == list(range(1, told[-1][2] + 1))
    assert told[-1][1] == told[-1][2]
    del told[:]
    second = opened(jpeg_path, progress=lambda *news: told.append(news))
    assert told == []
    for one, other in zip(first.levels, second.levels, strict=True):
        np.testing.assert_array_equal(one.pixels.compute(), other.pixels.compute())
    (store,) = (cache / "pyramids").iterdir()
    assert store.name == first.fingerprint
    group = zarr.open_group(store, mode="r")
    (multiscale,) = group.attrs["ome"]["multiscales"]
    assert [axis["name"] for axis in multiscale["axes"]] == ["c", "y", "x"]
    scales = [d["coordinateTransformations"][0]["scale"] for d in multiscale["datasets"]]
    assert scales == [[1, 1, 1], [1, 2, 2]]
    level_1 = np.moveaxis(group[multiscale["datasets"][1]["path"]][:], 0, 2)
    np.testing.assert_array_equal(level_1, second.levels[1].pixels.compute())


def test_stopping_halfway_leaves_nothing_and_the_next_opening_works(jpeg_path, cache, opened):
    def stop(_text, done, _total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_slide(jpeg_path, progress=stop)
    assert list((cache / "pyramids").iterdir()) == []
    assert_pyramid(opened(jpeg_path), np.asarray(Image.open(jpeg_path)))


@pytest.mark.parametrize("damage", ["outdated", "unreadable"])
def test_a_store_that_does_not_fit_is_made_anew(damage, jpeg_path, cache, opened):
    store = cache / "pyramids" / opened(jpeg_path).fingerprint
    if damage == "outdated":
        zarr.open_group(store, mode="r+").attrs["napari_stem"] = {"format": 0}
    else:
        (store / "zarr.json").write_text("{")
    assert_pyramid(opened(jpeg_path), np.asarray(Image.open(jpeg_path)))
    assert [path.name for path in store.parent.iterdir()] == [store.name]


def test_without_a_writable_cache_levels_stay_in_memory(jpeg_path, cache, opened, caplog):
    cache.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        slide = opened(jpeg_path)
    assert "kept in memory" in caplog.text
    assert "NAPARI_STEM_CACHE" in caplog.text
    assert_pyramid(slide, np.asarray(Image.open(jpeg_path)))


def test_two_openings_at_once_share_one_store(jpeg_path, cache, opened):
    with ThreadPoolExecutor(4) as pool:
        opening = [pool.submit(opened, jpeg_path) for _ in range(4)]
    for each in opening:
        assert_pyramid(each.result(), np.asarray(Image.open(jpeg_path)))
    assert len(list((cache / "pyramids").iterdir())) == 1


SIDE_PX = st.integers(8, 2**20)


@given(SIDE_PX, SIDE_PX, st.integers(0, 16), st.booleans())
@example(2967, 2220, 6, False)
@example(2967, 2220, 8, True)
@example(20_000, 40_000, 8, True)
def test_levels_that_are_halved_have_powers_of_two(height_px, width_px, times, is_rounded_up):
    """Of a small level the plain ratio comes nearer to another whole factor: 63 or 254."""
    size = level_0 = SizePx(height_px, width_px)
    for done in range(times):
        more = int(is_rounded_up)
        coarser = SizePx((size.height_px + more) // 2, (size.width_px + more) // 2)
        if min(coarser.height_px, coarser.width_px) < 8:
            times = done
            break
        size = coarser
    assert downsample(level_0, size) == 2**times


@given(st.integers(1, 100), st.integers(200, 5000), st.integers(200, 5000), st.integers(0, 99))
def test_levels_of_another_whole_factor_have_that(factor, height_px, width_px, cut_px):
    cut_px %= factor  # what is left of the last row and column, and not in the level
    level_0 = SizePx(height_px * factor + cut_px, width_px * factor + cut_px)
    assert downsample(level_0, SizePx(height_px, width_px)) == factor


def test_levels_by_no_whole_factor_have_their_ratio():
    assert downsample(SizePx(3000, 3000), SizePx(1200, 1200)) == 2.5
    assert downsample(SizePx(100, 100), SizePx(300, 300)) == pytest.approx(1 / 3)
