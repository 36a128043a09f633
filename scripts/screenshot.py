"""Drive the real window along the whole road on the packaged sample and save what a user sees.

    python scripts/screenshot.py [docs/images/screenshot.png]

Needs a display (or ``xvfb-run -s "-screen 0 1280x800x24"``) and takes about a minute.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari

    from napari_stem.widgets.dock import StemDock

SIZE = (1280, 800)
LIMIT_S = 900
ZOOM = 1.35  # from the whole slide to its tissue
TARGET = Path(__file__).parents[1] / "docs" / "images" / "screenshot.png"


def wait_until(condition: Callable[[], bool]) -> None:
    """Let the window live until something has happened."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > end:
            sys.exit("The window did not get there in time.")
        QApplication.processEvents()
        time.sleep(0.01)


def settle(seconds: float = 1.0) -> None:
    """Let the window draw."""
    start = time.monotonic()
    wait_until(lambda: time.monotonic() - start > seconds)


def time_run(viewer: napari.Viewer, dock: StemDock) -> tuple[float, float]:
    """Click Run; seconds until the first spot has a colour on screen, and until all have."""
    import numpy as np

    def is_coloured() -> bool:
        maps = [la.data for la in viewer.layers if "predicted" in la.name and la.data.ndim == 2]
        return any(np.isfinite(data).any() for data in maps)

    start = time.monotonic()
    dock.panels.model.run_button.click()
    wait_until(is_coloured)
    first = time.monotonic() - start
    wait_until(lambda: not dock.coordinator.runs.is_running)
    return first, time.monotonic() - start


def drive(target: Path, gene: str | None) -> None:
    """Open the sample, take its whole tissue, predict, show a gene, save the window."""
    import napari

    from napari_stem.widgets.dock import StemDock

    viewer = napari.Viewer(title="napari-stem", show_welcome_screen=False)
    viewer.window.resize(*SIZE)
    dock = StemDock(viewer)
    viewer.window.add_dock_widget(dock, name="Predict gene expression", area="right")
    panels = dock.panels
    wait_until(lambda: panels.model.model_name() != "")
    panels.slide.sample_button.click()
    wait_until(lambda: len(viewer.layers) > 0)
    panels.region.tissue_button.click()
    wait_until(panels.model.run_button.isEnabled)
    times = time_run(viewer, dock)
    if gene is not None and not panels.genes.choose(gene):
        sys.exit(f"The model does not predict {gene}.")
    shown = viewer.layers.selection.active.extent.world  # the map
    viewer.scene.camera.center = (0, *shown.mean(axis=0))
    viewer.scene.camera.zoom *= ZOOM
    settle()
    target.parent.mkdir(parents=True, exist_ok=True)
    viewer.screenshot(str(target), canvas_only=False, flash=False)
    print(f"{panels.model.progress_text.text()} Saved {target}")
    print(
        "From clicking Run to the first coloured spot {:.1f} s, to the last {:.1f} s.".format(
            *times
        )
    )
    dock.shut_down()
    viewer.close()


if __name__ == "__main__":
    drive(
        Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET,
        sys.argv[2] if len(sys.argv) > 2 else None,
    )
