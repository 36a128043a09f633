"""One image layer that shows one value per spot, with its legend; its data is swapped, never the layer.

A layer that has done its work is hidden and used again: taking one out of a viewer makes napari collect all
garbage, which stops the window for half a second and more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from napari_stem.layers import METADATA_KEY

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_stem.layers import SpotGrid
    from napari_stem.results import Prediction

LEGEND_SIZE = (20, 180)
SMALL_LEGEND_SIZE = (16, 80)
FONT_SIZE, SMALL_FONT_SIZE = 10, 8
HIDDEN_NAME = (
    "Map, hidden for now"  # names of layers are unique: a hidden one must not take a gene's
)


class ScalarMap(QObject):
    """A map on top of a slide.

    Parameters
    ----------
    viewer
        Where it is shown.
    prediction, field
        What it is of, for the layer's metadata.
    grid
        Where the spots lie.
    colormap, opacity, blending
        As napari has them.
    legend_size
        (width, height) of the colour bar in screen pixels.
    place
        Where in the layer list; None: on top.
    """

    limits_edited = Signal(float, float)  # the user moved the contrast limits

    def __init__(
        self,
        viewer: Viewer,
        prediction: Prediction,
        field: str,
        grid: SpotGrid,
        *,
        colormap: str,
        opacity: float,
        blending: str = "translucent",
        legend_size: tuple[int, int] = LEGEND_SIZE,
        place: int | None = None,
    ) -> None:
        super().__init__()
        self._viewer, self._grid = viewer, grid
        self._is_setting = False
        nothing = np.full(grid.spot_at.shape, np.nan, np.float32)
        self.layer = Image(
            nothing,
            name=HIDDEN_NAME,
            colormap=colormap,
            contrast_limits=(0, 1),
            interpolation2d="nearest",
            blending=blending,
            opacity=opacity,
            visible=False,
            **grid.placement.as_layer_options(),
        )
        self._field = field
        self.serve(prediction)
        self.layer.colorbar.size = legend_size
        is_small = legend_size == SMALL_LEGEND_SIZE
        self.layer.name_overlay.font_size = SMALL_FONT_SIZE if is_small else FONT_SIZE
        for legend in (self.layer.colorbar, self.layer.name_overlay):
            legend.position = "top_right"
            legend.box = True
        viewer.layers.insert(len(viewer.layers) if place is None else place, self.layer)
        self.layer.events.contrast_limits.connect(self._on_limits)

    def serve(self, prediction: Prediction) -> None:
        """Be of another prediction from now on."""
        about = {"prediction": str(prediction.path), "field": self._field}
        self.layer.metadata = {METADATA_KEY: about}

    def show(
        self,
        grid: SpotGrid,
        values: NDArray[np.float32],
        title: str,
        limits: tuple[float, float],
    ) -> None:
        """Swap what is shown.

        Parameters
        ----------
        grid
            Where the spots lie, and in which shape.
        values
            (n_spots,) float32, NaN where nothing is predicted.
        title
            Name in the layer list and the legend.
        limits
            Values of the first and the last colour.
        """
        layer = self.layer
        layer.data = grid.raster(values)
        if grid is not self._grid:
            self._grid = grid
            layer.scale, layer.translate = grid.placement.scale_um, grid.placement.translate_um
        if layer.name != title:
            layer.name = title
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if known.size else limits
        self._is_setting = True
        try:
            layer.contrast_limits_range = (min(low, limits[0]), max(high, limits[1]))
            layer.contrast_limits = limits
        finally:
            self._is_setting = False

    def set_colormap(self, colormap: str) -> None:
        """Choose the colours."""
        if self.layer.colormap.name != colormap:
            self.layer.colormap = colormap

    def set_visible(self, *, is_visible: bool) -> None:
        """Show or hide the map with its legend; adds a layer that the user has removed."""
        layer = self.layer
        if is_visible and layer not in self._viewer.layers:
            self._viewer.add_layer(layer)
        if layer.visible != is_visible:
            layer.visible = is_visible
        layer.colorbar.visible = is_visible
        layer.name_overlay.visible = is_visible

    def hide(self) -> None:
        """Hide the map, and free its name for another that shows the same gene."""
        self.set_visible(is_visible=False)
        self.layer.name = HIDDEN_NAME

    def remove(self) -> None:
        """Take the layer out of the viewer."""
        if self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)

    def _on_limits(self, event: Any) -> None:
        if not self._is_setting:
            self.limits_edited.emit(*(float(v) for v in self.layer.contrast_limits))
