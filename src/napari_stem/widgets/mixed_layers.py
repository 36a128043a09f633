"""Two or three genes in one picture: their colours add up, as in fluorescence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image

from napari_stem.layers import METADATA_KEY, map_title
from napari_stem.widgets.layer_order import raise_above_slides
from napari_stem.widgets.scalar_map import SMALL_LEGEND_SIZE, ScalarMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.viewer import Viewer

    from napari_stem.layers import ColourRange
    from napari_stem.widgets.map_layers import MapLayers

# magenta and green stay apart for colour-blind eyes; where both are high the spot turns white
MIXED_COLOURS = ("magenta", "green", "blue")
MOST_MIXED = len(MIXED_COLOURS)
GROUND_NAME = "Dark ground of the mixed genes"


class MixedLayers:
    """A dark ground under the spots, and on it one layer per gene whose light is added.

    Parameters
    ----------
    viewer
        Where they are shown.
    maps
        The prediction's own layers; the mixture comes to lie directly above them.
    opacity
        How strongly the mixture covers the slide, 0 to 1.
    """

    def __init__(self, viewer: Viewer, maps: MapLayers, opacity: float) -> None:
        self._viewer, self._base, self._opacity = viewer, maps, opacity
        self._ground: Image | None = None
        self.maps: list[ScalarMap] = []  # those on show
        self._spare: list[ScalarMap] = []  # hidden, to be shown again

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
        self._lay_ground()
        while len(self.maps) > len(genes):
            self._put_aside()
        while len(self.maps) < len(genes):
            spare = self._spare.pop() if self._spare else None
            self.maps.append(spare or self._add(MIXED_COLOURS[len(self.maps)]))
        unit = self._base.prediction.unit
        for gene, one in zip(genes, self.maps, strict=True):
            values = self._base.values.values(gene)
            limits = colours.limits(values, of_all)
            one.show(self._base.grid, values, map_title(gene, "mean", unit), limits)
            one.set_visible(is_visible=True)

    def set_opacity(self, opacity: float) -> None:
        """How strongly the mixture covers the slide, 0 to 1."""
        self._opacity = opacity
        for one in (*self.maps, *self._spare):
            one.layer.opacity = opacity
        if self._ground is not None:
            self._ground.opacity = opacity

    def hide(self) -> None:
        """Hide all of it."""
        while self.maps:
            self._put_aside()
        if self._ground is not None:
            self._ground.visible = False

    def serve(self, maps: MapLayers) -> None:
        """Be of another prediction from now on."""
        self._base = maps
        for one in (*self.maps, *self._spare):
            one.serve(maps.prediction)
        # the first gene on top: legends come from the top of the list
        lights = [one.layer for one in (*self._spare, *reversed(self.maps))]
        raise_above_slides(self._viewer, [self._ground, *lights], maps.layers())

    def _put_aside(self) -> None:
        """Hide the last gene; the last to be hidden is the first to come back, in its own colour."""
        one = self.maps.pop()
        one.hide()
        self._spare.append(one)

    def _lay_ground(self) -> None:
        """Darken the spots, so that only the genes' light is seen."""
        grid = self._base.grid
        dark = np.zeros((*grid.spot_at.shape, 4), np.uint8)
        spot_at = grid.spot_at
        dark[..., 3] = np.where((spot_at >= 0) & self._base.prediction.done[spot_at], 255, 0)
        if self._ground is not None and self._ground in self._viewer.layers:
            self._ground.data = dark
            self._ground.scale = grid.placement.scale_um
            self._ground.translate = grid.placement.translate_um
            self._ground.visible = True
            return
        self._ground = Image(
            dark,
            rgb=True,
            name=GROUND_NAME,
            opacity=self._opacity,
            interpolation2d="nearest",
            metadata={METADATA_KEY: {"field": "ground"}},
            **grid.placement.as_layer_options(),
        )
        self._viewer.layers.insert(self._place(0), self._ground)

    def _add(self, colour: str) -> ScalarMap:
        return ScalarMap(
            self._viewer,
            self._base.prediction,
            "mean",
            self._base.grid,
            colormap=colour,
            opacity=self._opacity,
            blending="additive",
            legend_size=SMALL_LEGEND_SIZE,
            place=self._place(1),  # below those before: legends come from the top of the list,
        )

    def _place(self, above: int) -> int:
        """Place in the layer list, counted from the prediction's own layers."""
        layers = self._viewer.layers
        own = [layers.index(layer) for layer in self._base.layers() if layer in layers]
        return min(max(own) + 1 + above, len(layers)) if own else len(layers)
