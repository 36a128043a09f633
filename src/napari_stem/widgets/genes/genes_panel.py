"""Genes: find them, choose how many are shown and how, see their maps or their uncertainty."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QButtonGroup,
    QFormLayout,
    QGridLayout,
    QRadioButton,
    QToolButton,
    QWidget,
)

from napari_stem.model.genes import MARK
from napari_stem.widgets.common.parts import Note, button, choice, row, stack
from napari_stem.widgets.genes.gene_list import GeneList
from napari_stem.widgets.genes.gene_sets_box import GeneSetsBox
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
PURE_GREEN = "#00ff00"  # napari's; Qt's own is darker


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
    """Asks for genes and for how they are shown."""

    def __init__(self, settings: DisplaySettings | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or DisplaySettings()
        self.sets = GeneSetsBox(settings)
        self.list = GeneList(settings, self._on_favourites)
        self.table, self.search, self.view = self.list.table, self.list.search, self.list.view
        self.doubt = Note()
        self.arrangement_choice = choice(ARRANGEMENTS, act=self.choose_arrangement)
        self.picked = PickedGenes(settings)
        self.views = QButtonGroup(self)
        self.look = LookBox(settings)
        self.opacity = self.look.opacity
        self.hint = Note(NO_SET)
        self._lay_out()
        self.list.gene_picked.connect(self.picked.pick)
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
        return self.list.choose(gene)

    def gene(self) -> str:
        """Return the chosen gene, empty where there is none."""
        return self.settings.gene

    def show_view(self, view: str, *_: object) -> None:
        """Show ``mean``, ``sd`` or ``none``, as a click does."""
        self.settings.ask(view=view)

    def choose_arrangement(self, arrangement: str) -> None:
        """Choose how many genes are shown and how, as a click does."""
        settings = self.settings
        picked, view = settings.picked, settings.view
        if arrangement in MOST_GENES and not picked and settings.gene:
            picked = (settings.gene,)
        if arrangement in {MIX, SCORE} and view == SD:
            view = MEAN
        settings.ask(arrangement=arrangement, picked=picked, view=view)

    def _lay_out(self) -> None:
        views = row()
        for number, (view, (title, tip)) in enumerate(VIEWS.items()):
            made = QRadioButton(title)
            made.setToolTip(tip)
            made.clicked.connect(partial(self.show_view, view))
            self.views.addButton(made, number)
            views.addWidget(made)
        form = QFormLayout()
        form.addRow("Show", self.arrangement_choice)
        listed = self.sets, self.list, self.doubt
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

    def _on_favourites(self) -> None:
        if self.settings.listed == FAVOURITES:
            self._list_set()

    def _list_set(self) -> None:
        found = self.sets.find(self.table.search, self.table.favourites)
        self.table.show_only(None if found is None else found.genes)
        self.settings.update(gene_set=found)


def _swatch(colour: str) -> QIcon:
    pixmap = QPixmap(SWATCH_PX, SWATCH_PX)
    pixmap.fill(QColor(PURE_GREEN if colour == "green" else colour))
    return QIcon(pixmap)
