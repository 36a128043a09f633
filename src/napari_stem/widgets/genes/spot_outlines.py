"""Outlines of single spots: those to doubt, and the one that is inspected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Points

from napari_stem.layers import AXES, METADATA_KEY, UM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.layers import SpotShape
    from napari_stem.widgets.genes.active_prediction import ActivePrediction
    from napari_stem.widgets.genes.map_turns import LayerTurns

WIDTH = 0.12  # of a spot


class SpotOutlines:
    """A layer that outlines spots, in one or more colours from the outermost line to the innermost.

    Parameters
    ----------
    turns
        What brings it into the viewer.
    field, name, colours, rank
        What it shows, its name in the layer list, how, and above which other layers of ours it lies.
    """

    def __init__(
        self, turns: LayerTurns, field: str, name: str, colours: Sequence[str], rank: int
    ) -> None:
        self._turns, self._field, self._rank = turns, field, rank
        self._name, self._colours = name, colours
        self.layer: Points | None = None  # made when first needed

    def show(self, active: ActivePrediction, chosen: NDArray[np.int64], shape: SpotShape) -> None:
        """Outline spots by index; none: there is no layer."""
        if not len(chosen):
            self.hide()
            return
        spots, mpp, n_lines = (
            active.prediction.spots,
            active.slide.require_mpp(),
            len(self._colours),
        )
        yx_um = np.column_stack([spots.y_px[chosen] * mpp.y_um, spots.x_px[chosen] * mpp.x_um])
        data = np.tile(yx_um, (n_lines, 1))
        symbol = "disc" if shape == "circle" else "square"
        if self.layer is None:
            self.layer = Points(
                name=self._name,
                face_color="transparent",
                border_width=WIDTH,
                units=UM,
                axis_labels=AXES,
            )
        is_same = np.array_equal(self.layer.data, data) and self.layer.symbol[0] == symbol
        if not is_same:  # napari draws anew with each of these
            inner = 1 - WIDTH * (2 * np.arange(n_lines) + 1)
            self.layer.data = data
            self.layer.symbol = symbol
            self.layer.size = np.repeat(spots.diameter_um * inner, len(chosen))
            self.layer.border_color = np.repeat(self._colours, len(chosen))
        about = {"prediction": str(active.prediction.path), "field": self._field}
        self.layer.metadata = {METADATA_KEY: about}
        self._turns.show(self.layer, self._rank)

    def hide(self) -> None:
        """Outline no spot."""
        if self.layer is not None:
            self._turns.hide(self.layer)
