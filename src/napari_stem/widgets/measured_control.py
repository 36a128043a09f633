"""Carries out what the measured panel asks for: reads, matches, and shows what was measured."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_stem.layers import SpotGrid
from napari_stem.layers.colours import apart
from napari_stem.widgets import analysis_jobs
from napari_stem.widgets.analysis_plots import ScatterPlot
from napari_stem.widgets.genes_panel import ONE
from napari_stem.widgets.measured_panel import MEASURED, PREDICTED
from napari_stem.widgets.scalar_map import ScalarMap

if TYPE_CHECKING:
    import anndata
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_stem.evaluation.beside import Beside
    from napari_stem.geometry import Mpp
    from napari_stem.widgets.genes_panel import GenesPanel
    from napari_stem.widgets.map_display import MapDisplay, Shown
    from napari_stem.widgets.measured_panel import MeasuredPanel
    from napari_stem.widgets.worker import Jobs

DIVERGING = "RdBu_r"  # red and blue are told apart by colour-blind eyes; white is no difference
WIDEST = 99.0  # percentile of the differences that gets the last colour
MATCHING = "Matching spots …"
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
    """

    told = Signal(str)

    def __init__(
        self,
        viewer: Viewer,
        jobs: Jobs,
        panel: MeasuredPanel,
        genes: GenesPanel,
        maps: MapDisplay,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._jobs = viewer, jobs
        self._panel, self._genes, self._maps = panel, genes, maps
        self._loaded: dict[str, Loaded] = {}  # by the slide's fingerprint
        self._layer: ScalarMap | None = None
        self._layer_of: object = None
        self._grids: dict[int, SpotGrid] = {}
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

    def load(self, path: str) -> None:
        """Read counts and lay them beside the prediction on show."""
        shown = self._maps.current()
        if shown is None:
            return
        self._panel.show_busy(f"Reading {Path(path).name} …")
        self._jobs.start(
            analysis_jobs.read_counts,
            Path(path),
            shown.slide.size,
            done=partial(self._take, shown.slide.fingerprint, Path(path)),
            failed=self._rest,
        )

    def remove(self) -> None:
        """Forget the data of the active slide."""
        shown = self._maps.current()
        if shown is not None:
            self._loaded.pop(shown.slide.fingerprint, None)
            self._back_to_prediction()
            self.refresh()

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
        return self._layer

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

    def _take(self, fingerprint: str, path: Path, counts: anndata.AnnData) -> None:
        self._loaded[fingerprint] = Loaded(path, counts)
        self._rest()
        self.refresh()

    def _rest(self) -> None:
        self._panel.show_busy("")

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
            self._grids.clear()
        self.refresh()

    def _not_matched(self, fingerprint: str) -> None:
        """Refused: the data do not belong to this slide, and the user has been told."""
        self._matching = None
        self._loaded.pop(fingerprint, None)
        self._panel.show_message("")
        self.refresh()

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
            self._hide()
            return
        if loaded.matched != analysis_jobs.state_of(shown.maps.prediction):
            self._match(shown, loaded)
        found = loaded.beside
        if found is None or loaded.matched is None:
            self._panel.show_nothing()
            self._panel.show_message(NOT_YET if loaded.matched else MATCHING)
            self._hide()
            return
        if self._genes.wish().field != "none":  # chosen in Genes: the prediction is wanted again
            self._panel.show_view(PREDICTED)
        self._panel.show_agreement(loaded.path.name, found)
        self._panel.view.choose(shown.gene)
        if loaded.matched[0] == analysis_jobs.state_of(shown.maps.prediction)[0]:
            self._plot(shown, found)
            self._draw(shown, found)

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
            self._hide()
            return
        predicted = shown.maps.values.values(shown.gene)
        layer = self._layer_for(shown)
        if view == MEASURED:
            limits = wish.colours.limits(predicted, shown.facts.limits_of_all)
            grid = self._grid(found, shown.slide.require_mpp())
            title = f"{shown.gene} measured, {found.unit}"
            layer.set_colormap(wish.colormap)
            layer.show(grid, found.measured(shown.gene), title, limits)
        else:
            error = found.error(shown.gene, predicted)
            title = f"{shown.gene} predicted minus measured, {found.unit}"
            layer.set_colormap(DIVERGING)
            layer.show(shown.maps.grid, error, title, _balanced(error))
        layer.layer.opacity = self._genes.opacity.value() / 100
        layer.set_visible(is_visible=True)

    def _grid(self, found: Beside, mpp: Mpp) -> SpotGrid:
        if id(found) not in self._grids:
            self._grids[id(found)] = SpotGrid.of(found.spots, mpp)
        return self._grids[id(found)]

    def _layer_for(self, shown: Shown) -> ScalarMap:
        if self._layer is None or self._layer_of is not shown.maps:
            if self._layer is not None:
                self._layer.remove()
            self._layer = ScalarMap(
                self._viewer,
                shown.maps.prediction,
                MEASURED,
                shown.maps.grid,
                colormap=DIVERGING,
                opacity=1.0,
            )
            self._layer_of = shown.maps
        return self._layer

    def _hide(self) -> None:
        if self._layer is not None and self._layer.layer in self._viewer.layers:
            self._layer.set_visible(is_visible=False)

    def _plot(self, shown: Shown, found: Beside) -> None:
        gene = shown.gene
        self.plot.setVisible(gene in found.genes)
        if gene in found.genes:
            self.plot.show_gene(found, gene, shown.maps.values.values(gene)[found.rows])


def _balanced(error: NDArray[np.float32]) -> tuple[float, float]:
    """Limits as far below zero as above it."""
    known = np.abs(error[np.isfinite(error)])
    furthest = float(np.percentile(known, WIDEST)) if known.size else 1.0
    return apart(-furthest, furthest)
