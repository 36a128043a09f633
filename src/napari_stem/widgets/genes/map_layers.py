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

from napari_stem.layers.placement import AXES, METADATA_KEY, UM, SpotGrid, SpotShape
from napari_stem.layers.values import MOST_LINES, faded_colours, legend_lines, readable_on
from napari_stem.widgets.common.pictures import colours_of_values
from napari_stem.widgets.genes.layer_queue import DOMAIN_RANK, LayerQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp
    from napari_stem.results import Prediction
    from napari_stem.spatial_analysis import Domains

    Edited = Callable[["SpotMap", float, float], None]

Legend = tuple[tuple[int, int], int]  # (width, height) of its bar in px, its letters in points
USUAL_LEGEND: Legend = ((20, 180), 10)
OUTLINE_WIDTH = 0.12  # of a spot
IN_UM = {"units": UM, "axis_labels": AXES}
OF_SPOTS = {"interpolation2d": "nearest", "interpolation3d": "nearest", "visible": False, **IN_UM}


@dataclass(frozen=True)
class SpotMap:
    """What a map shows."""

    kind: str  # of its values, as `DisplaySettings.kind`, or ``score``
    grid: SpotGrid  # where the spots lie, and in which shape
    values: NDArray[np.float32]  # (n_spots,), NaN where nothing is known
    title: str  # in the layer list and the legend
    limits: tuple[float, float]  # values of the first and the last colour
    colormap: str
    about: dict[str, str] = field(default_factory=dict)  # what it is of, for the layer's metadata
    # (n_spots,), 0 to 1, where the map is not equally strong everywhere
    opacity: NDArray[np.float64] | None = None
    # (n_spots,), 0 to 1, by which spots are shown or hidden, where they are: read out in place of the values
    probability: NDArray[np.float64] | None = None

    def value_at(self, position: Any) -> float:
        """Value at a position in um on the slide; NaN where there is none."""
        spot = spot_under(self.grid, position)
        return float("nan") if spot is None else float(self.values[spot])

    def colours(self, legend: Image) -> NDArray[np.uint8]:
        """(n_spots, 4) colours of a map that is not equally strong everywhere, as its legend has them.

        The opacity of the legend's layer is left to the layer of the colours.
        """
        rgba = colours_of_values(legend, self.values)
        rgba[:, 3] = 1
        return faded_colours(rgba, 1.0 if self.opacity is None else self.opacity)


def spot_under(grid: SpotGrid, position: Any) -> int | None:
    """Index of the spot at a position in um on the slide, or None."""
    where = grid.placement
    row, col = np.subtract(position[-2:], where.translate_um) / where.scale_um
    return grid.spot_under(row, col)


class SpotLayer:
    """A layer of spots, in the viewer or waiting.

    ``field`` is what it shows, for its metadata; ``rank`` above which others of ours, as in `layer_queue`.
    """

    def __init__(self, queue: LayerQueue, layer: Any, field: str, rank: int) -> None:
        self.layer = layer
        self._queue, self._field, self._rank = queue, field, rank

    def hide(self) -> None:
        """Take it out of the viewer."""
        self._queue.hide(self.layer)

    def _show(self, about: dict[str, str], title: str = "", letters_pt: int = 0) -> None:
        self.layer.metadata = {METADATA_KEY: {"field": self._field, **about}}
        self._queue.show(self.layer, self._rank, title, letters_pt)

    def _place(self, grid: SpotGrid) -> None:
        """Put it where the spots lie; napari would draw anew even where nothing changes."""
        layer, place = self.layer, grid.placement
        if not np.array_equal([layer.scale, layer.translate], [place.scale_um, place.translate_um]):
            layer.scale, layer.translate = place.scale_um, place.translate_um


class ScalarMap(SpotLayer):
    """A layer that shows one value per spot, with its legend.

    ``edited`` is told limits that the user moves, and of which map.
    """

    _shown: SpotMap  # last

    def __init__(
        self,
        queue: LayerQueue,
        edited: Edited,
        field: str,
        rank: int,
        legend: Legend = USUAL_LEGEND,
    ) -> None:
        nothing = np.full((1, 1), np.nan, np.float32)
        layer = Image(nothing, contrast_limits=(0, 1), blending="translucent", **OF_SPOTS)
        super().__init__(queue, layer, field, rank)
        self._edited = edited
        # the colormap that it was given last: one that is set in napari stays meanwhile
        self._given = ""
        layer.colorbar.size, self._letters_pt = legend
        layer.colorbar.font_size = self._letters_pt  # else numbers of a short bar touch one another
        for part in (layer.colorbar, layer.name_overlay):
            part.position = "top_right"
            part.box = True
        layer.events.contrast_limits.connect(self._on_limits)

    def show(self, shown: SpotMap, *, with_legend: bool = True) -> None:
        """Show values, or of a map that has opacities of its own the legend alone.

        The layer comes to the viewer where it is not there.
        """
        self._shown, layer, values, limits = shown, self.layer, shown.values, shown.limits
        is_legend = shown.opacity is not None
        layer.name = shown.title
        if self._given != shown.colormap:
            self._given = layer.colormap = shown.colormap
        known = np.append(values[np.isfinite(values)], limits)
        # napari sets limits of its own with the data where its auto-contrast is "continuous"
        with layer.events.contrast_limits.blocker(self._on_limits):
            layer.data = shown.grid.raster(np.full_like(values, np.nan) if is_legend else values)
            self._place(shown.grid)
            layer.contrast_limits_range = (float(known.min()), float(known.max()))
            layer.contrast_limits = limits
        self._show(shown.about, shown.title, self._letters_pt if with_legend else 0)

    def let_go_of_colormap(self) -> None:
        """Have the colormap of the next map, whatever was set in napari."""
        self._given = ""

    def _on_limits(self) -> None:
        self._edited(self._shown, *map(float, self.layer.contrast_limits))


class ColourMap(SpotLayer):
    """A layer of some name that shows one colour per spot."""

    def __init__(self, queue: LayerQueue, field: str, name: str, rank: int) -> None:
        nothing = np.zeros((1, 1, 4), np.uint8)
        super().__init__(queue, Image(nothing, rgb=True, name=name, **OF_SPOTS), field, rank)

    def show(self, grid: SpotGrid, colours: NDArray[np.uint8], path: str) -> None:
        """Show (n_spots, 4) colours of a prediction."""
        self.layer.data = grid.colours(colours)
        self._place(grid)
        self._show({"prediction": path})


class SpotOutlines(SpotLayer):
    """A layer that outlines spots, in one or more colours from the outermost line to the innermost."""

    def __init__(
        self, queue: LayerQueue, field: str, name: str, colours: Sequence[str], rank: int
    ) -> None:
        self._colours = colours
        layer = Points(
            ndim=2,
            name=name,
            face_color="transparent",
            border_width=OUTLINE_WIDTH,
            visible=False,
            **IN_UM,
        )
        super().__init__(queue, layer, field, rank)

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
        # napari draws anew with each of these
        if not np.array_equal(self.layer.data, data) or self.layer.symbol[0] != symbol:
            inner = 1 - OUTLINE_WIDTH * (2 * np.arange(n_lines) + 1)
            self.layer.data = data
            self.layer.symbol = symbol
            self.layer.size = np.repeat(spots.diameter_um * inner, len(chosen))
            self.layer.border_color = np.repeat(self._colours, len(chosen))
        self._show({"prediction": str(prediction.path)})


TITLE = "Domains of predicted expression"
LEGEND_KEYS = [f"napari_stem_domain_{n}" for n in range(MOST_LINES)]  # of the canvas's overlays
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

    def __init__(self, queue: LayerQueue) -> None:
        layer = Labels(np.zeros((1, 1), np.uint16), name=TITLE, visible=False, **IN_UM)
        layer.editable = False
        super().__init__(queue, layer, "domain", DOMAIN_RANK)
        self._overlays = queue.viewer.canvas.overlays
        self._lines: list[tuple[str, str]] = []  # text and ground of each line

    def show(self, grid: SpotGrid, prediction: Prediction, domains: Domains) -> None:
        """Show domains with their legend."""
        layer = self.layer
        self._place(grid)
        rows = np.flatnonzero(prediction.done)
        if len(rows) == len(domains.labels):
            layer.data = grid.labels(rows, domains.labels)
        colours = ["transparent", *colours_of(len(domains.names))]
        # a direct look-up of colours would be compiled for half a second first
        layer.colormap = CyclicLabelColormap(colors=colours)
        # what is read out under the cursor; label 0 is where there is no domain
        layer.features = {"index": range(len(domains.names) + 1), "domain": ["", *domains.names]}
        self._show({"prediction": str(prediction.path)}, TITLE)
        self._show_legend(domains.names)

    def hide(self) -> None:
        """Hide layer and legend."""
        super().hide()
        self._show_legend(())

    def legend(self) -> list[str]:
        """Return the lines of the legend on the canvas."""
        lines = [self._overlays[key] for key in LEGEND_KEYS if key in self._overlays]
        return [str(line.text) for line in lines if line.visible]

    def _show_legend(self, names: Sequence[str]) -> None:
        """Write one line per domain in the corner, each in a turn of its own."""
        self._lines = legend_lines(names, colours_of(len(names)))
        for key in LEGEND_KEYS[len(self._lines) :]:
            if key in self._overlays:
                self._overlays[key].visible = False
        for place in range(len(self._lines)):
            self._queue.afterwards(partial(self._write_line, place))

    def _write_line(self, place: int) -> None:
        """Write a line; overlays are kept, as new ones cost time."""
        if place >= len(self._lines):  # hidden meanwhile
            return
        text, colour = self._lines[place]
        key = LEGEND_KEYS[place]
        if key not in self._overlays:
            self._overlays[key] = TextOverlay(
                font_size=LEGEND_POINTS, position="top_right", box=True
            )
        line = self._overlays[key]
        line.text, line.box_color, line.color = text, colour, readable_on(colour)
        line.visible = True
