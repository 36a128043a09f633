"""The overview follows the window, and the window the overview."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer

from napari_stem.layers import METADATA_KEY
from napari_stem.widgets.regions.region_layers import regions_of
from napari_stem.widgets.slide.overview import Mark
from napari_stem.widgets.slide.slide_feed import pyramid_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.layers import Image, Shapes
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide
    from napari_stem.slide.display import Pyramid
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.slide.overview import Overview

MARKS_MS = 250
MOST_CORNERS = 200  # of one outline: more are not seen at this size


class OverviewControl(QObject):
    """Shows the active slide in the overview."""

    def __init__(
        self, viewer: Viewer, jobs: Jobs, overview: Overview, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer, self._jobs, self._overview = viewer, jobs, overview
        self._layer: Image | None = None
        self._marking = QTimer(self)
        self._marking.setSingleShot(True)
        self._marking.setInterval(MARKS_MS)
        self._marking.timeout.connect(self._mark)
        overview.went_to.connect(self._go)
        camera = viewer.scene.camera
        for event in (camera.events.center, camera.events.zoom, viewer.canvas.events.size):
            event.connect(self._follow)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._mark_soon)
        for layer in viewer.layers:
            layer.events.data.connect(self._mark_soon)

    def close(self) -> None:
        """Let go of the viewer."""
        self._marking.stop()
        self._layer = None
        viewer, camera = self._viewer, self._viewer.scene.camera
        for event in (camera.events.center, camera.events.zoom, viewer.canvas.events.size):
            event.disconnect(self._follow)
        viewer.layers.events.inserted.disconnect(self._on_inserted)
        viewer.layers.events.removed.disconnect(self._mark_soon)
        for layer in viewer.layers:
            layer.events.data.disconnect(self._mark_soon)

    def show(self, layer: Image | None) -> None:
        """Show the slide of a layer; None: there is none."""
        if layer is not self._layer:
            self._overview.show_picture(None)  # rather nothing than another slide
        self._layer = layer
        pyramid = None if layer is None else pyramid_of(layer)
        self._overview.setVisible(pyramid is not None)
        if layer is None or pyramid is None:
            return
        self._follow()
        self._mark()
        if pyramid.slide.is_complete and pyramid.coarsest is not None:
            self._picture(layer, pyramid.coarsest)
        elif pyramid.slide.is_complete:
            self._jobs.start(_coarsest, pyramid, done=lambda pixels: self._picture(layer, pixels))
        else:
            self.show_sketch()

    def show_sketch(self) -> None:
        """Show what is known of a slide that is not complete."""
        pyramid = None if self._layer is None else pyramid_of(self._layer)
        if pyramid is not None and pyramid.slide.sketch is not None:
            self._picture(self._layer, pyramid.slide.sketch)

    def _picture(self, layer: Image | None, pixels: NDArray[np.uint8]) -> None:
        if layer is None or layer is not self._layer:  # another one since
            return
        (top, left), (bottom, right) = _outer(layer)
        self._overview.show_picture(pixels, float((right - left) / (bottom - top)))

    def _go(self, x: float, y: float) -> None:
        if self._layer is None:
            return
        corner, opposite = _outer(self._layer)
        self._viewer.scene.camera.center = (0, *(corner + np.array([y, x]) * (opposite - corner)))

    def _follow(self, event: Any = None) -> None:
        if self._layer is None:
            return
        camera = self._viewer.scene.camera
        middle = np.asarray(camera.center[-2:], dtype=float)
        half = np.asarray(self._viewer.canvas.size, dtype=float) / (2 * camera.zoom)
        top, left = self._share(middle - half)
        bottom, right = self._share(middle + half)
        self._overview.show_visible(left, top, right, bottom)

    def _share(self, place: NDArray[np.float64]) -> tuple[float, float]:
        """Say a place in the world (y, x) as shares of the slide's height and width."""
        corner, opposite = _outer(self._layer)
        y, x = (place - corner) / (opposite - corner)
        return float(y), float(x)

    def _on_inserted(self, event: Any) -> None:
        event.value.events.data.connect(self._mark_soon)
        self._mark_soon()

    def _mark_soon(self, event: Any = None) -> None:
        if not self._marking.isActive():
            self._marking.start()

    def _mark(self) -> None:
        pyramid = None if self._layer is None else pyramid_of(self._layer)
        if pyramid is not None:
            self._overview.show_marks(tuple(self._marks(pyramid.slide)))

    def _marks(self, slide: Slide) -> Iterator[Mark]:
        for layer in self._viewer.layers:
            about = layer.metadata.get(METADATA_KEY, {})
            if about.get("field") == "mean" and layer.visible:
                (top, left), (bottom, right) = layer.extent.world[:, -2:]
                yield self._placed(
                    [(top, left), (top, right), (bottom, right), (bottom, left)], True
                )
        for layer in self._viewer.layers:
            if regions_of(layer) == slide.fingerprint:
                for corners in _outlines(layer):
                    yield self._placed(corners, False)

    def _placed(self, corners_yx: Any, is_area: bool) -> Mark:
        shares = (self._share(np.asarray(place, dtype=float)) for place in corners_yx)
        return Mark(tuple((x, y) for y, x in shares), is_area)


def _outer(layer: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners of a slide in the world: top left, bottom right, each (y, x)."""
    low, high = layer.extent.world[:, -2:]
    return np.asarray(low, dtype=float), np.asarray(high, dtype=float)


def _outlines(layer: Shapes) -> Iterator[NDArray[np.float64]]:
    """Corners of each shape in the world, (n, 2) as (y, x)."""
    for data in layer.data:
        corners = np.asarray(data, dtype=float)[:, -2:]
        thin = corners[:: max(1, len(corners) // MOST_CORNERS)]
        yield np.array([layer.data_to_world(place) for place in thin])


def _coarsest(pyramid: Pyramid) -> NDArray[np.uint8]:
    return np.asarray(pyramid.arrays[-1])
