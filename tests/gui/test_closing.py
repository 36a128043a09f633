"""A window that is closed soon after something was opened ends, and prints nothing."""

from __future__ import annotations

import atexit
import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QThreadPool
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QApplication

from napari_stem.sample_data import sample_path
from napari_stem.widgets.common.garbage import thaw, wait_at_exit
from napari_stem.widgets.slide.slide_layers import slide_of
from napari_stem.widgets.state import FADED

pytestmark = [pytest.mark.gui, pytest.mark.slow]

SVS = Path(__file__).parents[1] / "data" / "slides" / "CMU-1-Small-Region.svs"
PROGRAM = """
import sys
import napari
from qtpy.QtCore import QSettings, QTimer
from napari_stem.widgets.dock import StemDock

QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, sys.argv[2])

def begin(viewer, after_s):
    dock = StemDock(viewer)
    viewer.window.add_dock_widget(dock, name="Predict gene expression")
    dock.panels.slide.open(sys.argv[1])
    QTimer.singleShot(1000 * after_s, viewer.close)

for after_s in (1, 0):
    viewer = napari.Viewer()
    QTimer.singleShot(0, lambda: begin(viewer, after_s))
    napari.run()
"""


def ended(program: str, folder: Path, *arguments: Path, timeout_s: float):
    """How a program ends, beside settings and a cache of its own: exit status, and what it said on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ
        | {
            "NAPARI_STEM_CACHE": str(folder / "cache"),
            "NAPARI_CONFIG": str(folder / "settings.yaml"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    return done.returncode, done.stderr


def test_closing_soon_prints_nothing(tmp_path):
    assert ended(PROGRAM, tmp_path, SVS, tmp_path, timeout_s=300) == (0, "")


WITHOUT_LOOP = """
import asyncio, sys, threading, time
from napari.components import ViewerModel
from qtpy.QtCore import QSettings
from qtpy.QtWidgets import QApplication
from napari_stem.widgets.dock import StemDock

QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, sys.argv[1])
application = QApplication([])
dock, is_asked = StemDock(ViewerModel()), threading.Event()

async def slowly():
    is_asked.set()
    await asyncio.sleep(1)

def read():
    from zarr.core.sync import sync
    sync(slowly())

while "napari_stem.slide.tiff_reader" not in sys.modules:
    time.sleep(0.1)
dock.coordinator.jobs.start(read)
is_asked.wait()
dock.shut_down()
sys.exit()
"""


def test_a_script_without_an_event_loop_ends_while_threads_read(tmp_path):
    assert ended(WITHOUT_LOOP, tmp_path, tmp_path, timeout_s=60) == (0, "")


def test_threads_are_waited_for_once_however_many_docks_there_were():
    wait_at_exit()
    n_calls = atexit._ncallbacks()
    wait_at_exit()
    assert atexit._ncallbacks() == n_calls


def test_a_window_that_was_kept_open_may_be_minimised(road):
    window = road.viewer.window.main_menu.parentWidget()
    road.dock.eventFilter(window, QCloseEvent())  # napari asked, and the answer was no
    window.showMinimized()
    road.qtbot.wait(100)
    assert not road.dock.coordinator.jobs.is_closed


def test_what_is_closed_leaves_nothing_behind(road, c5_prediction):
    def n_widgets() -> int:
        gc.collect()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        return len(QApplication.allWidgets())

    counts = []
    coordinator = road.dock.coordinator
    for _ in range(3):
        road.open(sample_path())
        with road.qtbot.waitSignal(coordinator.panels.model.predictions.shown, timeout=60_000):
            coordinator.panels.model.predictions.open(c5_prediction)
        road.wait(lambda: road.layer("mean") in road.viewer.layers)
        road.viewer.layers.clear()
        road.wait(lambda: coordinator.slide is None)
        QThreadPool.globalInstance().waitForDone()
        road.qtbot.wait(500)
        # a message may be on its way out; a layer's controls are 200, and go late on a busy machine
        road.wait(lambda: not counts or n_widgets() <= counts[0] + 30)
        counts.append(n_widgets())


def watched(parts) -> dict[str, weakref.ref]:
    """Refer to parts by name without keeping them."""
    return {f"{type(part).__name__} {id(part)}": weakref.ref(part) for part in parts}


def still_there(parts: dict[str, weakref.ref]) -> list[str]:
    """Collect all that can be, and name the parts that are kept all the same."""
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    thaw()
    gc.collect()
    return [name for name, part in parts.items() if part() is not None]


def test_a_closed_dock_is_forgotten_with_its_slide(dock_on, c5_prediction):
    """Python never collects what Qt holds, such as a function on a signal of what has no parent."""

    def used_and_closed() -> dict[str, weakref.ref]:
        road = dock_on(ViewerModel())
        shown = [road.viewer, road.dock, road.open(sample_path()), *vars(road.panels).values()]
        road.draw([(2400, 1800), (3000, 1800), (3000, 2400), (2400, 2400)])
        with road.qtbot.waitSignal(road.panels.model.predictions.shown, timeout=60_000):
            road.panels.model.predictions.open(c5_prediction)
        shown.append(road.layer("mean"))
        road.close()
        road.dock.deleteLater()
        return watched(shown)

    assert still_there(used_and_closed()) == []


def test_a_slide_that_was_removed_before_another_is_forgotten(model_road, crop, c5_prediction):
    """The one that was removed last can be brought back; predictions stay, for whoever opens it again."""
    layers, predictions = model_road.viewer.layers, model_road.panels.model.predictions

    def removed() -> dict[str, weakref.ref]:
        first = model_road.open(sample_path())
        with model_road.qtbot.waitSignal(predictions.shown, timeout=60_000):
            predictions.open(c5_prediction)
        second, slide = model_road.open(crop), slide_of(first)
        model_road.open(SVS)
        layers.remove(first)
        layers.remove(second)
        model_road.qtbot.wait(100)
        return watched([first, slide])

    parts = removed()
    QThreadPool.globalInstance().waitForDone()
    model_road.qtbot.wait(100)
    assert still_there(parts) == []


def test_a_dock_that_is_taken_out_of_its_window_is_forgotten(one_viewer, dock_on):
    def used_and_taken_out() -> dict[str, weakref.ref]:
        road = dock_on(one_viewer)
        one_viewer.window.add_dock_widget(road.dock, name="Predict gene expression")
        shown = [road.dock, road.open(sample_path()), *vars(road.panels).values()]
        one_viewer.layers.clear()
        one_viewer.window.remove_dock_widget(road.dock)
        road.close()
        return watched(shown)

    assert still_there(used_and_taken_out()) == []


def test_what_a_dock_that_is_taken_out_leaves_in_the_viewer_can_be_changed(
    shared_road, c5_prediction
):
    road = shared_road
    slide, panels = road.open(sample_path()), road.panels
    road.draw([(2400, 1800), (3000, 1800), (3000, 2400), (2400, 2400)])
    regions = road.viewer.layers.selection.active
    with road.qtbot.waitSignal(panels.model.predictions.shown, timeout=60_000):
        panels.model.predictions.open(c5_prediction)
    panels.genes.settings.update(expression=FADED)
    road.wait(lambda: panels.maps.faded.layer in road.viewer.layers)
    road.wait(panels.maps.layer_queue.is_settled)
    (legend,) = (la for la in road.viewer.layers if "faint where unsure," in la.name)
    road.viewer.window.remove_dock_widget(road.dock)
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    slide.name = "another name"
    legend.contrast_limits = 0.5, 1.5
    legend.opacity, legend.colormap = 0.3, "gray"
    regions.mode = "add_polygon"
    regions.mode = "pan_zoom"
    assert not regions.keymap  # undo is the dock's
    road.viewer.scene.camera.zoom = 3
    road.viewer.layers.move(0, 2)
    road.viewer.layers.clear()


@pytest.mark.parametrize("begun", ["slide", "tissue", "analysis"])
def test_a_dock_may_be_taken_out_while_it_works(shared_road, c5_prediction, begun):
    road, panels = shared_road, shared_road.panels
    if begun == "slide":
        panels.slide.open(str(sample_path()))
    else:
        road.open(sample_path())
    if begun == "tissue":
        panels.region.tissue.button.click()
    if begun == "analysis":
        with road.qtbot.waitSignal(panels.model.predictions.shown, timeout=60_000):
            panels.model.predictions.open(c5_prediction)
        panels.analysis.find_button.click()
    road.viewer.window.remove_dock_widget(road.dock)
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    road.close()
    n_layers = len(road.viewer.layers)
    road.qtbot.wait(500)  # what was still on its way has come
    assert len(road.viewer.layers) == n_layers


@pytest.mark.slow
def test_a_file_opens_no_second_dock_beside_one_that_a_script_added(
    one_viewer, dock_on, c5_prediction, monkeypatch
):
    opened: list[str] = []
    window = one_viewer.window
    monkeypatch.setattr(type(window), "add_plugin_dock_widget", lambda _, *of: opened.append(of))
    road = dock_on(one_viewer)
    window.add_dock_widget(road.dock)
    road.dock.coordinator.adopting.show_layers(c5_prediction)
    road.wait(lambda: road.maps is not None)
    assert opened == []
    window.remove_dock_widget(road.dock)
