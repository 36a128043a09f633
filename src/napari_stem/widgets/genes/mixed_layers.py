"""Two or three genes in one picture: their colours add up, as in fluorescence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image

from napari_stem.layers import METADATA_KEY, map_title
from napari_stem.widgets.genes.map_turns import GROUND, LIGHTS
from napari_stem.widgets.genes.scalar_map import SMALL_FONT_SIZE, SMALL_LEGEND_SIZE, ScalarMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.layers import ColourRange
    from napari_stem.widgets.genes.map_layers import MapLayers
    from napari_stem.widgets.genes.map_turns import LayerTurns

TWO_COLOURS = ("magenta", "green")  # stay apart for colour-blind eyes
THREE_COLOURS = (
    "red",
    "green",
    "blue",
)  # magenta holds blue: beside it the third gene was not seen
MOST_MIXED = len(THREE_COLOURS)
GROUND_NAME = "Dark ground of the mixed genes"


def mixed_colours(n_genes: int) -> tuple[str, ...]:
    """Colours of so many genes, which add up to white where all are high."""
    return THREE_COLOURS if n_genes > len(TWO_COLOURS) else TWO_COLOURS


class MixedLayers:
    """A dark ground under the spots, and on it one layer per gene whose light is added.

    Parameters
    ----------
    turns
        What brings layers into the viewer.
    maps
        The prediction's own layers.
    opacity
        How strongly the mixture covers the slide, 0 to 1.
    """

    def __init__(self, turns: LayerTurns, maps: MapLayers, opacity: float) -> None:
        self._turns, self._base, self._opacity = turns, maps, opacity
        self._ground: Image | None = None
        self._lights: list[ScalarMap] = []  # all there are, in the order of their colours
        self.maps: list[ScalarMap] = []  # those on show

    def show(
        self, genes: Sequence[str], colours: ColourRange, of_all: tuple[float, float] | None
    ) -> None:
        """Show up to three genes.

        Parameters
        ----------
        genes
            Names; more than three are left out.
        colours
            How the limits of each colour are chosen.
        of_all
            Limits of all genes, where they are the same for all and known.
        """
        genes = tuple(genes)[:MOST_MIXED]
        n_before = len(self.maps)
        self._lay_ground()
        while len(self._lights) < len(genes):
            self._lights.append(self._new(len(self._lights)))
        self.maps = self._lights[: len(genes)]
        for one in self._lights[len(genes) :]:
            one.hide()
        unit = self._base.prediction.unit
        for gene, one, colour in zip(genes, self.maps, mixed_colours(len(genes)), strict=False):
            one.set_colormap(colour)
            values = self._base.values.values(gene)
            limits = colours.limits(values, of_all)
            one.show(self._base.grid, values, map_title(gene, "mean", unit), limits)
        if self.maps and not n_before:
            self._turns.select(self.maps[0].layer)

    def set_opacity(self, opacity: float) -> None:
        """How strongly the mixture covers the slide, 0 to 1."""
        self._opacity = opacity
        for one in self._lights:
            one.layer.opacity = opacity
        if self._ground is not None:
            self._ground.opacity = opacity

    def hide(self) -> None:
        """Take all of it out of the viewer."""
        for one in self.maps:
            one.hide()
        self.maps = []
        if self._ground is not None:
            self._turns.hide(self._ground)

    def serve(self, maps: MapLayers) -> None:
        """Be of another prediction from now on."""
        self._base = maps
        for one in self._lights:
            one.serve(maps.prediction)

    def _lay_ground(self) -> None:
        """Darken the spots, so that only the genes' light is seen."""
        grid = self._base.grid
        dark = np.zeros((*grid.spot_at.shape, 4), np.uint8)
        spot_at = grid.spot_at
        dark[..., 3] = np.where((spot_at >= 0) & self._base.prediction.done[spot_at], 255, 0)
        if self._ground is None:
            self._ground = Image(
                dark,
                rgb=True,
                name=GROUND_NAME,
                opacity=self._opacity,
                interpolation2d="nearest",
                metadata={METADATA_KEY: {"field": "ground"}},
                **grid.placement.as_layer_options(),
            )
        else:
            self._ground.data = dark
            self._ground.scale = grid.placement.scale_um
            self._ground.translate = grid.placement.translate_um
        self._turns.show(self._ground, GROUND)

    def _new(self, place: int) -> ScalarMap:
        return ScalarMap(
            self._turns,
            self._base.prediction,
            "mean",
            self._base.grid,
            rank=LIGHTS + MOST_MIXED - place,  # legends come from the top of the list
            colormap=THREE_COLOURS[place],
            opacity=self._opacity,
            blending="additive",
            legend_size=SMALL_LEGEND_SIZE,
            font_size=SMALL_FONT_SIZE,
        )
