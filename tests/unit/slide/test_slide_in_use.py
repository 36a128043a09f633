"""Slides that are closed while other threads read from them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide import open_slide
from napari_stem.slide.stored import OpenFile

SLIDES = Path(__file__).parents[2] / "data" / "slides"


class Closing:
    """A library's file, which closes itself with its last reference."""

    def __init__(self, closed_by):
        self.closed_by = closed_by

    def __del__(self):
        self.closed_by.append(threading.current_thread())


def test_the_last_reader_closes_and_nobody_waits():
    freed = []
    file = OpenFile(Closing(freed))
    with ThreadPoolExecutor(1) as pool:
        begun, may_end = threading.Event(), threading.Event()

        def read():
            given = file.get()
            begun.set()
            assert may_end.wait(20)
            return given.closed_by is freed

        reading = pool.submit(read)
        assert begun.wait(20)
        file.close()  # at once, though somebody reads
        assert not freed
        with pytest.raises(ValueError, match="is closed"):
            file.get()
        assert not freed
        may_end.set()
        assert reading.result(20)
    assert len(freed) == 1
    assert freed[0] is not threading.current_thread()
    file.close()
    assert len(freed) == 1


def test_an_idle_file_is_closed_at_once():
    freed = []
    file = OpenFile(Closing(freed))
    file.close()
    assert len(freed) == 1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="lists open files")
def test_a_closed_czi_is_not_held(tmp_path):
    czi = pytest.importorskip("pylibCZIrw.czi")
    path = tmp_path / "slide.czi"
    with czi.create_czi(str(path)) as document:
        document.write(data=np.zeros((300, 300, 3), np.uint8))

    def is_held():
        return path.resolve() in [each.resolve() for each in Path("/proc/self/fd").iterdir()]

    slide = open_slide(path)
    slide.read_region(0, 0, 0, SizePx(10, 10))
    assert is_held()
    slide.close()
    assert not is_held()


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "CMU-1-Small-Region-dicom"])
def test_openslide_may_be_closed_while_it_reads(name):
    pytest.importorskip("openslide")
    path = SLIDES / name
    if path.is_dir():
        path = max(path.glob("*.dcm"), key=lambda file: file.stat().st_size)

    def read_on(slide, begun):
        try:
            while True:
                slide.read_region(0, 0, 0, SizePx(1000, 1000))
                begun.set()
        except SlideError as error:
            return str(error)

    for _ in range(5):
        slide, begun = open_slide(path, reader="openslide"), threading.Event()
        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(read_on, slide, begun) for _ in range(3)]
            assert begun.wait(20)
            slide.close()
            told = [each.result(20) for each in readers]
        assert all("closed" in sentence for sentence in told)
