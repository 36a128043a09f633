"""Layers that show uncertainty: a map of our own, faded colours, outlines of spots to doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Points

from napari_stem.layers import AXES, METADATA_KEY, UM
from napari_stem.layers.uncertainty import colour_raster
from napari_stem.widgets.genes.map_turns import FADED, OUTLINES, UNSURE
from napari_stem.widgets.genes.scalar_map import ScalarMap

if TYPE_CHECKING:
    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp
    from napari_stem.widgets.genes.map_layers import MapLayers
    from napari_stem.widgets.genes.map_turns import LayerTurns

OUTLINE_COLOUR = (
    "#ff3b00"  # seen on stained tissue, on glass, and on every colour of the usual maps
)
OUTLINE_WIDTH = 0.12  # of a spot
TITLE_POINTS = 8  # the titles say more than those of plain maps
FADED_NAME = "Predicted, faint where unsure"
UNLIKE_NAME = "Spots unlike the training tissue"


class UncertaintyLayers:
    """The layers of one prediction, each made when it is first needed.

    Parameters
    ----------
    turns
        What brings them into the viewer.
    maps
        The prediction's own layers.
    mpp
        The slide's pixel size.
    """

    def __init__(self, turns: LayerTurns, maps: MapLayers, mpp: Mpp) -> None:
        self._turns, self.maps, self._mpp = turns, maps, mpp
        self.map: ScalarMap | None = None
        self.faded: Image | None = None
        self.outlines: Points | None = None

    def show_map(
        self,
        values: NDArray[np.float32],
        title: str,
        limits: tuple[float, float],
        colormap: str,
        opacity: float,
    ) -> None:
        """Show one value per spot, NaN clear, with a legend; what is faded goes."""
        self._hide_layer(self.faded)
        self._draw_map(values, title, limits, colormap, opacity)

    def show_faded(
        self,
        colours: NDArray[np.uint8],
        title: str,
        limits: tuple[float, float],
        colormap: str,
        opacity: float,
    ) -> None:
        """Show one colour with an opacity of its own per spot; an empty map beside it keeps the legend."""
        nothing = np.full(len(colours), np.nan, np.float32)
        self._draw_map(nothing, title, limits, colormap, opacity)
        grid = self.maps.grid
        pixels = colour_raster(colours, grid.spot_at)
        if self.faded is None:
            self.faded = Image(
                pixels,
                rgb=True,
                name=FADED_NAME,
                interpolation2d="nearest",
                metadata=self._metadata("faded"),
                **grid.placement.as_layer_options(),
            )
        else:
            self.faded.data = pixels
            self.faded.scale = grid.placement.scale_um
            self.faded.translate = grid.placement.translate_um
        self.faded.opacity = opacity
        self._turns.show(self.faded, FADED)

    def hide_map(self) -> None:
        """Show neither."""
        if self.map is not None:
            self.map.hide()
        self._hide_layer(self.faded)

    def show_outlines(self, unlike: NDArray[np.bool_], *, is_square: bool) -> None:
        """Outline some spots; none where none is marked."""
        if not unlike.any():
            self._hide_layer(self.outlines)
            return
        spots = self.maps.prediction.spots
        chosen = np.flatnonzero(unlike)
        yx_um = np.column_stack(
            [spots.y_px[chosen] * self._mpp.y_um, spots.x_px[chosen] * self._mpp.x_um]
        )
        symbol = "square" if is_square else "disc"
        size_um = spots.diameter_um * (1 - OUTLINE_WIDTH)
        if self.outlines is None:
            self.outlines = self._new_outlines(yx_um, symbol, size_um)
        else:
            self._move_outlines(self.outlines, yx_um, symbol, size_um)
        self._turns.show(self.outlines, OUTLINES)

    def _new_outlines(self, yx_um: NDArray[np.float64], symbol: str, size_um: float) -> Points:
        return Points(
            yx_um,
            name=UNLIKE_NAME,
            symbol=symbol,
            size=size_um,
            face_color="transparent",
            border_color=OUTLINE_COLOUR,
            border_width=OUTLINE_WIDTH,
            units=UM,
            axis_labels=AXES,
            metadata=self._metadata("unlike"),
        )

    def _move_outlines(
        self, outlines: Points, yx_um: NDArray[np.float64], symbol: str, size_um: float
    ) -> None:
        """Outline other spots with the layer that is there."""
        if not np.array_equal(outlines.data, yx_um):
            outlines.data = yx_um
        outlines.symbol, outlines.size = symbol, size_um

    def hide(self) -> None:
        """Hide all of it."""
        self.hide_map()
        self._hide_layer(self.outlines)

    def serve(self, maps: MapLayers, mpp: Mpp) -> None:
        """Be of another prediction from now on."""
        self.maps, self._mpp = maps, mpp
        if self.map is not None:
            self.map.serve(maps.prediction)
        for layer, field in ((self.faded, "faded"), (self.outlines, "unlike")):
            if layer is not None:
                layer.metadata = self._metadata(field)

    def _draw_map(
        self,
        values: NDArray[np.float32],
        title: str,
        limits: tuple[float, float],
        colormap: str,
        opacity: float,
    ) -> None:
        grid, prediction = self.maps.grid, self.maps.prediction
        if self.map is None:
            self.map = ScalarMap(
                self._turns,
                prediction,
                "uncertainty",
                grid,
                rank=UNSURE,
                colormap=colormap,
                opacity=opacity,
                font_size=TITLE_POINTS,
            )
        self.map.set_colormap(colormap)
        self.map.layer.opacity = opacity
        self.map.show(grid, values, title, limits)

    def _metadata(self, field: str) -> dict[str, dict[str, str]]:
        return {METADATA_KEY: {"prediction": str(self.maps.prediction.path), "field": field}}

    def _hide_layer(self, layer: Layer | None) -> None:
        if layer is not None:
            self._turns.hide(layer)
