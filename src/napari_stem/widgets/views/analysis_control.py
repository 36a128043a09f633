"""Carries out what the analysis panel asks for: one analysis at a time, in a process of its own."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_stem.spatial_analysis.steps import FOUND
from napari_stem.widgets.common.worker import Reporter
from napari_stem.widgets.views import analysis_jobs
from napari_stem.widgets.views.analysis_layer import DomainLayer

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from napari.layers import Labels

    from napari_stem.results import Prediction
    from napari_stem.spatial_analysis import Domains
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.genes.genes_panel import GenesPanel
    from napari_stem.widgets.genes.map_display import MapDisplay
    from napari_stem.widgets.views.analysis_panel import AnalysisPanel

GONE = "The domains are no longer stored beside this prediction; find them again."
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
        jobs: Jobs,
        panel: AnalysisPanel,
        genes: GenesPanel,
        maps: MapDisplay,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._jobs = jobs
        self._panel, self._genes, self._maps = panel, genes, maps
        self._stop: threading.Event | None = None
        self._key: tuple[str, int] | None = None  # the prediction spoken of, and its finished spots
        self._domains: Domains | None = None
        self._morans: pd.DataFrame | None = None
        self._layer = DomainLayer(maps.turns)
        self._is_refreshing = self._is_loading = self._is_wanted = self._was_shown = False
        panel.domains_requested.connect(self._find_domains)
        panel.morans_requested.connect(self._rank_genes)
        panel.cancel_requested.connect(self.cancel)
        panel.visibility_chosen.connect(self._set_visible)
        panel.renamed.connect(self._rename)
        panel.gene_chosen.connect(genes.choose)
        panel.domains_save_requested.connect(self._save_domains)
        panel.morans_save_requested.connect(self._save_morans)
        maps.drawn.connect(self.refresh)
        genes.opacity_chosen.connect(self._layer.set_opacity)

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
        return self._layer.layer

    def legend(self) -> list[str]:
        """Return the lines of the legend on the canvas."""
        return self._layer.legend()

    def is_shown(self) -> bool:
        """Whether domains lie on the slide in place of the map."""
        return self._domains is not None and bool(self._panel.visible_box.isChecked())

    def show_when_read(self) -> None:
        """Show the domains of the active prediction as soon as they have been read from disk."""
        self._is_wanted = True
        if not self._is_loading:
            self._show_wanted()

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
        self._was_shown = False
        self._panel.show_domains(None)
        self._panel.show_morans(None)
        self._layer.hide()
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
        self._is_loading = True
        self._jobs.start(
            analysis_jobs.read_domains,
            prediction,
            done=partial(self._take, analysis_jobs.state_of(prediction), is_new),
            failed=self._not_loaded,
        )

    def _not_loaded(self) -> None:
        """Told already: what lies beside the prediction is damaged."""
        self._is_loading = self._is_wanted = False

    def _show_wanted(self) -> None:
        if not self._is_wanted:
            return
        self._is_wanted = False
        if self._domains is None:
            self.told.emit(GONE)
        else:
            self._panel.visible_box.setChecked(True)
            self._set_visible(True)

    def _take(self, key: tuple[str, int], is_new: bool, domains: Domains | None) -> None:
        if key != self._key:
            return  # of another prediction; that of the active one is being read
        self._is_loading = False
        self._accept(domains, is_new=is_new)
        self._show_wanted()

    def _accept(self, domains: Domains | None, *, is_new: bool) -> None:
        if domains is None:
            return
        self._domains = domains
        self._panel.show_domains(domains)
        if is_new and not self._was_shown:
            self._was_shown = True  # from now on the user decides
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
        if shown is None or domains is None:
            return
        if self._panel.visible_box.isChecked():
            self._layer.show(shown.maps, domains, self._genes.opacity.value() / 100)
        else:
            self._layer.hide()

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
