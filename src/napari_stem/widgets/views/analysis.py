"""Spatial analysis, carried out one at a time in a process of its own; domains in place of the map."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd
from napari.utils.notifications import show_info
from qtpy.QtCore import QObject

from napari_stem.spatial_analysis import store
from napari_stem.spatial_analysis.steps import FOUND, run_in_subprocess
from napari_stem.widgets.common.parts import ask_where_to_save
from napari_stem.widgets.common.table import write_csv
from napari_stem.widgets.common.worker import StoppableJob
from napari_stem.widgets.genes.active_prediction import state_of
from napari_stem.widgets.state import DOMAINS, MEAN
from napari_stem.widgets.views.domain_layer import DomainLayer

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_stem.results import Prediction
    from napari_stem.spatial_analysis import Domains
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.genes.map_display import MapDisplay
    from napari_stem.widgets.views.analysis_panel import AnalysisPanel

    IsStopped = Callable[[], bool]
    Report = Callable[[str, int, int], None]

GONE = "The domains are no longer stored beside this prediction; find them again."
CANCELLED = "Cancelled; what was found before stays."
DOMAIN_FILES = "AnnData with expression (*.h5ad);;Table of spots (*.csv)"


class AnalysisControl(QObject):
    """Keeps the domains of the active prediction, in the panel, on the slide and on disk.

    Parameters
    ----------
    jobs, panel, maps
        Where processes are waited for, what asks, and which prediction is on the map.
    """

    def __init__(self, jobs: Jobs, panel: AnalysisPanel, maps: MapDisplay) -> None:
        super().__init__(panel)
        self._jobs, self._panel, self._maps = jobs, panel, maps
        self._settings = maps.settings
        self._running = StoppableJob(jobs, self._on_progress)
        self._analysed: Prediction | None = None
        self._key: tuple[str, int] | None = None  # the prediction spoken of, and its finished spots
        self.domains: Domains | None = None  # of the active prediction
        self._morans: pd.DataFrame | None = None
        self.on_slide = DomainLayer(maps.turns)
        self._is_loading = self._was_shown = False
        panel.find_button.clicked.connect(self.find_domains)
        panel.morans_button.clicked.connect(self.rank_genes)
        panel.cancel_button.clicked.connect(self.cancel)
        panel.domains.edited.connect(self._rename)
        panel.save_domains_button.clicked.connect(self._save_domains)
        panel.save_morans_button.clicked.connect(self._save_morans)
        maps.drawn.connect(self.refresh)

    def cancel(self) -> None:
        """End the analysis on its way."""
        self._running.stop()

    def is_shown(self) -> bool:
        """Whether domains lie on the slide in place of the map."""
        return self.domains is not None and self._settings.view == DOMAINS

    def refresh(self) -> None:
        """Bring panel and layer in line with the active prediction and the settings."""
        active = self._maps.current()
        self._panel.setEnabled(active is not None)
        key = None if active is None else active.state()
        if key != self._key:
            was_shown, self._key = self.is_shown(), key
            self.domains = self._morans = None
            self._was_shown = self._is_loading = False
            self._panel.show_domains(None)
            self._panel.show_morans(None)
            self.on_slide.hide()
            if active is not None and active.prediction.done.any():
                self._load(active.prediction)
            if active is not None and was_shown:  # those were another prediction's
                self._settings.update(view=MEAN)
                return
        if active is not None and self.domains is not None and self.is_shown():
            self.on_slide.show(active, self.domains)
            return
        self.on_slide.hide()
        if active is not None and self._settings.view == DOMAINS and not self._is_loading:
            show_info(GONE)
            self._settings.update(view=MEAN)

    # running

    def find_domains(self) -> None:
        """Find domains at the fineness that the slider stands at."""
        active = self._maps.current()
        if active is not None:
            prediction, resolution = active.prediction, self._panel.chosen_resolution()
            take = partial(self._load, prediction, is_new=True)
            self._start(prediction, find_domains, resolution, take=take)

    def rank_genes(self) -> None:
        """Compute Moran's I of all genes."""
        active = self._maps.current()
        if active is not None:
            take = partial(self._take_morans, active.state())
            self._start(active.prediction, rank_genes, take=take)

    def _start(
        self,
        prediction: Prediction,
        run: Callable[..., Any],
        *args: Any,
        take: Callable[[Any], None],
    ) -> None:
        if self._running.is_running:
            return

        def done(result: Any) -> None:
            self._panel.show_idle(CANCELLED if result is None else "")
            if result is not None:
                take(result)

        self._analysed = prediction
        self._panel.show_running("Starting", 0, 0)
        self._running.start(
            run,
            str(prediction.path),
            *args,
            done=done,
            failed=partial(self._panel.show_idle, "Not done."),
        )

    def _on_progress(self, text: str, done: int, total: int) -> None:
        self._panel.show_running(text, done, total)
        if text == FOUND and self._analysed is not None:
            self._load(self._analysed, is_new=True)

    def _take_morans(self, key: tuple[str, int], table: pd.DataFrame) -> None:
        if key == self._key:
            self._morans = table
            self._panel.show_morans(table)

    # domains

    def _load(self, prediction: Prediction, _: Any = None, *, is_new: bool = False) -> None:
        """Read what is stored beside a prediction, where it is the active one."""
        key = state_of(prediction)
        if key != self._key:
            return
        self._is_loading = True
        self._jobs.start(
            store.read_domains,
            prediction,
            done=partial(self._take, key, is_new),
            failed=partial(self._take, key, is_new, None),  # told already: they are damaged
        )

    def _take(self, key: tuple[str, int] | None, is_new: bool, domains: Domains | None) -> None:
        if key != self._key:
            return  # of another prediction; that of the active one is being read
        self._is_loading = False
        if domains is not None:
            self.domains = domains
            self._panel.show_domains(domains)
            if is_new and not self._was_shown:
                self._was_shown = True  # from now on the user decides
                self._settings.update(view=DOMAINS)
        self.refresh()

    def _rename(self, domain: int, _key: str, name: str) -> None:
        active = self._maps.current()
        if self.domains is None or active is None or not name:
            return
        names = list(self.domains.names)
        names[domain] = name
        self.domains = replace(self.domains, names=tuple(names))
        self._panel.show_domains(self.domains)
        self.refresh()
        place = store.sidecar_path(active.prediction)
        self._jobs.start(store.write_domains, self.domains, place, done=lambda _: None)

    # saving

    def _save_domains(self) -> None:
        active = self._maps.current()
        path = ask_where_to_save(self._panel, "Save", "domains.h5ad", DOMAIN_FILES)
        if active is not None and self.domains is not None and path:
            export = partial(store.export_domains, self.domains, active.prediction)
            self._save(export, path)

    def _save_morans(self) -> None:
        path = ask_where_to_save(self._panel, "Save", "morans_i.csv", "Tables (*.csv)")
        if self._morans is not None and path:
            self._save(partial(write_csv, self._morans), path)

    def _save(self, write: Callable[[Path], None], path: str) -> None:
        self._jobs.start(write, Path(path), done=lambda _: show_info(f"Saved {path}"))


def find_domains(
    path: str, resolution: float, is_stopped: IsStopped, report: Report
) -> bool | None:
    """Find domains in a process of their own; None where it was stopped."""
    return run_in_subprocess(["domains", path, str(resolution)], is_stopped, report) or None


def rank_genes(path: str, is_stopped: IsStopped, report: Report) -> pd.DataFrame | None:
    """Compute Moran's I in a process of its own; None where it was stopped."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "morans.csv"
        if not run_in_subprocess(["morans", path, str(out)], is_stopped, report):
            return None
        return pd.read_csv(out, index_col="gene", keep_default_na=False, na_values=[""])
