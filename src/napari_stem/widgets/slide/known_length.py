"""A line that the user draws along something of known length, to learn the pixel size from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image, Shapes
    from napari.viewer import Viewer

NAME = "Known length"
COLOUR = "#0077bb"
EDGE_PIXELS = 4
SCREEN_PIXELS = 800


class KnownLength:
    """One line on the slide, as long as it is needed."""

    def __init__(self, viewer: Viewer, drawn: Callable[[float], None]) -> None:
        self._viewer, self._drawn = viewer, drawn
        self._layer: Shapes | None = None
        self._slide_layer: Image | None = None
        self.length_px = 0.0  # level-0 px

    def start(self, slide_layer: Image) -> None:
        """Hand the user a ruler."""
        self.stop()
        self._slide_layer = slide_layer
        placement = {
            "scale": slide_layer.scale,
            "translate": slide_layer.translate,
            "units": slide_layer.units,
            "axis_labels": slide_layer.axis_labels,
        }
        width = EDGE_PIXELS * max(slide_layer.level_shapes[0][:2]) / SCREEN_PIXELS
        layer = self._viewer.add_shapes(
            ndim=2, name=NAME, edge_color=COLOUR, edge_width=width, **placement
        )
        layer.current_edge_width = width
        layer.events.data.connect(self._on_data)
        self._viewer.layers.selection.active = layer
        layer.mode = "add_line"
        self._layer = layer

    def stop(self) -> None:
        """Take the ruler and its line away."""
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
        if self._slide_layer in self._viewer.layers:
            self._viewer.layers.selection.active = self._slide_layer

    def _on_data(self, event: Any) -> None:
        layer = self._layer
        if layer is None or not layer.data:
            return
        start, end = (np.asarray(point, dtype=float) for point in layer.data[-1][:2])
        self.length_px = float(np.linalg.norm(end - start))
        if self.length_px > 0:
            self._drawn(self.length_px)
