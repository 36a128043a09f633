from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.gui


@pytest.mark.slow
def test_the_demo_presses_the_buttons_until_the_tissue_is_being_predicted(
    make_napari_viewer, qtbot
):
    from napari_stem.widgets.dock import StemDock, press_buttons

    viewer = make_napari_viewer()
    dock = StemDock(viewer)
    viewer.window.add_dock_widget(dock, name="Predict gene expression")
    pressing = press_buttons(viewer, dock)
    qtbot.waitUntil(lambda: not pressing.isActive(), timeout=60_000)

    def is_coloured() -> bool:
        maps = [la.data for la in viewer.layers if "predicted" in la.name and la.data.ndim == 2]
        return any(np.isfinite(data).any() for data in maps)

    qtbot.waitUntil(is_coloured, timeout=120_000)
    dock.panels.run.cancel()
    qtbot.waitUntil(lambda: not dock.panels.run.is_running, timeout=60_000)
    dock.shut_down()
