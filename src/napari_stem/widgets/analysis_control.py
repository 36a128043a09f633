"""Carries out what the analysis panel asks for: one analysis at a time, in a process of its own."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_stem.layers import METADATA_KEY
from napari_stem.layers.domain_layer import TITLE, domain_features, domain_raster
from napari_stem.spatial_analysis.steps import FOUND
from napari_stem.widgets import analysis_jobs
from napari_stem.widgets.domain_table import colours_of
from napari_stem.widgets.worker import Reporter

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from napari.layers import Labels
    from napari.viewer import Viewer

    from napari_stem.results import Prediction
    from napari_stem.spatial_analysis import Domains
    from napari_stem.widgets.analysis_panel import AnalysisPanel
    from napari_stem.widgets.genes_panel import GenesPanel
    from napari_stem.widgets.map_display import MapDisplay, Shown
    from napari_stem.widgets.worker import Jobs

CANCELLED = "Cancelled; what was found before stays."


class AnalysisControl(QObject):
    """Keeps the domains of the active prediction, in the panel, on the slide and on disk.

    Parameters
    ----------
    viewer, jobs
        Where layers are shown, and where processes are waited for.
    panel, genes, maps
        What asks, what is asked for besides, and what draws the plain map.
    """

    told = Signal(str)

    def __init__(
        self,
        viewer: Viewer,
        jobs: Jobs,
        panel: AnalysisPanel,
        genes: GenesPanel,
        maps: MapDisplay,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._jobs = viewer, jobs
        self._panel, self._genes, self._maps = panel, genes, maps
        self._stop: threading.Event | None = None
        self._key: tuple[str, int] | None = None  # the prediction spoken of, and its finished spots
        self._domains: Domains | None = None
        self._morans: pd.DataFrame | None = None
        self._layer: Labels | None = None
        self._is_refreshing = False
        panel.domains_requested.connect(self._find_domains)
        panel.morans_requested.connect(self._rank_genes)
        panel.cancel_requested.connect(self.cancel)
        panel.visibility_chosen.connect(self._set_visible)
        panel.renamed.connect(self._rename)
        panel.gene_chosen.connect(genes.choose)
        panel.domains_save_requested.connect(self._save_domains)
        panel.morans_save_requested.connect(self._save_morans)
        maps.drawn.connect(self.refresh)
        genes.opacity_chosen.connect(self._set_opacity)

    def cancel(self) -> None:
        """End the analysis on its way."""
        if self._stop is not None:
            self._stop.set()

    def close(self) -> None:
        """Stop what runs."""
        self.cancel()

    def domains(self) -> Domains | None:
        """Return the domains of the active prediction."""
        return self._domains

    def layer(self) -> Labels | None:
        """Return the layer of the domains."""
        return self._layer

    def refresh(self) -> None:
        """Bring panel and layer in line with the active prediction."""
        if self._is_refreshing:
            return
        self._is_refreshing = True
        try:
            self._refresh()
        finally:
            self._is_refreshing = False

    def _refresh(self) -> None:
        shown = self._maps.current()
        self._panel.setEnabled(shown is not None)
        key = None if shown is None else analysis_jobs.state_of(shown.maps.prediction)
        if key != self._key:
            self._key = key
            self._forget()
            if shown is not None and shown.maps.prediction.done.any():
                self._load(shown.maps.prediction)
        if self._genes.wish().field != "none" and self._panel.visible_box.isChecked():
            self._panel.visible_box.setChecked(False)  # a map was chosen in Genes
            self._show_layer()

    def _forget(self) -> None:
        self._domains = self._morans = None
        self._panel.show_domains(None)
        self._panel.show_morans(None)
        if self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self._layer = None
        self._panel.visible_box.setChecked(False)

    # running

    def _find_domains(self, resolution: float) -> None:
        shown = self._maps.current()
        if shown is None or self._stop is not None:
            return
        prediction = shown.maps.prediction
        self._start(
            partial(analysis_jobs.find_domains, str(prediction.path), resolution),
            partial(self._load, prediction, is_new=True),
            prediction,
        )

    def _rank_genes(self) -> None:
        shown = self._maps.current()
        if shown is None or self._stop is not None:
            return
        prediction = shown.maps.prediction
        self._start(
            partial(analysis_jobs.rank_genes, str(prediction.path)),
            partial(self._take_morans, analysis_jobs.state_of(prediction)),
            prediction,
        )

    def _start(
        self, run: Callable[..., Any], take: Callable[[Any], None], prediction: Prediction
    ) -> None:
        self._stop = threading.Event()
        report = Reporter(self)
        report.reported.connect(partial(self._progressed, self._stop, prediction))
        self._panel.show_running("Starting", 0, 0)
        self._jobs.start(
            run,
            self._stop.is_set,
            report,
            done=partial(self._finished, self._stop, take),
            failed=partial(self._failed, self._stop),
        )

    def _progressed(
        self, stop: threading.Event, prediction: Prediction, text: str, done: int, total: int
    ) -> None:
        if stop is not self._stop or stop.is_set():
            return
        self._panel.show_running(text, done, total)
        if text == FOUND:
            self._load(prediction, is_new=True)

    def _finished(self, stop: threading.Event, take: Callable[[Any], None], result: Any) -> None:
        if stop is not self._stop:
            return
        self._stop = None
        if result is None:
            self._panel.show_idle(CANCELLED)
            return
        self._panel.show_idle("")
        take(result)

    def _failed(self, stop: threading.Event) -> None:
        if stop is self._stop:
            self._stop = None
            self._panel.show_idle("Not done.")

    def _take_morans(self, key: tuple[str, int], table: pd.DataFrame) -> None:
        if key == self._key:
            self._morans = table
            self._panel.show_morans(table)

    # domains

    def _load(self, prediction: Prediction, _: Any = None, *, is_new: bool = False) -> None:
        """Read what is stored beside a prediction."""
        self._jobs.start(
            analysis_jobs.read_domains,
            prediction,
            done=partial(self._take, analysis_jobs.state_of(prediction), is_new),
        )

    def _take(self, key: tuple[str, int], is_new: bool, domains: Domains | None) -> None:
        if key != self._key or domains is None:
            return
        self._domains = domains
        self._panel.show_domains(domains)
        if is_new and self._layer is None:
            self._panel.visible_box.setChecked(True)
            self._set_visible(True)
        else:
            self._show_layer()

    def _rename(self, domain: int, name: str) -> None:
        shown = self._maps.current()
        if self._domains is None or shown is None:
            return
        names = list(self._domains.names)
        names[domain] = name
        self._domains = replace(self._domains, names=tuple(names))
        self._panel.show_domains(self._domains)
        self._show_layer()
        self._jobs.start(
            analysis_jobs.store_domains, self._domains, shown.maps.prediction, done=lambda _: None
        )

    # layer

    def _set_visible(self, is_visible: bool) -> None:
        """Put the prediction's map aside for the domains, or bring it back."""
        self._genes.show_view("none" if is_visible else "mean")
        self._show_layer()

    def _show_layer(self) -> None:
        shown, domains = self._maps.current(), self._domains
        is_wanted = self._panel.visible_box.isChecked()
        if shown is None or domains is None or (self._layer is None and not is_wanted):
            return
        if self._layer is None:
            self._layer = self._new_layer(shown)
        elif is_wanted and self._layer not in self._viewer.layers:
            self._viewer.add_layer(self._layer)
        layer = self._layer
        rows = np.flatnonzero(shown.maps.prediction.done)
        if len(rows) == len(domains.labels):
            layer.data = domain_raster(shown.maps.shaped("square"), rows, domains.labels)
        layer.colormap = _colormap(len(domains.names))
        layer.features = domain_features(domains.names)
        layer.visible = is_wanted
        layer.name_overlay.visible = is_wanted

    def _new_layer(self, shown: Shown) -> Labels:
        grid = shown.maps.shaped("square")
        layer = self._viewer.add_labels(
            np.zeros(grid.spot_at.shape, dtype=np.int32),
            name=TITLE,
            opacity=self._genes.opacity.value() / 100,
            metadata={
                METADATA_KEY: {"prediction": str(shown.maps.prediction.path), "field": "domain"}
            },
            **grid.placement.as_layer_options(),
        )
        layer.name_overlay.position = "top_right"
        layer.name_overlay.box = True
        layer.editable = False
        return layer

    def _set_opacity(self, opacity: float) -> None:
        if self._layer is not None:
            self._layer.opacity = opacity

    # saving

    def _save_domains(self, path: str) -> None:
        shown = self._maps.current()
        if shown is not None and self._domains is not None:
            prediction = shown.maps.prediction
            self._jobs.start(
                analysis_jobs.export_domains,
                self._domains,
                prediction,
                Path(path),
                done=self._saved,
            )

    def _save_morans(self, path: str) -> None:
        if self._morans is not None:
            self._jobs.start(analysis_jobs.write_csv, self._morans, Path(path), done=self._saved)

    def _saved(self, path: Path) -> None:
        self.told.emit(f"Saved {path}")


def _colormap(n_domains: int) -> Any:
    from napari.utils.colormaps import DirectLabelColormap

    colours: dict[int | None, str] = {None: "transparent", 0: "transparent"}
    colours |= dict(enumerate(colours_of(n_domains), start=1))
    return DirectLabelColormap(color_dict=colours)
