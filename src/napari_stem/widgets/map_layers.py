"""One prediction as two image layers: the expression of a gene, and its uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_stem.layers import METADATA_KEY, SpotGrid, colour_limits, map_title

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp
    from napari_stem.layers import Field
    from napari_stem.results import Prediction

FIELDS: tuple[Field, ...] = ("mean", "sd")
COLORMAPS = {"mean": "viridis", "sd": "magma"}  # both keep their order for colour-blind eyes
LEGEND_SIZE = (20, 180)


class MapLayers(QObject):
    """Adds the two layers of a prediction and swaps what they show."""

    limits_edited = Signal()  # the user moved the contrast limits of a map

    def __init__(self, viewer: Viewer, prediction: Prediction, mpp: Mpp, opacity: float) -> None:
        super().__init__()
        self.prediction = prediction
        self.grid = SpotGrid.of(prediction.spots, mpp)
        self.gene = prediction.genes[0]
        self._viewer = viewer
        self._is_setting = False
        self._shown: str = "mean"
        self._layers: dict[str, Image] = {field: self._add(field, opacity) for field in FIELDS}
        self.show_field("mean")

    def select(self) -> None:
        """Make the layer on show the selected one, so that napari's controls are about it."""
        if self._shown != "none":
            self._viewer.layers.selection.active = self._layers[self._shown]

    def show_gene(
        self, gene: str, shared: tuple[float, float] | None = None, *, keep: bool
    ) -> None:
        """Swap both layers to another gene.

        Parameters
        ----------
        gene
            Its name.
        shared
            Colour limits of the expression, where they are the same for all genes.
        keep
            Leave the colour limits as the user set them.
        """
        self.gene = gene
        for field in FIELDS:
            layer = self._layers[field]
            values = self.prediction.values(gene, field)
            layer.data = self.grid.raster(values)
            layer.name = map_title(gene, field, self.prediction.unit)
            if keep:
                continue
            limits = shared if shared is not None and field == "mean" else colour_limits(values)
            self._set_limits(layer, values, limits)

    def show_field(self, shown: str) -> None:
        """Show ``mean``, ``sd`` or, with ``none``, neither; adds layers that the user has removed."""
        self._shown = shown
        for field, layer in self._layers.items():
            if shown == field and layer not in self._viewer.layers:
                self._viewer.add_layer(layer)
            layer.visible = shown == field
            layer.colorbar.visible = shown == field
            layer.name_overlay.visible = shown == field

    def set_active(self, *, is_active: bool) -> None:
        """Show or hide both layers, for another slide's sake, keeping what was chosen."""
        shown = self._shown
        self.show_field(shown if is_active else "none")
        self._shown = shown

    def set_opacity(self, opacity: float) -> None:
        """How strongly the maps cover the slide, 0 to 1."""
        for layer in self._layers.values():
            layer.opacity = opacity

    def remove(self) -> None:
        """Take both layers out of the viewer."""
        for layer in self._layers.values():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def layer(self, field: Field) -> Image:
        """Return the layer of one field."""
        return self._layers[field]

    def spot_at(self, position: Any) -> int | None:
        """Index of the finished spot at a world position, or None."""
        row, col = self._layers["mean"].world_to_data(position)[-2:]
        spot = self.grid.spot_under(row, col)
        return spot if spot is not None and self.prediction.done[spot] else None

    def _add(self, field: Field, opacity: float) -> Image:
        values = self.prediction.values(self.gene, field)
        layer = self._viewer.add_image(
            self.grid.raster(values),
            name=map_title(self.gene, field, self.prediction.unit),
            colormap=COLORMAPS[field],
            contrast_limits=colour_limits(values),
            interpolation2d="nearest",
            blending="translucent",
            opacity=opacity,
            visible=False,
            metadata={METADATA_KEY: {"prediction": str(self.prediction.path), "field": field}},
            **self.grid.placement.as_layer_options(),
        )
        layer.colorbar.size = LEGEND_SIZE
        for legend in (layer.colorbar, layer.name_overlay):
            legend.position = "top_right"
            legend.box = True
        layer.events.contrast_limits.connect(self._on_limits)
        return layer

    def _set_limits(
        self, layer: Image, values: NDArray[np.float32], limits: tuple[float, float]
    ) -> None:
        known = values[np.isfinite(values)]
        low, high = (known.min(), known.max()) if known.size else limits
        self._is_setting = True
        try:
            layer.contrast_limits_range = (
                float(min(low, limits[0])),
                float(max(high, limits[1])),
            )
            layer.contrast_limits = limits
        finally:
            self._is_setting = False

    def _on_limits(self, event: Any) -> None:
        if not self._is_setting:
            self.limits_edited.emit()
