"""Genes: find them, choose how many are shown and how, see their maps or their uncertainty."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QModelIndex, Qt, QTimer
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QButtonGroup,
    QFormLayout,
    QGridLayout,
    QHeaderView,
    QRadioButton,
    QToolButton,
    QWidget,
)

from napari_stem.model.genes import MARK
from napari_stem.widgets.common.form import line
from napari_stem.widgets.common.keys import NEXT_GENE, PREVIOUS_GENE, shortcut
from napari_stem.widgets.common.memory import store
from napari_stem.widgets.common.parts import Note, button, choice, row, stack
from napari_stem.widgets.common.table import Role, TableView
from napari_stem.widgets.genes.gene_sets_box import GeneSetsBox
from napari_stem.widgets.genes.gene_table import GENE, STAR, GeneTable
from napari_stem.widgets.genes.look_box import LookBox
from napari_stem.widgets.genes.together import mixed_colours
from napari_stem.widgets.state import (
    ALL,
    BESIDE,
    FAVOURITES,
    MEAN,
    MIX,
    MOST_GENES,
    NOTHING,
    ONE,
    SCORE,
    SD,
    DisplaySettings,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from qtpy.QtCore import QObject
    from qtpy.QtGui import QShowEvent


VIEWS = {
    MEAN: ("Expression", "The predicted expression: the mean of all samples"),
    SD: ("Uncertainty", "How much the samples of a spot differ (standard deviation)"),
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
NO_UNCERTAINTY = "Uncertainty is shown for single genes: choose one gene, or side by side"
SWATCH_PX = 12
N_IN_A_ROW = 2
LEFT = Qt.AlignmentFlag.AlignLeft
LIST_HEIGHT_PX = 190
FAVOURITES_KEY = "favourite_genes"
PURE_GREEN = "#00ff00"  # napari's; Qt's own is darker


def recall_favourites() -> set[str]:
    """Read what was stored last; nothing where it cannot be read."""
    try:
        genes = json.loads(str(store().value(FAVOURITES_KEY, "[]")))
    except ValueError:  # a file edited by hand
        return set()
    return {str(gene) for gene in genes} if isinstance(genes, list) else set()


class PickedGenes(QWidget):
    """Shows the genes that are shown together, in the order in which they were picked."""

    def __init__(self, settings: DisplaySettings) -> None:
        super().__init__()
        self._settings = settings
        self.buttons: list[QToolButton] = []
        self._grid, self.message = QGridLayout(), Note()
        stack(self, self._grid, self.message)

    def pick(self, gene: str) -> None:
        """Add a gene; where there is no room, the one picked last makes room."""
        settings = self._settings
        most = MOST_GENES.get(settings.arrangement, 0)
        if most and gene not in settings.genes:
            settings.ask(picked=(*settings.picked[: most - 1], gene))

    def follow(self) -> None:
        """Show what the settings say."""
        arrangement = self._settings.arrangement
        self.setVisible(arrangement in MOST_GENES)
        if arrangement not in MOST_GENES:
            return
        while self.buttons:
            gone = self.buttons.pop()
            self._grid.removeWidget(gone)
            gone.setParent(None)
        genes = self._settings.genes
        colours = (
            mixed_colours(len(genes), self._settings.mix_colours) if arrangement == MIX else ()
        )
        for place, gene in enumerate(genes):
            mark = f" ({MARK})" if gene in self._settings.by_chance else ""
            tip, drop = f"Take {gene} out", partial(self._drop, gene)
            made = button(f"{gene}{mark}  ×", tip, drop, is_small=True)
            if place < len(colours):
                made.setIcon(_swatch(colours[place]))
                made.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
            self._grid.addWidget(made, *divmod(place, N_IN_A_ROW), LEFT)
            self.buttons.append(made)
        free = MOST_GENES[arrangement] - len(genes)
        if free:
            more = "another" if genes else "a"
            self.message.setText(f"Double-click {more} gene in the list to add it ({free} more).")
        else:
            self.message.setText("Click a gene here to take it out.")

    def _drop(self, gene: str, *_: object) -> None:
        self._settings.ask(picked=tuple(g for g in self._settings.picked if g != gene))


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
        self.views = QButtonGroup(self)
        self.look = LookBox(settings)
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
            self.choose(self.table.name(min(max(row, 0), n_rows - 1)))

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
        picked, view = settings.picked, settings.view
        if arrangement in MOST_GENES and not picked and settings.gene:
            picked = (settings.gene,)
        if arrangement in {MIX, SCORE} and view == SD:
            view = MEAN
        settings.ask(arrangement=arrangement, picked=picked, view=view)

    def showEvent(self, event: QShowEvent) -> None:
        """Have the chosen gene in sight when the panel opens."""
        super().showEvent(event)
        QTimer.singleShot(0, self._centre)

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
            self.choose(self.table.name(0))

    def _on_click(self, index: QModelIndex) -> None:
        if index.column() == STAR:
            self.toggle_favourite(str(index.data(Role.UserRole)))

    def _on_activated(self, index: QModelIndex) -> None:
        if index.column() != STAR:
            self.picked.pick(str(index.data(Role.UserRole)))

    def _lay_out(self) -> None:
        views = row()
        for number, (view, (title, tip)) in enumerate(VIEWS.items()):
            made = QRadioButton(title)
            made.setToolTip(tip)
            made.clicked.connect(lambda _, view=view: self.settings.ask(view=view))
            self.views.addButton(made, number)
            views.addWidget(made)
        form = QFormLayout()
        form.addRow("Show", self.arrangement_choice)
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
        is_vain = settings.arrangement == SCORE and settings.shown_arrangement == ONE
        self.hint.setVisible(is_vain)
        self.hint.setText(NO_SET if settings.listed == ALL else NONE_KNOWN)
        uncertainty = self.views.button(list(VIEWS).index(SD))
        has_uncertainty = settings.arrangement in {ONE, BESIDE}
        uncertainty.setEnabled(has_uncertainty)
        uncertainty.setToolTip(VIEWS[SD][1] if has_uncertainty else NO_UNCERTAINTY)
        self.views.setExclusive(False)  # none is checked while a map of something else is shown
        for view, shown in zip(VIEWS, self.views.buttons(), strict=True):
            shown.setChecked(view == settings.view)
        self.views.setExclusive(True)

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


def _swatch(colour: str) -> QIcon:
    pixmap = QPixmap(SWATCH_PX, SWATCH_PX)
    pixmap.fill(QColor(PURE_GREEN if colour == "green" else colour))
    return QIcon(pixmap)
