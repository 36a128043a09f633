"""Layers that show spots: a value, a colour or an outline for each. Their data is swapped, never the layer.

What is not shown is out of the layer list, and waits to be shown again, of whatever slide.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components.overlays import TextOverlay
from napari.layers import Image, Labels, Points
from napari.utils.colormaps import CyclicLabelColormap

from napari_stem.layers.placement import AXES, METADATA_KEY, UM
from napari_stem.layers.values import legend_lines, readable_on
from napari_stem.widgets.genes.map_turns import DOMAIN_MAP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp
    from napari_stem.layers.placement import SpotGrid, SpotShape
    from napari_stem.results import Prediction
    from napari_stem.spatial_analysis import Domains
    from napari_stem.widgets.genes.map_turns import LayerTurns

Legend = tuple[tuple[int, int], int]  # (width, height) of its bar in px, its letters in points
USUAL_LEGEND: Legend = ((20, 180), 10)
OUTLINE_WIDTH = 0.12  # of a spot


@dataclass(frozen=True)
class SpotMap:
    """What a map shows."""

    grid: SpotGrid  # where the spots lie, and in which shape
    values: NDArray[np.float32]  # (n_spots,), NaN where nothing is known
    title: str  # in the layer list and the legend
    limits: tuple[float, float]  # values of the first and the last colour
    colormap: str
    about: dict[str, str] = field(default_factory=dict)  # what it is of, for the layer's metadata


class SpotLayer:
    """A layer of spots, in the viewer or waiting.

    ``field`` is what it shows, for its metadata; ``rank`` above which others of ours, as in `map_turns`.
    """

    def __init__(self, turns: LayerTurns, field: str, rank: int) -> None:
        self._turns, self._field, self._rank = turns, field, rank
        self.layer: Any = None  # made when first needed

    def hide(self) -> None:
        """Take it out of the viewer."""
        if self.layer is not None:
            self._turns.hide(self.layer)

    def _describe(self, about: dict[str, str]) -> None:
        self.layer.metadata = {METADATA_KEY: {"field": self._field, **about}}


class ScalarMap(SpotLayer):
    """A layer that shows one value per spot, with its legend; ``edited`` is told limits that the user moves."""

    def __init__(
        self,
        turns: LayerTurns,
        field: str,
        rank: int,
        legend: Legend = USUAL_LEGEND,
        edited: Callable[[float, float], None] | None = None,
    ) -> None:
        super().__init__(turns, field, rank)
        self._edited = edited
        self.layer: Image = Image(
            np.full((1, 1), np.nan, np.float32),
            contrast_limits=(0, 1),
            interpolation2d="nearest",
            blending="translucent",
            visible=False,
            units=UM,
            axis_labels=AXES,
        )
        self._describe({})
        self.layer.colorbar.size, self._letters_pt = legend
        for part in (self.layer.colorbar, self.layer.name_overlay):
            part.position = "top_right"
            part.box = True
        self.layer.events.contrast_limits.connect(self._on_limits)

    def show(self, shown: SpotMap, *, with_legend: bool = True) -> None:
        """Show values; the layer comes to the viewer where it is not there."""
        layer, values, limits = self.layer, shown.values, shown.limits
        self._describe(shown.about)
        layer.data = shown.grid.raster(values)
        _place(layer, shown.grid)
        if layer.name != shown.title:
            layer.name = shown.title
        if layer.colormap.name != shown.colormap:
            layer.colormap = shown.colormap
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if known.size else limits
        with layer.events.contrast_limits.blocker(self._on_limits):
            layer.contrast_limits_range = (min(low, limits[0]), max(high, limits[1]))
            layer.contrast_limits = limits
        self._turns.show(layer, self._rank, shown.title, self._letters_pt if with_legend else 0)

    def _on_limits(self) -> None:
        if self._edited is not None:
            self._edited(*map(float, self.layer.contrast_limits))


class ColourMap(SpotLayer):
    """A layer of some name that shows one colour per spot."""

    def __init__(self, turns: LayerTurns, field: str, name: str, rank: int) -> None:
        super().__init__(turns, field, rank)
        self._name = name

    def show(self, grid: SpotGrid, colours: NDArray[np.uint8], path: str) -> None:
        """Show (n_spots, 4) colours of a prediction."""
        pixels = grid.colours(colours)
        if self.layer is None:
            self.layer = Image(
                pixels,
                rgb=True,
                name=self._name,
                interpolation2d="nearest",
                **grid.placement.as_layer_options(),
            )
        else:
            self.layer.data = pixels
            _place(self.layer, grid)
        self._describe({"prediction": path})
        self._turns.show(self.layer, self._rank)


class SpotOutlines(SpotLayer):
    """A layer that outlines spots, in one or more colours from the outermost line to the innermost."""

    def __init__(
        self, turns: LayerTurns, field: str, name: str, colours: Sequence[str], rank: int
    ) -> None:
        super().__init__(turns, field, rank)
        self._name, self._colours = name, colours

    def show(
        self, prediction: Prediction, mpp: Mpp, chosen: NDArray[np.int64], shape: SpotShape
    ) -> None:
        """Outline spots by index; none: there is no layer."""
        if not len(chosen):
            self.hide()
            return
        spots, n_lines = prediction.spots, len(self._colours)
        yx_um = np.column_stack([spots.y_px[chosen] * mpp.y_um, spots.x_px[chosen] * mpp.x_um])
        data = np.tile(yx_um, (n_lines, 1))
        symbol = "disc" if shape == "circle" else "square"
        if self.layer is None:
            self.layer = Points(
                name=self._name,
                face_color="transparent",
                border_width=OUTLINE_WIDTH,
                units=UM,
                axis_labels=AXES,
            )
        is_same = np.array_equal(self.layer.data, data) and self.layer.symbol[0] == symbol
        if not is_same:  # napari draws anew with each of these
            inner = 1 - OUTLINE_WIDTH * (2 * np.arange(n_lines) + 1)
            self.layer.data = data
            self.layer.symbol = symbol
            self.layer.size = np.repeat(spots.diameter_um * inner, len(chosen))
            self.layer.border_color = np.repeat(self._colours, len(chosen))
        self._describe({"prediction": str(prediction.path)})
        self._turns.show(self.layer, self._rank)


def _place(layer: Any, grid: SpotGrid) -> None:
    """Put a layer where the spots lie; napari would draw anew even where nothing changes."""
    scale, translate = grid.placement.scale_um, grid.placement.translate_um
    if not np.array_equal(layer.scale, scale):
        layer.scale = scale
    if not np.array_equal(layer.translate, translate):
        layer.translate = translate


TITLE = "Domains of predicted expression"
LEGEND_KEY = "napari_stem_domain_{}"  # of napari's overlays of the canvas
LEGEND_POINTS = 10
# Okabe and Ito's eight, which colour-blind eyes tell apart, then Tableau's where there are more.
COLOURS = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999",
    "#8c564b", "#bcbd22", "#9467bd", "#17becf", "#e377c2", "#2ca02c", "#aec7e8", "#ffbb78",
)  # fmt: skip


def colours_of(n_domains: int) -> list[str]:
    """Colours of so many domains; beyond sixteen they repeat."""
    return [COLOURS[i % len(COLOURS)] for i in range(n_domains)]


class DomainLayer(SpotLayer):
    """Shows domains in place of a prediction's map, and names their colours in the corner."""

    def __init__(self, turns: LayerTurns) -> None:
        super().__init__(turns, "domain", DOMAIN_MAP)
        self._viewer = turns.viewer
        self._lines: list[tuple[str, str]] = []  # text and ground of each line
        self._legend: list[str] = []  # keys of the overlays

    def show(self, grid: SpotGrid, prediction: Prediction, domains: Domains) -> None:
        """Show domains with their legend; makes the layer where there is none."""
        if self.layer is None:
            self.layer = Labels(
                np.zeros(grid.spot_at.shape, dtype=np.uint16),
                name=TITLE,
                visible=False,
                **grid.placement.as_layer_options(),
            )
            self.layer.editable = False
        layer = self.layer
        _place(layer, grid)
        self._describe({"prediction": str(prediction.path)})
        rows = np.flatnonzero(prediction.done)
        if len(rows) == len(domains.labels):
            layer.data = grid.labels(rows, domains.labels)
        colours = ["transparent", *colours_of(len(domains.names))]
        # a direct look-up of colours would be compiled for half a second first
        layer.colormap = CyclicLabelColormap(colors=colours)
        # what is read out under the cursor; label 0 is where there is no domain
        layer.features = {"index": range(len(domains.names) + 1), "domain": ["", *domains.names]}
        self._turns.show(layer, self._rank, TITLE)
        self._show_legend(domains.names)

    def hide(self) -> None:
        """Hide layer and legend."""
        super().hide()
        self._show_legend(())

    def legend(self) -> list[str]:
        """Return the lines of the legend on the canvas."""
        overlays = self._viewer.canvas.overlays
        return [str(overlays[key].text) for key in self._legend if overlays[key].visible]

    def _show_legend(self, names: Sequence[str]) -> None:
        """Write one line per domain in the corner, each in a turn of its own."""
        overlays = self._viewer.canvas.overlays
        self._lines = legend_lines(names, colours_of(len(names)))
        for key in self._legend[len(self._lines) :]:
            overlays[key].visible = False
        for place in range(len(self._lines)):
            self._turns.afterwards(partial(self._write_line, place))

    def _write_line(self, place: int) -> None:
        """Write a line; overlays are kept, as new ones cost time."""
        if place >= len(self._lines):  # hidden meanwhile
            return
        text, colour = self._lines[place]
        if place == len(self._legend):
            self._legend.append(LEGEND_KEY.format(place))
            self._viewer.canvas.overlays[self._legend[place]] = TextOverlay(
                font_size=LEGEND_POINTS, position="top_right", box=True
            )
        line = self._viewer.canvas.overlays[self._legend[place]]
        line.text, line.box_color, line.color = text, colour, readable_on(colour)
        line.visible = True
