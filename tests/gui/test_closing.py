"""A window that is closed soon after something was opened ends, and prints nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.gui, pytest.mark.slow]

SVS = Path(__file__).parents[1] / "data" / "slides" / "CMU-1-Small-Region.svs"
PROGRAM = """
import sys
import napari
from qtpy.QtCore import QSettings, QTimer
from napari_stem.widgets.dock import StemDock

QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, sys.argv[3])
viewer = napari.Viewer()

def begin():
    dock = StemDock(viewer)
    viewer.window.add_dock_widget(dock, name="Predict gene expression")
    if sys.argv[1]:
        dock.coordinator.slides.open(sys.argv[1])
    QTimer.singleShot(int(1000 * float(sys.argv[2])), viewer.close)

QTimer.singleShot(0, begin)
napari.run()
"""


@pytest.mark.parametrize(("slide", "after_s"), [("", 0), (str(SVS), 0), (str(SVS), 1)])
def test_closing_soon_prints_nothing(tmp_path, slide, after_s):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, slide, str(after_s), str(tmp_path)],
        env=os.environ
        | {
            "NAPARI_STEM_CACHE": str(tmp_path / "cache"),
            "NAPARI_CONFIG": str(tmp_path / "settings.yaml"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
