"""Open an exported prediction in napari-spatialdata, colour its spots by a gene, and keep a picture.

    pip install napari-spatialdata colorama "PyQt6!=6.12.0"
    napari-stem export PREDICTION --to spatialdata --out P.sdata.zarr --slide SLIDE
    QT_API=pyqt6 python scripts/napari_spatialdata_check.py P.sdata.zarr CYBA seen.png

napari-spatialdata draws with pyqtgraph and wants PyQt; with PySide6 alone it does not start.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import napari
import spatialdata
from napari_spatialdata import Interactive
from qtpy.QtWidgets import QApplication

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT_S = 60.0


def wait_for(happened: Callable[[], bool]) -> None:
    """Let the window work until something has happened, or say that it has not."""
    end = time.monotonic() + WAIT_S
    while not happened():
        if time.monotonic() > end:
            sys.exit(f"Nothing happened in {WAIT_S:.0f} s.")
        QApplication.processEvents()
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("exported", type=Path)
    parser.add_argument("gene")
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    data = spatialdata.read_zarr(args.exported)
    known = data.tables["predicted_expression"].var_names
    if args.gene not in known:
        sys.exit(f"{args.gene} is not among the predicted genes: {', '.join(known)}")
    window = Interactive(data, headless=True)
    viewer = napari.current_viewer()
    for n_layers, name in enumerate([*data.images, *data.shapes], start=1):
        window.add_element(element=name, element_coordinate_system="global")
        wait_for(lambda n=n_layers: len(viewer.layers) == n)
    viewer.layers.selection.active = viewer.layers["spots"]
    genes = viewer.window.add_plugin_dock_widget("napari-spatialdata", "View")[1].var_widget
    wait_for(lambda: genes.count() > 0)
    before = viewer.layers["spots"].face_color.copy()
    genes._onAction((args.gene,))  # what a double click on the gene does
    wait_for(lambda: bool((viewer.layers["spots"].face_color != before).any()))
    viewer.reset_view()
    QApplication.processEvents()
    viewer.screenshot(str(args.picture), canvas_only=False, flash=False)


if __name__ == "__main__":
    main()
