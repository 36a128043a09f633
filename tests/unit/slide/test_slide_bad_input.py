"""Damaged, absurd and vanishing files: one sentence that names the file and the way out."""

from __future__ import annotations

import os
import shutil
import struct

import numpy as np
import pytest
import tifffile
from damage import damaged, opened_and_read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide import describe, open_slide
from napari_stem.slide.tiff_tiles import jpeg_2000_size, jpeg_size

WAYS_OUT = ("copy", "export", "check", "open it again", "install", "ask for", "name ", "fetch")


def refused(path, using=open_slide):
    with pytest.raises(SlideError) as caught:
        using(path)
    told = str(caught.value)
    assert path.name in told
    assert "\n" not in told
    assert len(told) < 500
    assert any(way in told for way in WAYS_OUT), told
    assert caught.value.__cause__ is not caught.value  # dask follows causes to their end
    return told


@pytest.fixture
def no_levels(monkeypatch):
    """Make no coarser levels: these tests are of the files' own bytes."""
    monkeypatch.setattr("napari_stem.slide.level.COARSEST_PX", 2**20)


def offsets(n_bytes):
    return [*range(1, 64, 7), *np.linspace(64, n_bytes - 300, 40).astype(int)]


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "C5-crop.jpg"])
def test_truncated_anywhere(name, slides, tmp_path, no_levels):
    whole = (slides / name).read_bytes()
    path = tmp_path / name
    for n_bytes in offsets(len(whole)):
        path.write_bytes(whole[:n_bytes])
        refused(path, lambda p: open_slide(p).levels[0].pixels.compute())


def tag_place(path, code):
    with tifffile.TiffFile(path) as tiff:
        return tiff.pages[0].tags[code].offset, tiff.pages[0].tags[code].valueoffset


@pytest.mark.parametrize("code", [256, 257])  # width, length
@pytest.mark.parametrize("value", [0, 2**31, 2**32 - 1, 10**6, 60_000])
def test_sizes_that_cannot_be(code, value, svs_path, tmp_path, no_levels):
    path = tmp_path / "absurd.svs"
    shutil.copy(svs_path, path)
    offset, _ = tag_place(path, code)
    with path.open("r+b") as file:
        file.seek(offset + 2)
        file.write(struct.pack("<HII", 4, 1, value))
    for using in (open_slide, describe):
        refused(path, using)


@pytest.mark.parametrize("compression", [None, "deflate", "jpeg"])
def test_a_few_bytes_that_claim_to_be_a_slide(compression, tmp_path):
    path = tmp_path / "tiny.tif"
    tifffile.imwrite(
        path, np.zeros((256, 256, 3), np.uint8), tile=(256, 256), compression=compression
    )
    with path.open("r+b") as file:
        for code in (256, 257):
            file.seek(tag_place(path, code)[0] + 2)
            file.write(struct.pack("<HII", 4, 1, 2**31 - 1))
    refused(path)
    with path.open("r+b") as file:  # one tile as large as that
        for code in (322, 323):
            file.seek(tag_place(path, code)[0] + 2)
            file.write(struct.pack("<HII", 4, 1, 2**31 - 16))
    refused(path)


def test_wrong_tile_offsets(svs_path, tmp_path, no_levels):
    path = tmp_path / "offsets.svs"
    with tifffile.TiffFile(svs_path) as tiff:
        where, tag = tiff.pages[0].tags[324].valueoffset, tiff.pages[0].dataoffsets
    for wrong, is_told_at_once in ((2**32 - 2, True), (tag[3] + 77, False), (8, False)):
        shutil.copy(svs_path, path)
        with path.open("r+b") as file:
            file.seek(where)
            file.write(struct.pack("<I", wrong))
        if is_told_at_once:
            refused(path)
        else:
            slide = open_slide(path)
            with pytest.raises(SlideError, match=r"offsets\.svs cannot be read at rows 0-50"):
                slide.read_region(0, 0, 0, SizePx(50, 50))
            slide.close()


def test_a_tile_that_says_it_is_huge_takes_no_memory(svs_path, tmp_path, no_levels):
    path = tmp_path / "bomb.svs"
    shutil.copy(svs_path, path)
    with tifffile.TiffFile(path) as tiff:
        start, n_bytes = tiff.pages[0].dataoffsets[0], tiff.pages[0].databytecounts[0]
    with path.open("r+b") as file:
        file.seek(start)
        data = bytearray(file.read(n_bytes))
        at = data.index(b"\xff\xc0")
        assert jpeg_size(bytes(data)) == (240, 240)
        data[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
        file.seek(start)
        file.write(data)
    slide = open_slide(path)
    with pytest.raises(SlideError, match="a tile says that it is 65500 x 65500 px"):
        slide.read_region(0, 0, 0, SizePx(50, 50))
    slide.close()


def test_size_of_a_jpeg_2000_picture(pixels):
    import imagecodecs

    data = imagecodecs.jpeg2k_encode(pixels[:90, :70], codecformat="J2K")
    assert jpeg_2000_size(data) == (90, 70)
    assert jpeg_2000_size(b"\0" * 100) is None
    assert jpeg_size(b"\xff\xd8\xff\xda") is None


def test_places_that_are_no_files(tmp_path):
    loop = tmp_path / "loop.svs"
    loop.symlink_to(tmp_path / "loop2.svs")
    (tmp_path / "loop2.svs").symlink_to(loop)
    assert "leads in a circle" in refused(loop)
    pipe = tmp_path / "pipe.svs"
    os.mkfifo(pipe)
    assert "neither a file nor a folder" in refused(pipe)  # and is not waited for
    assert "check the path" in refused(tmp_path / "absent" / "slide.svs")
    assert "too long" in refused_long(tmp_path / ("x" * 300 + ".svs"))
    with pytest.raises(SlideError):
        open_slide("nul\0byte.svs")
    with pytest.raises(SlideError, match="not a slide image"):
        open_slide(tmp_path)


def refused_long(path):
    with pytest.raises(SlideError) as caught:
        open_slide(path)
    return str(caught.value)


def test_a_file_that_may_not_be_read(svs_path, tmp_path, monkeypatch):
    path = tmp_path / "secret.svs"
    shutil.copy(svs_path, path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read all
        pytest.skip("this user may read every file")
    assert "ask for read permission" in refused(path)


@pytest.mark.parametrize("how", ["replaced", "rewritten", "removed"])
def test_a_file_that_changes_while_it_is_open(how, svs_path, jpeg_path, tmp_path, no_levels):
    path = tmp_path / "slide.svs"
    shutil.copy(svs_path, path)
    slide = open_slide(path)
    slide.read_region(0, 0, 0, SizePx(50, 50))
    if how == "replaced":
        shutil.copy(jpeg_path, tmp_path / "new")
        (tmp_path / "new").replace(path)
    elif how == "rewritten":
        path.write_bytes(svs_path.read_bytes()[::-1])
    else:
        path.unlink()
    words = "gone away" if how == "removed" else "changed or replaced"
    with pytest.raises(SlideError, match=rf"slide\.svs.*{words} while it was open.*open it again"):
        slide.read_region(0, 0, 0, SizePx(50, 50))
    slide.close()


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["header", "tile", "any", "cut"]))
def test_fuzzed_slides_open_or_say_why_not(seed, kind, svs_path, tmp_path, no_levels):
    """Real SVS bytes with some changed: pixels, or a SlideError; never anything else."""
    path = tmp_path / "fuzzed.svs"
    path.write_bytes(damaged(svs_path.read_bytes(), kind, seed))
    told = opened_and_read(path)
    assert told is None or "fuzzed.svs" in told


@pytest.mark.parametrize(("seed", "kind"), [(6, "any"), (25, "tile")])
def test_a_damaged_label_is_told_by_openslide_too(seed, kind, svs_path, tmp_path, no_levels):
    """Found by scripts/fuzz.py: OpenSlide's own error came through."""
    pytest.importorskip("openslide")
    path = tmp_path / "fuzzed.svs"
    path.write_bytes(damaged(svs_path.read_bytes(), kind, seed))
    assert "the label image of fuzzed.svs cannot be read" in opened_and_read(path, "openslide")
