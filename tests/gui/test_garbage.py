"""Garbage is collected on the thread of the window alone, however many objects other threads make."""

from __future__ import annotations

import gc
import threading
import weakref

import dask.array as da
import pytest

from napari_stem.widgets.common import garbage
from napari_stem.widgets.common.worker import Jobs

pytestmark = pytest.mark.gui

N_OBJECTS = 50_000  # enough for collection, several times


class Cycle:
    """What only collection finds, as most widgets are."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def ended_in() -> list[threading.Thread]:
    """Thread in which a cycle that was thrown away is destroyed."""
    found: list[threading.Thread] = []
    gc.collect()
    cycle = Cycle()
    weakref.finalize(cycle, lambda: found.append(threading.current_thread()))
    return found


def make_many() -> list[list[int]]:
    return [[number] for number in range(N_OBJECTS)]


def make_many_elsewhere() -> list[list[int]]:
    kept: list[list[int]] = []
    thread = threading.Thread(target=lambda: kept.extend(make_many()))
    thread.start()
    thread.join()
    return kept


def test_python_alone_destroys_in_any_thread(ended_in):
    """The danger that the others guard against; where this fails, Python has changed and needs no guard."""
    make_many_elsewhere()
    assert len(ended_in) == 1
    assert ended_in != [threading.main_thread()]


def test_with_background_jobs_only_the_window_destroys(ended_in, qtbot):
    Jobs()
    kept = make_many_elsewhere()
    assert not ended_in
    qtbot.waitUntil(lambda: bool(ended_in))
    assert ended_in == [threading.main_thread()]
    assert len(kept) == N_OBJECTS


def test_a_job_itself_destroys_nothing(ended_in, qtbot):
    jobs, done = Jobs(), []
    jobs.start(make_many, done=done.append)
    qtbot.waitUntil(lambda: bool(done))
    qtbot.waitUntil(lambda: bool(ended_in))
    assert ended_in == [threading.main_thread()]


def test_what_somebody_else_arranged_is_left_alone(qapp):
    gc.disable()
    try:
        garbage.collect_on_gui_thread()
        garbage.let_python_collect()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_slice_of_a_dask_array_changes_nothing(ended_in, qtbot):
    """Dask turns collection on after each, be it off before or not, where it was on when dask was imported."""
    Jobs()
    sliced = da.zeros(10)[2:5]
    gc.enable()
    kept = make_many_elsewhere()
    assert not ended_in
    qtbot.waitUntil(lambda: bool(ended_in))
    assert ended_in == [threading.main_thread()]
    assert len(kept) == N_OBJECTS
    assert sliced.shape == (3,)


def collects() -> bool:
    return gc.isenabled() and gc.get_threshold()[0] > 0


def test_python_collects_again_when_the_program_ends(qapp):
    Jobs()
    Jobs()
    assert not collects()
    qapp.aboutToQuit.emit()
    assert collects()
    Jobs()
    assert not collects()


def test_the_oldest_generation_is_collected_in_its_turn(qapp, monkeypatch):
    asked = []
    monkeypatch.setattr(garbage.gc, "collect", asked.append)
    monkeypatch.setattr(garbage.gc, "get_threshold", lambda: (700, 10, 10))
    garbage.collect_on_gui_thread()
    for counts in ((701, 3, 2), (700, 11, 11), (701, 11, 2), (701, 11, 11), (701, 3, 11)):
        monkeypatch.setattr(garbage.gc, "get_count", lambda counts=counts: counts)
        garbage.collect_what_is_due()
    assert asked == [0, 1, 2, 2]


def test_jobs_keep_nothing_of_what_has_ended(qapp):
    jobs = Jobs()
    ended, running = weakref.ref(jobs.new_stop()), jobs.new_stop()
    gc.collect()
    assert ended() is None
    assert not running.is_set()
    jobs.close()
    assert running.is_set()
