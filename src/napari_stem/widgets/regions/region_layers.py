"""The regions that users draw: one shapes layer per slide, in its pixels, scaled to um."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import pandas as pd
import shapely
from napari.layers import Image, Labels, Layer, Shapes

from napari_stem.evaluation.differences import REST
from napari_stem.layers.from_files import BLANK, CLASS, CLICKED, NAME, NEW, NUMBER, region_rows
from napari_stem.layers.placement import AXES, METADATA_KEY, UM
from napari_stem.layers.values import luminance
from napari_stem.spatial.region_files import Colour, class_colour
from napari_stem.texts import own_names, quoted
from napari_stem.widgets.common.keys import REDO, UNDO
from napari_stem.widgets.common.parts import CLICK_PIXELS
from napari_stem.widgets.common.pictures import colours_of_values
from napari_stem.widgets.regions.region_shapes import (
    DrawnRegion,
    History,
    affine,
    number_shapes,
    read_shapes,
)
from napari_stem.widgets.slide.slide_layers import pyramid_of, regions_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_stem.geometry import Region
    from napari_stem.slide.base import Slide

EDGE_PIXELS = 3  # width of outlines on a screen that shows the whole slide
SCREEN_PIXELS = 800
LABEL = {"string": "{name}", "size": 12, "color": "white", "anchor": "center"}
# what is looked at under a name, as shares of its region's sides
UNDER = np.stack(
    np.meshgrid(np.linspace(-0.06, 0.06, 5), np.linspace(-0.12, 0.12, 9)), axis=-1
).reshape(-1, 2)
NEAR = 0.25  # share of a side within which a smaller region's middle takes the place of the name
MOST_LETTERS = 24  # of a name: longer ones would reach over their neighbours
# regions on a slide that have theirs written: napari's time grows with the square of their number, and at every
# zoom 3,000 would hold the window up for most of a second
MOST_NAMES = 2000
NO_NAMES = {"constant": ""}
# of a name on the screen: an average letter's width, and by what napari moves the next line
LETTER_PX, LINE_PX = 12.0, 27.9
LIGHT = 0.33  # relative luminance above which black is read more easily


class RegionLayers:
    """Makes, reads and changes the shapes layers of slides."""

    def __init__(self, viewer: Viewer, changed: Callable[[], None]) -> None:
        self._viewer = viewer
        self._changed = changed
        self._histories: dict[Shapes, History] = {}
        self._of_removed: dict[Shapes, History] = {}  # the last one, which may be brought back
        self.is_pressed = False  # the mouse button, on the canvas
        self._is_outlining = False  # from the first corner that the mouse sets to the last

    def find(self, slide: Slide) -> Shapes | None:
        """Return the slide's shapes layer, or None where nothing has been drawn."""
        # the first that came: a copy that was made in napari has the same owner, wherever it lies
        own = [la for la in self._histories if regions_owner(la) == slide.fingerprint]
        return next((la for la in own if la in self._viewer.layers), None)

    def of(self, slide: Slide) -> Shapes:
        """Return the slide's shapes layer, made if there is none."""
        found = self.find(slide)
        if found is not None:
            return found
        mpp = slide.require_mpp()
        edge_px = EDGE_PIXELS * max(slide.size.height_px, slide.size.width_px) / SCREEN_PIXELS
        layer = self._viewer.add_shapes(
            ndim=2,
            name=f"Regions on {slide.path.stem}",
            edge_color=_rgba(class_colour(""))[np.newaxis],
            face_color="transparent",
            opacity=1.0,
            edge_width=edge_px,
            scale=(mpp.y_um, mpp.x_um),
            units=UM,
            axis_labels=AXES,
            features=pd.DataFrame(
                {key: pd.Series(dtype=type(value)) for key, value in BLANK.items()}
            ),
            text=LABEL,
            metadata={METADATA_KEY: {"regions_of": slide.fingerprint, "colours": {}, "mpp": mpp}},
        )
        layer.current_edge_width = edge_px
        return layer

    def adopt(self, layer: Shapes) -> None:
        """Follow a layer of regions that has come: made here, left by an earlier dock, or brought back."""
        layer.events.data.connect(self._on_data)
        layer.events.features.connect(self._on_features)
        layer.bind_key(UNDO.sequence, self.undo, overwrite=True)
        layer.bind_key(REDO.sequence, self.redo, overwrite=True)
        self._histories[layer] = self._of_removed.get(layer) or History(layer)

    def keep_on_picture(self, slide: Slide) -> None:
        """Keep outlines on the pixels they were drawn on when the slide's pixel size was changed."""
        layer = self.find(slide)
        if layer is None or slide.mpp in {None, layer.metadata[METADATA_KEY]["mpp"]}:
            return
        layer.mode = "pan_zoom"
        layer.metadata[METADATA_KEY]["mpp"] = mpp = slide.require_mpp()
        layer.scale = mpp.y_um, mpp.x_um

    def take_along(self, slide: Slide, by: NDArray[np.float64]) -> None:
        """Keep outlines on the picture when the slide's layer was moved in the world, ``by`` (3, 3)."""
        if (layer := self.find(slide)) is not None:
            layer.affine = by @ layer.affine.affine_matrix

    def hand_tool(self, layer: Shapes, mode: str) -> None:
        """Hand the user a tool: a mode of napari's shapes layer."""
        self._viewer.dims.ndisplay = 2  # napari draws no outlines in 3D
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = mode

    def put_tool_away(self, slide: Slide) -> None:
        """Let clicks move the view again."""
        layer = self.find(slide)
        if layer is not None:
            layer.mode = "pan_zoom"

    def add(
        self,
        slide: Slide,
        regions: Sequence[Region],
        slide_layer: Image,
        clicked: Collection[str] = (),
    ) -> None:
        """Show further regions, with their classes and colours; a name that is taken gets a number.

        ``clicked`` are the names of those that one click made.
        """
        layer = self.of(slide)
        self._end_outline(layer)
        # those of QuPath that have none go by their class, which many share
        names = own_names((region.name for region in regions), [REST, *layer.features[NAME]])
        outlines, rows, colours = region_rows(
            [replace(region, name=name) for region, name in zip(regions, names, strict=True)],
            max((int(n) for n in layer.features[NUMBER]), default=0),
        )
        if not outlines:
            return
        _colours(layer).update(colours)
        to_layer = affine(lambda point: layer.world_to_data(slide_layer.data_to_world(point)))
        with self._our_change(layer):
            is_clicked = rows[NAME].isin(clicked)
            table = pd.concat(
                [layer.features, rows.assign(**{CLICKED: is_clicked})], ignore_index=True
            )
            layer.add([to_layer(yx_px - 0.5) for yx_px in outlines], shape_type="polygon")
            layer.features = table.astype(layer.features.dtypes.to_dict())

    def drawn(self, slide: Slide, slide_layer: Image) -> list[DrawnRegion]:
        """Regions on a slide; outlines that are not finished yet are left out."""
        layer = self.find(slide)
        if layer is None:
            return []
        if not self.is_drawing(layer):
            self._drop_clicks(layer)
            if NEW in layer.features[NUMBER].array:
                unheard = layer.events.features.blocker(self._on_features)
                with unheard, _names_placed_once(layer):
                    number_shapes(layer)
                    self._recolour(layer)
        return read_shapes(layer, slide_layer, partial(self.colour, layer))

    def change(self, layer: Shapes, number: int, value: str, column: str) -> None:
        """Give a region another name or class."""
        self._end_outline(layer)
        with self._our_change(layer):
            table = layer.features.copy()
            table.loc[table[NUMBER] == number, column] = value
            layer.features = table

    def set_class_colour(self, layer: Shapes, classification: str, colour: Colour) -> None:
        """Draw all regions of a class in another colour."""
        with self._our_change(layer):
            _colours(layer)[classification] = colour

    def remove(self, layer: Shapes, numbers: Sequence[int] | None = None) -> None:
        """Remove regions by number, or all."""
        self._end_outline(layer)
        of_each = layer.features[NUMBER]
        gone = np.flatnonzero(of_each.isin(of_each if numbers is None else numbers))
        if len(gone):
            with self._our_change(layer):
                layer.selected_data = set()
                layer.remove(gone.tolist())

    def select(self, layer: Shapes, numbers: Sequence[int]) -> None:
        """Select regions on the canvas, by number, so that they can be moved and resized there."""
        if layer.mode not in {"select", "direct"}:
            self.hand_tool(layer, "select")
        layer.selected_data = set(np.flatnonzero(layer.features[NUMBER].isin(numbers)).tolist())

    def undo(self, layer: Shapes) -> None:
        """Take the last change of regions back."""
        self._go(layer, -1)

    def redo(self, layer: Shapes) -> None:
        """Make the change again that was taken back."""
        self._go(layer, 1)

    def note(self, layer: Shapes, step: str = "") -> bool:
        """Note the regions as they are now as a step that undo can come back to; tell whether there is any.

        Not while an outline is being drawn: nobody wants to come back to half of one. Steps of one
        kind that follow one another are taken back together.
        """
        history = self._histories[layer]
        if not self.is_drawing(layer):
            history.note(step)
        return history.can_undo

    def is_drawing(self, layer: Shapes) -> bool:
        """Whether an outline is under way; touching the layer then loses corners of it."""
        if self.is_pressed or self._is_outlining:
            return True
        is_by_corners = layer.mode.startswith(("add_poly", "add_path"))
        return is_by_corners and not all(map(_encloses, layer.data[-1:]))

    def raise_outlines(self, slide: Slide) -> None:
        """Move a slide's outlines above its maps."""
        layer = self.find(slide)
        if layer is not None:
            layers = self._viewer.layers
            layers.move(layers.index(layer), len(layers))

    def forget(self, layer: Shapes) -> None:
        """Follow a layer no more, which was removed."""
        if (history := self._histories.pop(layer, None)) is not None:
            self._of_removed = {layer: history}
            self._is_outlining = False  # napari does not tell that it ends
            layer.events.data.disconnect(self._on_data)
            layer.events.features.disconnect(self._on_features)
            for key in (UNDO, REDO):
                layer.bind_key(key.sequence, None)

    def close(self) -> None:
        """Let go of all layers, which stay in the viewer."""
        for layer in list(self._histories):
            self.forget(layer)
        self._of_removed = {}

    def colour(self, layer: Shapes, classification: str) -> Colour:
        """Colour of a class on one slide."""
        return class_colour(classification, _colours(layer))

    def _end_outline(self, layer: Shapes) -> None:
        """End an outline that is set corner by corner: while it grows, napari can take no shape away."""
        if self.is_drawing(layer) and not self.is_pressed:
            mode = layer.mode
            layer.mode = "pan_zoom"
            layer.mode = mode

    def _go(self, layer: Shapes, by: int) -> None:
        self._end_outline(layer)
        self.note(layer)  # a change of the last moment
        with self._our_change(layer):
            self._histories[layer].go(by)

    @contextmanager
    def _our_change(self, layer: Shapes) -> Iterator[None]:
        """Change a layer without hearing of each step; tell of the whole."""
        with _names_placed_once(layer):
            with (
                layer.events.data.blocker(self._on_data),
                layer.events.features.blocker(self._on_features),
            ):
                yield
            self._recolour(layer)
        self._changed()

    def _recolour(self, layer: Shapes) -> None:
        classes = [str(name) for name in layer.features[CLASS]] if layer.nshapes else []
        if classes:
            layer.edge_color = np.stack([_rgba(self.colour(layer, name)) for name in classes])
            layer.edge_width = [layer.current_edge_width] * len(classes)
            self._label(layer)
        layer.feature_defaults = layer.feature_defaults.assign(**BLANK)

    def relabel(self, layer: Shapes) -> None:
        """Keep the names readable on what the map shows now."""
        if not self.is_drawing(layer):
            self._label(layer)

    def _label(self, layer: Shapes) -> None:
        if layer.nshapes > MOST_NAMES:
            layer.text.string = NO_NAMES
        elif layer.nshapes:
            to_world = affine(layer.data_to_world)
            under = self._viewer.layers[: self._viewer.layers.index(layer)]
            outlines = [to_world(each) for each in layer.data]
            px_per_um = self._viewer.scene.camera.zoom
            written = labels(outlines, [str(name) for name in layer.features[NAME]], px_per_um)
            shifts_um = [half_lines_down(text) * LINE_PX / 2 / px_per_um for text in written]
            seen = [np.add(each, (by, 0)) for each, by in zip(outlines, shifts_um, strict=True)]
            # both at once: napari places all texts anew with each change
            look = {"string": written, "color": label_colours(seen, under)}
            layer.text.update(look, recurse=False)

    def _drop_clicks(self, layer: Shapes) -> None:
        """Take out what a click without a drag, or two corners, have left: napari makes shapes of them."""
        least_um = CLICK_PIXELS / self._viewer.scene.camera.zoom
        # where nothing is left of an outline, napari forgets to take its row away
        new = layer.features[NUMBER].to_numpy()[: layer.nshapes] == NEW
        sides_um = [np.ptp(corners, axis=0) * layer.scale for corners in layer.data]
        gone = [
            n
            for n in np.flatnonzero(new).tolist()
            if sides_um[n].max() < least_um
            or (layer.shape_type[n] == "polygon" and len(np.unique(layer.data[n], axis=0)) < 3)
        ]
        if gone:
            with layer.events.data.blocker(self._on_data):
                layer.selected_data = set()
                layer.remove(gone)

    def _on_data(self, event: Any) -> None:
        layer, action = event.source, str(event.action)
        if action == "adding":
            # napari offers the features of what is selected
            layer.feature_defaults = layer.feature_defaults.assign(**BLANK)
            self._is_outlining = self.is_pressed  # until napari says that the shape is added
        else:
            self._is_outlining = False
            if action == "changed" and len(layer.features) > layer.nshapes:
                # with its third corner a shape goes, and napari forgets to take its row away
                left = np.delete(np.arange(len(layer.features)), event.data_indices)
                layer.features = layer.features.iloc[left]
        self._changed()

    def _on_features(self, event: Any) -> None:
        """Make regions of their own of shapes pasted in napari, which take numbers and names along.

        That they were added napari tells by their features alone. What was cut comes back as it was, if
        no other has taken its number or name meanwhile.
        """
        layer, table = event.source, event.source.features.copy()
        n_known = self._histories[layer].n_shapes
        known = table[:n_known]
        is_taken = table[NUMBER].isin(known[NUMBER]) | table[NAME].isin(known[NAME])
        is_pasted = is_taken & (np.arange(len(table)) >= n_known)
        if is_pasted.any():
            table.loc[is_pasted, [NUMBER, NAME, CLICKED]] = NEW, "", False
            with layer.events.features.blocker(self._on_features):
                layer.features = table
        self._changed()


@contextmanager
def _names_placed_once(layer: Shapes) -> Iterator[None]:
    """Hide the names of regions while they change: napari places all of them at each step."""
    is_named, layer.text.visible = layer.text.visible, False
    try:
        yield
    finally:
        layer.text.visible = is_named


def _encloses(corners: NDArray[np.float64]) -> bool:
    y, x = np.asarray(corners, dtype=np.float64).T
    return bool(abs(np.dot(y, np.roll(x, 1)) - np.dot(x, np.roll(y, 1))) > 1e-9)


def _colours(layer: Shapes) -> dict[str, Colour]:
    colours: dict[str, Colour] = layer.metadata[METADATA_KEY]["colours"]
    return colours


def _rgba(colour: Colour) -> Any:
    return np.array([*(value / 255 for value in colour), 1.0])


def warm_up() -> None:
    """Load what napari needs for its first shape, which takes seconds; call it off the GUI thread."""
    square = np.array([[0, 0], [0, 3], [3, 3], [3, 0]], dtype=float)
    Shapes(ndim=2, features={NAME: []}, text=LABEL).add(
        [square, square + 1, square + 2], shape_type=["polygon", "rectangle", "ellipse"]
    )


def labels(
    outlines_yx: Sequence[NDArray[np.float64]], names: Sequence[str], px_per_um: float
) -> list[str]:
    """Say what to write in each outline's middle, (m, 2) in um: its short name, where there is room for it.

    Smaller regions come first. A name that would cover another goes up or down, by lines that are left empty
    below or above it, or to an edge of its region, and is left out where there is no room either. To an edge
    goes, too, the name of a region whose middle a smaller one takes.
    """
    texts = [quoted(name, MOST_LETTERS) for name in names]
    widths_px = LETTER_PX * np.array([len(text) for text in texts])
    middles_px = np.array([outline.mean(axis=0) for outline in outlines_yx]) * px_per_um
    tops_px = np.array([outline.min(axis=0) for outline in outlines_yx]) * px_per_um
    sides_px = np.array([np.ptp(outline, axis=0) for outline in outlines_yx]) * px_per_um
    areas = sides_px.prod(axis=1)
    reach_px = NEAR * np.maximum(sides_px, 1e-9)
    frames = shapely.box(*(middles_px - reach_px).T, *(middles_px + reach_px).T)
    tree = shapely.STRtree(shapely.points(middles_px))
    outer, inner = tree.query(frames, "contains_properly")
    is_round = np.isin(range(len(texts)), outer[areas[outer] > areas[inner]])
    half_px, written = LINE_PX / 2, [""] * len(texts)
    # middle and width of what is written, by the line of the screen
    lines = defaultdict[int, list[tuple[float, float, float]]](list)
    for n in np.argsort(areas, kind="stable").tolist():
        (y_px, x_px), width_px = middles_px[n].tolist(), float(widths_px[n])
        from_top_px = y_px - tops_px[n, 0]
        top = 1 - int(from_top_px / half_px)
        bottom = int((sides_px[n, 0] - from_top_px) / half_px) - 1
        for half_lines in (top, bottom) if is_round[n] else (0, -1, 1, -2, 2, top, bottom):
            at_px = y_px + half_lines * half_px
            line = int(at_px // LINE_PX)
            near = (*lines[line - 1], *lines[line], *lines[line + 1])
            if not any(
                abs(y - at_px) < LINE_PX and abs(x - x_px) < (width + width_px) / 2
                for y, x, width in near
            ):
                lines[line].append((at_px, x_px, width_px))
                # an empty line at the end counts by its space alone
                below = "\n" * -half_lines + " " if half_lines < 0 else ""
                written[n] = "\n" * half_lines + texts[n] + below
                break
    return written


def half_lines_down(text: str) -> int:
    """How far below the middle a text is seen that is drawn round it, by its empty lines; above: negative."""
    return text.count("\n") * (1 if text.startswith("\n") else -1)


def label_colours(
    outlines_yx: Sequence[NDArray[np.float64]], layers: Iterable[Layer]
) -> NDArray[np.float32]:
    """Black or white, (n, 4), for names in the middle of outlines, each (m, 2) in the world.

    ``layers`` are what is under them, the lowest first.
    """
    places = np.stack([o.mean(axis=0) + UNDER * np.ptp(o, axis=0) for o in outlines_yx])
    seen = np.zeros((*places.shape[:2], 3))
    for layer in layers:
        if layer.visible and isinstance(layer, Image | Labels) and layer.ndim == 2:
            colours = _colours_at(layer, places)
            alpha = colours[..., 3:]
            kept = 1 if layer.blending == "additive" else 1 - alpha
            seen = np.clip(seen * kept + colours[..., :3] * alpha, 0, 1)
    is_light = luminance(seen).mean(axis=1) > LIGHT
    return np.where(is_light[:, np.newaxis], (0, 0, 0, 1), (1, 1, 1, 1)).astype(np.float32)


def _colours_at(layer: Image | Labels, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Red, green, blue, alpha of (n, m, 2) places in the world: (n, m, 4), transparent beside the layer."""
    whole, pixels = (
        (layer.data[0], layer.data[-1]) if layer.multiscale else (layer.data, layer.data)
    )
    if (pyramid := pyramid_of(layer)) is not None:
        known = pyramid.known  # rather than wait for levels that are being made
        pixels = pyramid.arrays[pyramid.overview_level] if known is None else known
    to_data = affine(layer.world_to_data)
    shrunk = np.divide(pixels.shape[:2], whole.shape[:2])
    y, x = np.floor((to_data(places.reshape(-1, 2)) + 0.5) * shrunk).astype(int).T
    is_inside = (y >= 0) & (x >= 0) & (y < pixels.shape[0]) & (x < pixels.shape[1])
    with dask.config.set(scheduler="synchronous"):  # threads may be busy with a prediction
        found: NDArray[Any] = np.asarray(pixels)[y[is_inside], x[is_inside]]
    rgba = np.zeros((len(y), 4))
    rgba[is_inside] = colours_of_values(layer, found)
    return rgba.reshape(*places.shape[:2], 4)
