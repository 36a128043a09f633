"""How slides are seen: their pictures kept up to date, the overview, their label and macro images."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_stem.widgets.common.keys import WHOLE_SLIDE
from napari_stem.widgets.slide.associated_box import AssociatedBox, associated_pixels
from napari_stem.widgets.slide.overview_control import OverviewControl
from napari_stem.widgets.slide.slide_feed import SlideFeed, is_fed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from napari.layers import Image
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.slide.slide_panel import SlidePanel


class SlideDisplay(QObject):
    """Serves the slides of one viewer.

    Parameters
    ----------
    viewer, jobs, panel
        The window, its background jobs, and the panel that asks.
    fit
        Shows the whole of the active slide.
    """

    def __init__(
        self,
        viewer: Viewer,
        jobs: Jobs,
        panel: SlidePanel,
        fit: Callable[[], None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._jobs, self._panel = viewer, jobs, panel
        self._layer: Image | None = None
        self.overview = OverviewControl(viewer, jobs, panel.overview, parent=self)
        self.associated: AssociatedBox | None = None  # the window that shows them
        panel.fit_requested.connect(fit)
        panel.associated_requested.connect(self._read_associated)
        viewer.bind_key(WHOLE_SLIDE.sequence, lambda _: fit(), overwrite=True)

    def close(self) -> None:
        """Let go of the viewer; slides go on being completed."""
        self._layer = None
        self.overview.close()
        self._viewer.bind_key(WHOLE_SLIDE.sequence, None)

    def feed(self, layer: Image) -> None:
        """Keep a slide's picture up to date from now on."""
        if is_fed(layer):
            return
        feed = SlideFeed(self._viewer, layer)
        feed.progressed.connect(self._tell)
        feed.sketched.connect(self._sketched)
        feed.completed.connect(self._completed)

    def show(self, layer: Image | None) -> None:
        """Turn to the active slide's layer."""
        if layer is not self._layer:
            self._panel.show_preparing("")
        self._layer = layer
        self.overview.show(layer)

    def _tell(self, layer: Image, text: str, done: int, total: int) -> None:
        if layer is self._layer:
            self._panel.show_preparing(text, done, total)

    def _completed(self, layer: Image) -> None:
        if layer is self._layer:
            self._panel.show_preparing("")
            self.overview.show(layer)

    def _sketched(self, layer: Image) -> None:
        if layer is self._layer:
            self.overview.show_sketch()

    def _read_associated(self) -> None:
        layer = self._layer
        if layer is not None:
            slide = layer.metadata["napari_stem"]["slide"]
            done = partial(self._show_associated, str(layer.name))
            self._jobs.start(associated_pixels, slide, done=done)

    def _show_associated(self, title: str, images: Mapping[str, NDArray[np.uint8]]) -> None:
        box = AssociatedBox(title, images, parent=self._panel)
        box.destroyed.connect(self._forget_associated)
        self.associated = box
        box.show()

    def _forget_associated(self, _: Any = None) -> None:
        self.associated = None
