"""Genes: find them, choose how many are shown and how, see maps or their uncertainty, and how maps look."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.colormaps import ensure_colormap
from qtpy.QtCore import QEvent, QModelIndex, QObject, QSignalBlocker, QSize, Qt
from qtpy.QtGui import QIcon, QPixmap, QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QButtonGroup,
    QDoubleSpinBox,
    QFormLayout,
    QHeaderView,
    QLabel,
    QRadioButton,
    QWidget,
)

from napari_stem.widgets.common.form import line, number, slider
from napari_stem.widgets.common.keys import NEXT_GENE, PREVIOUS_GENE, shortcut
from napari_stem.widgets.common.memory import store
from napari_stem.widgets.common.parts import (
    Note,
    choice,
    labelled,
    one_shot,
    row,
    row_widget,
    stack,
)
from napari_stem.widgets.common.pictures import image_of
from napari_stem.widgets.common.table import Role, TableView
from napari_stem.widgets.genes.gene_sets_box import GeneSetsBox, PickedGenes
from napari_stem.widgets.genes.gene_table import GENE, STAR, GeneTable
from napari_stem.widgets.state import (
    ALL,
    ANY_VALUE,
    BESIDE,
    COLORMAPS,
    DIFFERENCE,
    FAVOURITES,
    MEAN,
    MIX,
    MOST_GENES,
    NOTHING,
    ONE,
    SCORE,
    SD,
    UNCERTAINTIES,
    WIDTH,
    DisplaySettings,
    uncertainty_colormap,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd


VIEWS = {
    MEAN: ("Expression", "The predicted expression: the mean of all samples"),
    SD: ("Uncertainty", "How much the samples of a spot differ"),
    NOTHING: ("Slide only", "Hide the map"),
}
ARRANGEMENTS = {
    ONE: ("One gene", "The map of the gene chosen in the list"),
    MIX: ("Colours mixed", "Up to three genes in one picture, as in fluorescence"),
    BESIDE: ("Side by side", "Up to four genes in views that move and zoom together"),
    SCORE: (
        "Score of the listed genes",
        "Mean over the listed genes of how many standard deviations a spot lies above the slide's "
        "mean. Choose a set or a list first.",
    ),
}
NO_SET = "Choose a set or a list of genes above first (Listed)."
NONE_KNOWN = "This model predicts none of the listed genes, so they have no score; choose others."
SPREADS = {SD: "standard deviation", WIDTH: "width of the 90% interval"}
NO_UNCERTAINTY = "Uncertainty is shown for single genes: choose one gene, or side by side"
LIST_HEIGHT_PX = 190
FAVOURITES_KEY = "favourite_genes"


RANGES = {
    "gene": "Each gene's own range",
    "all": "One range for all genes",
    "percentile": "Percentiles of each gene",
    "fixed": "Fixed values",
}
RANGE_TIP = (
    "Own range: 1st to 99th percentile of each gene.\nOne range: the same colours mean the same "
    "values for every gene.\nPercentiles: of each gene, as you choose.\nFixed: the values you type, or "
    "set with napari's contrast limits, for every gene. Of genes seen together these are set one by one."
)
IN_ORDER = "Keeps its order for colour-blind eyes"
COLORMAP_TIPS = {name: (name, IN_ORDER) for name in COLORMAPS} | {
    "turbo": ("turbo", "Vivid, but colour-blind eyes cannot order its colours")
}
MIXES = {"safe": "For all eyes", "rgb": "Red, green, blue"}
MIX_TIP = (
    "Colours of three mixed genes. For all eyes: brick red, green and violet, which colour-blind eyes tell "
    "apart; two genes are magenta and green"
)
SHAPES = {"square": "Squares", "circle": "Circles", "smooth": "Smooth"}
SHAPE_TIP = (
    "Squares fill the grid of spots. Circles have the spots' true diameter, as on the slide; where there are "
    "too many for circles, squares remain. Smooth: values go over into those of neighbouring spots; nothing is "
    "drawn where no spot is, and no more is known than by squares."
)
ICON = QSize(48, 12)
# by the setting that they choose: title, what there is to choose from, and the tooltip of the whole
CHOICES: dict[str, tuple[str, Mapping[str, str | tuple[str, str]], str]] = {
    "range_kind": ("Range", RANGES, RANGE_TIP),
    "colormap": ("Colours", COLORMAP_TIPS, "Colours of the expression, from low to high"),
    "mix_colours": ("Colours", MIXES, MIX_TIP),
    "spot_shape": ("Spots as", SHAPES, SHAPE_TIP),
}


def recall_favourites() -> set[str]:
    """Read what was stored last; nothing where it cannot be read."""
    try:
        genes = json.loads(str(store().value(FAVOURITES_KEY, "[]")))
    except ValueError:  # a file edited by hand
        return set()
    return {str(gene) for gene in genes} if isinstance(genes, list) else set()


class LookBox(QWidget):
    """Asks how maps are drawn."""

    def __init__(self, settings: DisplaySettings) -> None:
        super().__init__()
        self._settings = settings
        self.percents = [number((0, 100), at, decimals=1, suffix=" %") for at in (1, 99)]
        self.values = [number(ANY_VALUE, at, decimals=3, step=0.1) for at in (0, 5)]
        self._boxes = {"percentile": self.percents, "fixed": self.values}
        self.choices = {
            name: choice(options, tip, partial(self._ask, name))
            for name, (_, options, tip) in CHOICES.items()
        }
        for place, name in enumerate(COLORMAPS):
            self.choices["colormap"].setItemIcon(place, _strip(name))
        self.choices["colormap"].setIconSize(ICON)
        self.opacity = slider((0, 100), 0, "How strongly the map covers the slide")
        self.note = Note()
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._rows = {kind: row_widget(a, QLabel("–"), b) for kind, (a, b) in self._boxes.items()}
        for name, (title, _, _) in CHOICES.items():
            self._form.addRow(title, self.choices[name])
            if name == "range_kind":
                for limits in self._rows.values():
                    self._form.addRow("From, to", limits)
        self._form.addRow(self.note)
        self._form.addRow("Map strength", self.opacity)
        for box in (*self.percents, *self.values):
            box.setKeyboardTracking(False)
            box.valueChanged.connect(lambda _: self._ask("range_kind", settings.range_kind))
        self.opacity.valueChanged.connect(lambda value: settings.update(opacity_percent=value))

    def follow(self) -> None:
        """Show what the settings say."""
        settings = self._settings
        if boxes := self._boxes.get(settings.range_kind):
            _show(boxes, (settings.range_low, settings.range_high))
        for name, box in self.choices.items():
            box.setCurrentIndex(box.findData(getattr(settings, name)))
        self.opacity.setValue(settings.opacity_percent)
        is_mixed = settings.arrangement == MIX
        self._form.setRowVisible(self.choices["colormap"], not is_mixed)
        self._form.setRowVisible(self.choices["mix_colours"], is_mixed)
        for kind, shown in self._rows.items():
            self._form.setRowVisible(shown, settings.range_kind == kind)
        kind = settings.shown_kind
        self._rows["fixed"].setEnabled(kind not in {*UNCERTAINTIES, SCORE, DIFFERENCE})
        self._rows["percentile"].setEnabled(kind != DIFFERENCE)
        self.note.say(_what_does_not_hold(settings, kind))

    def suggest_fixed(self, low: float, high: float) -> None:
        """Where fixed values have not been chosen yet, start from what is on show."""
        if self._settings.range_kind != "fixed":
            _show(self.values, (low, high))

    def _ask(self, name: str, value: str) -> None:
        asked: dict[str, object] = {name: value}
        if boxes := self._boxes.get(value):
            asked["range_low"], asked["range_high"] = sorted(box.value() for box in boxes)
        if name == "range_kind":
            asked["limits_by_hand"] = {}
        self._settings.apply(**asked)


def _what_does_not_hold(settings: DisplaySettings, kind: str) -> str:
    """Say what of the range and the colours that are chosen does not hold for a map of a kind of values."""
    own = {
        SD: f"Uncertainty has its own colours ({uncertainty_colormap(settings.colormap)})",
        DIFFERENCE: "The difference has its own colours (red where too much is predicted, blue where too "
        "little) and its own range, as far below zero as above it",
    }
    said = own.get(SD if kind in UNCERTAINTIES else kind, "")
    if limits := settings.by_hand(kind):
        (low, high), *_ = limits.values()
        are_together = settings.shown_arrangement in MOST_GENES
        what = f"of {', '.join(limits)}" if are_together else f"{low:.4g} to {high:.4g}"
        by_hand = f"Limits {what} were set in napari; choose a range to let go of them."
        return f"{said}. {by_hand}" if said else by_hand
    if kind in {*UNCERTAINTIES, SCORE} and settings.range_kind in {"all", "fixed"}:
        said = f"{said} and its own range" if said else "A score has its own range"
        said += ", as this one is of expression"
    return f"{said}." if said else ""


def _strip(name: str) -> QIcon:
    steps = np.linspace(0, 1, ICON.width())
    colours = (ensure_colormap(name).map(steps)[:, :3] * 255).astype(np.uint8)
    pixels = np.broadcast_to(colours, (ICON.height(), *colours.shape))
    return QIcon(QPixmap.fromImage(image_of(pixels)))


def _show(boxes: list[QDoubleSpinBox], values: tuple[float, float]) -> None:
    """Show values, without asking for them."""
    for box, value in zip(boxes, values, strict=True):
        with QSignalBlocker(box):
            box.setValue(value)


class GenesPanel(QWidget):
    """Asks for genes, in a list that can be searched, and for how they are shown."""

    def __init__(self, settings: DisplaySettings | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or DisplaySettings()
        self.sets = GeneSetsBox(settings)
        self.table = GeneTable()
        self.table.set_favourites(recall_favourites())
        self.search = line("Find a gene, also by its other names", is_search=True)
        self.view = self._new_view()
        self.not_found, self.doubt, self.hint = Note(), Note(), Note(NO_SET)
        self.arrangement_choice = choice(ARRANGEMENTS, act=self.choose_arrangement)
        self.picked = PickedGenes(settings)
        self.views = {view: QRadioButton(title) for view, (title, _) in VIEWS.items()}
        self._exclusive = QButtonGroup(self)
        self.look = LookBox(settings)
        self._centring = one_shot(self, 0, self._centre)  # once the view has its size
        self._lay_out()
        self.search.textChanged.connect(self._filter)
        self.search.returnPressed.connect(self._take_first)
        for key, rows in ((NEXT_GENE, 1), (PREVIOUS_GENE, -1)):
            shortcut(key, self, partial(self.step, rows))
        settings.changed.connect(self._follow)
        self._follow(frozenset({"listed"}))
        self.setEnabled(False)

    def show_genes(
        self, accuracy: pd.DataFrame, unit: str = "", not_measured: Iterable[str] = ()
    ) -> None:
        """List genes as `GeneTable.set_genes` does; without any, none is chosen."""
        self.search.clear()
        self.settings.by_chance = frozenset(accuracy.index[accuracy["by_chance"]])
        self.table.set_genes(accuracy, unit, not_measured)
        self.sets.offer(self.table.search)
        if len(accuracy):  # else those picked are wanted again when the slide is
            self._keep_known()
        else:
            self.settings.update(gene="")
        self._list_set()
        self._show_doubt()
        self.setEnabled(bool(len(accuracy)))

    def choose(self, gene: str) -> bool:
        """Choose a gene, listed at the moment or not; False where it is not predicted."""
        is_predicted = gene in self.table.frame.index
        if is_predicted:
            self.settings.update(gene=gene)
        return is_predicted

    def step(self, rows: int) -> None:
        """Go to the next gene (1) or the one before (-1), as listed; stops at the ends."""
        n_rows = self.table.rowCount()
        if n_rows:
            current = self.table.row_of(self.settings.gene)
            row = 0 if current is None else current + rows
            self.choose(self.table.key(min(max(row, 0), n_rows - 1)))

    def toggle_favourite(self, gene: str) -> None:
        """Add a gene to the favourites, or take it out; remembered at once."""
        favourites = self.table.favourites ^ {gene}
        store().setValue(FAVOURITES_KEY, json.dumps(sorted(favourites)))
        self.table.set_favourites(favourites)
        if self.settings.listed == FAVOURITES:
            self._list_set()

    def choose_arrangement(self, arrangement: str) -> None:
        """Choose how many genes are shown and how, as a click does."""
        settings = self.settings
        picked, view = settings.picked, str(settings.view)
        if arrangement in MOST_GENES and not picked and settings.gene:
            picked = (settings.gene,)
        is_of_one = view not in VIEWS or (view == SD and arrangement in {MIX, SCORE})
        if arrangement != ONE and is_of_one:
            view = MEAN
        settings.apply(arrangement=arrangement, picked=picked, view=view)

    def showEvent(self, event: QShowEvent) -> None:
        """Have the chosen gene in sight when the panel opens."""
        super().showEvent(event)
        self._centring.start()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take the key F, which the view would search for, as the favourites' key."""
        is_key = watched is self.view and event.type() == QEvent.Type.KeyPress
        if is_key and event.key() == Qt.Key.Key_F and not event.modifiers():
            if self.settings.gene:
                self.toggle_favourite(self.settings.gene)
            return True
        return bool(super().eventFilter(watched, event))

    def _centre(self) -> None:
        row = self.table.row_of(self.settings.gene)
        if row is not None:
            centre = QAbstractItemView.ScrollHint.PositionAtCenter
            self.view.scrollTo(self.table.index(row, GENE), centre)

    def _new_view(self) -> TableView:
        view = TableView(self.table, name_column=GENE)
        view.setSortingEnabled(True)
        view.header().setSectionsClickable(True)
        view.sortByColumn(-1, Qt.SortOrder.AscendingOrder)  # the model's own order at first
        view.header().setSectionResizeMode(STAR, QHeaderView.ResizeMode.Fixed)
        view.setMinimumHeight(LIST_HEIGHT_PX)
        view.installEventFilter(self)
        view.chosen.connect(self.choose)
        view.clicked.connect(self._on_click)
        view.activated.connect(self._on_activated)  # double-clicked, or Enter pressed
        return view

    def _filter(self, text: str) -> None:
        self.table.filter(text)
        is_in_vain = bool(text.strip()) and not self.table.rowCount()
        self.not_found.say(self.table.search.why_not(text) if is_in_vain else "")

    def _take_first(self) -> None:
        if self.table.rowCount():
            self.choose(self.table.key(0))

    def _on_click(self, index: QModelIndex) -> None:
        if index.column() == STAR:
            self.toggle_favourite(str(index.data(Role.UserRole)))

    def _on_activated(self, index: QModelIndex) -> None:
        if index.column() != STAR:
            self.picked.pick(str(index.data(Role.UserRole)))

    def _lay_out(self) -> None:
        views = row()
        for view, made in self.views.items():
            made.setToolTip(VIEWS[view][1])
            made.clicked.connect(lambda _, view=view: self.settings.apply(view=view))
            self._exclusive.addButton(made)
            views.addWidget(made)
        form = labelled({"Show": self.arrangement_choice})
        self.not_found.say("")
        listed = self.sets, self.search, self.view, self.not_found, self.doubt
        stack(self, *listed, form, self.picked, self.hint, views, self.look)

    def _follow(self, names: frozenset[str]) -> None:
        settings = self.settings
        if names & {"listed", "own_list"}:
            self.sets.follow()
            self._list_set()
        if "picked" in names:
            self._keep_known()
        if "gene" in names:
            self.view.choose(settings.gene)
            self._show_doubt()
            if settings.gene and settings.arrangement in MOST_GENES and not settings.picked:
                settings.update(picked=(settings.gene,))
        self.arrangement_choice.setCurrentIndex(
            self.arrangement_choice.findData(settings.arrangement)
        )
        self.picked.follow()
        self.look.follow()
        has_no_score = settings.arrangement == SCORE and settings.shown_arrangement == ONE
        self.hint.setVisible(has_no_score)
        self.hint.setText(NO_SET if settings.listed == ALL else NONE_KNOWN)
        has_uncertainty = settings.arrangement in {ONE, BESIDE}
        self.views[SD].setEnabled(has_uncertainty)
        spread = SPREADS[settings.uncertainty if settings.shown_arrangement == ONE else SD]
        tip = f"{VIEWS[SD][1]} ({spread})"
        self.views[SD].setToolTip(tip if has_uncertainty else NO_UNCERTAINTY)
        self._exclusive.setExclusive(False)  # none is checked where something else is on the map
        for view, button in self.views.items():
            button.setChecked(view == settings.view)
        self._exclusive.setExclusive(True)

    def _show_doubt(self) -> None:
        gene = self.settings.gene
        self.doubt.say(self.table.doubt(gene) if gene in self.table.frame.index else "")

    def _keep_known(self) -> None:
        known = self.table.frame.index
        if len(known):
            picked = tuple(gene for gene in self.settings.picked if gene in known)
            self.settings.update(picked=picked)

    def _list_set(self) -> None:
        found = self.sets.find(self.table.search, self.table.favourites)
        self.table.show_only(None if found is None else found.genes)
        self.settings.update(gene_set=found)
