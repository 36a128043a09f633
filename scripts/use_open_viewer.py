"""Use the plugin in a viewer that was open, and had drawn, long before anything of ours was asked for.

Run by ``try_wheel.py`` with the Python of an installed wheel: the menus that napari makes from the manifest
open the sample and the dock, its buttons predict, and a picture of the window is kept. The harshest order for
libraries: OpenGL first, then torch and what torch brings along.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import TYPE_CHECKING

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 180


def wait_until(is_there: Callable[[], bool], what: str) -> None:
    """Let the window work until something has happened."""
    end = time.monotonic() + PATIENCE_S
    while not is_there():
        if time.monotonic() > end:
            sys.exit(f"{what} did not come within {PATIENCE_S} s.")
        QApplication.processEvents()
        time.sleep(0.01)


def is_map(layer: napari.layers.Layer) -> bool:
    """Whether a layer shows predicted expression."""
    return layer.metadata.get("napari_stem", {}).get("field") == "mean"


def main(picture: str) -> None:
    viewer = napari.Viewer()
    viewer.add_image(np.zeros((64, 64), np.uint8), name="somebody else's", visible=False)
    viewer.screenshot(canvas_only=False, flash=False)  # OpenGL has drawn
    if any(name.startswith(("torch", "napari_stem")) for name in sys.modules):
        sys.exit("Opening napari loaded torch or the plugin.")
    viewer.layers.clear()

    _, dock = viewer.window.add_plugin_dock_widget("napari-stem", "Predict gene expression")
    viewer.open_sample("napari-stem", "her2st_c5")
    region = dock.panels.region
    wait_until(region.tissue.button.isEnabled, "The slide")
    region.tissue.button.click()
    wait_until(dock.panels.run.run_button.isEnabled, "The tissue and the model")
    dock.panels.run.run_button.click()
    wait_until(lambda: dock.panels.run.is_running, "The run")
    wait_until(lambda: not dock.panels.run.is_running, "The end of the run")
    wait_until(lambda: any(map(is_map, viewer.layers)), "The map")
    wait_until(lambda: all(layer.visible for layer in viewer.layers), "The slide and the map")
    viewer.window.resize(1600, 1000)
    wait_until(lambda: viewer.window.geometry()[2] >= 1500, "The larger window")
    viewer.screenshot(picture, canvas_only=False, flash=False)
    layers = [layer.name for layer in viewer.layers]
    viewer.close()
    if importlib.util.find_spec("triton") and "triton" not in sys.modules:
        print("(torch did not import triton)")
    print(f"layers in the window: {', '.join(layers)}")


if __name__ == "__main__":
    main(sys.argv[1])
