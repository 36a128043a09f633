"""The store of made levels: bounded, shared between processes, and no harm when it fails."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from napari_stem.caches import IN_USE_S
from napari_stem.errors import SlideError
from napari_stem.slide import open_slide, pyramid


@pytest.fixture
def picture(jpeg_path):
    return np.asarray(Image.open(jpeg_path))


def stores(cache):
    return sorted(path.name for path in (cache / "pyramids").iterdir())


@pytest.mark.parametrize("how", ["all", "one level", "one chunk"])
def test_a_store_removed_while_it_is_open_is_not_shown_white(
    how, jpeg_path, cache, opened, picture
):
    slide = opened(jpeg_path)
    folder = cache / "pyramids" / slide.fingerprint
    gone = {"all": folder, "one level": folder / "0", "one chunk": folder / "0" / "c" / "0" / "1"}[
        how
    ]
    shutil.rmtree(gone)
    with pytest.raises(
        SlideError, match="were removed while the slide was open; open the slide again"
    ):
        slide.levels[0].pixels.compute()
    if how == "all":
        np.testing.assert_array_equal(opened(jpeg_path).levels[0].pixels.compute(), picture)


@pytest.mark.parametrize("kept", [0, 5, 16, 2000])
def test_a_cut_off_chunk_is_told(kept, jpeg_path, cache, opened):
    slide = opened(jpeg_path)
    chunk = cache / "pyramids" / slide.fingerprint / "0" / "c" / "0" / "1" / "0"
    chunk.write_bytes(chunk.read_bytes()[:kept])
    with pytest.raises(SlideError, match="cannot be read at rows"):
        slide.levels[0].pixels.compute()


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights otherwise")
def test_stored_levels_have_the_rights_of_the_slide(public_path, cache, opened, monkeypatch):
    path = next(flat_images(public_path, 1))
    seen = []
    write_block = pyramid.fill_block

    def looked_at(*args):
        seen.extend((cache / "pyramids").glob("*.partial"))
        assert {each.stat().st_mode & 0o777 for each in seen[-1:]} == {0o700}  # while it is made
        write_block(*args)

    monkeypatch.setattr(pyramid, "fill_block", looked_at)
    for rights, inside in ((0o600, 0o700), (0o644, 0o755), (0o640, 0o750)):
        path.chmod(rights)
        folder = cache / "pyramids" / opened(path).fingerprint
        for each in (folder, *folder.rglob("*")):
            assert each.stat().st_mode & 0o777 == (inside if each.is_dir() else rights)
    assert seen


def test_white_places_are_stored_and_not_taken_for_missing(tmp_path, cache, opened):
    path = tmp_path / "white.png"
    white = np.full((1600, 1600, 3), 255, np.uint8)
    white[:10, :10] = 7
    Image.fromarray(white).save(path)
    np.testing.assert_array_equal(opened(path).levels[0].pixels.compute(), white)


def flat_images(tmp_path, n):
    for number in range(n):
        path = tmp_path / f"{number}.png"
        pixels = np.random.default_rng(number).integers(0, 255, (1100, 1100, 3), np.uint8)
        Image.fromarray(pixels).save(path, compress_level=1)
        yield path


def test_the_least_recently_used_stores_make_room(tmp_path, cache, opened, monkeypatch):
    one, two, three, four = flat_images(tmp_path, 4)
    first, second = opened(one).fingerprint, opened(two).fingerprint
    n_bytes = sum(f.stat().st_size for f in (cache / "pyramids" / first).rglob("*") if f.is_file())
    monkeypatch.setenv("NAPARI_STEM_PYRAMIDS_GB", str(2.5 * n_bytes / 1e9))
    third = opened(three).fingerprint
    assert len(stores(cache)) == 3  # over the limit, but all of them may be open somewhere
    long_ago = time.time() - 2 * IN_USE_S
    for name, when in ((first, long_ago + 10), (second, long_ago)):
        for path in (cache / "pyramids" / name, cache / "pyramids" / name / "zarr.json"):
            os.utime(path, (when, when))
    opened(one)  # used again
    fourth = opened(four).fingerprint
    assert stores(cache) == sorted([first, third, fourth])


def test_a_full_disk(jpeg_path, cache, opened, monkeypatch, caplog, picture):
    from zarr.storage import LocalStore

    real = LocalStore.set
    written = []

    async def full(self, key, value):
        written.append(key)
        if len(written) > 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        await real(self, key, value)

    monkeypatch.setattr(LocalStore, "set", full)
    with caplog.at_level(logging.WARNING):
        slide = opened(jpeg_path)
    assert len(written) > 6
    assert "No space left on device" in caplog.text
    np.testing.assert_array_equal(slide.levels[0].pixels.compute(), picture)
    assert stores(cache) == []


OPEN = """
import sys
from napari_stem.slide import open_slide, pyramid
print("ready", flush=True)
sys.stdin.readline()
slide = open_slide(sys.argv[1], progress=lambda *news: print(news[1], flush=True))
print(int(slide.levels[-1].pixels.sum().compute()), flush=True)
"""


def opening(path):
    process = subprocess.Popen(
        [sys.executable, "-c", OPEN, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_at_once(jpeg_path, cache, opened):
    both = [opening(jpeg_path) for _ in range(2)]
    for each in both:
        each.stdin.write("\n")
        each.stdin.flush()
    sums = [each.communicate()[0].split()[-1] for each in both]
    assert sums[0] == sums[1] == str(int(opened(jpeg_path).levels[-1].pixels.sum().compute()))
    assert len(stores(cache)) == 1


def test_a_kill_halfway_leaves_no_half_store(jpeg_path, cache, opened, picture):
    process = opening(jpeg_path)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "0\n"
    assert process.stdout.readline() == "1\n"  # the first block is written
    process.send_signal(signal.SIGKILL)
    process.communicate()
    for name in stores(cache):
        if name.endswith(".partial"):  # as old as one that nobody writes any more
            os.utime(cache / "pyramids" / name, (1, 1))
    slide = open_slide(jpeg_path)
    np.testing.assert_array_equal(slide.levels[0].pixels.compute(), picture)
    assert all("." not in name for name in stores(cache))
    slide.close()
