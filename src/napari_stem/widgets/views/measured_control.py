"""Carries out what the measured panel asks for: reads, matches, and shows what was measured."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_stem.widgets.genes.genes_panel import ONE
from napari_stem.widgets.genes.measured_map import MeasuredMap
from napari_stem.widgets.views import analysis_jobs
from napari_stem.widgets.views.analysis_plots import ScatterPlot
from napari_stem.widgets.views.measured_panel import PREDICTED

if TYPE_CHECKING:
    from collections.abc import Callable

    import anndata

    from napari_stem.evaluation.beside import Beside
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.genes.genes_panel import GenesPanel
    from napari_stem.widgets.genes.map_display import MapDisplay, Shown
    from napari_stem.widgets.genes.scalar_map import ScalarMap
    from napari_stem.widgets.views.measured_panel import MeasuredPanel

MATCHING = "Matching spots …"
LATER = "laid beside the prediction of this slide once there is one."
NOT_YET = "None of the spots predicted so far was measured."
ONE_GENE_ONLY = "Shown for one gene at a time: choose One gene in Genes."


@dataclass
class Loaded:
    """Measured data of one slide, and the prediction they were last matched with."""

    path: Path
    counts: anndata.AnnData
    beside: Beside | None = None
    matched: tuple[str, int] | None = None  # the prediction's path, and how many spots were done


class MeasuredControl(QObject):
    """Keeps measured data by slide, and shows them in place of the prediction's map.

    Parameters
    ----------
    viewer, jobs
        Where layers are shown, and where files are read.
    panel, genes, maps
        What asks, what is asked for besides, and what draws the plain map.
    slide
        Returns the active slide, to which what is loaded belongs.
    """

    told = Signal(str)
    changed = Signal()  # data came or went

    def __init__(
        self,
        jobs: Jobs,
        panel: MeasuredPanel,
        genes: GenesPanel,
        maps: MapDisplay,
        slide: Callable[[], Slide | None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._jobs = jobs
        self._panel, self._genes, self._maps, self._slide = panel, genes, maps, slide
        self._is_reading = False
        self._next: tuple[Slide, str] | None = None  # asked for while another file was read
        self._wanted_view = ""  # once what is being read has been matched
        self._loaded: dict[str, Loaded] = {}  # by the slide's fingerprint
        self._map = MeasuredMap(maps.turns)
        self._matching: threading.Event | None = None
        self._is_refreshing = False
        self.plot = ScatterPlot()
        panel.plot_place.addWidget(self.plot)
        panel.load_requested.connect(self.load)
        panel.save_requested.connect(self._save)
        panel.remove_requested.connect(self.remove)
        panel.view_chosen.connect(self._choose_view)
        panel.gene_chosen.connect(genes.choose)
        maps.drawn.connect(self.refresh)
        genes.opacity_chosen.connect(self._map.set_opacity)

    def load(self, path: str) -> None:
        """Read counts of the active slide, and lay them beside its prediction once there is one."""
        slide = self._slide()
        if slide is None:
            self.told.emit(f"Open the slide first on which {Path(path).name} was measured.")
            return
        self.load_for(slide, path)

    def load_for(self, slide: Slide, path: str) -> None:
        """Read counts of a slide; one file at a time, of those asked for meanwhile the last."""
        if self._is_reading:
            self._next = (slide, path)
            return
        self._is_reading = True
        self._panel.show_busy(f"Reading {Path(path).name} …")
        self._jobs.start(
            analysis_jobs.read_counts,
            Path(path),
            slide.size,
            done=partial(self._take, slide, Path(path)),
            failed=self._rest,
        )

    def path_of(self, slide: Slide) -> Path | None:
        """Return where the data of a slide came from, None where there are none."""
        loaded = self._loaded.get(slide.fingerprint)
        return loaded.path if loaded else None

    def show_when_matched(self, view: str) -> None:
        """Show ``measured`` or ``difference`` as soon as there is something to show."""
        self._wanted_view = view
        self._show_wanted()

    def remove(self) -> None:
        """Forget the data of the active slide."""
        shown = self._maps.current()
        if shown is not None:
            self._loaded.pop(shown.slide.fingerprint, None)
            self._back_to_prediction()
            self.refresh()
            self.changed.emit()

    def close(self) -> None:
        """Stop what runs."""
        if self._matching is not None:
            self._matching.set()

    def beside(self) -> Beside | None:
        """Return what is shown beside the active prediction."""
        shown = self._maps.current()
        loaded = self._loaded.get(shown.slide.fingerprint) if shown else None
        return loaded.beside if loaded else None

    def layer(self) -> ScalarMap | None:
        """Return the map of measured values or differences."""
        return self._map.map

    def refresh(self) -> None:
        """Bring panel and map in line with the active slide, gene and view."""
        if self._is_refreshing:
            return
        self._is_refreshing = True
        try:
            self._refresh()
        finally:
            self._is_refreshing = False

    # data

    def _take(self, slide: Slide, path: Path, counts: anndata.AnnData) -> None:
        self._loaded[slide.fingerprint] = Loaded(path, counts)
        self._rest()
        self.refresh()
        self.changed.emit()

    def _rest(self) -> None:
        self._is_reading = False
        self._panel.show_busy("")
        following, self._next = self._next, None
        if following is not None:
            self.load_for(*following)

    def _match(self, shown: Shown, loaded: Loaded) -> None:
        """Match in the background; while a prediction grows, again and again."""
        if self._matching is not None:
            return
        prediction = shown.maps.prediction
        key = analysis_jobs.state_of(prediction)
        self._matching = threading.Event()
        self._panel.show_message(MATCHING)
        self._jobs.start(
            analysis_jobs.match,
            prediction,
            loaded.counts,
            shown.slide.require_mpp(),
            self._matching,
            done=partial(self._matched, shown.slide.fingerprint, loaded, key),
            failed=partial(self._not_matched, shown.slide.fingerprint),
        )

    def _matched(
        self, fingerprint: str, loaded: Loaded, key: tuple[str, int], found: Beside | None
    ) -> None:
        self._matching = None
        self._panel.show_message("")
        if self._loaded.get(fingerprint) is loaded:
            loaded.beside, loaded.matched = found, key
        self.refresh()
        self._show_wanted()

    def _not_matched(self, fingerprint: str) -> None:
        """Refused: the data do not belong to this slide, and the user has been told."""
        self._matching = None
        self._loaded.pop(fingerprint, None)
        self._wanted_view = ""
        self._panel.show_message("")
        self.refresh()
        self.changed.emit()

    def _save(self, path: str) -> None:
        found = self.beside()
        if found is not None:
            self._jobs.start(analysis_jobs.write_csv, found.table(), Path(path), done=self._saved)

    def _saved(self, path: Path) -> None:
        self.told.emit(f"Saved {path}")

    # view

    def _choose_view(self, view: str) -> None:
        """Put the prediction's map aside, or bring it back."""
        self._genes.show_view("mean" if view == PREDICTED else "none")
        self.refresh()

    def _show_wanted(self) -> None:
        if self._wanted_view and self.beside() is not None:
            view, self._wanted_view = self._wanted_view, ""
            self._panel.choose_view(view)

    def _back_to_prediction(self) -> None:
        if self._panel.shown() != PREDICTED:
            self._panel.show_view(PREDICTED)
            self._genes.show_view("mean")

    def _refresh(self) -> None:
        shown = self._maps.current()
        self._panel.setEnabled(shown is not None)
        loaded = self._loaded.get(shown.slide.fingerprint) if shown else None
        if shown is None or loaded is None:
            self._panel.show_nothing()
            self._tell_later()
            self._map.hide()
            return
        if loaded.matched != analysis_jobs.state_of(shown.maps.prediction):
            self._match(shown, loaded)
        found = loaded.beside
        if found is None or loaded.matched is None:
            self._panel.show_nothing()
            self._panel.show_message(NOT_YET if loaded.matched else MATCHING)
            self._map.hide()
            return
        if self._genes.wish().field != "none":  # chosen in Genes: the prediction is wanted again
            self._panel.show_view(PREDICTED)
        self._panel.show_agreement(loaded.path.name, found)
        self._panel.view.choose(shown.gene)
        if loaded.matched[0] == analysis_jobs.state_of(shown.maps.prediction)[0]:
            self._plot(shown, found)
            self._draw(shown, found)

    def _tell_later(self) -> None:
        """Say of what has been read already that it waits for a prediction."""
        slide = self._slide()
        path = self.path_of(slide) if slide is not None else None
        if path is not None and self._maps.current() is None:
            self._panel.show_message(f"{path.name}: {LATER}")

    def _draw(self, shown: Shown, found: Beside) -> None:
        view, wish = self._panel.shown(), self._genes.wish()
        message = ""
        if view != PREDICTED and wish.arrangement != ONE:
            message = ONE_GENE_ONLY
        elif shown.gene not in found.genes:
            message = f"{shown.gene} was not measured here."
        if self._matching is None:
            self._panel.show_message(message)
        if view == PREDICTED or message:
            self._map.hide()
            return
        self._map.show(view, shown, found, wish, self._genes.opacity.value() / 100)

    def _plot(self, shown: Shown, found: Beside) -> None:
        gene = shown.gene
        self.plot.setVisible(gene in found.genes)
        if gene in found.genes:
            self.plot.show_gene(found, gene, shown.maps.values.values(gene)[found.rows])
