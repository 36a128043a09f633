"""Up to four genes in views beside each other, which move and zoom together.

napari's grid does this in public: its views share one camera. Every view holds a copy of the slide's
layer (not of its pixels) and the map of one gene; everything else is hidden meanwhile.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from napari_stem.layers import METADATA_KEY, map_title, slide_layer
from napari_stem.widgets.layer_order import stack
from napari_stem.widgets.map_layers import uncertainty_colormap
from napari_stem.widgets.scalar_map import SMALL_LEGEND_SIZE, ScalarMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_stem.layers import ColourRange, Field
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.map_layers import MapLayers

MOST_BESIDE = 4
LAYERS_A_VIEW = -2  # slide and map; negative: counted from the top of the layer list
GAP_PX = 4


class SideBySide(QObject):
    """Shows the maps of several genes side by side until something else is done with the layers."""

    left = Signal()  # the user did something that ends it

    def __init__(self, viewer: Viewer, slide: Slide, maps: MapLayers, opacity: float) -> None:
        super().__init__()
        self._viewer, self._slide, self._base, self._opacity = viewer, slide, maps, opacity
        self.maps: list[ScalarMap] = []  # of the views on show
        self._pairs: list[tuple[Image, ScalarMap]] = []  # all there are, the first view on top
        self._hidden: list[Layer] = []
        self._grid_before: dict[str, Any] | None = None
        self._is_changing = False
        self._mpp = slide.mpp
        self._zoomed_out = 1  # so that every view shows what the whole canvas showed
        viewer.layers.events.inserted.connect(self._on_foreign)
        viewer.layers.events.removed.connect(self._on_foreign)
        viewer.layers.events.reordered.connect(self._on_foreign)
        viewer.canvas.grid.events.enabled.connect(self._on_foreign)

    def show(
        self,
        genes: Sequence[str],
        field: Field,
        colours: ColourRange,
        of_all: tuple[float, float] | None,
        colormap: str,
    ) -> None:
        """Show up to four genes.

        Parameters
        ----------
        genes
            Names; more than four are left out.
        field
            Expression or uncertainty.
        colours, of_all
            How the limits of the colours are chosen; those of all genes where they are known.
        colormap
            Of the expression.
        """
        genes = tuple(genes)[:MOST_BESIDE]
        self._is_changing = True
        try:
            if len(genes) != len(self.maps):
                self._build(len(genes))
            for gene, one in zip(genes, self.maps, strict=True):
                values = self._base.values.values(gene, field)
                chosen = colours if field == "mean" else colours.for_another_unit()
                one.set_colormap(colormap if field == "mean" else uncertainty_colormap(colormap))
                title = map_title(gene, field, self._base.prediction.unit)
                one.show(self._base.grid, values, title, chosen.limits(values, of_all))
                one.set_visible(is_visible=True)
            self._use_grid()
        finally:
            self._is_changing = False

    def set_opacity(self, opacity: float) -> None:
        """How strongly the maps cover the slide, 0 to 1."""
        self._opacity = opacity
        for _, one in self._pairs:
            one.layer.opacity = opacity

    def serve(self, slide: Slide, maps: MapLayers) -> None:
        """Be of another prediction from now on, which may be of another slide."""
        is_other = slide is not self._slide or slide.mpp != self._mpp
        self._slide, self._base, self._mpp = slide, maps, slide.mpp
        if is_other:
            self._clear()
        for _, one in self._pairs:
            one.serve(maps.prediction)

    def hide(self) -> None:
        """Put everything back as it was; what was made for the views is kept hidden."""
        self._is_changing = True
        grid_before, self._grid_before = self._grid_before, None
        if grid_before is not None:
            self._viewer.canvas.grid.update(grid_before)
        for slide, one in self._pairs:
            slide.visible = False
            one.hide()
        # at the end of the list, out of the way
        layers = self._viewer.layers
        kept = [la for slide, one in self._pairs for la in (slide, one.layer) if la in layers]
        if kept:
            stack(self._viewer, kept)
        self.maps = []
        for layer in self._hidden:
            if layer in self._viewer.layers:
                layer.visible = True
        self._hidden = []
        self._viewer.scene.camera.zoom *= self._zoomed_out
        self._zoomed_out = 1
        self._is_changing = False

    def close(self) -> None:
        """Let go of the viewer."""
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.disconnect(self._on_foreign)
        self._viewer.canvas.grid.events.enabled.disconnect(self._on_foreign)

    def _use_grid(self) -> None:
        grid = self._viewer.canvas.grid
        if self._grid_before is None:
            self._grid_before = {
                name: getattr(grid, name) for name in ("enabled", "stride", "shape", "spacing")
            }
        n_across = views_across(len(self.maps))
        self._viewer.scene.camera.zoom *= self._zoomed_out / n_across
        self._zoomed_out = n_across
        grid.stride, grid.shape, grid.spacing = LAYERS_A_VIEW, (-1, -1), GAP_PX
        grid.enabled = True

    def _build(self, n_views: int) -> None:
        """Show so many pairs of slide and map; the topmost pair is the first view."""
        if not self.maps:
            self._hide_others()
        self._raise_pairs()
        while len(self._pairs) < n_views:
            self._add_pair()
        for place, (slide, one) in enumerate(self._pairs):
            slide.visible = place < n_views
            if place >= n_views:
                one.hide()
        self.maps = [one for _, one in self._pairs[:n_views]]

    def _raise_pairs(self) -> None:
        """Have the pairs on top of the layer list, in order: views are counted from there."""
        layers = self._viewer.layers
        if any(la not in layers for slide, one in self._pairs for la in (slide, one.layer)):
            self._clear()  # the user took one of them away
        wanted = [la for slide, one in reversed(self._pairs) for la in (slide, one.layer)]
        if list(layers)[len(layers) - len(wanted) :] != wanted:
            stack(self._viewer, wanted, [la for la in layers if la not in wanted][-1])

    def _hide_others(self) -> None:
        for layer in self._viewer.layers:
            if layer.visible:
                layer.visible = False
                self._hidden.append(layer)

    def _add_pair(self) -> None:
        """Add a view below those that are there."""
        layers = self._viewer.layers
        place = layers.index(self._pairs[-1][0]) if self._pairs else len(layers)
        data, options, _ = slide_layer(self._slide)
        name = f"Slide, view {len(self._pairs) + 1}"
        options |= {"name": name, "metadata": {METADATA_KEY: {}}}
        slide = Image(data, **options)
        layers.insert(place, slide)
        one = ScalarMap(
            self._viewer,
            self._base.prediction,
            "mean",
            self._base.grid,
            colormap="viridis",
            opacity=self._opacity,
            legend_size=SMALL_LEGEND_SIZE,
            place=place + 1,
        )
        self._pairs.append((slide, one))

    def _clear(self) -> None:
        while self._pairs:
            slide, one = self._pairs.pop()
            one.remove()
            if slide in self._viewer.layers:
                self._viewer.layers.remove(slide)

    def _on_foreign(self, event: Any = None) -> None:
        """Give way: a layer that comes or goes would shift every pair into another view."""
        if self.maps and not self._is_changing:
            self.left.emit()


def views_across(n_views: int) -> int:
    """How many views napari puts beside each other: the grid is as square as it can be."""
    return math.ceil(math.sqrt(n_views))
