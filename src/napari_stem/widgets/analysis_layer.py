"""Domains on the slide: one labels layer, and a legend in the corner that names its colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_stem.layers import METADATA_KEY
from napari_stem.layers.domain_layer import (
    TITLE,
    domain_features,
    domain_raster,
    legend_lines,
    readable_on,
)
from napari_stem.widgets.domain_table import colours_of
from napari_stem.widgets.layer_order import place_above, raise_above_slides

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.viewer import Viewer

    from napari_stem.spatial_analysis import Domains
    from napari_stem.widgets.map_layers import MapLayers

LEGEND_KEY = "napari_stem_domain_{}"  # of napari's overlays of the canvas
LEGEND_POINTS = 10


class DomainLayer:
    """Shows domains in place of a prediction's map.

    Parameters
    ----------
    viewer
        Where they are shown.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._legend: list[str] = []  # keys of the overlays
        self.layer: Labels | None = None

    def show(self, maps: MapLayers, domains: Domains, opacity: float) -> None:
        """Show domains with their legend; adds the layer where there is none."""
        if self.layer is None:
            self.layer = self._new(maps, opacity)
        elif self.layer not in self._viewer.layers:
            self._viewer.add_layer(self.layer)
        layer, placement = self.layer, maps.shaped("square").placement
        layer.scale, layer.translate = placement.scale_um, placement.translate_um
        layer.metadata = self._metadata(maps)
        raise_above_slides(self._viewer, [layer], maps.layers())
        rows = np.flatnonzero(maps.prediction.done)
        if len(rows) == len(domains.labels):
            layer.data = domain_raster(maps.shaped("square"), rows, domains.labels)
        layer.colormap = _colormap(len(domains.names))
        layer.features = domain_features(domains.names)
        layer.visible = True
        self._show_legend(domains.names)

    def hide(self) -> None:
        """Hide layer and legend."""
        if self.layer is not None:
            self.layer.visible = False
        self._show_legend(())

    def set_opacity(self, opacity: float) -> None:
        """How strongly the domains cover the slide, 0 to 1."""
        if self.layer is not None:
            self.layer.opacity = opacity

    def legend(self) -> list[str]:
        """Return the lines of the legend on the canvas."""
        overlays = self._viewer.canvas.overlays
        return [str(overlays[key].text) for key in self._legend if overlays[key].visible]

    def _new(self, maps: MapLayers, opacity: float) -> Labels:
        grid = maps.shaped("square")
        layer = Labels(
            np.zeros(grid.spot_at.shape, dtype=np.int32),
            name=TITLE,
            opacity=opacity,
            metadata=self._metadata(maps),
            **grid.placement.as_layer_options(),
        )
        layer.editable = False
        self._viewer.layers.insert(place_above(self._viewer, maps.layers()), layer)
        return layer

    def _metadata(self, maps: MapLayers) -> dict[str, dict[str, str]]:
        return {METADATA_KEY: {"prediction": str(maps.prediction.path), "field": "domain"}}

    def _show_legend(self, names: Sequence[str]) -> None:
        """Write one line per domain in the corner; lines are kept, as new ones cost time."""
        from napari.components.overlays import TextOverlay

        overlays = self._viewer.canvas.overlays
        lines = legend_lines(names, colours_of(len(names)))
        for place, (text, colour) in enumerate(lines):
            key = LEGEND_KEY.format(place)
            if place == len(self._legend):
                overlays[key] = TextOverlay(
                    font_size=LEGEND_POINTS,
                    position="top_right",
                    box=True,
                )
                self._legend.append(key)
            overlays[key].text, overlays[key].box_color = text, colour
            overlays[key].color = readable_on(colour)
            overlays[key].visible = True
        for key in self._legend[len(lines) :]:
            overlays[key].visible = False


def _colormap(n_domains: int) -> Any:
    from napari.utils.colormaps import DirectLabelColormap

    colours: dict[int | None, str] = {None: "transparent", 0: "transparent"}
    colours |= dict(enumerate(colours_of(n_domains), start=1))
    return DirectLabelColormap(color_dict=colours)
