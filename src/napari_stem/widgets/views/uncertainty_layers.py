"""Layers that show uncertainty: a map of their own, faded colours, outlines of spots to doubt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.widgets.genes.map_layers import ColourMap, LegendStyle, ScalarMap, SpotMap
from napari_stem.widgets.genes.map_turns import FADED, OUTLINES, UNSURE
from napari_stem.widgets.genes.spot_outlines import SpotOutlines

if TYPE_CHECKING:
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_stem.layers import SpotShape
    from napari_stem.widgets.genes.active_prediction import ActivePrediction
    from napari_stem.widgets.genes.map_turns import LayerTurns

OUTLINE_COLOUR = (
    "#ff3b00"  # seen on stained tissue, on glass, and on every colour of the usual maps
)
SMALL_TITLE = LegendStyle(font_size=8)  # the titles say more than those of plain maps
FADED_NAME = "Predicted, faint where unsure"
UNLIKE_NAME = "Spots unlike the training tissue"


class UncertaintyLayers:
    """The layers of the active prediction.

    Parameters
    ----------
    turns
        What brings them into the viewer.
    """

    def __init__(self, turns: LayerTurns) -> None:
        self._turns = turns
        self.map = ScalarMap(turns, "uncertainty", UNSURE, SMALL_TITLE)
        self._faded = ColourMap(turns, "faded", FADED_NAME, FADED)
        self.outlines = SpotOutlines(turns, "unlike", UNLIKE_NAME, (OUTLINE_COLOUR,), OUTLINES)

    @property
    def faded(self) -> Image | None:
        """The layer of faded colours, None before it was needed."""
        return self._faded.layer

    def show_map(self, shown: SpotMap) -> None:
        """Show one value per spot; what is faded goes."""
        self._faded.hide()
        self.map.show(shown)

    def show_faded(self, shown: SpotMap, colours: NDArray[np.uint8]) -> None:
        """Show (n_spots, 4) colours with an opacity of their own; an empty map beside them keeps the legend."""
        self.map.show(replace(shown, values=np.full(len(colours), np.nan, np.float32)))
        self._faded.show(shown.grid, colours, shown.about["prediction"])

    def hide_map(self) -> None:
        """Show neither."""
        self.map.hide()
        self._faded.hide()

    def show_outlines(self, active: ActivePrediction, shape: SpotShape) -> None:
        """Outline the finished spots that look unlike the training tissue, where there are any."""
        prediction = active.prediction
        self.outlines.show(active, np.flatnonzero(prediction.ood & prediction.done), shape)

    def hide(self) -> None:
        """Hide all of it."""
        self.hide_map()
        self.outlines.hide()
