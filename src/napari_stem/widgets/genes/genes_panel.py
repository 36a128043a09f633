"""Genes: find them, choose how many are shown and how, see their maps or their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.parts import note
from napari_stem.widgets.genes.gene_list import GeneList
from napari_stem.widgets.genes.gene_sets_box import GeneSetsBox
from napari_stem.widgets.genes.map_look_box import MapLookBox
from napari_stem.widgets.genes.mixed_layers import MOST_MIXED, mixed_colours
from napari_stem.widgets.genes.picked_genes import PickedGenes
from napari_stem.widgets.genes.side_by_side import MOST_BESIDE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_stem.layers import ColourRange, SpotShape

VIEWS = {
    "Expression": ("mean", "The predicted expression: the mean of all samples"),
    "Uncertainty": ("sd", "How much the samples of a spot differ (standard deviation)"),
    "Slide only": ("none", "Hide the map"),
}
ONE, MIX, BESIDE, SCORE = "one", "mix", "beside", "score"
ARRANGEMENTS = {
    "One gene": (ONE, "The map of the gene chosen in the list"),
    "Colours mixed": (MIX, "Up to three genes in one picture, as in fluorescence"),
    "Side by side": (BESIDE, "Up to four genes in views that move and zoom together"),
    "Score of the listed genes": (
        SCORE,
        "Mean over the listed genes of how many standard deviations a spot lies above the slide's "
        "mean. Choose a set or a list first.",
    ),
}
NO_SET = "Choose a set or a list of genes above first (Listed)."
NONE_KNOWN = "This model predicts none of the listed genes, so they have no score; choose others."
NO_UNCERTAINTY = "Uncertainty is shown for single genes: choose one gene, or side by side"


@dataclass(frozen=True)
class Wish:
    """All that the panel asks to be shown.

    Attributes
    ----------
    arrangement
        ``one``, ``mix``, ``beside`` or ``score``.
    genes
        Which: the chosen one, those picked, or those of the set.
    set_name, n_named
        Name of the set of a score, and how many genes it names.
    field
        ``mean``, ``sd`` or ``none``.
    colours, colormap, shape
        How maps are drawn.
    """

    arrangement: str
    genes: tuple[str, ...]
    set_name: str
    n_named: int
    field: str
    colours: ColourRange
    colormap: str
    shape: SpotShape


class GenesPanel(QWidget):
    """Asks for genes and for how they are shown."""

    gene_chosen = Signal(str)
    wish_changed = Signal()
    opacity_chosen = Signal(float)  # 0 to 1
    clustering_wanted = Signal()

    def __init__(self, opacity_percent: int = 70, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sets = GeneSetsBox()
        self.list = GeneList()
        self.table, self.search, self.view = self.list.table, self.list.search, self.list.view
        self.doubt = note("")
        self.arrangement_choice = QComboBox()
        self.picked = PickedGenes()
        self.views = QButtonGroup(self)
        self.look = MapLookBox(opacity_percent)
        self.opacity = self.look.opacity
        self.hint = note(NO_SET)
        self._set: tuple[str, ...] = ()
        self._n_named = 0
        self._lay_out()
        self._connect()
        self._arrange()
        self.setEnabled(False)

    def show_genes(
        self, genes: Sequence[str], reliability: Mapping[str, float | None], unit: str = ""
    ) -> None:
        """List the genes of a prediction, in the model's order; chooses none."""
        self.list.forget()
        self.list.search.clear()
        self.table.set_genes(genes, reliability, unit)
        if genes:  # else those picked are wanted again when the slide is
            self.picked.keep(set(genes))
        self.doubt.hide()
        self._list_set()
        self.setEnabled(bool(genes))

    def choose(self, gene: str) -> bool:
        """Choose a gene, listed at the moment or not; False where it is not predicted."""
        return self.list.choose(gene)

    def gene(self) -> str:
        """Return the chosen gene, empty where there is none."""
        return self.list.gene()

    def step(self, rows: int) -> None:
        """Go to the next gene (1) or the one before (-1), as listed; stops at the ends."""
        self.list.step(rows)

    def shown(self) -> str:
        """Return what is shown: ``mean``, ``sd`` or ``none``."""
        return str([name for name, _ in VIEWS.values()][max(0, self.views.checkedId())])

    def show_view(self, field: str) -> None:
        """Show ``mean``, ``sd`` or ``none``, as a click would."""
        fields = [name for name, _ in VIEWS.values()]
        if self.shown() != field:
            self.views.button(fields.index(field)).setChecked(True)
            self.wish_changed.emit()

    def arrangement(self) -> str:
        """Return ``one``, ``mix``, ``beside`` or ``score``."""
        return str(self.arrangement_choice.currentData())

    def choose_arrangement(self, arrangement: str) -> None:
        """Choose how many genes are shown and how, as if clicked."""
        self.arrangement_choice.setCurrentIndex(self.arrangement_choice.findData(arrangement))
        self._on_arrangement()

    def wish(self) -> Wish:
        """Return all that is asked for."""
        arrangement = self.arrangement()
        if arrangement == SCORE and not self._can_score():
            arrangement = ONE
        genes: tuple[str, ...] = (self.gene(),)
        if arrangement in {MIX, BESIDE}:
            genes = self.picked.genes
        elif arrangement == SCORE:
            genes = self._set
        field = self.shown()
        return Wish(
            arrangement,
            genes,
            self.sets.name(),
            self._n_named,
            "mean" if field == "sd" and arrangement in {MIX, SCORE} else field,
            self.look.colours(),
            self.look.colormap(),
            self.look.shape(),
        )

    def _lay_out(self) -> None:
        views = QHBoxLayout()
        for number, (title, (_, tip)) in enumerate(VIEWS.items()):
            button = QRadioButton(title)
            button.setToolTip(tip)
            self.views.addButton(button, number)
            views.addWidget(button)
        self.views.button(0).setChecked(True)
        for title, (kind, tip) in ARRANGEMENTS.items():
            self.arrangement_choice.addItem(title, kind)
            self.arrangement_choice.setItemData(self.arrangement_choice.count() - 1, tip, 3)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Show", self.arrangement_choice)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.sets, self.list, self.doubt):
            layout.addWidget(part)
        layout.addLayout(form)
        layout.addWidget(self.picked)
        layout.addWidget(self.hint)
        layout.addLayout(views)
        layout.addWidget(self.look)

    def _connect(self) -> None:
        self.list.gene_chosen.connect(self._on_gene)
        self.list.gene_picked.connect(self._on_pick)
        self.list.favourites_changed.connect(self._on_favourites)
        self.list.clustering_wanted.connect(self.clustering_wanted)
        self.sets.changed.connect(self._on_set)
        self.picked.changed.connect(self.wish_changed)
        self.arrangement_choice.activated.connect(self._on_arrangement)
        self.views.idClicked.connect(self._tell)
        self.look.changed.connect(self.wish_changed)
        self.look.opacity_changed.connect(self.opacity_chosen)

    def _on_gene(self, gene: str) -> None:
        doubt = self.table.doubt(gene)
        self.doubt.setText(doubt)
        self.doubt.setVisible(bool(doubt))
        self.gene_chosen.emit(gene)
        if self.arrangement() == ONE:
            self.wish_changed.emit()
        elif not self.picked.genes:
            self._on_pick(gene)

    def _on_pick(self, gene: str) -> None:
        if self.arrangement() in {MIX, BESIDE}:
            self.picked.pick(gene)

    def _on_favourites(self) -> None:
        if self.sets.choice.currentData() == "favourites":
            self._on_set()

    def _on_set(self) -> None:
        self._list_set()
        if self.arrangement() == SCORE:
            self._arrange()
            self.wish_changed.emit()

    def _list_set(self) -> None:
        found = self.sets.find(self.table.search, self.list.favourites)
        self._set = self.table.search.genes if found is None else found.genes
        self._n_named = len(self._set) if found is None else found.n_named
        self.table.show_only(None if found is None else found.genes)

    def _on_arrangement(self) -> None:
        self._arrange()
        if self.arrangement() in {MIX, BESIDE} and not self.picked.genes and self.gene():
            self.picked.pick(self.gene())  # tells by itself
        else:
            self.wish_changed.emit()

    def _arrange(self) -> None:
        """Show what belongs to the chosen arrangement."""
        arrangement = self.arrangement()
        self.picked.setVisible(arrangement in {MIX, BESIDE})
        if arrangement == MIX:
            self.picked.allow(MOST_MIXED, mixed_colours)
        elif arrangement == BESIDE:
            self.picked.allow(MOST_BESIDE)
        self.hint.setVisible(arrangement == SCORE and not self._can_score())
        self.hint.setText(NONE_KNOWN if self.sets.is_a_set() else NO_SET)
        uncertainty = self.views.button(1)
        has_uncertainty = arrangement in {ONE, BESIDE}
        uncertainty.setEnabled(has_uncertainty)
        uncertainty.setToolTip(VIEWS["Uncertainty"][1] if has_uncertainty else NO_UNCERTAINTY)
        if not has_uncertainty and uncertainty.isChecked():
            self.views.button(0).setChecked(True)
        self.look.colormap_choice.setEnabled(arrangement != MIX)

    def _can_score(self) -> bool:
        return self.sets.is_a_set() and bool(self._set)

    def _tell(self) -> None:
        self.wish_changed.emit()
