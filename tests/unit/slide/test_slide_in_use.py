"""Slides that are closed while other threads read from them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide import open_slide
from napari_stem.slide.source import InUse

SLIDES = Path(__file__).parents[2] / "data" / "slides"


def test_the_last_reader_closes_and_nobody_waits():
    freed = []
    handle = InUse("handle", lambda: freed.append(threading.current_thread()))
    with ThreadPoolExecutor(1) as pool:
        begun, may_end = threading.Event(), threading.Event()

        def read():
            with handle.reading() as given:
                begun.set()
                assert may_end.wait(20)
            return given

        reading = pool.submit(read)
        assert begun.wait(20)
        handle.close()  # at once, though somebody reads
        assert not freed
        with pytest.raises(ValueError, match="is closed"), handle.reading():
            pass
        assert not freed
        may_end.set()
        assert reading.result(20) == "handle"
    assert len(freed) == 1
    assert freed[0] is not threading.current_thread()
    handle.close()
    assert len(freed) == 1


def test_an_idle_handle_is_freed_at_once_and_after_an_error():
    freed = []
    handle = InUse(None, lambda: freed.append(1))
    with pytest.raises(KeyError), handle.reading():
        raise KeyError
    handle.close()
    assert freed == [1]


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
