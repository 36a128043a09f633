"""One image layer that shows one value per spot, with its legend; its data is swapped, never the layer.

What is not shown is out of the layer list, and waits to be shown again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from napari_stem.layers import METADATA_KEY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_stem.layers import SpotGrid
    from napari_stem.results import Prediction
    from napari_stem.widgets.genes.map_turns import LayerTurns

LEGEND_SIZE = (20, 180)
SMALL_LEGEND_SIZE = (16, 80)
FONT_SIZE, SMALL_FONT_SIZE = 10, 8


class ScalarMap(QObject):
    """A map on top of a slide.

    Parameters
    ----------
    turns
        What brings it into the viewer.
    prediction, field
        What it is of, for the layer's metadata.
    grid
        Where the spots lie.
    rank
        Above which other layers of ours, as `map_turns` ranks them.
    colormap, opacity, blending
        As napari has them.
    legend_size
        (width, height) of the colour bar in screen pixels.
    font_size
        Of the name beside it, in points.
    """

    limits_edited = Signal(float, float)  # the user moved the contrast limits

    def __init__(
        self,
        turns: LayerTurns,
        prediction: Prediction,
        field: str,
        grid: SpotGrid,
        *,
        rank: int,
        colormap: str,
        opacity: float,
        blending: str = "translucent",
        legend_size: tuple[int, int] = LEGEND_SIZE,
        font_size: int = FONT_SIZE,
    ) -> None:
        super().__init__()
        self._turns, self._grid, self._rank = turns, grid, rank
        self._is_setting = False
        nothing = np.full(grid.spot_at.shape, np.nan, np.float32)
        self.layer = Image(
            nothing,
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
        self.layer.name_overlay.font_size = font_size
        for legend in (self.layer.colorbar, self.layer.name_overlay):
            legend.position = "top_right"
            legend.box = True
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
        gene: str = "",
    ) -> None:
        """Show values; the layer comes to the viewer where it is not there.

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
        gene
            What they are of, for the layer's metadata; empty where not of one gene.
        """
        layer = self.layer
        about = {"prediction": layer.metadata[METADATA_KEY]["prediction"], "field": self._field}
        layer.metadata = {METADATA_KEY: about | ({"gene": gene} if gene else {})}
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
        self._turns.show(layer, self._rank, title, has_legend=True)

    def set_colormap(self, colormap: str) -> None:
        """Choose the colours."""
        if self.layer.colormap.name != colormap:
            self.layer.colormap = colormap

    def is_shown(self) -> bool:
        """Whether it is in the viewer, or about to be."""
        return self._turns.is_wanted(self.layer)

    def hide(self) -> None:
        """Take it out of the viewer."""
        self._turns.hide(self.layer)

    def _on_limits(self, event: Any) -> None:
        if not self._is_setting:
            self.limits_edited.emit(*(float(v) for v in self.layer.contrast_limits))
