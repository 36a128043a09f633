"""The map of measured values, or of their difference from the prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.layers import SpotGrid
from napari_stem.layers.colours import apart
from napari_stem.widgets.genes.map_turns import MEASURED_MAP
from napari_stem.widgets.genes.scalar_map import ScalarMap
from napari_stem.widgets.views.measured_panel import MEASURED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_stem.evaluation.beside import Beside
    from napari_stem.geometry import Mpp
    from napari_stem.widgets.genes.genes_panel import Wish
    from napari_stem.widgets.genes.map_display import Shown
    from napari_stem.widgets.genes.map_layers import MapLayers
    from napari_stem.widgets.genes.map_turns import LayerTurns

DIVERGING = "RdBu_r"  # red and blue are told apart by colour-blind eyes; white is no difference
WIDEST = 99.0  # percentile of the differences that gets the last colour


class MeasuredMap:
    """Shows measured data in place of a prediction's map; one layer serves all genes.

    Parameters
    ----------
    turns
        What brings it into the viewer.
    """

    def __init__(self, turns: LayerTurns) -> None:
        self._turns = turns
        self.map: ScalarMap | None = None
        self._grid: tuple[Beside, SpotGrid] | None = None

    def show(self, view: str, shown: Shown, found: Beside, wish: Wish, opacity: float) -> None:
        """Show the gene on the map as it was measured, or how far the prediction is off."""
        predicted = shown.maps.values.values(shown.gene)
        one = self._map_for(shown.maps)
        if view == MEASURED:
            limits = wish.colours.limits(predicted, shown.facts.limits_of_all)
            grid = self._grid_of(found, shown.slide.require_mpp())
            one.set_colormap(wish.colormap)
            title = f"{shown.gene} measured, {found.unit}"
            one.show(grid, found.measured(shown.gene), title, limits)
        else:
            error = found.error(shown.gene, predicted)
            one.set_colormap(DIVERGING)
            title = f"{shown.gene} predicted minus measured, {found.unit}"
            one.show(shown.maps.grid, error, title, _balanced(error))
        one.layer.opacity = opacity

    def hide(self) -> None:
        """Hide it."""
        if self.map is not None:
            self.map.hide()

    def set_opacity(self, opacity: float) -> None:
        """How strongly it covers the slide, 0 to 1."""
        if self.map is not None:
            self.map.layer.opacity = opacity

    def _map_for(self, maps: MapLayers) -> ScalarMap:
        if self.map is None:
            self.map = ScalarMap(
                self._turns,
                maps.prediction,
                MEASURED,
                maps.grid,
                rank=MEASURED_MAP,
                colormap=DIVERGING,
                opacity=1.0,
            )
        self.map.serve(maps.prediction)
        return self.map

    def _grid_of(self, found: Beside, mpp: Mpp) -> SpotGrid:
        if self._grid is None or self._grid[0] is not found:
            self._grid = (found, SpotGrid.of(found.spots, mpp))
        return self._grid[1]


def _balanced(error: NDArray[np.float32]) -> tuple[float, float]:
    """Limits as far below zero as above it."""
    known = np.abs(error[np.isfinite(error)])
    furthest = float(np.percentile(known, WIDEST)) if known.size else 1.0
    return apart(-furthest, furthest)
