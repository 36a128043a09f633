"""Slides as viewers read them: before they are complete, in blocks, without waiting."""

from __future__ import annotations

import importlib.util
import shutil
import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import dask.array
import numpy as np
import pytest
from PIL import Image
from writing import RGB

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide import display, pyramid
from napari_stem.slide.display import Pyramid, enlarged, kept_chunks
from napari_stem.slide.level import Level, halve, level_of_array
from napari_stem.slide.pyramid import GROUND, Preview

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture
def sparse_tiff(tmp_path, pixels):
    """Levels 1, 4 and 16, as Aperio stores them."""
    import tifffile

    path = tmp_path / "sparse.tif"
    with tifffile.TiffWriter(path) as writer:
        for factor in (1, 4, 16):
            options = RGB | {"tile": (128, 128)}
            writer.write(pixels[::factor, ::factor], subfiletype=int(factor > 1), **options)
    return path


def test_every_level_of_a_view_shows_the_slide(sparse_tiff, opened):
    slide = opened(sparse_tiff)
    pyramid = Pyramid(slide)
    shapes = {level.shape: number for number, level in enumerate(pyramid.arrays)}
    assert [level.shape[0] for level in pyramid.arrays] == [2967, 1484, 742, 371, 186]
    for level in slide.levels:
        number = shapes[level.size.height_px, level.size.width_px, 3]
        true = level.pixels.compute()
        np.testing.assert_array_equal(np.asarray(pyramid.arrays[number]), true)
        np.testing.assert_array_equal(
            pyramid.arrays[number][100:160, 3:131, 1], true[100:160, 3:131, 1]
        )
    between = halve(slide.levels[0].pixels.compute())
    np.testing.assert_array_equal(np.asarray(pyramid.arrays[1]), between)
    between = halve(slide.levels[1].pixels.compute())
    np.testing.assert_array_equal(np.asarray(pyramid.arrays[3]), between)


def test_levels_are_dask_arrays(sparse_tiff, opened):
    pyramid = Pyramid(opened(sparse_tiff))
    finest = pyramid.arrays[0]
    assert isinstance(finest, dask.array.Array)
    assert finest.chunks[0] == (512,) * 5 + (2967 - 5 * 512,)  # multiples of the tiles
    assert float(finest[:300, :200].mean()) == pytest.approx(finest[:300, :200].compute().mean())


@pytest.fixture
def drawing(monkeypatch):
    """Take what is read here for what napari reads to draw it."""
    monkeypatch.setattr(display, "SLICING", __name__)


class Held:
    """The finest level of a pyramid, kept back until it is let go."""

    def __init__(self, pyramid: Pyramid) -> None:
        self.let_go = threading.Event()
        self.n_reads = 0
        true = pyramid.levels[0]

        def read(rows, columns):
            self.n_reads += 1
            assert self.let_go.wait(20)
            return true.window(rows, columns)

        pyramid.levels[0] = Level(read, true.size, true.chunk, true.label)


def test_late_pixels_are_shown_roughly_and_announced_when_they_come(svs_path, opened, drawing):
    slide = opened(svs_path)
    pyramid = Pyramid(slide)
    held, arrived = Held(pyramid), threading.Event()
    pyramid.patience_s, pyramid.arrived = 0.0, arrived.set
    true = slide.levels[0].pixels[700:1000, 600:900].compute()
    coarsest = np.asarray(pyramid.arrays[-1])  # is waited for
    np.testing.assert_array_equal(coarsest, slide.levels[-1].pixels.compute())
    rough = np.asarray(pyramid.arrays[0][700:1000, 600:900])
    assert rough.shape == true.shape
    assert np.abs(rough.astype(int) - true).mean() < 25  # the same tissue,
    assert (rough != true).any()  # but not yet its pixels
    assert not arrived.is_set()
    held.let_go.set()
    assert arrived.wait(20)
    pyramid.patience_s = None
    np.testing.assert_array_equal(pyramid.arrays[0][700:1000, 600:900], true)


def test_only_drawing_is_impatient(svs_path, opened, monkeypatch):
    pyramid = Pyramid(opened(svs_path))
    true = pyramid.levels[0].window(slice(700, 800), slice(600, 700))
    held, found = Held(pyramid), []
    pyramid.patience_s = 0.0

    def read() -> None:
        found.append(np.asarray(pyramid.arrays[0][700:800, 600:700]))

    threading.Timer(0.2, held.let_go.set).start()
    read()  # the window's thread, but no drawing
    monkeypatch.setattr(display, "SLICING", __name__)
    held.let_go.clear()
    other = threading.Thread(target=read)
    other.start()
    held.let_go.set()
    other.join(20)
    for pixels in found:
        np.testing.assert_array_equal(pixels, true)
    assert len(found) == 2


def test_what_has_moved_out_of_sight_is_not_decoded(svs_path, opened, drawing):
    pyramid = Pyramid(opened(svs_path))
    held = Held(pyramid)
    pyramid.patience_s = 0.0
    for top in range(0, 2500, 100):
        np.asarray(pyramid.arrays[0][top : top + 100, 0:2200])
    held.let_go.set()
    pyramid.patience_s = None
    np.asarray(pyramid.arrays[0][:10, :10])  # decoded after all that were waiting
    assert held.n_reads <= 20  # of 35 chunks: two rows, and those that threads had begun


def test_damage_is_told_and_shown_from_a_coarser_level(svs_path, opened, drawing):
    pyramid = Pyramid(opened(svs_path))
    told = []

    def read(rows, columns):
        raise ValueError("bad tile")

    true = pyramid.levels[0]
    pyramid.levels[0] = Level(read, true.size, true.chunk, "slide.svs")
    pyramid.patience_s, pyramid.failed = 20.0, told.append
    for _ in range(3):
        assert np.asarray(pyramid.arrays[0][0:300, 0:300]).shape == (300, 300, 3)
    assert len(told) == 1
    assert "slide.svs cannot be read" in told[0]
    pyramid.patience_s = None
    with pytest.raises(SlideError, match=r"slide\.svs cannot be read"):
        np.asarray(pyramid.arrays[0][0:300, 0:300])


def test_damage_that_is_found_at_once_stops_nobody(svs_path, opened, monkeypatch, drawing):
    pyramid = Pyramid(opened(svs_path))

    def at_once(decode, chunk):
        future = Future()
        future.set_exception(SlideError("slide.svs has gone away"))
        return future

    monkeypatch.setattr(display, "_decoders", SimpleNamespace(submit=at_once))
    told = []
    pyramid.patience_s, pyramid.failed = 0.0, told.append
    assert np.asarray(pyramid.arrays[0][:900, :900]).shape == (900, 900, 3)
    assert set(told) == {"slide.svs has gone away"}


def test_kept_chunks_are_bounded_and_the_last_used_stay(monkeypatch):
    pixels = np.zeros((10, 10, 3), np.uint8)
    kept_chunks.clear()
    monkeypatch.setattr(kept_chunks, "n", 3 * pixels.nbytes)
    chunks = [(-1, 0, n, 0) for n in range(4)]
    for chunk in chunks[:3]:
        kept_chunks[chunk] = pixels
    assert kept_chunks.get(chunks[0]) is not None
    kept_chunks[chunks[3]] = pixels
    assert [chunk in kept_chunks for chunk in chunks] == [True, False, True, True]
    kept_chunks.clear()


def test_a_jpeg_opened_early_is_whole_when_it_is_read(jpeg_path, cache, opened):
    slide = opened(jpeg_path, early=True)
    assert not slide.is_complete
    assert [slide.is_ready(number) for number in range(len(slide.levels))] == [False, False]
    with Image.open(jpeg_path) as image:
        true = np.asarray(image)
    np.testing.assert_array_equal(
        slide.read_region(10, 20, 0, SizePx(300, 200)), true[20:320, 10:210]
    )
    assert slide.is_complete


def test_levels_made_before_are_found_without_being_asked_for(jpeg_path, cache, opened):
    opened(jpeg_path)
    again = opened(jpeg_path, early=True)
    assert again.is_ready(0, within_s=20)
    assert again.is_complete
    again.complete(lambda *news: pytest.fail(f"made again: {news}"))


def test_a_small_last_level_is_made_in_memory(pixels, tmp_path, cache, opened):
    import tifffile

    path = tmp_path / "small.tif"
    tifffile.imwrite(path, pixels[:1500, :1200], photometric="rgb", tile=(256, 256))
    slide = opened(path, early=True)
    assert slide.is_ready(1, within_s=20)
    expected = halve(pixels[:1500, :1200])
    np.testing.assert_array_equal(np.asarray(Pyramid(slide).arrays[-1]), expected)
    assert not cache.exists()


def test_a_slide_that_goes_away_before_its_first_picture_is_told_and_shown_empty(
    svs_path, tmp_path, opened, drawing
):
    path = tmp_path / "slide.svs"
    shutil.copy(svs_path, path)
    pyramid, told = Pyramid(opened(path)), []
    pyramid.patience_s, pyramid.failed = 20.0, told.append
    path.unlink()
    assert (np.asarray(pyramid.arrays[0][:50, :50]) == 255).all()
    assert "slide.svs has gone away while it was open" in told[0]


def test_a_jpeg_is_previewed_before_it_is_decoded(jpeg_path, cache, opened):
    slide = opened(jpeg_path, early=True)
    assert (slide.preview == GROUND).all()
    seen = []

    def tell(text, done, total):
        seen.append((text, slide.preview.copy()))

    slide.complete(tell)
    text, first = seen[0]
    assert text == "Decoding C5-crop.jpg"
    coarsest = slide.levels[-1].pixels.compute().astype(int)
    first, coarsest = (
        a[:640, :736].reshape(20, 32, 23, 32, 3).mean((1, 3)) for a in (first, coarsest)
    )
    assert np.abs(first - coarsest).mean() < 3
    assert slide.preview is None


def test_a_tiled_slide_without_levels_is_previewed_as_they_are_made(
    tmp_path, pixels, cache, opened, drawing
):
    import tifffile

    path = tmp_path / "flat.tif"
    tifffile.imwrite(path, pixels, **RGB)
    slide = opened(path, early=True)
    assert [slide.is_ready(number) for number in range(3)] == [True, False, False]
    pyramid = Pyramid(slide)
    pyramid.patience_s = 20.0
    np.testing.assert_array_equal(pyramid.arrays[0][0:300, 0:300], pixels[0:300, 0:300])
    assert (np.asarray(pyramid.arrays[-1]) == GROUND).all()
    shares = []
    slide.complete(lambda *_: shares.append((slide.preview != GROUND).mean()))
    assert 0 < shares[0] < max(shares)
    np.testing.assert_array_equal(np.asarray(pyramid.arrays[-1]), slide.levels[-1].pixels.compute())


def test_a_cut_picture_is_refused_when_it_is_completed_and_when_it_is_read(tmp_path, cache, opened):
    whole = tmp_path / "whole.png"
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1200, 3), np.uint8)
    Image.fromarray(noise).save(whole)
    path = tmp_path / "cut.png"
    path.write_bytes(whole.read_bytes()[:2_000_000])
    slide = opened(path, early=True)
    for read in (slide.complete, lambda: slide.read_region(0, 0, 0, SizePx(10, 10))):
        with pytest.raises(SlideError, match=r"cut\.png is damaged or incomplete"):
            read()


def test_levels_of_a_jpeg_are_read_while_they_are_being_stored(
    tmp_path, pixels, cache, opened, monkeypatch
):
    path, write = tmp_path / "slide.jpg", pyramid.fill_block
    may_write, is_asked = threading.Event(), threading.Event()
    Image.fromarray(pixels).save(path, quality=70)

    def waiting(*args):
        is_asked.set()
        may_write.wait(60)
        write(*args)

    monkeypatch.setattr(pyramid, "fill_block", waiting)
    slide = opened(path, early=True)
    making = threading.Thread(target=slide.complete)
    making.start()
    assert is_asked.wait(60)
    windows = [
        (number, *corner_px, SizePx(level.size.height_px // 2 + 1, level.size.width_px // 2 + 1))
        for number, level in enumerate(slide.levels)
        for corner_px in ((0, 0), (level.size.width_px // 2, level.size.height_px // 2))
    ]

    def read():
        return [slide.read_region(x, y, number, size) for number, x, y, size in windows]

    early = read()
    assert not slide.is_complete
    may_write.set()
    making.join()
    assert slide.is_complete
    assert len(slide.levels) == 3
    for one, other in zip(early, read(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("times", [0, 1, 2, 3])
def test_halving_in_bands_is_halving(pixels, times):
    expected = picture = pixels[:1357, :731]
    for _ in range(times):
        expected = halve(expected)
    window = slice(0, expected.shape[0]), slice(0, expected.shape[1])
    level = level_of_array(picture, "a.png")
    np.testing.assert_array_equal(level.halved(*window, times), expected)
    part = slice(3, 101), slice(40, 91)
    np.testing.assert_array_equal(level.halved(*part, times), expected[part])


def test_closing_stops_the_making_and_leaves_nothing(jpeg_path, cache, opened):
    slide = opened(jpeg_path, early=True)
    with pytest.raises(SlideError, match=r"C5-crop\.jpg was closed before it was ready"):
        slide.complete(lambda *_: slide.close())
    assert not slide.is_complete
    assert not list(cache.glob("pyramids/*"))


def test_a_preview_takes_windows_of_finer_pictures():
    preview = Preview(SizePx(10, 20))
    preview.paint(np.full((40, 80, 3), 7, np.uint8), slice(40, 80), slice(80, 160), SizePx(80, 160))
    assert (preview.pixels[5:, 10:] == 7).all()
    assert (preview.pixels[:5] == GROUND).all()
    assert preview.n_changes == 1


def test_enlarging_keeps_places():
    ramp = np.repeat(np.arange(0, 250, 10, np.uint8)[:, None, None], 3, axis=2)
    ramp = np.repeat(ramp, 30, axis=1)
    part = enlarged(
        lambda *window: ramp[window],
        SizePx(25, 30),
        slice(100, 140),
        slice(0, 50),
        SizePx(250, 300),
    )
    expected = np.interp((np.arange(100, 140) + 0.5) / 10 - 0.5, np.arange(25), ramp[:, 0, 0])
    np.testing.assert_allclose(part[:, 25, 0], expected, atol=5)  # a cut window knows no neighbours
    np.testing.assert_allclose(part[5:-5, 25, 0], expected[5:-5], atol=1)


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """The script's slides, not quite so big."""
    spec = importlib.util.spec_from_file_location("make_big_slide", SCRIPTS / "make_big_slide.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    folder = tmp_path_factory.mktemp("big")
    with Image.open(SCRIPTS.parent / "tests/data/slides/C5-crop.jpg") as image:
        piece = np.asarray(image)[:1024, :1024]
    script.write_tiff(folder / "big.tif", piece, 5000, 3000)
    script.write_ome_zarr(folder / "big.ome.zarr", piece, 5000, 3000)
    return folder


def test_big_slides_show_the_section_and_openslide_agrees(big, cache, opened):
    openslide = pytest.importorskip("openslide")
    tiff, zarr = opened(big / "big.tif"), opened(big / "big.ome.zarr")
    assert (tiff.reader, zarr.reader) == ("tiff", "ome-zarr")
    assert tiff.size == zarr.size == SizePx(3000, 5000)
    assert tiff.mpp.x_um == pytest.approx(0.25)
    assert zarr.mpp.x_um == 0.25
    window = (1500, 700, 0, SizePx(600, 800))
    ours, chunks = tiff.read_region(*window), zarr.read_region(*window)
    assert np.abs(ours.astype(int) - chunks).mean() < 3  # tiles of other sizes
    with openslide.OpenSlide(big / "big.tif") as witness:
        theirs = np.asarray(witness.read_region((1500, 700), 0, (800, 600)))[..., :3]
    assert np.abs(ours.astype(int) - theirs).max() <= 2
