"""Connects the parts of the road with one another; knows no layout."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QObject

from napari_stem.cohort.orders import Order
from napari_stem.file_kinds import kind_of
from napari_stem.results.prediction import unpacked
from napari_stem.texts import count
from napari_stem.widgets.common.dropping import Dropped, Kind
from napari_stem.widgets.common.hints import Hint, RoadState, hints, missing_for_run
from napari_stem.widgets.common.worker import Jobs
from napari_stem.widgets.panels import Panels
from napari_stem.widgets.session import SessionControl
from napari_stem.widgets.slide.adopting import Adopting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.viewer import Viewer

    from napari_stem.geometry import Region
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.memory import Remembered


class Coordinator(QObject):
    """Lets the parts work together: a slide leads to regions, these to a run, a run to maps.

    ``go_on`` takes the title of the part that comes next, ``show_hints`` one line per part, by title, and
    ``show_many`` a folder of slides, or a manifest, that was dropped.
    """

    def __init__(
        self,
        viewer: Viewer,
        remembered: Remembered,
        go_on: Callable[[str], None],
        show_hints: Callable[[Mapping[str, Hint]], None],
        show_many: Callable[[Path], None],
    ) -> None:
        super().__init__()
        self._go_on, self._show_hints = go_on, show_hints
        self.jobs = Jobs(parent=self)
        self._clicked_on: Slide | None = None  # during a run; its neighbourhood waits
        self._warning = ""  # of the regions, as counted last
        self.panels = panels = Panels(viewer, self.jobs, remembered)
        run, predictions = panels.run, panels.model.predictions
        self.sessions = SessionControl(self.jobs, panels, parent=self)
        self.adopting = Adopting(panels)
        openers: dict[Kind, Callable[[Path], None]] = {
            "regions": partial(self._open_on_slide, panels.region.load),
            "model": panels.model.models.add_folder,
            "session": self.sessions.load,
            "slides": show_many,
            "measured": partial(self._open_on_slide, self._load_measured),
            "prediction": predictions.open,
            "spatialdata": self.adopting.show_layers,
            "exported": lambda path: self.jobs.start(unpacked, path, done=predictions.open),
        }
        self.dropped = Dropped(self.jobs, panels.slide, openers)
        panels.slide.activated.connect(self._on_activated)
        panels.slide.resized.connect(lambda _: self._go_on("Region"))
        panels.region.counted.connect(self._on_counted)
        panels.region.neighbourhood_clicked.connect(self._run_clicked)
        panels.measured.predict_button.clicked.connect(self._run_measured)
        panels.measured.depth_button.clicked.connect(self._take_measured_depth)
        predictions.shown.connect(self._on_shown)
        predictions.put_away.connect(self._on_put_away)
        run.run_button.clicked.connect(self.run)
        run.cancel_button.clicked.connect(self._forget_click)
        panels.maps.map_updated.connect(panels.region.relabel_soon)
        run.begun.connect(predictions.begin)
        run.grown.connect(panels.maps.grow)
        run.ended.connect(predictions.finish)
        for changed in (panels.model.changed, panels.measured.changed, run.started, run.ended):
            changed.connect(self.refresh)
        run.ended.connect(self._run_waiting)
        # not as maps are drawn: some of it is read from disk
        panels.maps.settings.changed.connect(
            lambda names: self.refresh() if "gene" in names else None
        )

    def start(self) -> None:
        """Take over what is in the viewer, go on where an earlier dock ended, and tell of it."""
        self.panels.slide.adopt()
        self.sessions.come_back()
        self.panels.slide.announce()

    def _open_on_slide(self, load: Callable[[Path], None], path: Path) -> None:
        """Open what belongs on a slide; without one as layers of its own, where it can be."""
        if self.slide is None and kind_of(path) is not None:
            self.adopting.show_layers(path)
        else:
            load(path)

    def _load_measured(self, path: Path) -> None:
        """Load counts that were dropped; they wait for a prediction, unless one was dropped with them."""
        self.panels.measured.load(path, is_told=not self.dropped.brings_prediction)

    @property
    def slide(self) -> Slide | None:
        """The active slide."""
        return self.panels.slide.slide

    def close(self) -> None:
        """Stop what runs and let go of the viewer."""
        panels = self.panels
        self.sessions.leave()
        panels.compare.close_result()
        panels.model.encoders.window_of_all.close()
        self.jobs.close()
        panels.maps.close()

    def order(self) -> Order:
        """Say what the dock would ask for of any slide."""
        panel = self.panels.model
        return Order(
            slide=Path(),
            out=Path(),
            model=panel.model_name(),
            settings=panel.settings(),
            tissue=self.panels.region.tissue.settings(),
            pitch_um=panel.pitch.value(),
            keep_draws=None,
        )

    def run(self) -> None:
        """Predict the regions of the active slide."""
        self._run(self.panels.region.regions())

    def refresh(self) -> None:
        """Bring in line what depends on several parts: what can be run, and the hints."""
        panels, state = self.panels, self._state()
        # a run reads all patches at one pixel size
        panels.slide.pixel_size.keep(is_kept=panels.run.is_running_on(self.slide))
        n_places = state.n_spots if state.n_patches is None else state.n_patches
        panels.run.show_spots(n_places, missing_for_run(state), self._warning)
        self._show_hints(hints(state))

    def _on_activated(self, slide: Slide | None) -> None:
        if slide is not None:
            self.panels.region.layers.raise_outlines(slide)
        self._go_on("Slide" if slide is None or slide.mpp is None else "Region")
        self.refresh()
        self._run_waiting()

    def _on_counted(self) -> None:
        self._warning = self.panels.region.warning
        self.refresh()

    def _on_shown(self, slide: Slide) -> None:
        if (shown := self.panels.maps.shown_on(slide)) is not None:
            self.panels.run.tell_of(slide, shown.prediction)
        self.panels.region.layers.raise_outlines(slide)
        if slide is self.slide:
            self._go_on("Genes")
            self.refresh()

    def _on_put_away(self, slide: Slide) -> None:
        show_info(
            "The maps were made with the earlier pixel size and are no longer shown; predict again. They stay "
            "in the list of predictions."
        )
        self.panels.run.forget(slide)
        self.refresh()

    def _run_clicked(self) -> None:
        """Predict the neighbourhoods that were clicked, now or after the run on its way."""
        self._clicked_on = self.slide
        self._run_waiting()

    def _run_waiting(self) -> None:
        """Predict the neighbourhoods that were clicked, once nothing runs and their slide is looked at."""
        clicked = self._clicked_on
        if clicked is None or clicked is not self.slide or self.panels.run.is_running:
            return
        self._clicked_on = None
        self._run(tuple(each.region for each in self.panels.region.drawn() if each.is_clicked))

    def _forget_click(self) -> None:
        self._clicked_on = None

    def _run(self, regions: tuple[Region, ...]) -> None:
        slide = self.slide
        missing = missing_for_run(self._state(regions))
        if slide is None or missing:
            show_error(missing)
            return
        self.panels.region.layers.put_tool_away(slide)
        self.panels.run.start(slide, regions)

    def _run_measured(self) -> None:
        """Predict where was measured, so that both are of the same tissue."""
        slide, found = self.slide, self.panels.measured.match()
        model = self.panels.model
        if model.missing:
            show_error(model.missing)
        elif slide is not None and found is not None and model.model_name():
            self._warning = ""  # of regions, which are not what is predicted
            self.panels.run.start(slide, spots=found.spots)

    def _take_measured_depth(self) -> None:
        """Ask for counts as deep as was measured, so that their values can be compared."""
        loaded = self.panels.measured.of_active()
        if loaded is not None:
            self.panels.model.ask_depth(loaded.depth)

    def _state(self, regions: tuple[Region, ...] | None = None) -> RoadState:
        """Say how far the user has come, who asks for regions of the active slide; None: for all."""
        counted = self.panels.region.counted_regions
        regions = counted if regions is None else regions
        slide, shown = self.slide, self.panels.maps.current()
        layer, model = self.panels.slide.layer, self.panels.model
        gene = self.panels.genes.settings.gene
        measured = self.panels.measured.path_of(slide) if slide is not None else None
        keeps_samples = shown is None or shown.prediction.n_kept_draws > 0
        return RoadState(
            slide_name="" if layer is None else str(layer.name),
            has_pixel_size=slide is not None and slide.mpp is not None,
            n_regions=min(len(regions), len(counted)),
            n_spots=self.panels.region.n_spots,
            n_patches=model.about.count_patches(regions) if model.takes_file else None,
            area_mm2=self.panels.region.area_mm2,
            model_name=model.models.box.currentText() if model.model_name() else "",
            model_missing=model.missing,
            is_running=self.panels.run.is_running,
            shown=f"{gene} of {count(len(shown.prediction.genes), 'gene')}" if shown else "",
            keeps_samples=keeps_samples,
            measured="" if measured is None else measured.name,
        )
