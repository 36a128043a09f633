"""Makes the controls of the road and connects them with one another; knows no layout."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QObject, Signal

from napari_stem.cohort.orders import Order
from napari_stem.reader import kind_of
from napari_stem.results.exported import unpacked
from napari_stem.widgets.common.dropping import Dropped
from napari_stem.widgets.common.hints import RoadState, hints, missing_for_run
from napari_stem.widgets.common.parts import tell_error
from napari_stem.widgets.common.worker import Jobs
from napari_stem.widgets.genes.map_display import MapDisplay
from napari_stem.widgets.model.model_control import ModelControl
from napari_stem.widgets.model.prediction_control import PredictionControl
from napari_stem.widgets.model.runs import RunControl, RunRequest
from napari_stem.widgets.regions.region_panel import RegionControl
from napari_stem.widgets.session import SessionControl, SessionParts
from napari_stem.widgets.slide.adopting import Adopting
from napari_stem.widgets.slide.scale_control import ScaleControl
from napari_stem.widgets.slide.slide_control import SlideControl

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

    from napari_stem.geometry import Region, Spots
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.dropping import Kind
    from napari_stem.widgets.panels import Panels


class Coordinator(QObject):
    """Lets the controls work together: a slide leads to regions, these to a run, a run to maps."""

    road_went_on = Signal(str)  # title of the part that comes next
    hints_changed = Signal(object)  # one line per part, by title
    slides_dropped = Signal(object)  # a folder of slides, or a manifest

    def __init__(
        self, viewer: Viewer, panels: Panels, model_folders: str = "", parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._panels = panels
        self.jobs = self._jobs = Jobs(self)
        self._jobs.failed.connect(partial(tell_error, viewer))
        self._is_click_waiting = False
        self._counted = (0, 0, 0.0)  # regions, spots, mm2
        self._wary = ""  # of these regions
        self.slides = SlideControl(viewer, self._jobs, panels.slide)
        self.maps = MapDisplay(viewer, self._jobs, panels.genes, parent=self)
        self.slides.activated.connect(self.maps.activate)
        self.regions = RegionControl(
            viewer, self._jobs, panels.region, self.slides, panels.model.pitch.value
        )
        self.predictions = PredictionControl(
            self._jobs, panels.model.predictions, self.maps, self.slides
        )
        self.models = ModelControl(self._jobs, panels.model, self.slides, model_folders)
        self.scale = ScaleControl(self._jobs, panels.model.scale_warning, self.slides)
        self.runs = RunControl(self._jobs, panels.model, self.maps, self.predictions)
        panels.add_views(self._jobs, self.maps, lambda: self.slide, self._drawn)
        self._add_files()
        self._connect()

    def start(self) -> None:
        """Take over what is in the viewer, go on where an earlier dock ended, and tell of it."""
        self.slides.adopt()
        self.sessions.come_back()
        self.slides.announce()

    def _add_files(self) -> None:
        """Make what opens files of any kind, and sessions, which name several."""
        jobs, measured = self._jobs, self._panels.measured
        opened = SessionParts(self.slides, self.regions, self.predictions, self.maps, measured)
        self.sessions = SessionControl(jobs, opened, parent=self)
        self.adopting = Adopting(opened)
        openers: dict[Kind, Callable[[Path], None]] = {
            "slide": self.slides.open,
            "regions": partial(self._open_on_slide, self.regions.load),
            "model": self.models.add_folder,
            "session": self.sessions.load,
            "slides": self.slides_dropped.emit,
            "measured": partial(self._open_on_slide, measured.load),
            "prediction": self.predictions.open,
            "spatialdata": self.adopting.show_layers,
            "exported": lambda path: jobs.start(unpacked, path, done=self.predictions.open),
        }
        self.dropped = Dropped(jobs, self.slides, openers)

    def _open_on_slide(self, load: Callable[[Path], None], path: Path) -> None:
        """Open what belongs on a slide; without one as layers of its own, where it can be."""
        if self.slide is None and kind_of(path) is not None:
            self.adopting.show_layers(path)
        else:
            load(path)

    @property
    def slide(self) -> Slide | None:
        """The active slide."""
        return self.slides.slide

    def close(self) -> None:
        """Stop what runs and let go of the viewer."""
        self.sessions.leave()
        self.adopting.close()
        self.dropped.close()
        self._panels.compare.close_result()
        self.models.close()
        self._panels.inspect.let_go()
        self._jobs.close()
        self.scale.close()
        self.regions.close()
        self.slides.close()
        self.maps.close()

    def order(self) -> Order:
        """Say what the dock would ask for of any slide."""
        panel = self._panels.model
        return Order(
            slide=Path(),
            out=Path(),
            model=panel.model_name(),
            settings=panel.settings(),
            tissue=self._panels.region.tissue.settings(),
            pitch_um=panel.pitch.value(),
            keep_draws=None,
        )

    def run(self) -> None:
        """Predict the regions of the active slide."""
        self._run(self._drawn())

    def _connect(self) -> None:
        panels = self._panels
        self.slides.activated.connect(self._on_activated)
        self.slides.resized.connect(lambda _: self.road_went_on.emit("Region"))
        self.regions.counted.connect(panels.compare.refresh)
        self.regions.counted.connect(self._on_counted)
        panels.measured.changed.connect(self._tell_hints)
        panels.measured.predict_button.clicked.connect(self._run_measured)
        panels.measured.depth_button.clicked.connect(self._take_measured_depth)
        self.regions.neighbourhood_clicked.connect(self._run_clicked)
        self.models.changed.connect(self._tell_hints)
        self.models.about.changed.connect(self._on_about_changed)
        panels.model.models.chosen.connect(lambda _: self._tell_hints())
        panels.model.pitch.valueChanged.connect(lambda _: self.regions.count_soon())
        panels.model.run_button.clicked.connect(self.run)
        self.runs.began.connect(self._keep_pixel_size)
        self.runs.began.connect(self._tell_hints)
        self.runs.ended.connect(self._on_run_ended)
        self.predictions.shown.connect(self._on_shown)
        self.predictions.put_away.connect(self._on_put_away)
        self.maps.settings.changed.connect(self._on_display_changed)
        self.maps.drawn.connect(self.regions.relabel_soon)

    def _on_activated(self, slide: Slide | None) -> None:
        self.runs.look_at(slide)
        if slide is not None:
            self.regions.layers.raise_outlines(slide)
        self._keep_pixel_size()
        self.road_went_on.emit("Slide" if slide is None or slide.mpp is None else "Region")
        self._tell_hints()

    def _on_counted(self, n_regions: int, n_spots: int, area_mm2: float, wary: str) -> None:
        self._counted, self._wary = (n_regions, n_spots, area_mm2), wary
        self.models.about.count_patches(self._drawn())
        self._tell_hints()

    def _on_display_changed(self, names: frozenset[str]) -> None:
        if "gene" in names:
            self._tell_hints()

    def _on_about_changed(self) -> None:
        self.models.about.count_patches(self._drawn())
        self._tell_hints()

    def _on_shown(self, slide: Slide) -> None:
        self.regions.layers.raise_outlines(slide)
        if slide is self.slide:
            self.road_went_on.emit("Genes")
            self._tell_hints()

    def _on_put_away(self, slide: Slide) -> None:
        show_info(
            "The maps were made with the earlier pixel size and are no longer shown; predict again. They stay "
            "in the list of predictions."
        )
        self.runs.forget(slide)
        self._tell_hints()

    def _keep_pixel_size(self) -> None:
        """Keep the pixel size of a slide until its run ends, which reads all patches at one size."""
        self._panels.slide.keep_pixel_size(is_kept=self.runs.is_running_on(self.slide))

    def _on_run_ended(self, is_whole: bool) -> None:
        self._keep_pixel_size()
        self._tell_hints()
        if self._is_click_waiting:
            self._is_click_waiting = False
            self._run_clicked()

    def _run_clicked(self) -> None:
        """Predict the neighbourhoods that were clicked, now or after the run on its way."""
        if self.runs.is_running:
            self._is_click_waiting = True
            return
        self._run(tuple(each.region for each in self.regions.drawn() if each.is_clicked))

    def _run(self, regions: tuple[Region, ...]) -> None:
        slide = self.slide
        missing = missing_for_run(self._state())
        if slide is None or not regions or missing:
            show_error(missing or "Choose a region first.")
            return
        self.regions.layers.put_tool_away(slide)
        self._start_run(slide, regions)

    def _run_measured(self) -> None:
        """Predict where was measured, so that both are of the same tissue."""
        slide, found = self.slide, self._panels.measured.match()
        model = self._panels.model
        if model.missing:
            show_error(model.missing)
        elif slide is not None and found is not None and model.model_name():
            self._wary = ""  # of regions, which are not what is predicted
            self._start_run(slide, (), found.spots)

    def _take_measured_depth(self) -> None:
        """Ask for counts as deep as was measured, so that their values can be compared."""
        loaded = self._panels.measured.of_active()
        if loaded is not None:
            self._panels.model.ask_depth(loaded.depth)

    def _start_run(
        self, slide: Slide, regions: tuple[Region, ...], spots: Spots | None = None
    ) -> None:
        panel = self._panels.model
        self.runs.start(
            RunRequest(
                slide=slide,
                regions=regions,
                model_name=panel.model_name(),
                pitch_um=panel.pitch.value(),
                settings=panel.settings(),
                spots=spots,
                species=self.models.about.species,
                embedder=self.models.about.embedder,
                begin_at_um=self.slides.centre_um(),
            )
        )

    def _state(self) -> RoadState:
        slide, shown = self.slide, self.maps.current()
        n_regions, n_spots, area_mm2 = self._counted
        layer, model = self.slides.layer, self._panels.model
        gene = self._panels.genes.gene()
        measured = self._panels.measured.path_of(slide) if slide is not None else None
        keeps_samples = shown is None or shown.prediction.n_kept_draws > 0
        return RoadState(
            slide_name="" if layer is None else str(layer.name),
            has_pixel_size=slide is not None and slide.mpp is not None,
            n_regions=n_regions,
            n_spots=n_spots,
            area_mm2=area_mm2,
            model_name=model.choice.currentText() if model.model_name() else "",
            model_missing=model.missing,
            is_running=self.runs.is_running,
            shown="" if shown is None else f"{gene} of {len(shown.prediction.genes):,} genes",
            keeps_samples=keeps_samples,
            measured="" if measured is None else measured.name,
        )

    def _tell_hints(self) -> None:
        state, model = self._state(), self._panels.model
        n_places = self.models.about.n_patches if model.takes_file else state.n_spots
        missing = missing_for_run(state)
        if not missing and model.takes_file and not n_places:
            missing = "No patch of the file lies in the regions; draw them where its patches are."
        model.show_spots(n_places, missing, self._wary)
        self.hints_changed.emit(hints(state))

    def _drawn(self) -> tuple[Region, ...]:
        return tuple(each.region for each in self.regions.drawn())
