"""Keeps the picture of a slide up to date: pixels that arrive, levels that are still being made."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QApplication

from napari_stem.layers import METADATA_KEY
from napari_stem.widgets.common.parts import listening, one_shot, tell_error
from napari_stem.widgets.common.units import keep_units
from napari_stem.widgets.common.worker import Jobs

if TYPE_CHECKING:
    from typing import Any

    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_stem.slide.display import Pyramid

PATIENCE_S = 0.04  # what most steps take; the rest is drawn when it comes
REDRAW_MS = 30
PREVIEW_MS = 400
FIRST_PREVIEW_MS = 40  # until there is anything to be seen


def pyramid_of(layer: Any) -> Pyramid | None:
    """Return what a slide's layer reads, or None for other layers."""
    pyramid: Pyramid | None = layer.metadata.get(METADATA_KEY, {}).get("pyramid")
    return pyramid


def is_fed(layer: Any) -> bool:
    """Whether somebody redraws a slide's layer already."""
    pyramid = pyramid_of(layer)
    return pyramid is not None and pyramid.arrived is not None


def wait_little(pyramid: Pyramid) -> None:
    """Let the viewer's thread wait for pixels a moment only; a ``SlideFeed`` must follow."""
    pyramid.patience_s = PATIENCE_S


class SlideFeed(QObject):
    """Redraws one slide's layer, and completes the slide in the background.

    Belongs to the layer, not to a dock, which may be closed before: ends when the layer is removed.

    Parameters
    ----------
    layer
        Shows a slide, with a view in its metadata.
    """

    # layer, what is being done, done so far, in all; no text: the slide is whole, or has been given up
    progressed = Signal(object, str, int, int)
    grown = Signal(object)  # layer: more of the slide is to be seen

    def __init__(self, viewer: Viewer, layer: Image) -> None:
        super().__init__()
        pyramid = pyramid_of(layer)
        if pyramid is None:
            msg = "the layer shows no slide"
            raise ValueError(msg)
        self._viewer, self._layer, self._pyramid = viewer, layer, pyramid
        self._n_changes = 0
        self._has_told = False
        self._jobs = Jobs(self)
        self._jobs.failed.connect(partial(tell_error, viewer))
        self._redrawing = one_shot(self, REDRAW_MS, self._redraw)
        self._previewing = QTimer(self)
        self._previewing.timeout.connect(self._show_preview)
        wait_little(pyramid)
        keep_units(viewer)
        pyramid.arrived = self._jobs.in_window(self._redraw_soon)
        pyramid.failed = self._jobs.in_window(self._tell_damaged)
        self._let_go = listening(
            (viewer.layers.events.removed, self._on_removed),
            (QApplication.instance().aboutToQuit, self.stop),
        )
        if not pyramid.slide.is_complete:
            self._complete()
        elif pyramid.has_previewed:  # it has become so since the layer was made
            layer.data = list(pyramid.arrays)

    def stop(self) -> None:
        """Draw no more, and leave an incomplete slide as it is."""
        if self._pyramid.arrived is None:
            return
        self._redrawing.stop()
        self._previewing.stop()
        self._pyramid.arrived = self._pyramid.failed = None
        self._pyramid.patience_s = None
        self._jobs.close()
        self._let_go()
        if not self._pyramid.slide.is_complete:
            self._pyramid.slide.close()
        self.deleteLater()  # here: the last reference may be dropped by another thread

    def _complete(self) -> None:
        self._previewing.start(FIRST_PREVIEW_MS)
        complete, report = self._pyramid.slide.complete, self._jobs.in_window(self._tell_progress)
        self._jobs.start(complete, report, done=self._on_complete, failed=self._give_up)

    def _on_complete(self, _: None) -> None:
        self._previewing.stop()
        self._layer.data = list(self._pyramid.arrays)
        self._tell_progress("", 0, 0)
        self.grown.emit(self._layer)

    def _tell_progress(self, text: str, done: int, total: int) -> None:
        self.progressed.emit(self._layer, text, done, total)

    def _give_up(self) -> None:
        """Take away what cannot be shown: half a slide would be taken for the whole."""
        self._previewing.stop()
        self._tell_progress("", 0, 0)
        if self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)

    def _show_preview(self) -> None:
        n_changes = self._pyramid.slide.n_changes
        if n_changes == self._n_changes:
            return
        self._n_changes = n_changes
        self._previewing.setInterval(PREVIEW_MS)
        self._layer.data = list(self._pyramid.arrays)  # a mere refresh keeps the coarsest level
        self.grown.emit(self._layer)

    def _redraw_soon(self) -> None:
        if not self._redrawing.isActive():
            self._redrawing.start()

    def _redraw(self) -> None:
        if self._layer in self._viewer.layers:
            self._layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _tell_damaged(self, sentence: str) -> None:
        if not self._has_told:  # a damaged slide often is so in many places
            self._has_told = True
            tell_error(self._viewer, sentence)

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self.stop()
