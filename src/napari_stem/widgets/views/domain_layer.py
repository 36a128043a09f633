"""Domains on the slide: one labels layer, and a legend in the corner that names its colours."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components.overlays import TextOverlay
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap

from napari_stem.layers import METADATA_KEY
from napari_stem.layers.domain_layer import (
    TITLE,
    domain_features,
    domain_raster,
    legend_lines,
    readable_on,
)
from napari_stem.widgets.genes.map_turns import DOMAIN_MAP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.spatial_analysis import Domains
    from napari_stem.widgets.genes.active_prediction import ActivePrediction
    from napari_stem.widgets.genes.map_turns import LayerTurns

LEGEND_KEY = "napari_stem_domain_{}"  # of napari's overlays of the canvas
LEGEND_POINTS = 10
# Okabe and Ito's eight, which colour-blind eyes tell apart, then Tableau's where there are more.
COLOURS = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999",
    "#8c564b", "#bcbd22", "#9467bd", "#17becf", "#e377c2", "#2ca02c", "#aec7e8", "#ffbb78",
)  # fmt: skip


def colours_of(n_domains: int) -> list[str]:
    """Colours of so many domains; beyond sixteen they repeat."""
    return [COLOURS[i % len(COLOURS)] for i in range(n_domains)]


class DomainLayer:
    """Shows domains in place of a prediction's map."""

    def __init__(self, turns: LayerTurns) -> None:
        self._turns, self._viewer = turns, turns.viewer
        self._lines: list[tuple[str, str]] = []  # text and ground of each line
        self._legend: list[str] = []  # keys of the overlays
        self.layer: Labels | None = None

    def show(self, active: ActivePrediction, domains: Domains) -> None:
        """Show domains with their legend; makes the layer where there is none."""
        grid = active.grid()
        if self.layer is None:
            self.layer = Labels(
                np.zeros(grid.spot_at.shape, dtype=np.uint16),
                name=TITLE,
                visible=False,
                **grid.placement.as_layer_options(),
            )
            self.layer.editable = False
        layer, placement = self.layer, grid.placement
        layer.scale, layer.translate = placement.scale_um, placement.translate_um
        about = {"prediction": str(active.prediction.path), "field": "domain"}
        layer.metadata = {METADATA_KEY: about}
        rows = np.flatnonzero(active.prediction.done)
        if len(rows) == len(domains.labels):
            layer.data = domain_raster(grid, rows, domains.labels)
        layer.colormap = _colormap(len(domains.names))
        layer.features = domain_features(domains.names)
        self._turns.show(layer, DOMAIN_MAP, TITLE)
        self._show_legend(domains.names)

    def hide(self) -> None:
        """Hide layer and legend."""
        if self.layer is not None:
            self._turns.hide(self.layer)
        self._show_legend(())

    def legend(self) -> list[str]:
        """Return the lines of the legend on the canvas."""
        overlays = self._viewer.canvas.overlays
        return [str(overlays[key].text) for key in self._legend if overlays[key].visible]

    def _show_legend(self, names: Sequence[str]) -> None:
        """Write one line per domain in the corner, each in a turn of its own."""
        overlays = self._viewer.canvas.overlays
        self._lines = legend_lines(names, colours_of(len(names)))
        for key in self._legend[len(self._lines) :]:
            overlays[key].visible = False
        for place in range(len(self._lines)):
            self._turns.afterwards(partial(self._write_line, place))

    def _write_line(self, place: int) -> None:
        """Write a line; overlays are kept, as new ones cost time."""
        if place >= len(self._lines):  # hidden meanwhile
            return
        text, colour = self._lines[place]
        if place == len(self._legend):
            self._legend.append(LEGEND_KEY.format(place))
            self._viewer.canvas.overlays[self._legend[place]] = TextOverlay(
                font_size=LEGEND_POINTS, position="top_right", box=True
            )
        line = self._viewer.canvas.overlays[self._legend[place]]
        line.text, line.box_color, line.color = text, colour, readable_on(colour)
        line.visible = True


def _colormap(n_domains: int) -> Any:
    """Colours of labels from 1; a direct look-up of colours would be compiled for half a second first."""
    return CyclicLabelColormap(colors=["transparent", *colours_of(n_domains)])
