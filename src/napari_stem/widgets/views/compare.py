"""Compare: the gene's mean in every region, and the comparison of two groups in all genes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from napari.utils.notifications import show_info
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSplitter, QWidget

from napari_stem.evaluation.differences import (
    REST,
    compare_groups,
    drawn_groups,
    first_pair,
    with_classes,
    write_differences,
)
from napari_stem.exporting.selection import RegionSummary, Selection, region_summaries
from napari_stem.texts import NOTICE, count, quoted
from napari_stem.widgets.common import parts
from napari_stem.widgets.common.form import line
from napari_stem.widgets.common.hints import TOO_LARGE, few_samples
from napari_stem.widgets.common.table import TIP, Column, Table, TableView, marked
from napari_stem.widgets.common.worker import Jobs, LatestJob, StoppableJob
from napari_stem.widgets.views.plots import VolcanoPlot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QShowEvent

    from napari_stem.geometry import Region
    from napari_stem.progress import Poll
    from napari_stem.results import Prediction
    from napari_stem.widgets.genes.map_display import MapDisplay
    from napari_stem.widgets.regions.region_panel import RegionPanel

NO_REGION = "Draw or import regions to see the means in them and to compare them."
COLUMNS = (
    Column("region", "Region", "Drawn or imported, or all regions of a class"),
    Column("area_mm2", "mm²", "Area in square millimetres", ".2f", widest="000.00"),
    Column("n_spots", "Spots", "Predicted spots in it", ",", widest="0,000"),
    Column("mean", "Mean (90% interval)", widest="0.00 (0.00 to 0.00)"),
)
INTERVAL_TIP = (
    "The interval of a region's mean, from the mean over its spots within each sample: samples hold the errors "
    "that spots share. Without samples, the mean of the spots' intervals, which is wider."
)

EXPLANATION = (
    "Samples are joint: errors that spots share, within a neighbourhood and over the slide, are in them as far "
    "as the training sections show them."
)
GENE, DIFFERENCE, Q_VALUE = 0, 1, 5
GENE_COLUMNS = (
    Column("gene", "Gene", "Click to see its map"),
    Column("difference", "Difference", "Predicted mean of A minus that of B", "+.2f"),
    Column(
        "q05",
        "90% interval",
        "Of the difference",
        "+.2f",
        upper="q95",
        order="width",
        widest="+0.00 to +00.00",
    ),
    Column(
        "standardised",
        "Std. diff.",
        "The difference in standard deviations between single spots (Cohen's d)",
        "+.2f",
    ),
    Column(
        "probability",
        "P(A > B)",
        "Probability that the mean of A is above that of B, from the samples",
        ".2f",
    ),
    Column(
        "q_value",
        "FDR",
        "False discovery rate: expected share of wrong directions if this gene and all surer ones are called "
        "different, the mean of min(P, 1 - P) over them (Bayesian; s-value of Stephens 2017)",
        ".1%",
        order="surest",
    ),
)
LIMIT = 0.05  # false discovery rate
MOST_LETTERS = 50  # of a group, in the name of a file


@dataclass(frozen=True)
class Compared:
    """A finished comparison: the differences, spots in the groups, and what was compared."""

    found: pd.DataFrame
    n_a: int
    n_b: int
    prediction: Prediction


class CompareWindow(QWidget):
    """Shows which genes differ between two groups: table and volcano plot, both choose genes."""

    def __init__(self, jobs: Jobs, maps: MapDisplay, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Window)
        self._jobs, self._maps, self.folder = jobs, maps, ""
        self.compared: Compared | None = None
        self.heading, self.message = parts.Note(), parts.Note()
        self.explanation = parts.Note(EXPLANATION)
        self.search = line("Find a gene", is_search=True)
        self.table = Table(GENE_COLUMNS)
        self.view = TableView(self.table, sort_by=Q_VALUE)
        self.plot = VolcanoPlot()
        self.save_button = parts.button("Save as CSV…", act=self._save)
        left, right = QWidget(), QWidget()
        parts.stack(left, self.search, self.view)
        parts.stack(right, self.explanation, self.plot, stretched=1)
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.addWidget(left)
        splitter.addWidget(right)
        splitter.setSizes([620, 500])
        below = parts.row(self.message, self.save_button, stretched=0)
        parts.stack(self, self.heading, splitter, below, stretched=1, is_window=True)
        self.resize(1120, 640)
        self.search.textChanged.connect(self.table.filter)
        self.view.chosen.connect(self.plot.mark)
        self.view.chosen.connect(self._show_gene)
        self.plot.gene_clicked.connect(self.choose)

    def show_differences(self, compared: Compared) -> None:
        """Show which genes differ, and what to be wary of."""
        self.compared = compared
        found, slide_name = compared.found, compared.prediction.provenance["slide"]
        first, second = found[["group_a", "group_b"]].iloc[0]
        self.setWindowTitle(f"{first} compared with {second}, predicted on {slide_name}")
        n_called = int((found.q_value <= LIMIT).sum())
        told = (
            f"{slide_name}. A: {first} ({count(compared.n_a, 'spot')}), "
            f"B: {second} ({count(compared.n_b, 'spot')}). "
            f"{n_called:,} of {count(len(found), 'gene')} differ at a false "
            f"discovery rate of {LIMIT:.0%}."
        )
        warning = few_samples(compared.prediction.n_kept_draws)
        self.heading.setText(" ".join(filter(None, (told, warning, NOTICE))))
        self.table.fill(_frame(found))
        self.view.sortByColumn(Q_VALUE, Qt.SortOrder.AscendingOrder)
        self.view.scrollToTop()
        self.plot.show_differences(found, LIMIT)
        self.message.setText("")

    def choose(self, gene: str) -> None:
        """Choose a gene as if it had been clicked in the table."""
        self.search.clear()
        place = self.table.row_of(gene)
        if place is not None:
            index = self.table.index(place, GENE)
            self.view.setCurrentIndex(index)
            self.view.scrollTo(index)

    def _show_gene(self, gene: str) -> None:
        """Show a gene that was chosen on the map of what was compared."""
        active, compared = self._maps.current(), self.compared
        if compared is None:
            return
        if active is not None and active.prediction.path == compared.prediction.path:
            self._maps.settings.update(gene=gene)
            self.message.setText("")
            return
        slide_name = compared.prediction.provenance["slide"]
        self.message.setText(
            f"To see {gene} on the map, go back to this prediction of {slide_name}."
        )

    def _save(self) -> None:
        if self.compared is None:
            return
        found = self.compared.found
        first, second = found[["group_a", "group_b"]].iloc[0]
        groups = f"{quoted(first, MOST_LETTERS)}_{quoted(second, MOST_LETTERS)}"
        name = re.sub(r"[^\w.-]+", "-", f"differences_{groups}.csv")  # as every system takes it
        path = parts.ask_where_to_save(self, "Save the comparison", name, "Table (*.csv)")
        if not path:
            return
        write = partial(write_differences, found, Path(path), overwrite=True)

        def saved(_: None) -> None:
            self.message.setText(f"Saved {path}.")
            show_info(f"Saved {path}")

        self.message.setText("Saving …")
        self._jobs.start(write, done=saved, failed=lambda: self.message.setText("Not saved."))


def _frame(found: pd.DataFrame) -> pd.DataFrame:
    """Table of a comparison: a row for every gene."""
    frame = found.rename_axis(None).assign(
        width=found["q95"] - found["q05"],
        surest=range(len(found)),  # as they come
    )
    return marked(frame, frame.index[found["by_chance"]])


class ComparePanel(QWidget):
    """Shows regions in numbers; compares two of them, one comparison at a time."""

    def __init__(self, jobs: Jobs, maps: MapDisplay, region: RegionPanel) -> None:
        super().__init__()
        self._jobs, self._maps, self._region = jobs, maps, region
        self._groups: list[Region] = []
        self._summing, self._comparing = LatestJob(jobs), StoppableJob(jobs)
        self.result: CompareWindow | None = None
        self.heading = parts.Note(NO_REGION)
        self.table = Table(COLUMNS)
        self.view = TableView(self.table)
        self.view.setSelectionMode(TableView.SelectionMode.NoSelection)
        self.first = parts.choice({}, is_narrow=True)
        self.second = parts.choice(
            {}, "A spot that lies in both counts for the first", is_narrow=True
        )
        self._is_chosen = False  # by the user
        for box in (self.first, self.second):
            box.activated.connect(self._on_chosen)
        self.button = parts.button(
            "Compare in all genes…",
            "Which genes differ, by how much and how surely: table and volcano plot",
            self._compare,
        )
        self.message = parts.Note()
        groups = parts.labelled({"Compare": self.first, "with": self.second})
        parts.stack(self, self.heading, self.view, groups, self.button, self.message)
        self._show_groups([])
        self.message.say("")
        self.setEnabled(False)
        maps.map_updated.connect(self.refresh)
        region.counted.connect(self.refresh)

    def showEvent(self, event: QShowEvent) -> None:
        """Show numbers that were not wanted before."""
        super().showEvent(event)
        self.refresh()

    def refresh(self) -> None:
        """Bring the regions' numbers in line with the gene on the map; while folded away they wait."""
        active = self._maps.current()
        self.setEnabled(active is not None)
        if self.isHidden():
            return
        self._show_groups(with_classes(self._region.regions()) if active is not None else [])
        if active is None or not self._groups or not active.prediction.done.any():
            self._show_summaries("", "", ())
            return
        prediction, gene, groups = active.prediction, active.gene, self._groups
        self._summing.start(
            lambda: region_summaries(Selection.of(prediction, [gene], groups)),
            done=partial(self._show_summaries, gene, prediction.unit),
        )

    def close_result(self) -> None:
        """Close the window of the comparison."""
        if self.result is not None:
            self.result.close()

    def _show_groups(self, groups: list[Region]) -> None:
        """Offer regions and classes, a pair of them first, or what the user chose, where it is still there."""
        names, before = [group.name for group in groups], [group.name for group in self._groups]
        self._groups = groups
        if names == before and self.second.count():
            return
        a, b = first_pair(groups) if groups else (-1, -1)
        self._is_chosen &= bool(names)
        for box, options, place in ((self.first, names, a), (self.second, [*names, REST], b)):
            chosen = box.currentText()
            box.clear()
            box.addItems(options)
            kept = box.findText(chosen) if self._is_chosen else -1
            box.setCurrentIndex(kept if kept >= 0 else place % max(1, len(options)))
        if self.first.currentIndex() == self.second.currentIndex():
            self.second.setCurrentIndex(len(names))
        self.button.setEnabled(bool(names))
        self.view.setVisible(bool(names))

    def _show_summaries(self, gene: str, unit: str, summaries: Sequence[RegionSummary]) -> None:
        """Show the gene's mean in every group."""
        self.heading.setText(f"{gene} predicted, {unit}" if summaries else NO_REGION)
        self.table.fill(pd.DataFrame([_row(each, gene) for each in summaries]))
        self.view.fit(most_rows=7)

    def _on_chosen(self) -> None:
        self._is_chosen = True

    def _compare(self) -> None:
        active, second = self._maps.current(), self.second.currentIndex()
        if active is None or not self._groups or self._comparing.is_running:
            return
        prediction, first = active.prediction, self._groups[self.first.currentIndex()]
        other = self._groups[second] if second < len(self._groups) else None  # everything else
        if first is other:
            self.message.say("Choose two different regions.")
            return
        if not prediction.n_kept_draws:
            self.message.say(f"{TOO_LARGE} to compare regions.")
            return

        def compare(poll: Poll) -> Compared:
            a, b = drawn_groups(prediction, first, other, poll)
            found = compare_groups(a, b, prediction.gene_accuracy["by_chance"], prediction.unit)
            return Compared(found, a.n_spots, b.n_spots, prediction)

        self.button.setEnabled(False)
        self.message.say("Comparing …")
        self._comparing.start(compare, done=self._show_comparison, failed=self._end)

    def _end(self) -> None:
        self.button.setEnabled(bool(self._groups))
        self.message.say("")

    def _show_comparison(self, compared: Compared | None) -> None:
        self._end()
        if compared is None:
            return
        if self.result is None:
            self.result = CompareWindow(self._jobs, self._maps, self)
        self.result.show_differences(compared)
        self.result.show()
        self.result.raise_()


def _row(each: RegionSummary, gene: str) -> dict[str, Any]:
    mean, found = "no spots", each.genes.get(gene)
    if found is not None:
        mean = f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f})"
    told = {"region": each.name, "area_mm2": each.area_mm2, "n_spots": each.n_spots, "mean": mean}
    return {**told, TIP: f"{each.name}\n\n{INTERVAL_TIP}"}
