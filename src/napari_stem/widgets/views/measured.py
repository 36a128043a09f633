"""Measured: load counts beside a prediction, flip between the two, see how far they agree."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.notifications import show_info
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QRadioButton, QWidget

from napari_stem.errors import PredictionError
from napari_stem.evaluation.measured_match import MeasuredMatch, match_measured, read_measured
from napari_stem.layers.placement import SpotGrid
from napari_stem.layers.values import apart
from napari_stem.spatial.table_files import library_sizes
from napari_stem.texts import count
from napari_stem.widgets.common import parts
from napari_stem.widgets.common.hints import ONE_GENE_ONLY
from napari_stem.widgets.common.keys import SEE_DIFFERENCE, SEE_MEASURED, SEE_PREDICTED, shortcut
from napari_stem.widgets.common.table import Column, Table, TableView, marked, write_csv
from napari_stem.widgets.common.worker import Jobs, LatestJob, StoppableJob
from napari_stem.widgets.genes.layer_queue import MEASURED_RANK
from napari_stem.widgets.genes.map_layers import SpotMap
from napari_stem.widgets.state import DIFFERENCE, MEAN, MEASURED, ONE
from napari_stem.widgets.views.plots import Plot, draw_gene

if TYPE_CHECKING:
    import anndata
    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp
    from napari_stem.layers.placement import SpotShape
    from napari_stem.progress import Poll
    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.genes.active_prediction import ActivePrediction
    from napari_stem.widgets.genes.map_display import MapDisplay

VIEWS = {
    MEAN: ("Predicted", SEE_PREDICTED, "The map of the prediction"),
    MEASURED: (
        "Measured",
        SEE_MEASURED,
        "What was measured, in the same unit and the same colours",
    ),
    DIFFERENCE: (
        "Difference",
        SEE_DIFFERENCE,
        "Predicted minus measured: red where too much is predicted, blue where too little",
    ),
}
DIVERGING = "RdBu_r"  # red and blue are told apart by colour-blind eyes; white is no difference
WIDEST = 99.0  # percentile of the differences that gets the last colour
MATCHING = "Matching spots …"
LATER = "laid beside the prediction of this slide once there is one."
COUNTS = "Tables of counts (*.h5ad);;All files (*)"
NOT_YET = "None of the genes, or of the spots so far, that are predicted here was measured."
COLUMNS = (
    Column("gene", "Gene"),
    Column(
        "pcc", "PCC", "Correlation of the predicted mean with the measured value over spots", "+.2f"
    ),
    Column(
        "coverage_90",
        "In 90%",
        "Share of spots whose measured value the 90% interval holds, ties broken at random",
        ".0%",
        widest="100%",
    ),
    Column(
        "mean_difference",
        "Off by",
        "Mean of predicted minus measured, in the unit of the map",
        "+.2f",
    ),
)
START = (
    "Counts measured on this very slide: a table (.h5ad, raw counts, as st/ID.h5ad of a HEST data set) or "
    "a folder of Space Ranger (Visium)."
)


@dataclass
class Loaded:
    """Measured data of one slide, and the prediction they were last matched with."""

    path: Path  # where they came from
    counts: anndata.AnnData
    match: MeasuredMatch | None = None  # what lies beside the prediction, if anything does
    matched: tuple[str, int] | None = None  # path of that prediction, and how many spots were done
    grids: dict[SpotShape, SpotGrid] = field(default_factory=dict)  # of the measured spots
    is_known: bool = False  # matched with any prediction: they are this slide's
    # what was loaded before, and comes back where these are refused; None once they are matched
    before: Loaded | None = None

    @cached_property
    def depth(self) -> float:
        """Counts of a spot, the median."""
        return float(np.median(library_sizes([self.counts.X])))


class MeasuredPanel(QWidget):
    """Asks for measured data, keeps them by slide, and shows them in place of the prediction's map."""

    changed = Signal()  # data came or went

    def __init__(self, jobs: Jobs, maps: MapDisplay, folder: str) -> None:
        super().__init__()
        self._jobs, self._maps, self.folder = jobs, maps, folder
        self.settings = settings = maps.settings
        self._loaded: dict[str, Loaded] = {}  # by the slide's fingerprint
        self._reading: dict[str, LatestJob] = {}  # by the same
        self._matching = StoppableJob(jobs)
        self.map = maps.new_layer(MEASURED, MEASURED_RANK)
        self.table_button = parts.button("Counts (.h5ad)…", act=self._ask_for_table)
        self.visium_button = parts.button("Visium folder…", act=self._ask_for_folder)
        self.remove_button = parts.button("Remove", act=self.remove)
        self.save_button = parts.button(
            "Save table…", "Correlation, coverage and difference of every gene, as CSV", self._save
        )
        self.predict_button = parts.button(
            "Predict at the measured spots", "With the model and settings of Model"
        )
        self.depth_button = parts.button(
            "",
            "The next run gives counts as deep as these, so that values can be compared and not places alone.\n"
            "Of a table of all genes: one of some genes says nothing of depth.",
        )
        self.summary, self.message = parts.Note(START), parts.Note()
        self.views = {view: QRadioButton(title) for view, (title, *_) in VIEWS.items()}
        self.table = Table(COLUMNS)
        self.view = TableView(self.table, sort_by=1)
        self.view.setMinimumHeight(150)
        self.plot = Plot()
        self.results = QWidget()
        views = parts.row()
        for view, button in self.views.items():
            _, key, tip = VIEWS[view]
            button.setToolTip(f"{tip} ({key.sequence})")
            views.addWidget(button)
            choose = partial(self.choose_view, view)
            button.clicked.connect(choose)
            shortcut(key, self, choose)
        asking = (self.predict_button, self.depth_button)
        parts.stack(self.results, *asking, views, self.view, self.plot, self.save_button)
        loading = parts.row(self.table_button, self.visium_button, self.remove_button)
        parts.stack(self, loading, self.message, self.summary, self.results)
        self.view.chosen.connect(lambda gene: settings.update(gene=gene))
        maps.offer(self.special_map, self.map)
        maps.map_updated.connect(self.refresh)
        self.refresh()

    def shown(self) -> str:
        """Return ``mean``, of the prediction, ``measured`` or ``difference``."""
        return self.settings.view if self.settings.view in VIEWS else MEAN

    def choose_view(self, view: str, *_: object) -> None:
        """Choose what is shown, as a click does; nothing where there is nothing to choose."""
        if self.isEnabled() and not self.results.isHidden():
            self.settings.apply(view=view)

    def load(self, path: str | Path, *, is_told: bool = True) -> None:
        """Read counts of the active slide, as `load_for`: they lie beside its prediction once there is one."""
        if (slide := self._maps.slide) is None:
            show_info(f"Open the slide first on which {Path(path).name} was measured.")
        else:
            self.load_for(slide, path, is_told=is_told)

    def load_for(self, slide: Slide, path: str | Path, *, is_told: bool = False) -> None:
        """Read counts of a slide; of each one file at a time, of those asked for meanwhile the last.

        ``is_told``: who loads them is told, whatever is looked at, that they wait for a prediction.
        """
        self._show_busy(f"Reading {Path(path).name} …")
        self._reading.setdefault(slide.fingerprint, LatestJob(self._jobs)).start(
            read_measured,
            Path(path),
            slide.size,
            slide,
            done=partial(self._take, slide, Path(path), is_told),
            failed=self._rest,
        )

    def path_of(self, slide: Slide) -> Path | None:
        """Return where the data of a slide came from, None where there are none."""
        loaded = self._loaded.get(slide.fingerprint)
        return loaded.path if loaded else None

    def remove(self) -> None:
        """Forget the data of the active slide."""
        active = self._maps.current()
        if active is not None:
            self._loaded.pop(active.fingerprint, None)
            self._maps.draw()
            self.changed.emit()

    def of_active(self) -> Loaded | None:
        """Return what was measured on the slide of the active prediction."""
        active = self._maps.current()
        return self._loaded.get(active.fingerprint) if active else None

    def match(self) -> MeasuredMatch | None:
        """Return what lies beside the active prediction."""
        loaded = self.of_active()
        return loaded.match if loaded else None

    def refresh(self) -> None:
        """Bring the panel in line with the active prediction and the settings."""
        active, loaded = self._maps.current(), self.of_active()
        self.setEnabled(active is not None)
        self.views[self.shown()].setChecked(True)
        if active is not None and loaded is not None and loaded.matched != active.state():
            self._start_match(active, loaded)
        found = self.match()
        if active is None or loaded is None or found is None:
            self._show_nothing(active, loaded)
            return
        self._show_agreement(loaded, found)
        self.view.choose(active.gene)
        if _is_of(loaded, active):
            self._plot(active, found)
            if not self._matching.is_running:
                self.message.say(self._why_no_map(active, found))

    def special_map(self, active: ActivePrediction) -> SpotMap | None:
        """Return the map of what was measured, or of the difference, if it is asked for and known."""
        loaded, found = self.of_active(), self.match()
        if loaded is None or found is None or not _is_of(loaded, active):
            return None
        if self.shown() == MEAN or self._why_no_map(active, found):
            return None
        about = {"prediction": str(active.prediction.path)}
        plain = replace(active.gene_map(active.gene, "mean", self.settings), about=about)
        if self.shown() == MEASURED:
            shape, grids = self.settings.spot_shape, loaded.grids
            if shape not in grids:
                grids[shape] = SpotGrid.of(found.spots, active.mpp, shape)
            title, values = f"{active.gene} measured, {found.unit}", found.measured(active.gene)
            return replace(plain, kind=MEASURED, grid=grids[shape], values=values, title=title)
        title = f"{active.gene} predicted minus measured, {found.unit}"
        error = found.error(active.gene, plain.values)
        chosen = self.settings.range_of(DIFFERENCE)
        limits = chosen.limits(error) if chosen.kind == "fixed" else _balanced(error)
        return SpotMap(DIFFERENCE, plain.grid, error, title, limits, DIVERGING, about)

    def _why_no_map(self, active: ActivePrediction, found: MeasuredMatch) -> str:
        """Say why what is asked for cannot be shown; empty where it can, or nothing measured is asked for."""
        if self.shown() != MEAN and self.settings.shown_arrangement != ONE:
            return ONE_GENE_ONLY
        return "" if active.gene in found.genes else f"{active.gene} was not measured here."

    def _take(self, slide: Slide, path: Path, is_told: bool, counts: anndata.AnnData) -> None:
        before = self._loaded.get(slide.fingerprint)
        self._loaded[slide.fingerprint] = Loaded(path, counts, before=before)
        if is_told and self._maps.shown_on(slide) is None:
            show_info(f"{path.name}: {LATER}")
        self._rest()
        self.changed.emit()

    def _rest(self) -> None:
        """Be ready for another file, whether this one could be read or not."""
        self._show_busy("")
        self._maps.draw()

    def _start_match(self, active: ActivePrediction, loaded: Loaded) -> None:
        """Match in the background; while a prediction grows, again and again."""
        if self._matching.is_running:
            return
        fingerprint, key = active.fingerprint, active.state()

        def matched(found: MeasuredMatch | None) -> None:
            self.message.say("")
            if self._loaded.get(fingerprint) is loaded:
                loaded.match, loaded.matched, loaded.grids = found, key, {}
                if found is not None:
                    loaded.is_known, loaded.before = True, None
            self._maps.draw()

        def refused() -> None:  # the data are not this slide's, and the user has been told
            if self._loaded.get(fingerprint) is loaded:  # else others came meanwhile
                del self._loaded[fingerprint]
                if loaded.before is not None:
                    self._loaded[fingerprint] = loaded.before
            self._maps.draw()
            self.changed.emit()

        self.message.say(MATCHING)
        asked = active.prediction, loaded, active.mpp
        self._matching.start(match, *asked, done=matched, failed=refused)

    def _ask_for_table(self) -> None:
        if path := parts.ask_for_file(self, "Measured counts", COUNTS):
            self.load(path)

    def _ask_for_folder(self) -> None:
        if path := parts.ask_for_folder(self, "Visium folder (outs)"):
            self.load(path)

    def _save(self) -> None:
        found = self.match()
        if found is None:
            return
        if path := parts.ask_where_to_save(self, "Save table", "agreement.csv", "Tables (*.csv)"):
            self._jobs.save(write_csv, found.agreement, Path(path))

    def _plot(self, active: ActivePrediction, found: MeasuredMatch) -> None:
        gene = active.gene
        self.plot.setVisible(gene in found.genes)
        if gene in found.genes:
            with active.telling():
                self.plot.plot(draw_gene, found, gene, active.values(gene)[found.rows])

    def _show_nothing(self, active: ActivePrediction | None, loaded: Loaded | None) -> None:
        """Show that nothing measured lies beside the active prediction, and why."""
        slide, is_known = self._maps.slide, loaded is not None and loaded.is_known
        path = self.path_of(slide) if active is None and slide is not None else None
        message = "" if path is None else f"{path.name}: {LATER}"
        if loaded is not None:
            message = NOT_YET if loaded.matched else MATCHING
        self.message.say(message)
        self.summary.setText(START)
        self.results.hide()
        self.remove_button.setVisible(is_known)
        is_reading = any(reading.is_running for reading in self._reading.values())
        is_gone = active is not None and loaded is None and not is_reading
        if self.shown() != MEAN and (is_known or is_gone):
            self.settings.update(view=MEAN)

    def _show_busy(self, text: str) -> None:
        self.message.say(text)
        for loading in (self.table_button, self.visium_button):
            loading.setEnabled(not text)

    def _show_agreement(self, loaded: Loaded, found: MeasuredMatch) -> None:
        """Say how much was matched, and list the genes."""
        self.summary.setText(describe_match(loaded.path.name, found))
        self.depth_button.setText(f"Take over their depth: {loaded.depth:,.0f} counts per spot")
        self.depth_button.setVisible(loaded.depth >= 1)
        self.table.fill(marked(found.agreement, self.settings.by_chance))
        self.predict_button.setVisible(found.is_elsewhere)
        self.results.show()
        self.remove_button.show()


def _is_of(loaded: Loaded, active: ActivePrediction) -> bool:
    """Whether data were last matched with a prediction, as it is or as it was before it grew."""
    return loaded.matched is not None and loaded.matched[0] == active.state()[0]


def _balanced(error: NDArray[np.float32]) -> tuple[float, float]:
    """Limits as far below zero as above it."""
    known = np.abs(error[np.isfinite(error)])
    furthest = float(np.percentile(known, WIDEST)) if known.size else 1.0
    return apart(-furthest, furthest)


def match(
    prediction: Prediction,
    loaded: Loaded,
    mpp: Mpp,
    poll: Poll,
) -> MeasuredMatch | None:
    """Lay counts beside a prediction; None where nothing of it was measured, or not yet."""
    try:
        return match_measured(prediction, loaded.counts, mpp, poll)
    except PredictionError as error:
        if prediction.done.all() and not loaded.is_known:
            raise PredictionError(f"{loaded.path.name} was not kept: {error}") from error
        return None  # there may be more to compare later, or with another one


def describe_match(name: str, found: MeasuredMatch) -> str:
    """Say what was matched with what, and how well the genes agree."""
    n_spots, n_genes = len(found.rows), len(found.genes)
    how = "by name" if found.matched_by == "name" else "by position"
    lines = [
        f"{name}: {n_spots:,} of {count(found.n_predicted, 'predicted spot')} matched {how} with "
        f"{n_spots:,} of {len(found.spots):,} measured ones"
        + (f", {found.apart_um:.0f} µm apart (median)." if found.apart_um >= 1 else ".")
    ]
    if found.doubt:
        lines.append(found.doubt)
    if found.n_genes_left_out:
        lines.append(
            f"{count(found.n_genes_left_out, 'predicted gene', 'was', 'were')} not measured."
        )
    known = found.agreement["pcc"].dropna()
    if len(known):
        coverage = found.agreement["coverage_90"].mean()
        held = (
            "without samples, nothing is known of the intervals"
            if np.isnan(coverage)
            else f"the 90% intervals hold {coverage:.0%} of the measured values"
        )
        lines.append(f"{count(n_genes, 'gene')}: median PCC {np.median(known):.2f}; {held}.")
    if found.is_elsewhere:
        lines.append(
            "Their places differ; predict at the measured spots to compare them one by one."
        )
    return " ".join(lines)
