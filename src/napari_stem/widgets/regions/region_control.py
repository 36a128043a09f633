"""Regions of the active slide: drawn, clicked, found, loaded, saved, counted."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shapely
from qtpy.QtCore import QObject, QTimer, Signal

from napari_stem.geometry import Region
from napari_stem.widgets.common.region_table import RegionRow
from napari_stem.widgets.common.units import load_units, regions_of
from napari_stem.widgets.regions.region_layers import RegionLayers, warm_up
from napari_stem.widgets.regions.region_panel import CLICK, TOOLS
from napari_stem.widgets.regions.region_shapes import CLASS, NAME, Drawn, free_name, squares_um
from napari_stem.widgets.regions.spot_counter import count_spots
from napari_stem.widgets.slide.tissue_control import TissueControl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari.viewer import Viewer

    from napari_stem.slide.base import Slide
    from napari_stem.spatial.region_files import Colour
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.regions.region_panel import RegionPanel
    from napari_stem.widgets.slide.slide_control import SlideControl

FOUND = re.compile(r"tissue \d+")  # names of regions that the search gave
TISSUE_STEP = "tissue"  # searches that follow one another are taken back together
COUNT_AFTER_MS = 150  # regions are counted once the pen has rested this long
CLICK_PIXELS = 5  # a press that moves further than this on the screen is no click


class RegionControl(QObject):
    """Does what the region panel asks for, on the slide that is active."""

    counted = Signal(int, int, float)  # regions, spots, mm2
    neighbourhood_clicked = Signal()
    told = Signal(str)  # news for the user

    def __init__(
        self,
        viewer: Viewer,
        jobs: Jobs,
        panel: RegionPanel,
        slides: SlideControl,
        pitch_um: Callable[[], float],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._jobs, self._panel = viewer, jobs, panel
        self._slides, self._pitch_um = slides, pitch_um
        self._tool = ""
        self.layers = RegionLayers(viewer, self.count_soon)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(COUNT_AFTER_MS)
        self._timer.timeout.connect(self.count)
        viewer.mouse_drag_callbacks.append(self._on_press)
        viewer.layers.events.removed.connect(self._on_removed)
        panel.tool_chosen.connect(self.use_tool)
        panel.clear_requested.connect(self._on_slide(self.layers.remove))
        panel.undo_requested.connect(self.undo)
        panel.import_requested.connect(self.load)
        panel.export_requested.connect(self.save)
        panel.table.renamed.connect(partial(self._change, NAME))
        panel.table.classified.connect(partial(self._change, CLASS))
        panel.view.region_chosen.connect(self._select)
        panel.view.removal_requested.connect(self._remove)
        panel.view.colour_requested.connect(self._recolour)
        slides.activated.connect(self._on_activated)
        self.tissue = TissueControl(jobs, panel.tissue, slides, self.replace_tissue, parent=self)
        load_units()
        jobs.start(warm_up, done=lambda _: None)

    def close(self) -> None:
        """Let go of the viewer."""
        self._timer.stop()
        self.tissue.close()
        if self._on_press in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_press)
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def drawn(self) -> list[Drawn]:
        """Regions of the active slide."""
        slide, layer = self._slides.slide, self._slides.layer
        if slide is None or layer is None or slide.mpp is None:
            return []
        return self.layers.drawn(slide, layer)

    def count_soon(self) -> None:
        """Count again once the pen rests."""
        self._timer.start()

    def count(self) -> None:
        """Say how much the regions hold, each and together."""
        slide, drawn = self._slides.slide, self.drawn()
        regions = [each.region for each in drawn]
        rows: list[RegionRow] = []
        n_spots, area_mm2 = 0, 0.0
        if slide is not None and slide.mpp is not None:
            n_spots, each_spots = count_spots(regions, slide.size, slide.mpp, self._pitch_um())
            for each, n in zip(drawn, each_spots, strict=True):
                region, mm2 = each.region, each.region.area_mm2(slide.mpp)
                rows.append(
                    RegionRow(
                        each.number, region.name, region.classification, region.colour, mm2, n
                    )
                )
            area_mm2 = Region(shapely.union_all([r.polygon for r in regions])).area_mm2(slide.mpp)
            self.layers.settle(slide)
        can_undo = slide is not None and self.layers.can_undo(slide)
        self._panel.show_regions(rows, area_mm2, n_spots, can_undo=can_undo)
        self.counted.emit(len(rows), n_spots, area_mm2)

    def use_tool(self, tool: str) -> None:
        """Hand the user a tool of the panel; an empty name takes it away."""
        slide = self._slides.slide
        if slide is None or slide.mpp is None:
            return
        self._tool = tool
        self._panel.show_tool(tool)
        if tool in {"", CLICK}:
            self.layers.put_tool_away(slide)
        else:
            layer = self.layers.use_tool(slide, tool)
            layer.events.mode.connect(self._on_mode)
        if not tool:
            self.count_soon()

    def click_at(self, position: Sequence[float]) -> None:
        """Add the neighbourhood of a place in the world, and ask for its prediction."""
        slide, layer = self._slides.slide, self._slides.layer
        if slide is None or layer is None or slide.mpp is None:
            return
        mpp = slide.mpp
        y_px, x_px = (value + 0.5 for value in layer.world_to_data(position)[-2:])
        if not (0 <= y_px < slide.size.height_px and 0 <= x_px < slide.size.width_px):
            self.told.emit("That is beside the slide; click on the tissue.")
            return
        top, left, bottom, right = squares_um(
            (y_px * mpp.y_um, x_px * mpp.x_um), self._panel.click_size.value(), self._pitch_um()
        )
        square = shapely.box(left / mpp.x_um, top / mpp.y_um, right / mpp.x_um, bottom / mpp.y_um)
        name = free_name("click", (each.region.name for each in self.drawn()))
        self.layers.add(slide, [Region(square, name)], layer, clicked=True)
        self.count()
        self.neighbourhood_clicked.emit()

    def replace_tissue(self, slide: Slide, regions: Sequence[Region]) -> None:
        """Show the tissue that was found, in place of what was found before and not renamed since."""
        layer = self._slides.layer_of(slide)
        if layer is None:
            return
        drawn = self.layers.drawn(slide, layer)
        older = [each.number for each in drawn if FOUND.fullmatch(each.region.name)]
        self.layers.remove(slide, older)
        if regions:
            self.layers.add(slide, regions, layer)
        self.layers.put_tool_away(slide)
        self.layers.settle(slide, TISSUE_STEP)
        self.count()

    def load(self, path: str) -> None:
        """Add the regions of a GeoJSON file to the active slide's."""
        slide = self._slides.slide
        if slide is None or slide.mpp is None:
            self.told.emit("Open the slide first; then load its regions.")
            return
        self._jobs.start(_read_regions, Path(path), done=partial(self.add, slide))

    def save(self, path: str) -> None:
        """Write the active slide's regions to a GeoJSON file."""
        regions = [each.region for each in self.drawn()]
        self._jobs.start(
            _write_regions, regions, Path(path), done=lambda _: self.told.emit(f"Saved {path}")
        )

    def add(self, slide: Slide, regions: Sequence[Region]) -> None:
        """Show further regions of a slide that is open."""
        layer = self._slides.layer_of(slide)
        if layer is not None:
            self.layers.add(slide, regions, layer)
            self.layers.put_tool_away(slide)
            self.count()

    def undo(self) -> None:
        """Take the last change of the active slide's regions back."""
        self._on_slide(self.layers.undo)()

    def redo(self) -> None:
        """Make the change again that was taken back."""
        self._on_slide(self.layers.redo)()

    def _on_activated(self, slide: Slide | None) -> None:
        self._tool = ""
        if slide is not None:
            self.layers.keep_on_picture(slide)
        self._panel.setEnabled(slide is not None and slide.mpp is not None)
        self._panel.show_tool("")
        self.count()

    def _on_slide(self, act: Callable[[Slide], None]) -> Callable[[], None]:
        def on_active() -> None:
            if self._slides.slide is not None:
                act(self._slides.slide)

        return on_active

    def _change(self, column: str, number: int, value: str) -> None:
        self._on_slide(lambda slide: self.layers.change(slide, number, column, value))()

    def _select(self, number: int) -> None:
        self._on_slide(lambda slide: self.layers.select(slide, number))()

    def _remove(self, numbers: list[int]) -> None:
        self._on_slide(lambda slide: self.layers.remove(slide, numbers))()

    def _recolour(self, classification: str, colour: Colour) -> None:
        self._on_slide(lambda slide: self.layers.set_class_colour(slide, classification, colour))()

    def _on_removed(self, event: Any) -> None:
        if regions_of(event.value) is not None:
            self.layers.forget(event.value)
            self.count_soon()

    def _on_mode(self, event: Any) -> None:
        """Follow a tool that was chosen among napari's own buttons."""
        mode = str(event.source.mode)
        slide = self._slides.slide
        if slide is None or regions_of(event.source) != slide.fingerprint:
            return
        if self._tool == CLICK and mode == "pan_zoom":
            return
        self._tool = mode if mode in TOOLS else ""
        self._panel.show_tool(self._tool)

    def _on_press(self, viewer: Viewer, event: Any) -> Iterator[None]:
        if event.button != 1:
            return
        self.layers.is_pressed = is_click = True
        y, x = event.pos
        yield
        while event.type == "mouse_move":
            is_click = is_click and abs(event.pos[0] - y) + abs(event.pos[1] - x) < CLICK_PIXELS
            yield
        self.layers.is_pressed = False
        if self._tool == CLICK and is_click:
            self.click_at(event.position)
        elif (
            self._tool != "add_polygon"
        ):  # which goes on after a click; its end is told by the layer
            self.count_soon()


def _read_regions(path: Path) -> Sequence[Region]:
    from napari_stem.spatial.region_files import read_regions

    return read_regions(path)


def _write_regions(regions: Sequence[Region], path: Path) -> None:
    from napari_stem.spatial.region_files import write_regions

    write_regions(regions, path)
