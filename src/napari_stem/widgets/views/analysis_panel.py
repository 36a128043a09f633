"""Spatial analysis: domains of predicted expression, how they lie, which genes cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSlider,
    QWidget,
)

from napari_stem.widgets.common.hints import NO_SAMPLES
from napari_stem.widgets.common.parts import Note, ProgressBar, button, count, row, stack
from napari_stem.widgets.common.table import UNKNOWN, Column, Table, TableView, marked
from napari_stem.widgets.state import DOMAINS, MEAN
from napari_stem.widgets.views.domain_layer import colours_of
from napari_stem.widgets.views.plots import DomainsPlot

if TYPE_CHECKING:
    from napari_stem.spatial_analysis.domains import Domains, Stability
    from napari_stem.widgets.state import DisplaySettings

RESOLUTION_STEPS = 10  # of the slider, per unit of resolution
DEFAULT_RESOLUTION, MOST_RESOLUTION = 0.5, 2.0
NEIGHBOURS = "Which domains lie side by side"
SURROUNDINGS = "What surrounds the chosen domain"
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
        "interval", "90%", "Of the samples; none where they were not kept", widest="+0.00 to +0.00"
    ),
    Column(
        "fdr",
        "FDR",
        "Benjamini-Hochberg, from one-sided p-values under normality",
        lambda fdr: f"<{LEAST_FDR:g}" if fdr < LEAST_FDR else f"{fdr:.1e}",
        widest="0.0e-00",
    ),
)
TABLE_HEIGHT_PX = 150
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
MOST_DOMAINS_SEEN = 9


class AnalysisPanel(QWidget):
    """Asks for analyses and shows what they found."""

    def __init__(
        self, settings: DisplaySettings, folder: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.settings, self.folder = settings, folder
        self.resolution = QSlider(Qt.Orientation.Horizontal)
        self.resolution.setRange(1, int(MOST_RESOLUTION * RESOLUTION_STEPS))
        self.resolution.setValue(int(DEFAULT_RESOLUTION * RESOLUTION_STEPS))
        self.resolution.setToolTip("Leiden's resolution: to the right more and smaller domains")
        self.resolution_label = QLabel()
        self.find_button = QPushButton("Find domains")
        self.morans_button = button("Moran's I of all genes", MORANS_TIP)
        self.cancel_button = QPushButton("Cancel")
        self.progress = ProgressBar()
        self.message, self.summary = Note(), Note(ABOUT)
        self.visible_box = QCheckBox("Show domains on the slide")
        self.domains = Table(DOMAIN_COLUMNS)
        self.domains_view = TableView(self.domains)
        self.domains_view.header().setSectionResizeMode(
            NAME, QHeaderView.ResizeMode.ResizeToContents
        )
        self.domains_view.stretch(HIGH)
        self.plot_choice = QComboBox()
        self.plot_choice.addItems([NEIGHBOURS, SURROUNDINGS])
        self.plot = DomainsPlot()
        self.save_domains_button = QPushButton("Save domains…")
        self.morans = Table(MORANS_COLUMNS)
        self.morans_view = TableView(self.morans, sort_by=1)
        self.morans_view.setMinimumHeight(TABLE_HEIGHT_PX)
        self.of_what = Note()
        self.save_morans_button = QPushButton("Save table…")
        self.found, self.ranked = QWidget(), QWidget()
        self._shown: Domains | None = None
        self._lay_out()
        self.resolution.valueChanged.connect(self._tell_resolution)
        self.visible_box.clicked.connect(
            lambda is_on: settings.ask(view=DOMAINS if is_on else MEAN)
        )
        self.domains_view.chosen.connect(self._plot)
        self.plot_choice.activated.connect(self._plot)
        self.morans_view.chosen.connect(lambda gene: settings.update(gene=gene))
        settings.changed.connect(self._follow)
        self._follow()
        self._tell_resolution()
        self.show_domains(None)
        self.show_morans(None)
        self.show_idle("")
        self.setEnabled(False)

    def chosen_resolution(self) -> float:
        """Return the resolution that the slider stands at."""
        return float(self.resolution.value() / RESOLUTION_STEPS)

    def show_running(self, text: str, done: int, total: int) -> None:
        """Say how far it is, and offer Cancel."""
        self._show(f"{text} …", is_running=True)
        self.progress.show_share(done, total)

    def show_idle(self, text: str) -> None:
        """Nothing runs; say how it ended."""
        self._show(text, is_running=False)

    def show_domains(self, domains: Domains | None) -> None:
        """List domains and plot how they lie; None: none were found."""
        self._shown = domains
        self.found.setVisible(domains is not None)
        self.summary.setText(ABOUT if domains is None else describe_domains(domains))
        if domains is not None:
            self.domains.fill(_domain_frame(domains))
            self.domains_view.fit(MOST_DOMAINS_SEEN)
            has_relations = domains.relations is not None
            self.plot.setVisible(has_relations)
            self.plot_choice.setVisible(has_relations)
            self._plot()

    def show_morans(self, table: pd.DataFrame | None) -> None:
        """List genes by Moran's I; None: it has not been computed."""
        self.ranked.setVisible(table is not None)
        if table is not None:
            between = zip(table["I_q05"], table["I_q95"], strict=True)
            texts = ["" if np.isnan(low) else f"{low:+.2f} to {high:+.2f}" for low, high in between]
            shown = table.assign(interval=texts)
            self.morans.fill(marked(shown, self.settings.by_chance))
            n_samples = int(table["n_samples"].max())
            self.of_what.say(
                f"From {n_samples} samples."
                if n_samples
                else f"{NO_SAMPLES}: of the mean, and too high."
            )

    def _follow(self) -> None:
        self.visible_box.setChecked(self.settings.view == DOMAINS)

    def _plot(self, *_: object) -> None:
        domains = self._shown
        if domains is None or domains.relations is None:
            return
        around = None
        if self.plot_choice.currentText() == SURROUNDINGS:
            around = max(0, self.domains_view.currentIndex().row())
        colours = colours_of(len(domains.names))
        self.plot.show_domains(domains.names, domains.relations, colours, around)

    def _show(self, text: str, *, is_running: bool) -> None:
        for asking in (self.find_button, self.morans_button):
            asking.setEnabled(not is_running)
        for part in (self.cancel_button, self.progress):
            part.setVisible(is_running)
        self.message.say(text)

    def _tell_resolution(self) -> None:
        self.resolution_label.setText(f"{self.chosen_resolution():.1f}")

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("Fineness", row(self.resolution, self.resolution_label))
        stack(
            self.found,
            self.visible_box,
            self.domains_view,
            self.plot_choice,
            self.plot,
            self.save_domains_button,
        )
        stack(self.ranked, self.of_what, self.morans_view, self.save_morans_button)
        buttons = row(self.find_button, self.morans_button, self.cancel_button)
        told = self.progress, self.message, self.summary
        stack(self, form, buttons, *told, self.found, self.ranked)


def _domain_frame(domains: Domains) -> pd.DataFrame:
    """Table of domains, the largest first."""
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
