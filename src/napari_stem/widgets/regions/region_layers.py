"""The regions that users draw: one shapes layer per slide, in its pixels, scaled to um."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from napari.layers import Image, Shapes

from napari_stem.evaluation.differences import REST
from napari_stem.layers.from_files import BLANK, CLASS, CLICKED, NAME, NEW, NUMBER, region_rows
from napari_stem.layers.placement import AXES, METADATA_KEY, UM
from napari_stem.spatial.region_files import Colour, class_colour
from napari_stem.texts import own_names
from napari_stem.widgets.common.keys import REDO, UNDO
from napari_stem.widgets.common.parts import CLICK_PIXELS
from napari_stem.widgets.regions.region_names import LINE_PX, half_lines_down, label_colours, labels
from napari_stem.widgets.regions.region_shapes import (
    DrawnRegion,
    History,
    affine,
    number_shapes,
    read_shapes,
)
from napari_stem.widgets.slide.slide_layers import regions_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_stem.geometry import Region
    from napari_stem.slide.base import Slide

EDGE_PIXELS = 3  # width of outlines on a screen that shows the whole slide
SCREEN_PIXELS = 800
LABEL = {"string": "{name}", "size": 12, "color": "white", "anchor": "center"}
# regions on a slide that have theirs written: napari's time grows with the square of their number, and at every
# zoom 3,000 would hold the window up for most of a second
MOST_NAMES = 2000
NO_NAMES = {"constant": ""}


class RegionLayers:
    """Makes, reads and changes the shapes layers of slides."""

    def __init__(self, viewer: Viewer, changed: Callable[[], None]) -> None:
        self._viewer = viewer
        self._changed = changed
        # of all that came: one that was removed may be brought back
        self._histories: WeakKeyDictionary[Shapes, History] = WeakKeyDictionary()
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
        if layer not in self._histories:
            self._histories[layer] = History(layer)

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
            history.note(layer, step)
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
        self._is_outlining = False  # napari does not tell that it ends
        layer.events.data.disconnect(self._on_data)
        layer.events.features.disconnect(self._on_features)
        for key in (UNDO, REDO):
            layer.bind_key(key.sequence, None)

    def close(self) -> None:
        """Let go of all layers, which stay in the viewer."""
        for layer in filter(self._histories.__contains__, self._viewer.layers):
            self.forget(layer)

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
            self._histories[layer].go(layer, by)

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
