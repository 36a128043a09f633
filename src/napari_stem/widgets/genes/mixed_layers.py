"""Two or three genes in one picture: their colours add up, as in fluorescence."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.widgets.genes.map_layers import SMALL_LEGEND, ColourMap, ScalarMap
from napari_stem.widgets.genes.map_turns import GROUND, LIGHTS
from napari_stem.widgets.state import MIX, MOST_GENES

if TYPE_CHECKING:
    from napari_stem.widgets.genes.active_prediction import ActivePrediction
    from napari_stem.widgets.genes.map_turns import LayerTurns
    from napari_stem.widgets.state import DisplaySettings

TWO_COLOURS = ("magenta", "green")  # stay apart for colour-blind eyes
# by the setting; of brick red, green and violet every two stay apart for colour-blind eyes (a test)
THREE_COLOURS = {"safe": ("#bf4040", "#40ff00", "#8040ff"), "rgb": ("red", "green", "blue")}
GROUND_NAME = "Dark ground of the mixed genes"


def mixed_colours(n_genes: int, kind: str) -> tuple[str, ...]:
    """Colours of so many genes, ``safe`` or ``rgb``, which add up to white or nearly so where all are high."""
    return THREE_COLOURS[kind] if n_genes > len(TWO_COLOURS) else TWO_COLOURS


class MixedLayers:
    """A dark ground under the spots, and on it one layer per gene whose light is added.

    Parameters
    ----------
    turns
        What brings layers into the viewer.
    """

    def __init__(self, turns: LayerTurns) -> None:
        self._turns = turns
        self._ground = ColourMap(turns, "ground", GROUND_NAME, GROUND)
        self._lights: list[ScalarMap] = []  # all there are, in the order of their colours
        self.maps: list[ScalarMap] = []  # those on show

    def show(self, active: ActivePrediction, settings: DisplaySettings) -> None:
        """Show the picked genes."""
        genes, was_hidden = settings.genes, not self.maps
        self._lay_ground(active, settings)
        while len(self._lights) < len(genes):
            # legends come from the top of the list
            rank = LIGHTS + MOST_GENES[MIX] - len(self._lights)
            self._lights.append(ScalarMap(self._turns, "mean", rank, SMALL_LEGEND, "additive"))
        self.maps = self._lights[: len(genes)]
        for one in self._lights[len(genes) :]:
            one.hide()
        colours = mixed_colours(len(genes), settings.mix_colours)
        for gene, one, colour in zip(genes, self.maps, colours, strict=False):
            one.show(replace(active.gene_map(gene, "mean", settings), colormap=colour))
        if self.maps and was_hidden:
            self._turns.select(self.maps[0].layer)

    def hide(self) -> None:
        """Take all of it out of the viewer."""
        for one in self.maps:
            one.hide()
        self.maps = []
        self._ground.hide()

    def _lay_ground(self, active: ActivePrediction, settings: DisplaySettings) -> None:
        """Darken the spots, so that only the genes' light is seen."""
        dark = np.zeros((len(active.prediction.done), 4), np.uint8)
        dark[active.prediction.done, 3] = 255
        self._ground.show(active.grid(settings.shape), dark, str(active.prediction.path))
