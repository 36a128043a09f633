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
        self.maps: list[ScalarMap] = []
        self._slides: list[Image] = []
        self._hidden: list[Layer] = []
        self._grid_before: dict[str, Any] | None = None
        self._is_changing = False
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
        for one in self.maps:
            one.layer.opacity = opacity

    def remove(self) -> None:
        """Put everything back as it was."""
        self._is_changing = True
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.disconnect(self._on_foreign)
        self._viewer.canvas.grid.events.enabled.disconnect(self._on_foreign)
        self._clear()
        for layer in self._hidden:
            if layer in self._viewer.layers:
                layer.visible = True
        self._viewer.scene.camera.zoom *= self._zoomed_out
        if self._grid_before is not None:
            self._viewer.canvas.grid.update(self._grid_before)

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
        """Have so many pairs of slide and map; the topmost pair is the first view."""
        if not self.maps:
            self._hide_others()
        while len(self.maps) > n_views:
            self.maps.pop().remove()
            self._viewer.layers.remove(self._slides.pop())
        while len(self.maps) < n_views:
            self._add_pair()

    def _hide_others(self) -> None:
        for layer in self._viewer.layers:
            if layer.visible:
                layer.visible = False
                self._hidden.append(layer)

    def _add_pair(self) -> None:
        """Add a view below those that are there."""
        layers = self._viewer.layers
        place = layers.index(self._slides[-1]) if self._slides else len(layers)
        data, options, _ = slide_layer(self._slide)
        name = f"Slide, view {len(self.maps) + 1}"
        options |= {"name": name, "metadata": {METADATA_KEY: {}}}
        slide = Image(data, **options)
        layers.insert(place, slide)
        self._slides.append(slide)
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
        self.maps.append(one)

    def _clear(self) -> None:
        while self.maps:
            self.maps.pop().remove()
        while self._slides:
            slide = self._slides.pop()
            if slide in self._viewer.layers:
                self._viewer.layers.remove(slide)

    def _on_foreign(self, event: Any = None) -> None:
        """Give way: a layer that comes or goes would shift every pair into another view."""
        if not self._is_changing:
            self.left.emit()


def views_across(n_views: int) -> int:
    """How many views napari puts beside each other: the grid is as square as it can be."""
    return math.ceil(math.sqrt(n_views))
