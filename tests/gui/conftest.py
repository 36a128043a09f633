"""A viewer with the dock, settings of its own, and helpers that wait for what users wait for."""

from __future__ import annotations

import gc
import re
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_stem.widgets.common import garbage
from napari_stem.widgets.genes import layer_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from napari_stem.widgets.dock import StemDock

LONG_MS = 120_000


@cache
def preferences_of_the_manifest():
    """Kind of settings that napari makes for the plugin; looking for plugins takes a tenth of a second."""
    from napari.settings import plugin_configuration_generator

    return plugin_configuration_generator()["napari-stem"]


@pytest.fixture(scope="session", autouse=True)
def _quick_windows() -> Iterator[None]:
    """Spare what tells nothing: napari looks for plugins and saves its settings with every window, a second.

    And vispy tidies up the same shaders with whatever is drawn first.
    """
    from napari.settings import NapariSettings
    from npe2 import PluginManifest
    from vispy.gloo import program

    found = list(PluginManifest.discover())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", lambda **_: iter(found))
        patch.setattr(NapariSettings, "_maybe_save", lambda _: None)
        patch.setattr(program, "re", SimpleNamespace(**vars(re) | {"sub": cache(re.sub)}))
        yield


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch) -> None:
    """Keep the user's remembered choices out of the tests, and the tests' out of the user's."""
    from napari import settings
    from qtpy.QtCore import QSettings

    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "ini"))
    mine = preferences_of_the_manifest()(config_path=tmp_path / "napari" / "napari-stem.yaml")
    monkeypatch.setattr(settings, "_PLUGIN_SETTINGS", {"napari-stem": mine})


@pytest.fixture(scope="module", autouse=True)
def _thawed() -> Iterator[None]:
    """Have what was frozen and thrown away during a file of tests collected at its end.

    What is left is frozen at once: before the next file, and when Python ends, all is collected again.
    """
    yield
    garbage.thaw()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _frozen(request, monkeypatch) -> None:
    """Leave what is loaded out of collections: napari collects all with every window and layer that goes.

    Each looks for half a second through a million objects of libraries, also with a dock, which thaws all when
    it is closed. Here they stay frozen from before a test, unless its own window was frozen with them.
    """
    if "frozen_by_the_dock" in request.fixturenames:
        return
    garbage.spare_libraries()
    freeze = gc.freeze
    has_own_window = not {"make_napari_viewer", "own_road"}.isdisjoint(request.fixturenames)
    is_frozen_with_more = False

    def noted() -> None:
        nonlocal is_frozen_with_more
        is_frozen_with_more = True
        freeze()

    def thaw() -> None:
        nonlocal is_frozen_with_more
        if has_own_window and is_frozen_with_more:
            is_frozen_with_more = False
            garbage.thaw()

    # to compare `gc.get_freeze_count` instead would count a million objects, in every test
    monkeypatch.setattr(gc, "freeze", noted)
    monkeypatch.setattr(layer_queue, "thaw", thaw)


@pytest.fixture
def frozen_by_the_dock() -> None:
    """What is loaded is left out of collections as for a user: when the dock means to, until it is closed."""


@pytest.fixture(autouse=True)
def collection_as_before() -> Iterator[None]:
    """Let Python collect garbage by itself again: between tests no timer does."""
    from napari_stem.widgets.common.garbage import let_python_collect

    yield
    let_python_collect()


@pytest.fixture
def notifications() -> list[str]:
    """Sentences that napari shows, as they come."""
    from napari.utils.notifications import notification_manager

    notification_manager.records.clear()  # of another test: what was shown a moment ago is not told again
    shown: list[str] = []

    def note(event):
        shown.append(event.message)

    notification_manager.notification_ready.connect(note)
    yield shown
    notification_manager.notification_ready.disconnect(note)


@pytest.fixture
def crop(tmp_path) -> Path:
    """A piece of the sample, as a file that says no pixel size."""
    from PIL import Image

    from napari_stem.sample_data import sample_path
    from napari_stem.slide import open_slide

    path = tmp_path / "crop.png"
    slide = open_slide(sample_path())
    Image.fromarray(slide.levels[2].pixels[600:1200, 800:1400].compute()).save(path)
    return path


class Road:
    """The dock in a viewer, used as a person would use it."""

    def __init__(self, viewer, dock: StemDock, qtbot) -> None:
        self.viewer, self.dock, self.qtbot = viewer, dock, qtbot
        self.panels = dock.panels

    def wait(self, condition) -> None:
        self.qtbot.waitUntil(condition, timeout=LONG_MS)

    def open(self, path: Path):
        """Open a slide from the dock; returns its layer."""
        coordinator = self.dock.coordinator
        before = coordinator.slide
        coordinator.panels.slide.open(str(path))
        self.wait(lambda: coordinator.slide is not None and coordinator.slide is not before)
        return coordinator.panels.slide.layer

    def drop(self, *paths: Path) -> None:
        """Let files fall onto the dock."""
        from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
        from qtpy.QtGui import QDropEvent

        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        self.dock.dropEvent(
            QDropEvent(
                QPointF(10, 10),
                Qt.DropAction.CopyAction,
                data,
                Qt.MouseButton.LeftButton,
                Qt.KeyboardModifier.NoModifier,
            )
        )

    def draw(self, corners: Sequence[tuple[float, float]]) -> None:
        """Draw a polygon with corners in level-0 px."""
        tool = self.panels.region.tools["add_polygon"]
        if not tool.isChecked():  # a second click puts it away
            tool.click()
        layer = self.viewer.layers.selection.active
        assert layer.mode == "add_polygon"
        layer.add_polygons([np.array([(y_px, x_px) for x_px, y_px in corners])])
        self.wait(lambda: "spot" in self.panels.region.summary.text())

    def ask_little(self, n_draws: int = 2, n_steps: int = 2) -> None:
        """Few samples: these tests look at the road, not at the numbers."""
        self.wait(lambda: self.panels.model.model_name() != "")
        asked = {"n_draws": n_draws, "n_steps": n_steps, "device": "cpu"}
        self.panels.model.form.restore(asked)

    def run(self) -> None:
        """Click Run and wait for the end."""
        with self.qtbot.waitSignal(self.dock.panels.run.ended, timeout=LONG_MS):
            self.panels.run.run_button.click()

    def close(self) -> None:
        """Close the dock, and wait for what runs."""
        from qtpy.QtCore import QThreadPool

        self.dock.shut_down()
        QThreadPool.globalInstance().waitForDone()
        self.qtbot.wait(50)  # signals of the last jobs are still on their way

    @property
    def maps(self):
        """The prediction on the map."""
        return self.dock.panels.maps.current()

    def layer(self, field: str):
        """The layer of the expression (``mean``) or its uncertainty (``sd``)."""
        return self.dock.panels.maps.layer(field)


def _docked(viewer, qtbot) -> Road:
    from napari_stem.widgets.dock import StemDock

    viewer.window.resize(1280, 800)
    dock = StemDock(viewer)
    viewer.window.add_dock_widget(dock, name="Predict gene expression", area="right")
    return Road(viewer, dock, qtbot)


@pytest.fixture
def road(make_napari_viewer, qtbot) -> Iterator[Road]:
    """A real window with the dock in it."""
    made = _docked(make_napari_viewer(show=True), qtbot)
    yield made
    made.close()


@contextmanager
def _window(name: str):
    """Open a viewer with an application of its own, as `make_napari_viewer` does; several may be open."""
    from app_model import Application
    from napari import Viewer
    from napari._app_model._app import NapariApplication, _napari_names
    from napari._qt._qapp_model.qactions import init_qactions
    from napari._qt.qt_viewer import QtViewer
    from napari.plugins import _initialize_plugins

    app = NapariApplication(name)
    app.injection_store.namespace = _napari_names
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NapariApplication, "get_app_model", staticmethod(lambda: app))
        patch.setattr("napari._qt.threads.status_checker.StatusChecker.start", lambda _: None)
        init_qactions.cache_clear()
        _initialize_plugins.cache_clear()
        viewer = Viewer(show=True, show_welcome_screen=False)
        yield viewer
        viewer.close()
        Application.destroy(name)
    QtViewer._instances.clear()


@pytest.fixture(scope="module")
def _viewer_of_module(qapp):
    with _window("of the module") as viewer:
        yield viewer


@pytest.fixture
def one_viewer(_viewer_of_module):
    """A window for all tests of a module, cleared after each."""
    viewer = _viewer_of_module
    viewer.window.resize(1280, 800)
    yield viewer
    viewer.layers.clear()
    viewer.canvas.grid.enabled = False


@pytest.fixture
def shared_road(one_viewer, qtbot) -> Iterator[Road]:
    """The dock in the module's window."""
    made = _docked(one_viewer, qtbot)
    yield made
    made.close()
    if made.dock in one_viewer.window.dock_widgets.values():  # the test has not taken it away
        one_viewer.window.remove_dock_widget(made.dock)


@pytest.fixture
def own_road(qtbot) -> Iterator[Road]:
    """The dock in another window, beside the module's."""
    with _window("of its own") as viewer:
        made = _docked(viewer, qtbot)
        yield made
        made.close()
    del viewer, made
    garbage.thaw()
    gc.collect()


@pytest.fixture
def dock_on(qtbot) -> Callable[..., Road]:
    """Make a dock on a viewer; to be closed by whoever makes it."""
    from napari_stem.widgets.dock import StemDock

    return lambda viewer: Road(viewer, StemDock(viewer), qtbot)


@pytest.fixture
def model_road(dock_on, qtbot) -> Iterator[Road]:
    """The dock on a viewer without a window, for what needs no canvas."""
    from napari.components import ViewerModel

    made = dock_on(ViewerModel())
    qtbot.addWidget(made.dock)
    yield made
    made.close()
