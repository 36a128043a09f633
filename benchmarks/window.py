"""How soon the window answers. Run: xvfb-run -s "-screen 0 2600x1500x24" asv run --quick --bench window."""

from __future__ import annotations

import os
import tempfile
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PLACES_UM = ((3000.0, 3000.0), (2100.0, 2500.0))  # (y, x) on the packaged section's tissue
SETTLED_S = 10.0
LIMIT_S = 300.0


def wait(condition: Callable[[], bool]) -> float:
    """Let the window live until something has happened; seconds that it took."""
    from qtpy.QtWidgets import QApplication

    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > LIMIT_S:
            raise TimeoutError
        QApplication.processEvents()
        time.sleep(0.005)
    return time.monotonic() - began


def rest(seconds: float = SETTLED_S) -> None:
    """Let the window live for a while."""
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)


class Click:
    """Seconds from a click on a slide at rest to the first colour around it (25 spots, all genes)."""

    params = (1, 2)
    param_names = ("click of a session",)
    timeout = 900

    def setup(self, number: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        os.environ["NAPARI_STEM_CACHE"] = self.folder.name
        os.environ["NAPARI_CONFIG"] = f"{self.folder.name}/napari.yaml"
        import napari

        from napari_stem.widgets.dock import StemDock

        self.viewer = napari.Viewer(show_welcome_screen=False)
        self.dock = StemDock(self.viewer)
        self.viewer.window.add_dock_widget(self.dock, area="right")
        self.viewer.window.resize(1280, 800)
        self.road = self.dock.coordinator
        wait(lambda: self.dock.panels.model.model_name() != "")
        self.dock.panels.slide.sample_button.click()
        wait(lambda: self.road.slide is not None and self.road.slide.is_complete)
        self.dock.panels.region.use_tool("click")
        rest()
        for place in PLACES_UM[: number - 1]:
            self.click(place)
            wait(lambda: not self.dock.panels.run.is_running)
            rest()

    def click(self, place_um: tuple[float, float]) -> float:
        """Click, and wait until colour is painted; seconds."""
        import numpy as np

        before = self.dock.panels.maps.current()
        canvas = self.viewer.window._qt_viewer.canvas._scene_canvas
        painted_s: list[float] = []

        def on_draw(_event: object) -> None:
            now = self.dock.panels.maps.current()
            layer = None if now in {None, before} else self.dock.panels.maps.layer("mean")
            if layer in self.viewer.layers and bool(np.isfinite(layer.data).any()):
                painted_s.append(time.monotonic())

        canvas.events.draw.connect(on_draw, position="last")
        began = time.monotonic()
        self.dock.panels.region.click_at(place_um)
        wait(lambda: bool(painted_s))
        canvas.events.draw.disconnect(on_draw)
        return painted_s[0] - began

    def track_first_colour(self, number: int) -> float:
        return self.click(PLACES_UM[number - 1])

    def teardown(self, number: int) -> None:
        self.viewer.close()
        self.folder.cleanup()
