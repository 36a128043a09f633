"""The demo in a window: the dock, and somebody who presses its buttons once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

    from napari_stem.widgets.dock import StemDock

_LOOK_EVERY_MS = 150


def press_buttons(viewer: Viewer, dock: StemDock) -> QTimer:
    """Open the sample, take its whole tissue and press Run, each as soon as it can be done.

    Gives the timer that looks whether it can be; it stops when all buttons have been pressed.
    """
    panels = dock.panels
    steps: list[tuple[Callable[[], bool], Callable[[], None]]] = [
        (lambda: panels.model.model_name() != "", panels.slide.sample_button.click),
        (lambda: len(viewer.layers) > 0, panels.region.tissue.button.click),
        (panels.run.run_button.isEnabled, panels.run.run_button.click),
    ]
    timer = QTimer(dock)

    def go_on() -> None:
        is_ready, act = steps[0]
        if is_ready():
            del steps[0]
            act()
        if not steps:
            timer.stop()

    timer.timeout.connect(go_on)
    timer.start(_LOOK_EVERY_MS)
    return timer


def show_demo() -> None:
    """Open a viewer with the dock, let the demo run in it, and stay until the window is closed."""
    import napari

    from napari_stem.widgets.dock import StemDock

    viewer = napari.Viewer(title="napari-stem", show_welcome_screen=False)
    dock = StemDock(viewer)
    viewer.window.add_dock_widget(dock, name="Predict gene expression", area="right")
    press_buttons(viewer, dock)
    napari.run()
