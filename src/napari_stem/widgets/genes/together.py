"""Several genes at once: in one picture, where their colours add up, or in views beside each other.

Views move and zoom together: napari's grid does this in public, as its views share one camera. Every view
holds a copy of the slide's layer (not of its pixels) and the map of one gene; all else is hidden meanwhile.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from napari.layers import Image, Layer

from napari_stem.layers.placement import METADATA_KEY, slide_layer
from napari_stem.layers.values import MapField, map_title
from napari_stem.widgets.common.parts import listening
from napari_stem.widgets.genes.layer_queue import GROUND_RANK, LIGHTS_RANK, VIEWS_RANK, LayerQueue
from napari_stem.widgets.genes.map_layers import ColourMap, ScalarMap
from napari_stem.widgets.slide.slide_layers import SlideFeed, come_back_with_slide, is_fed, ours
from napari_stem.widgets.state import BESIDE, MIX, MOST_GENES, DisplaySettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_stem.geometry import Mpp
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.genes.active_prediction import ActivePrediction
    from napari_stem.widgets.genes.map_layers import Edited

TWO_COLOURS = ("magenta", "green")  # stay apart for colour-blind eyes
# by the setting; of brick red, green and violet every two stay apart for colour-blind eyes (a test)
THREE_COLOURS = {"safe": ("#bf4040", "#40ff00", "#8040ff"), "rgb": ("red", "green", "blue")}
GROUND_NAME = "Dark ground of the mixed genes"
OF_GRID = "enabled", "stride", "shape", "spacing"  # of napari's, in the order to give them back
LAYERS_A_VIEW = -2  # slide and map; negative: counted from the top of the layer list
GAP_PX = 4
SMALL_LEGEND = (16, 80), 8  # where there are several


class MixedLayers:
    """A dark ground under the spots, and on it one layer per gene whose light is added."""

    def __init__(self, queue: LayerQueue, edited: Edited) -> None:
        self._queue, self._edited = queue, edited
        self._ground = ColourMap(queue, "ground", GROUND_NAME, GROUND_RANK)
        self._lights: list[ScalarMap] = []  # all there are, in the order of their colours
        self.maps: list[ScalarMap] = []  # those on show

    def show(self, active: ActivePrediction, settings: DisplaySettings) -> None:
        """Show the picked genes."""
        genes, was_hidden = settings.genes, not self.maps
        self._lay_ground(active, settings)
        while len(self._lights) < len(genes):
            # legends come from the top of the list
            rank = LIGHTS_RANK + MOST_GENES[MIX] - len(self._lights)
            light = ScalarMap(self._queue, self._edited, "mean", rank, SMALL_LEGEND)
            light.layer.blending = "additive"
            self._lights.append(light)
        self.maps = self._lights[: len(genes)]
        for one in self._lights[len(genes) :]:
            one.hide()
        colours = mixed_colours(len(genes), settings.mix_colours)
        for gene, one, colour in zip(genes, self.maps, colours, strict=False):
            with active.telling():
                one.show(replace(active.gene_map(gene, "mean", settings), colormap=colour))
        if self.maps and was_hidden:
            self._queue.select(self.maps[0].layer)

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
        self._ground.show(active.grid(settings.spot_shape), dark, str(active.prediction.path))


class SideBySide:
    """Shows the maps of several genes side by side until something else is done with the layers.

    ``left`` is called when the user does something that ends it.
    """

    def __init__(self, queue: LayerQueue, edited: Edited, left: Callable[[], None]) -> None:
        self._queue, self._viewer, self._edited, self._left = queue, queue.viewer, edited, left
        self.maps: list[ScalarMap] = []  # of the views on show
        self._pairs: list[tuple[Image, ScalarMap]] = []  # all there are, the first view on top
        self._hidden: list[Layer] = []
        self._grid_before: dict[str, Any] | None = None
        self._slide: Slide | None = None  # in the pairs
        self._mpp: Mpp | None = None  # its pixel size then
        self._zoomed_out = 1  # so that every view shows what the whole canvas showed
        events = self._viewer.layers.events
        layers_or_grid = (
            *(events.inserted, events.removed, events.reordered),
            self._viewer.canvas.grid.events.enabled,
        )
        self._let_go = listening(*((event, self._on_foreign) for event in layers_or_grid))

    def show(self, slide: Slide, active: ActivePrediction, settings: DisplaySettings) -> None:
        """Show the picked genes of a slide's prediction."""
        genes, field, was_hidden = settings.genes, cast("MapField", settings.field), not self.maps
        if slide is not self._slide or active.mpp != self._mpp:
            self._take_out(0)
            self._pairs, self.maps = [], []
            self._slide, self._mpp = slide, active.mpp
        if len(genes) != len(self.maps):
            self._arrange(slide, len(genes))
        for place, gene in enumerate(genes):
            copy, one = self._pairs[place]
            title = map_title(gene, field)  # with the unit it would not fit above a small view
            with active.telling():
                shown = replace(active.gene_map(gene, field, settings), title=title)
                self._queue.show(copy, _rank(place))  # no half view, which would shift all others
                one.show(shown)
        if self.maps and was_hidden:
            self._queue.select(self.maps[0].layer)

    def hide(self) -> None:
        """Take the views away one by one, then put everything back as it was."""
        if self.maps:
            self._take_out(0)
            self.maps = []
            self._queue.between(self._give_back)

    def leave_slide(self) -> None:
        """Take the views away as another slide is looked at: what lay on theirs comes back with it alone."""
        for layer in filter(ours, self._hidden):
            come_back_with_slide(layer)
        self._hidden = [layer for layer in self._hidden if not ours(layer)]
        self.hide()

    def make_anew(self) -> None:
        """Take the views away, and have new ones next time, above whatever has come meanwhile."""
        self.hide()
        self._pairs = []

    def close(self) -> None:
        """Let go of the viewer."""
        self.hide()
        self._let_go()

    def _arrange(self, slide: Slide, n_views: int) -> None:
        """Have so many pairs of slide and map; the topmost pair is the first view."""
        while len(self._pairs) < n_views:
            self._pairs.append(self._new_pair(slide, len(self._pairs)))
        self._take_out(n_views)
        self.maps = [one for _, one in self._pairs[:n_views]]
        self._queue.between(self._use_grid)

    def _use_grid(self) -> None:
        """Hide everything else, and divide the canvas once, for all views that are to come."""
        if not self.maps:  # ended meanwhile
            return
        grid = self._viewer.canvas.grid
        if self._grid_before is None:
            self._grid_before = {name: getattr(grid, name) for name in OF_GRID}
        own = [la for slide, one in self._pairs for la in (slide, one.layer)]
        others = [la for la in self._viewer.layers if la.visible and la not in own]
        self._hidden += others
        for layer in others:
            layer.visible = False
        n_across = math.ceil(math.sqrt(len(self.maps)))  # as square as it can be
        self._viewer.scene.camera.zoom *= self._zoomed_out / n_across
        self._zoomed_out = n_across
        n_down = math.ceil(len(self.maps) / n_across)
        grid.stride, grid.shape, grid.spacing = LAYERS_A_VIEW, (n_down, n_across), GAP_PX
        grid.enabled = True

    def _give_back(self) -> None:
        if self.maps or self._grid_before is None:  # asked for again meanwhile, or never begun
            return
        before, self._grid_before = self._grid_before, None
        for name, value in before.items():
            setattr(self._viewer.canvas.grid, name, value)
        for layer in self._hidden:
            if layer in self._viewer.layers:
                layer.visible = True
        self._hidden = []
        self._viewer.scene.camera.zoom *= self._zoomed_out
        self._zoomed_out = 1

    def _new_pair(self, shown: Slide, place: int) -> tuple[Image, ScalarMap]:
        data, options, _ = slide_layer(shown)
        pyramid = options["metadata"][METADATA_KEY]["pyramid"]
        # without "slide" it is not taken for one that was opened
        options |= {
            "name": f"Slide, view {place + 1}",
            "metadata": {METADATA_KEY: {"pyramid": pyramid}},
            "visible": False,
        }
        one = ScalarMap(self._queue, self._edited, "mean", _rank(place) + 1, SMALL_LEGEND)
        return Image(data, **options), one

    def _take_out(self, first: int) -> None:
        for slide, one in self._pairs[first:]:
            one.hide()
            self._queue.hide(slide)

    def _on_foreign(self, event: Any = None) -> None:
        """Give way: a layer that comes or goes would shift every pair into another view."""
        if self._queue.is_changing:
            if event.type == "inserted":
                self._feed(event.value)
        elif self.maps:
            self._left()

    def _feed(self, layer: Layer) -> None:
        """Have late pixels drawn, instead of waiting for them."""
        is_own = any(slide is layer for slide, _ in self._pairs)
        if is_own and self._slide and self._slide.is_complete and not is_fed(layer):
            SlideFeed(self._viewer, layer)


def _rank(place: int) -> int:
    """Rank of the slide of a view; its map comes directly above."""
    return VIEWS_RANK + 2 * (MOST_GENES[BESIDE] - place)


def mixed_colours(n_genes: int, kind: str) -> tuple[str, ...]:
    """Colours of so many genes, ``safe`` or ``rgb``, which add up to white or nearly so where all are high."""
    return THREE_COLOURS[kind] if n_genes > len(TWO_COLOURS) else TWO_COLOURS
