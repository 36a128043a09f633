"""The demo in a window: the dock, and somebody who presses its buttons once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

    from napari_stem.widgets.dock import StemDock

_LOOK_EVERY_MS = 150


class DemoDriver(QObject):
    """Opens the sample, takes its whole tissue and presses Run, each as soon as it can be done."""

    def __init__(self, viewer: Viewer, dock: StemDock) -> None:
        super().__init__(dock)
        panels = dock.panels
        self._steps: list[tuple[Callable[[], bool], Callable[[], None]]] = [
            (lambda: panels.model.model_name() != "", panels.slide.sample_button.click),
            (lambda: len(viewer.layers) > 0, panels.region.tissue.button.click),
            (panels.run.run_button.isEnabled, panels.run.run_button.click),
        ]
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_EVERY_MS)
        self._timer.timeout.connect(self._go_on)
        self._timer.start()

    @property
    def is_over(self) -> bool:
        """Whether all buttons have been pressed."""
        return not self._steps

    def _go_on(self) -> None:
        if self._steps:
            is_ready, act = self._steps[0]
            if is_ready():
                self._steps.pop(0)
                act()
        if not self._steps:
            self._timer.stop()


def open_demo() -> tuple[Viewer, DemoDriver]:
    """Open a viewer with the dock and let the demo run in it."""
    import napari

    from napari_stem.widgets.dock import StemDock

    viewer = napari.Viewer(title="napari-stem", show_welcome_screen=False)
    dock = StemDock(viewer)
    viewer.window.add_dock_widget(dock, name="Predict gene expression", area="right")
    return viewer, DemoDriver(viewer, dock)


def show_demo() -> None:
    """Open the demo and stay until its window is closed."""
    import napari

    open_demo()
    napari.run()
