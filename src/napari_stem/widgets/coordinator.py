"""Connects the panels with the viewer, from the slide to the run; knows no layout."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QObject, QTimer, Signal

from napari_stem.geometry import Mpp
from napari_stem.layers import METADATA_KEY
from napari_stem.widgets.map_display import MapDisplay
from napari_stem.widgets.region_layers import RegionLayers
from napari_stem.widgets.run_control import RunControl
from napari_stem.widgets.slide_layers import SlideLayers, slide_of
from napari_stem.widgets.spot_counter import SpotCounter
from napari_stem.widgets.worker import Jobs, Reporter, RunRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_stem.geometry import Region
    from napari_stem.model.bundle import Model
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.dock import Panels

COUNT_AFTER_MS = 150  # regions are counted once the pen has rested this long


class Coordinator(QObject):
    """Does what the panels ask for."""

    road_went_on = Signal(str)  # title of the part that comes next

    def __init__(self, viewer: Viewer, panels: Panels, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._panels = viewer, panels
        self._jobs = Jobs(self)
        self._jobs.failed.connect(show_error)
        self._slides = SlideLayers(viewer)
        self._regions = RegionLayers(viewer, self._count_soon)
        self._counter = SpotCounter()
        self._layer: Image | None = None  # the active slide's
        self._models: dict[str, Mapping[str, Any]] = {}
        self._loaded_name = ""
        self.maps = MapDisplay(
            viewer, self._jobs, panels.genes, panels.inspect, panels.export, parent=self
        )
        self.maps.told.connect(show_info)
        self.runs = RunControl(self._jobs, panels.model, self.maps, parent=self)
        self.runs.started.connect(self._on_run_started)
        self._count_timer = QTimer(self)
        self._count_timer.setSingleShot(True)
        self._count_timer.setInterval(COUNT_AFTER_MS)
        self._count_timer.timeout.connect(self._count)
        self._connect()
        self._refresh_slides()
        self._jobs.start(_list_models, done=self._show_models)

    @property
    def slide(self) -> Slide | None:
        """The active slide."""
        return None if self._layer is None else slide_of(self._layer)

    def close(self) -> None:
        """Stop what runs and let go of the viewer."""
        self._count_timer.stop()
        self._jobs.close()
        self.maps.close()
        events = self._viewer.layers.events
        events.inserted.disconnect(self._on_inserted)
        events.removed.disconnect(self._on_removed)

    def _connect(self) -> None:
        panels = self._panels
        panels.slide.open_requested.connect(self._open)
        panels.slide.sample_requested.connect(self._open_sample)
        panels.slide.slide_chosen.connect(self._choose_slide)
        panels.slide.pixel_size_requested.connect(self._set_pixel_size)
        panels.region.draw_requested.connect(self._draw)
        panels.region.tissue_requested.connect(self._find_tissue)
        panels.region.clear_requested.connect(self._clear)
        panels.model.model_chosen.connect(self._load_card)
        panels.model.pitch_changed.connect(self._count_soon)
        panels.model.run_requested.connect(self._run)
        panels.model.cancel_requested.connect(self.runs.cancel)
        self._viewer.layers.events.inserted.connect(self._on_inserted)
        self._viewer.layers.events.removed.connect(self._on_removed)

    # slide

    def _open(self, path: str, name: str | None = None) -> None:
        self._panels.slide.show_busy(f"Opening {Path(path).name}")
        report = Reporter(self)
        report.reported.connect(self._panels.slide.show_busy)
        self._jobs.start(
            _open_slide, path, report, done=partial(self._add, name), failed=self._not_opened
        )

    def _open_sample(self) -> None:
        from napari_stem.sample_data import SAMPLE_NAME, sample_path

        self._open(str(sample_path()), SAMPLE_NAME)

    def _add(self, name: str | None, slide: Slide) -> None:
        self._panels.slide.show_busy("")
        self._slides.add(slide, name)

    def _not_opened(self) -> None:
        self._panels.slide.show_busy("")

    def _on_inserted(self, event: Any) -> None:
        if slide_of(event.value) is not None:
            self._layer = event.value
            self._load_model()
            self.road_went_on.emit("Region")
        self._refresh_slides()

    def _on_removed(self, event: Any) -> None:
        self._refresh_slides()
        if METADATA_KEY in event.value.metadata:
            self._count_soon()

    def _refresh_slides(self) -> None:
        layers = self._slides.layers()
        if self._layer not in layers:
            self._layer = layers[-1] if layers else None
        chosen = layers.index(self._layer) if self._layer is not None else -1
        self._panels.slide.show_slides([layer.name for layer in layers], chosen)
        self._panels.slide.show_unusable(self._slides.why_unusable())
        self._show_active()

    def _choose_slide(self, place: int) -> None:
        layers = self._slides.layers()
        self._layer = layers[place]
        for layer in layers:  # slides share one origin: the chosen one would lie under another
            layer.visible = layer is self._layer
            slide = slide_of(layer)
            drawn = None if slide is None else self._regions.find(slide)
            if drawn is not None:
                drawn.visible = layer.visible
        self._show_active()

    def _show_active(self) -> None:
        slide = self.slide
        self._panels.slide.show_details(slide)
        self._panels.region.setEnabled(slide is not None and slide.mpp is not None)
        self.maps.activate(slide)
        self._count_soon()

    def _set_pixel_size(self, mpp_um: float) -> None:
        if self._layer is not None:
            self._slides.set_pixel_size(self._layer, Mpp.square(mpp_um))
            self._show_active()
            self.road_went_on.emit("Region")

    # region

    def _draw(self) -> None:
        if self.slide is not None:
            self._regions.start_drawing(self.slide)
            self._panels.region.show_drawing()

    def _find_tissue(self) -> None:
        slide, layer = self.slide, self._layer
        if slide is None or layer is None:
            return
        self._panels.region.show_busy("Looking for tissue …")
        self._jobs.start(
            _tissue_regions,
            slide,
            done=partial(self._put_regions, slide, layer),
            failed=self._tissue_not_found,
        )

    def _put_regions(self, slide: Slide, layer: Image, regions: list[Region]) -> None:
        self._panels.region.show_busy("")
        self._regions.put(slide, regions, layer)
        self._regions.stop_drawing(slide)
        self._count()

    def _tissue_not_found(self) -> None:
        self._panels.region.show_busy("")
        self._count()

    def _clear(self) -> None:
        if self.slide is not None:
            self._regions.clear(self.slide)

    def _drawn(self) -> list[Region]:
        slide = self.slide
        if slide is None or self._layer is None or slide.mpp is None:
            return []
        return self._regions.regions(slide, self._layer)

    def _count_soon(self) -> None:
        self._count_timer.start()

    def _count(self) -> None:
        slide, regions = self.slide, self._drawn()
        n_spots, area_mm2 = 0, 0.0
        if slide is not None and slide.mpp is not None and regions:
            n_spots = self._counter.count(slide, regions, self._panels.model.pitch.value())
            area_mm2 = sum(region.area_mm2(slide.mpp) for region in regions)
        drawing = self._regions.find(slide) if slide is not None else None
        if regions or drawing is None or drawing.mode != "add_polygon":
            self._panels.region.show_summary(len(regions), area_mm2, n_spots)
        self._panels.model.show_spots(n_spots)
        if n_spots:
            self.road_went_on.emit("Model")

    # model

    def _show_models(self, models: list[Mapping[str, Any]]) -> None:
        self._models = {str(m["name"]): m for m in models}
        self._panels.model.show_models(models)

    def _load_card(self, name: str) -> None:
        self._panels.model.show_card_of(self._models[name])
        self._loaded_name = ""
        self._load_model()

    def _load_model(self) -> None:
        """Load the chosen model ahead of the run, once there is a slide to run it on."""
        name = self._panels.model.model_name()
        if name and name != self._loaded_name and self.slide is not None:
            self._loaded_name = name
            self._jobs.start(_load_model, name, done=self._take_model)

    def _take_model(self, model: Model) -> None:
        if model.name == self._panels.model.model_name():
            self._panels.model.pitch.setValue(model.pitch_um)
            card = model.card
            self._panels.model.show_limits(card.get("sections", ()), card.get("limits", ()))

    # run

    def _run(self) -> None:
        slide, regions, panel = self.slide, self._drawn(), self._panels.model
        if slide is None or not regions:
            show_error("Choose a region on a slide first: draw one, or take the whole tissue.")
            return
        self._regions.stop_drawing(slide)
        self.runs.start(
            RunRequest(
                slide=slide,
                regions=tuple(regions),
                model_name=panel.model_name(),
                pitch_um=panel.pitch.value(),
                settings=panel.settings(),
            )
        )

    def _on_run_started(self, slide: Slide) -> None:
        self._regions.raise_outlines(slide)
        if slide is self.slide:
            self.road_went_on.emit("Genes")


def _list_models() -> list[Mapping[str, Any]]:
    from napari_stem.model import list_models

    return list(list_models())


def _load_model(name: str) -> Model:
    """Load a model, and once its encoder, whose libraries take seconds to come: Run then starts at once."""
    from napari_stem.encoders.registry import load_encoder
    from napari_stem.model import load_model

    model = load_model(name)
    load_encoder(model.encoder_name)
    return model


def _open_slide(path: str, report: Callable[[str, int, int], None]) -> Slide:
    from napari_stem.slide import open_slide

    return open_slide(path, progress=report)


def _tissue_regions(slide: Slide) -> list[Region]:
    from napari_stem.slide.tissue import tissue_regions

    return tissue_regions(slide)
