"""Spatial analysis: domains of predicted expression, how they lie, which genes cluster.

Carried out one at a time in a process of its own; domains come in place of the map.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.utils.notifications import show_info
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QHeaderView, QWidget
from superqt import QLabeledDoubleSlider

from napari_stem.spatial_analysis import store
from napari_stem.spatial_analysis.autocorrelation import require_spots
from napari_stem.texts import count
from napari_stem.widgets.common import parts
from napari_stem.widgets.common.hints import NO_SAMPLES
from napari_stem.widgets.common.table import UNKNOWN, Column, Table, TableView, marked, write_csv
from napari_stem.widgets.common.worker import Jobs, StoppableJob
from napari_stem.widgets.genes.active_prediction import state_of
from napari_stem.widgets.genes.map_layers import DomainLayer, colours_of
from napari_stem.widgets.state import DOMAINS, MEAN
from napari_stem.widgets.views.plots import Plot, draw_neighbours, draw_surroundings

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_stem.progress import Poll, Progress
    from napari_stem.results import Prediction
    from napari_stem.spatial_analysis.domains import Domains, Stability
    from napari_stem.widgets.genes.map_display import MapDisplay


GROWING = -1  # spots: what is found is of all that there are in the end
GONE = "The domains are no longer stored beside this prediction; find them again."
UNFINISHED = (
    "Domains and Moran's I are of all spots: they wait until the run has ended. Domains that were found "
    "before come back when their prediction is chosen in Model."
)
CANCELLED = "Cancelled; what was found before stays."
DOMAIN_FILES = "AnnData with expression (*.h5ad);;Table of spots (*.csv)"
LEAST_RESOLUTION, DEFAULT_RESOLUTION, MOST_RESOLUTION = 0.1, 0.5, 2.0
PLOTS = {
    "neighbours": "Which domains lie side by side",
    "around": "What surrounds the chosen domain",
}
ABOUT = (
    "Domains group spots of like predicted expression; position does not enter. They are predicted, not "
    "seen: judge them by the slide."
)
MORANS_TIP = (
    "Moran's I: how alike neighbouring spots are, 1 at most; the mean over the samples, as a measurement would "
    "have it. Predictions of neighbours share tissue, so all are alike to some degree: compare genes rather "
    "than trust small p-values."
)
LEAST_FDR = 1e-16  # what is smaller is said to be so
MORANS_COLUMNS = (
    Column("gene", "Gene"),
    Column("I", "Moran's I", MORANS_TIP, "+.2f"),
    Column(
        "I_q05",
        "90%",
        "Of the samples; not known where they were not kept",
        "+.2f",
        upper="I_q95",
        widest="+0.00 to +0.00",
    ),
    Column(
        "fdr",
        "FDR",
        "Benjamini-Hochberg, from one-sided p-values under normality",
        lambda fdr: f"<{LEAST_FDR:g}" if fdr < LEAST_FDR else f"{fdr:.1e}",
        widest="0.0e-00",
    ),
)
NAME, SHARE, STABILITY, HIGH = range(4)
DOMAIN_COLUMNS = (
    Column(
        "name",
        "Domain",
        "Double-click to give it a name of your own",
        colour="colour",
        widest="Domain 00 ____",
        is_editable=True,
    ),
    Column("share", "Area", "Share of the predicted area", ".0%", widest="100%"),
    Column(
        "stability",
        "Stability",
        "Share of the samples that put a spot into this domain, on average (100%: all do). In brackets what "
        "chance alone would give.",
        order="support",
        widest="100% (00%)",
    ),
    Column(
        "high", "High in it", "Genes predicted highest here compared with elsewhere", is_text=True
    ),
)


class AnalysisPanel(QWidget):
    """Asks for analyses; keeps the domains of the active prediction, here, on the slide and on disk."""

    _text = ""  # of the analysis on its way, or how the last one ended

    def __init__(self, jobs: Jobs, maps: MapDisplay, folder: str) -> None:
        super().__init__()
        self._jobs, self._maps, self.folder = jobs, maps, folder
        self.settings = settings = maps.settings
        self._running = StoppableJob(jobs)
        # the prediction spoken of, and its finished spots, or that it grows
        self._key: tuple[str, int] | None = None
        self.domains: Domains | None = None  # of the active prediction
        self._ranking: pd.DataFrame | None = None  # Moran's I of its genes
        self.on_slide = DomainLayer(maps.layer_queue)
        self._is_loading = False
        self.resolution = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.resolution.setDecimals(1)
        self.resolution.setRange(LEAST_RESOLUTION, MOST_RESOLUTION)
        self.resolution.setSingleStep(LEAST_RESOLUTION)
        self.resolution.setValue(DEFAULT_RESOLUTION)
        self.resolution.setToolTip("Leiden's resolution: to the right more and smaller domains")
        self.find_button = parts.button("Find domains", act=self.find_domains)
        self.morans_button = parts.button("Moran's I of all genes", MORANS_TIP, self.rank_genes)
        self.cancel_button = parts.button("Cancel", act=self._running.stop)
        self.progress = parts.ProgressBar()
        self.message, self.summary = parts.Note(), parts.Note(ABOUT)
        self.visible_box = QCheckBox("Show domains on the slide")
        self.domains_table = Table(DOMAIN_COLUMNS)
        self.domains_view = TableView(self.domains_table)
        self.domains_view.header().setSectionResizeMode(
            NAME, QHeaderView.ResizeMode.ResizeToContents
        )
        self.domains_view.stretch(HIGH)
        self.plot_choice = parts.choice(PLOTS, act=self._plot)
        self.plot = Plot()
        self.save_domains_button = parts.button("Save domains…", act=self._save_domains)
        self.morans = Table(MORANS_COLUMNS)
        self.morans_view = TableView(self.morans, sort_by=1)
        self.morans_view.setMinimumHeight(150)
        self.of_what = parts.Note()
        self.save_morans_button = parts.button("Save table…", act=self._save_morans)
        self.found, self.ranked = QWidget(), QWidget()
        form = parts.labelled({"Fineness": self.resolution})
        shown = self.visible_box, self.domains_view, self.plot_choice, self.plot
        parts.stack(self.found, *shown, self.save_domains_button)
        parts.stack(self.ranked, self.of_what, self.morans_view, self.save_morans_button)
        buttons = parts.row(self.find_button, self.morans_button, self.cancel_button)
        told = self.progress, self.message, self.summary
        parts.stack(self, form, buttons, *told, self.found, self.ranked)
        self._show_domains()
        self._show_morans()
        self._show("")
        self.setEnabled(False)
        self.domains_table.edited.connect(self._rename)
        maps.map_updated.connect(self.refresh)
        self.visible_box.clicked.connect(
            lambda is_on: settings.apply(view=DOMAINS if is_on else MEAN)
        )
        self.domains_view.chosen.connect(self._plot)
        self.morans_view.chosen.connect(lambda gene: settings.update(gene=gene))

    def is_shown(self) -> bool:
        """Whether domains lie on the slide in place of the map."""
        return self.domains is not None and self.settings.view == DOMAINS

    def refresh(self) -> None:
        """Bring panel and layer in line with the active prediction and the settings."""
        active = self._maps.current()
        self.setEnabled(active is not None)
        self.visible_box.setChecked(self.settings.view == DOMAINS)
        self._show(self._text)
        key = None if active is None else active.state()
        if active is not None and active.is_growing:
            key = str(active.prediction.path), GROWING
        if key != self._key:
            was_shown, self._key = self.is_shown(), key
            self.domains = self._ranking = None
            self._is_loading = False
            self._show_domains()
            self._show_morans()
            self.on_slide.hide()
            if active is not None and active.prediction.done.any() and not active.is_growing:
                self._load(active.prediction)
            if active is not None and was_shown:  # those were another prediction's
                self.settings.update(view=MEAN)
                return
        if active is not None and self.domains is not None and self.is_shown():
            self.on_slide.show(active.grid(), active.prediction, self.domains)
            return
        self.on_slide.hide()
        if active is not None and self.settings.view == DOMAINS and not self._is_loading:
            show_info(UNFINISHED if active.is_growing else GONE)
            self.settings.update(view=MEAN)

    def find_domains(self) -> None:
        """Find domains at the fineness that the slider stands at."""
        resolution = round(self.resolution.value(), 1)
        self._start(find_domains, resolution, take=lambda found, _: self._load(found))

    def rank_genes(self) -> None:
        """Compute Moran's I of all genes."""
        key = self._key

        def take(_: Prediction, table: pd.DataFrame) -> None:
            if key == self._key:
                self._ranking = table
                self._show_morans()

        self._start(rank_genes, take=take)

    def _start(
        self, run: Callable[..., Any], *args: Any, take: Callable[[Prediction, Any], None]
    ) -> None:
        active = self._maps.current()
        if active is None or active.is_growing or self._running.is_running:
            return
        prediction = active.prediction

        def done(result: Any) -> None:
            self._show(CANCELLED if result is None else "")
            if result is not None:
                take(prediction, result)

        self._running.reported = partial(self._on_progress, prediction)
        failed = partial(self._show, "Not done.")
        self._running.start(run, prediction, *args, done=done, failed=failed)
        self._on_progress(prediction, "Starting", 0, 0)

    def _on_progress(self, prediction: Prediction, text: str, done: int, total: int) -> None:
        self._show(f"{text} …")
        self.progress.show_share(done, total)
        if text == store.FOUND:
            self._load(prediction, is_new=True)

    def _load(self, prediction: Prediction, *, is_new: bool = False) -> None:
        """Read what is stored beside a prediction, where it is the active one; what is new is shown."""
        key = state_of(prediction)
        if key != self._key:
            return

        def take(domains: Domains | None) -> None:
            if key != self._key:
                return  # of another prediction; that of the active one is being read
            self._is_loading = False
            if domains is not None:
                self.domains = domains
                self._show_domains()
                if is_new:
                    self.settings.update(view=DOMAINS)
            self.refresh()

        self._is_loading = True
        nothing = partial(take, None)  # that they are damaged has been told
        self._jobs.start(store.read_domains, prediction, done=take, failed=nothing)

    def _rename(self, domain: int, _key: str, name: str) -> None:
        active = self._maps.current()
        if self.domains is None or active is None or not name:
            return
        names = list(self.domains.names)
        names[domain] = name
        self.domains = replace(self.domains, names=tuple(names))
        self._show_domains()
        self.refresh()
        place = store.sidecar_path(active.prediction)
        self._jobs.start(store.write_domains, self.domains, place)

    def _save_domains(self) -> None:
        active = self._maps.current()
        path = parts.ask_where_to_save(self, "Save", "domains.h5ad", DOMAIN_FILES)
        if active is not None and self.domains is not None and path:
            self._jobs.save(store.export_domains, self.domains, active.prediction, Path(path))

    def _save_morans(self) -> None:
        path = parts.ask_where_to_save(self, "Save", "morans_i.csv", "Tables (*.csv)")
        if self._ranking is not None and path:
            self._jobs.save(write_csv, self._ranking, Path(path))

    def _show_domains(self) -> None:
        domains = self.domains
        self.found.setVisible(domains is not None)
        self.summary.setText(ABOUT if domains is None else describe_domains(domains))
        if domains is not None:
            self.domains_table.fill(_domain_frame(domains))
            self.domains_view.fit(most_rows=9)
            has_relations = domains.relations is not None
            self.plot.setVisible(has_relations)
            self.plot_choice.setVisible(has_relations)
            self._plot()

    def _show_morans(self) -> None:
        table = self._ranking
        self.ranked.setVisible(table is not None)
        if table is not None:
            self.morans.fill(marked(table, self.settings.by_chance))
            n_samples = int(table["n_samples"].max())
            of_mean = f"{NO_SAMPLES}: of the mean, and too high."
            self.of_what.say(f"From {count(n_samples, 'sample')}." if n_samples else of_mean)

    def _plot(self, *_: object) -> None:
        domains = self.domains
        if domains is None or domains.relations is None:
            return
        shown = domains.names, domains.relations, colours_of(len(domains.names))
        if self.plot_choice.currentData() == "around":
            around = max(0, self.domains_view.currentIndex().row())
            self.plot.plot(draw_surroundings, *shown, around)
        else:
            self.plot.plot(draw_neighbours, *shown)

    def _show(self, text: str) -> None:
        active, is_running = self._maps.current(), self._running.is_running
        is_growing = active is not None and active.is_growing
        self._text = text
        for asking in (self.find_button, self.morans_button):
            asking.setEnabled(not is_running and not is_growing)
        for part in (self.cancel_button, self.progress):
            part.setVisible(is_running)
        self.message.say(UNFINISHED if is_growing and not is_running else text)


def _domain_frame(domains: Domains) -> pd.DataFrame:
    n, stability = len(domains.names), domains.stability
    found = np.full(n, np.nan) if stability is None else stability.of_domains(domains.labels)
    stable = [UNKNOWN] * n
    if stability is not None:
        stable = [f"{f:.0%} ({c:.0%})" for f, c in zip(found, stability.by_chance, strict=True)]
    return pd.DataFrame(
        {
            "name": domains.names,
            "colour": colours_of(n),
            "share": domains.shares,
            "stability": stable,
            "support": found,
            "high": [", ".join(genes) or UNKNOWN for genes in domains.markers],
        }
    )


def describe_domains(domains: Domains) -> str:
    """Say what was found, and how far it can be relied on."""
    n = len(domains.names)
    found = f"{count(n, 'domain')} of predicted expression (resolution {domains.resolution:g})."
    if n == 1:
        return f"{found} All spots are alike at this fineness."
    if domains.stability is None:
        return f"{found} {NO_SAMPLES}: how stable they are is not known."
    return f"{found} {_describe_stability(domains.stability)}"


def _describe_stability(stability: Stability) -> str:
    between = np.array(stability.between)
    mean = float(between.mean())
    verdict = "agree well" if mean >= 0.6 else "agree in part" if mean >= 0.3 else "agree little"
    n_draws = len(stability.with_mean)
    return (
        f"Domains of {n_draws} single samples {verdict}: adjusted Rand index {mean:.2f} between two "
        f"({between.min():.2f} to {between.max():.2f}; 1 the same, 0 chance), "
        f"{np.mean(stability.with_mean):.2f} with the domains shown."
    )


def find_domains(prediction: Prediction, resolution: float, poll: Poll, progress: Progress) -> bool:
    """Find domains in a process of their own; True once they lie beside the prediction."""
    require_spots(int(prediction.done.sum()))
    store.run_in_subprocess(["domains", str(prediction.path), str(resolution)], poll, progress)
    return True


def rank_genes(prediction: Prediction, poll: Poll, progress: Progress) -> pd.DataFrame:
    """Compute Moran's I in a process of its own."""
    require_spots(int(prediction.done.sum()))
    with TemporaryDirectory() as folder:
        out = Path(folder) / "morans.csv"
        store.run_in_subprocess(["morans", str(prediction.path), str(out)], poll, progress)
        return pd.read_csv(out, index_col="gene", keep_default_na=False, na_values=[""])
