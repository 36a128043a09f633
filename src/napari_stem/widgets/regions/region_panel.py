"""Region: where to predict. Regions are drawn, clicked, found, loaded, saved and counted."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import shapely
from napari.utils.notifications import show_info
from qtpy.QtCore import Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QDoubleSpinBox, QGridLayout, QLabel, QPushButton, QWidget

from napari_stem.evaluation.differences import REST
from napari_stem.geometry import Region
from napari_stem.layers.from_files import CLASS, NAME
from napari_stem.slide.tissue import glass_share
from napari_stem.spatial.region_files import read_regions, write_regions
from napari_stem.texts import count, own_names
from napari_stem.widgets.common import parts
from napari_stem.widgets.common.form import number
from napari_stem.widgets.common.table import Table
from napari_stem.widgets.common.worker import Jobs, LatestJob
from napari_stem.widgets.regions.region_layers import RegionLayers, warm_up
from napari_stem.widgets.regions.region_shapes import (
    DrawnRegion,
    count_spots,
    free_name,
    read_shapes,
    square_of_spots,
)
from napari_stem.widgets.regions.region_table import COLUMNS, NO_CLASS, RegionView
from napari_stem.widgets.slide.slide_layers import load_units, regions_owner
from napari_stem.widgets.slide.tissue_box import TissueBox

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from napari.layers import Image, Layer, Shapes
    from napari.viewer import Viewer

    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.memory import Remembered
    from napari_stem.widgets.slide.slide_panel import SlidePanel

CLICK = "click"
TOOLS = {
    "add_rectangle": ("Rectangle", "Draw a rectangle on the slide"),
    "add_polygon": ("Polygon", "Outline a region corner by corner"),
    "add_polygon_lasso": ("Lasso", "Outline a region freehand"),
    "add_ellipse": ("Ellipse", "Draw an ellipse on the slide"),
    CLICK: ("One click", "Predict the neighbourhood of every place that you click"),
    "direct": ("Edit", "Move the corners of regions"),
}
HOW_TO = {
    "": "",
    "add_rectangle": "Press at one corner, drag to the opposite one.",
    "add_polygon": "Click to set corners on the slide; double-click to close the outline.",
    "add_polygon_lasso": "Press, draw round the region, release to close it.",
    "add_ellipse": "Press at one corner of its frame, drag to the opposite one.",
    CLICK: "Click on the slide: the neighbourhood is predicted at once.",
    "direct": "Click a region, then drag its corners; the Delete key removes it.",
}
TOOLS_IN_A_ROW = 3
GEOJSON = "Regions (*.geojson *.json);;All files (*)"
FOUND = re.compile(r"tissue \d+")  # names of regions that the search gave
TISSUE_STEP = "tissue"  # searches that follow one another are taken back together
TOLD_GLASS = 0.05  # share of the area; an outline drawn by hand always holds a little
MOST_ROWS_SEEN = 7
COUNT_AFTER_MS = 150  # regions are counted once the pen has rested this long


class RegionPanel(QWidget):
    """Offers tools to draw regions with on the active slide; lists them and counts what they hold.

    ``pitch`` holds the distance between spots, in um.
    """

    counted = Signal()  # anew what the regions hold
    neighbourhood_clicked = Signal()

    def __init__(
        self,
        viewer: Viewer,
        jobs: Jobs,
        slides: SlidePanel,
        pitch: QDoubleSpinBox,
        remembered: Remembered,
    ) -> None:
        super().__init__()
        self._viewer, self._jobs, self._slides = viewer, jobs, slides
        self._pitch, self.folder = pitch, remembered.region_folder
        self.tool = ""  # in hand
        # as counted last: regions of the active slide, and what they hold together
        self.counted_regions: tuple[Region, ...] = ()
        self.n_spots, self.area_mm2 = 0, 0.0
        self.warning = ""  # of these regions
        self._key = ("", 0, 0, 0.0)  # slide and numbers as last told
        self._looking = LatestJob(jobs)
        self.layers = RegionLayers(viewer, self.count_soon)
        self._timer = parts.one_shot(jobs, COUNT_AFTER_MS, self.count)
        relabel = partial(self._change, self.layers.relabel)
        self._relabelling = parts.one_shot(jobs, COUNT_AFTER_MS, relabel)
        self._letting_go = parts.one_shot(jobs, 0, self._let_go_of_tool)
        jobs.at_end(self.layers.close)
        jobs.call_back(viewer.mouse_drag_callbacks, self.follow_press)
        events = viewer.layers.events
        jobs.listen(
            (events.inserted, self._on_inserted),
            (events.removed, self._on_removed),
            # every new layer is selected for a moment
            (viewer.layers.selection.events.active, lambda _: self._letting_go.start()),
            (viewer.scene.camera.events.zoom, lambda _: self.relabel_soon()),
        )
        for layer in viewer.layers:
            self._take_in(layer)
        slides.activated.connect(self._on_activated)
        slides.back_button.doubled.connect(self._add_again)
        slides.moved.connect(self.layers.take_along)
        pitch.valueChanged.connect(self.count_soon)
        self.tissue = TissueBox(jobs, slides, self.replace_tissue, remembered)
        self._lay_out(remembered.n_click_spots)
        load_units()
        jobs.start(warm_up)

    def _lay_out(self, n_click_spots: int) -> None:
        self.tools: dict[str, QPushButton] = {}
        tools = QGridLayout()
        tools.setSpacing(4)
        for place, (tool, (title, tip)) in enumerate(TOOLS.items()):
            made = parts.button(title, tip, lambda on, tool=tool: self.use_tool(tool if on else ""))
            self.tools[tool] = made
            made.setCheckable(True)
            tools.addWidget(made, *divmod(place, TOOLS_IN_A_ROW))
        self.import_button = parts.button(
            "Load…",
            "Load regions from a GeoJSON file, as QuPath and TRIDENT write them. The .zarr folder of a "
            "LazySlide store can be dropped here: it gives the tissue",
            self._ask_for_file,
        )
        self.export_button = parts.button(
            "Save…", "Save the regions as GeoJSON, which QuPath opens", self._ask_where
        )
        tip = "Take the last change of a region back (Ctrl+Z)"
        self.undo_button = parts.button("Undo", tip, self.undo)
        tip = "Remove all regions of this slide; Undo brings them back"
        self.clear_button = parts.button("Clear", tip, self.clear)
        tip = "How large a neighbourhood one click predicts"
        self.click_size = number((1, 50), n_click_spots, tip, suffix=" spots wide")
        self.click_row = parts.row_widget(QLabel("Neighbourhood"), self.click_size, stretched=1)
        self.table = Table(COLUMNS)
        self.view = RegionView(
            self.table,
            partial(self._change, self.layers.remove),
            partial(self._change, self.layers.set_class_colour),
        )
        self.summary = parts.Note()
        more = parts.row(
            self.import_button, self.export_button, self.undo_button, self.clear_button
        )
        more.setSpacing(4)
        parts.stack(self, self.tissue, tools, self.click_row, more, self.view, self.summary)
        self._show_tool("")
        self._show_regions(self.table.frame, can_undo=False)
        self.table.edited.connect(self._enter)
        self.view.selected.connect(partial(self._change, self.layers.select))

    def drawn(self) -> list[DrawnRegion]:
        """Regions of the active slide."""
        ready = self._ready()
        return [] if ready is None else self.layers.drawn(*ready)

    def regions(self) -> tuple[Region, ...]:
        """Regions of the active slide, as they are predicted and compared."""
        return tuple(each.region for each in self.drawn())

    def undo(self) -> None:
        """Take the last change of the active slide's regions back."""
        self._change(self.layers.undo)

    def redo(self) -> None:
        """Make the change again that was taken back."""
        self._change(self.layers.redo)

    def clear(self) -> None:
        """Remove all regions of the active slide."""
        self._change(self.layers.remove)

    def _change(self, act: Callable[..., object], *asked: Any) -> None:
        """Have one of the functions of `layers` change the active slide's regions, where there are any."""
        if (layer := self._layer()) is not None:
            act(layer, *asked)

    def count_soon(self) -> None:
        """Count again once the pen rests."""
        self._timer.start()
        self.relabel_soon()

    def relabel_soon(self) -> None:
        """Keep the regions' names readable on what is seen now."""
        self._relabelling.start()

    def count(self) -> None:
        """Say how much the regions hold, each and together."""
        ready, drawn = self._ready(), self.drawn()
        regions = [each.region for each in drawn]
        each_spots, each_mm2 = list[int](), list[float]()
        n_spots, area_mm2, can_undo = 0, 0.0, False
        if ready is not None:
            slide, _ = ready
            mpp = slide.require_mpp()
            n_spots, each_spots = count_spots(regions, slide.size, mpp, self._pitch.value())
            each_mm2 = [region.area_mm2(mpp) for region in regions]
            area_mm2 = Region(shapely.union_all([r.polygon for r in regions])).area_mm2(mpp)
            if (drawn_on := self._layer()) is not None:
                can_undo = self.layers.note(drawn_on)
        rows = pd.DataFrame(
            {
                NAME: [region.name for region in regions],
                CLASS: [region.classification for region in regions],
                "colour": [QColor(*region.colour).name() for region in regions],
                "area_mm2": each_mm2,
                "n_spots": each_spots,
            },
            index=[each.number for each in drawn],
        )
        self.counted_regions, self.n_spots, self.area_mm2 = tuple(regions), n_spots, area_mm2
        self._show_regions(rows, can_undo=can_undo)
        key = ("" if ready is None else ready[0].fingerprint, len(rows), n_spots, area_mm2)
        if key != self._key:
            self._key, self.warning = key, ""
            is_drawn = not all(FOUND.fullmatch(region.name) for region in regions)
            if ready is not None and n_spots and is_drawn:
                told = partial(self._tell_glass, key)
                self._looking.start(glass_share, ready[0], regions, done=told)
        self.counted.emit()

    def _enter(self, number: int, column: str, text: str) -> None:
        """Give a region the name or class that was entered in the table, where it is another one."""
        if column == CLASS:
            text = text.strip(NO_CLASS)
        elif text:  # regions are told apart by their names wherever they are compared
            text = own_names([text], [REST, *self.table.frame[NAME].drop(number)])[0]
        is_other = text != self.table.frame.at[number, column]
        if is_other and (text or column == CLASS):
            self._change(self.layers.change, number, text, column)

    def _tell_glass(self, key: tuple[str, int, int, float], share: float) -> None:
        if key == self._key and share >= TOLD_GLASS:
            self.warning = f"{share:.0%} of the area is bare glass."
            self.counted.emit()

    def use_tool(self, tool: str) -> None:
        """Hand the user a tool of the panel; an empty name takes it away."""
        if (ready := self._ready()) is None:
            return
        slide, _ = ready
        self._show_tool(tool)
        # made now, which takes a while that a click would wait for
        layer = self.layers.of(slide) if tool else None
        if layer is None or tool == CLICK:
            self.layers.put_tool_away(slide)
        else:
            self.layers.hand_tool(layer, tool)
            layer.events.mode.connect(self._on_mode)
        if not tool:
            self.count_soon()

    def click_at(self, position: Sequence[float]) -> None:
        """Add the neighbourhood of a place in the world, and ask for its prediction."""
        if (ready := self._ready()) is None:
            return
        slide, layer = ready
        mpp = slide.require_mpp()
        y_px, x_px = (value + 0.5 for value in layer.world_to_data(position)[-2:])
        if not (0 <= y_px < slide.size.height_px and 0 <= x_px < slide.size.width_px):
            show_info("That is beside the slide; click on the tissue.")
            return
        n_spots, pitch_um = int(self.click_size.value()), self._pitch.value()
        square = square_of_spots((x_px, y_px), n_spots, pitch_um, mpp)
        name = free_name("click", (each.region.name for each in self.drawn()))
        self.add(slide, [Region(square, name)], clicked=[name])
        self.neighbourhood_clicked.emit()

    def replace_tissue(self, slide: Slide, regions: Sequence[Region]) -> None:
        """Show the tissue that was found, in place of what was found before and not renamed since."""
        layer = self._slides.layer_of(slide)
        if layer is None:
            return
        drawn = self.layers.drawn(slide, layer)
        older = [each.number for each in drawn if FOUND.fullmatch(each.region.name)]
        if (before := self.layers.find(slide)) is not None:
            self.layers.remove(before, older)
        self.add(slide, regions, TISSUE_STEP)

    def load(self, path: str | Path) -> None:
        """Add the regions of a GeoJSON file to the active slide's."""
        if (ready := self._ready()) is None:
            show_info("Open the slide first; then load its regions.")
            return
        self._jobs.start(read_regions, Path(path), done=partial(self.add, ready[0]))

    def add(
        self,
        slide: Slide,
        regions: Sequence[Region],
        step: str = "",
        clicked: Collection[str] = (),
    ) -> None:
        """Show more regions of a slide that is open, and let clicks move it; on another one, once it is active.

        ``step`` is what undo calls it, as `RegionLayers.note` has it; ``clicked`` as `RegionLayers.add`.
        """
        layer = self._slides.layer_of(slide)
        if layer is None:
            return
        with self._slides.kept_unless_active(slide):
            if regions:
                self.layers.add(slide, regions, layer, clicked)
            self.layers.put_tool_away(slide)
            if (drawn_on := self.layers.find(slide)) is not None:
                if slide is not self._slides.slide:
                    drawn_on.visible = False
                self.layers.note(drawn_on, step)
        self.count()

    def _add_again(self, gone: Shapes) -> None:
        """Add the regions of a layer that was removed to those that were drawn since."""
        slide = self._slides.find_open(str(regions_owner(gone)))
        layer = None if slide is None else self._slides.layer_of(slide)
        if slide is not None and layer is not None:
            back = read_shapes(gone, layer, partial(self.layers.colour, gone))
            clicked = [each.region.name for each in back if each.is_clicked]
            self.add(slide, [each.region for each in back], clicked=clicked)

    def _ready(self) -> tuple[Slide, Image] | None:
        """Return the active slide and its layer, once its pixel size is known."""
        slide, layer = self._slides.slide, self._slides.layer
        return None if slide is None or layer is None or slide.mpp is None else (slide, layer)

    def _layer(self) -> Shapes | None:
        """Layer of the active slide's regions; None where nothing was drawn."""
        slide = self._slides.slide
        return None if slide is None else self.layers.find(slide)

    def _ask_for_file(self) -> None:
        if path := parts.ask_for_file(self, "Load regions", GEOJSON):
            self.load(path)

    def _ask_where(self) -> None:
        if path := parts.ask_where_to_save(self, "Save regions", "regions.geojson", GEOJSON):
            self._jobs.save(write_regions, list(self.regions()), Path(path))

    def _on_activated(self, slide: Slide | None) -> None:
        if slide is not None:
            self.layers.keep_on_picture(slide)
        self.setEnabled(slide is not None and slide.mpp is not None)
        self._show_tool("")
        self.count()

    def _on_inserted(self, event: Any) -> None:
        self.relabel_soon()
        self._take_in(event.value)

    def _take_in(self, layer: Layer) -> None:
        if regions_owner(layer) is not None:
            self.layers.adopt(layer)
            self.count_soon()

    def _on_removed(self, event: Any) -> None:
        self.relabel_soon()
        if regions_owner(event.value) is not None:
            self.layers.forget(event.value)
            self.count_soon()

    def _on_mode(self, event: Any) -> None:
        """Follow a tool that was chosen among napari's own buttons."""
        mode = str(event.source.mode)
        slide = self._slides.slide
        if slide is None or regions_owner(event.source) != slide.fingerprint:
            return
        if self.tool == CLICK and mode == "pan_zoom":
            return
        self._show_tool(mode if mode in TOOLS else "")

    def _let_go_of_tool(self) -> None:
        """Put away a tool that draws, once another layer than the regions is selected, or they are gone."""
        selected, drawn_on = self._viewer.layers.selection.active, self._layer()
        is_elsewhere = drawn_on is None or selected not in {None, drawn_on}
        if self.tool not in {"", CLICK} and is_elsewhere:
            self.use_tool("")

    def follow_press(self, viewer: Viewer, event: Any) -> Iterator[None]:
        """Tell a click on the canvas from a drag; one of napari's mouse callbacks."""
        if event.button != 1:
            return
        self.layers.is_pressed = True
        is_click = yield from parts.is_click(event)
        self.layers.is_pressed = False
        if self.tool == CLICK and is_click:
            self.click_at(event.position)
        elif self.tool != "add_polygon":  # goes on after a click; the layer tells of its end
            self.count_soon()

    def _show_tool(self, tool: str) -> None:
        self.tool = tool
        for name, made in self.tools.items():
            made.setChecked(name == tool)
        self.click_row.setVisible(tool == CLICK)
        if tool:
            self.summary.say(HOW_TO[tool])

    def _show_regions(self, rows: pd.DataFrame, *, can_undo: bool) -> None:
        self.table.fill(rows)
        self.view.fit(MOST_ROWS_SEEN)
        self.view.setVisible(not rows.empty)
        self.undo_button.setEnabled(can_undo)
        self.clear_button.setEnabled(len(rows) > 0)
        self.export_button.setEnabled(len(rows) > 0)
        if rows.empty:
            self.summary.say(HOW_TO[self.tool])
            return
        held = (
            f"{count(len(rows), 'region')}, {self.area_mm2:.2f} mm², {count(self.n_spots, 'spot')}"
        )
        if self.n_spots == 0:
            held += ". No spot fits in: draw a larger region, or set the spots closer together."
        self.summary.say(held)
