"""Has napari give things back to the graphics card in the right context.

napari flushes its graphics commands while it removes a layer, whatever OpenGL context Qt used last: often that
in which Qt puts the window together. Drivers (Mesa's software one, napari 0.9, vispy 0.17) crash at the next
drawing, as the programs deleted there are still in use in the canvas's own. Painting is not touched: Qt makes
its context current by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.viewer import Viewer


def use_canvas_context(viewer: Viewer) -> None:
    """Make the OpenGL context of a viewer's canvas the current one; nothing where it has no window."""
    window = getattr(viewer, "window", None)
    if window is None:
        return
    from qtpy.QtOpenGLWidgets import QOpenGLWidget

    centre = window.main_menu.parentWidget().centralWidget()
    for canvas in [] if centre is None else centre.findChildren(QOpenGLWidget):
        canvas.makeCurrent()
