"""Which genes are listed: all, favourites, a published set, a list of the user's; and which are picked."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QComboBox, QFileDialog, QGridLayout, QInputDialog, QToolButton, QWidget

from napari_stem.errors import StemError
from napari_stem.model.genes import MARK, offered
from napari_stem.spatial.gene_sets import gene_sets
from napari_stem.spatial.panels import read_panel
from napari_stem.texts import count, read_text
from napari_stem.widgets.common.parts import Note, button, labelled, stack
from napari_stem.widgets.genes.gene_table import GeneSearch, names_in
from napari_stem.widgets.genes.together import mixed_colours
from napari_stem.widgets.state import (
    ALL,
    FAVOURITES,
    LIST_PREFIX,
    MIX,
    MOST_GENES,
    SET_PREFIX,
    DisplaySettings,
    GeneSet,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


PASTE, LOAD = "paste", "load"
FILES = "Gene lists (*.gmt *.txt *.csv *.tsv *.json);;All files (*)"
TITLES = frozenset(("gene", "genes", "symbol", "gene_symbol", "gene_name", "name"))
N_SHOWN_MISSING = 6
SWATCH_PX = 12
N_IN_A_ROW = 2
LEFT = Qt.AlignmentFlag.AlignLeft
PURE_GREEN = "#00ff00"  # napari's; Qt's own is darker
NO_FAVOURITES = (
    "No favourites among this model's genes yet: click the star beside a gene, or press F."
)


class GeneSetsBox(QWidget):
    """Chooses a list of genes and says what of it the model lacks."""

    def __init__(self, settings: DisplaySettings) -> None:
        super().__init__()
        self._settings = settings
        self.choice, self.message = QComboBox(), Note()
        self._lists: dict[str, tuple[str, ...]] = {}
        self._fill()
        stack(self, labelled({"Listed": self.choice}), self.message)
        self.message.say("")
        self.choice.activated.connect(self._on_choice)

    def name(self) -> str:
        """Name of the list as users read it."""
        return self._settings.listed.removeprefix(SET_PREFIX).removeprefix(LIST_PREFIX)

    def find(self, search: GeneSearch, favourites: Collection[str]) -> GeneSet | None:
        """Look up the chosen list among a model's genes; None where all are listed.

        Also says, below the choice, how many there are and which are missing.
        """
        kind = self._settings.listed
        if kind == ALL or not search.genes:
            self.message.say("")
            return None
        if kind == FAVOURITES:
            names: tuple[str, ...] = tuple(gene for gene in search.genes if gene in favourites)
        elif kind.startswith(SET_PREFIX):
            names = gene_sets()[kind.removeprefix(SET_PREFIX)].genes
        else:
            names = self._settings.own_list
        genes, missing = search.find(names)
        if kind == FAVOURITES:
            self.message.say("" if names else NO_FAVOURITES)
        else:
            self.message.say(self._said(genes, missing, search))
        return GeneSet(self.name(), genes, len(genes) + len(missing))

    def offer(self, search: GeneSearch) -> None:
        """Say of every set how many of its genes a model predicts; one of none cannot be chosen."""
        for name, one in gene_sets().items():
            place = self.choice.findData(SET_PREFIX + name)
            n_found, n_all = len(search.find(one.genes)[0]), len(one.genes)
            is_empty = bool(search.genes) and not n_found
            known = f"{n_found} of {n_all}" if search.genes else f"{n_all}"
            self.choice.setItemText(place, f"{name} ({known})")
            self.choice.model().item(place).setEnabled(not is_empty)
            why_not = "This model predicts none of these genes.\n" if is_empty else ""
            tip = f"{why_not}{one.title}\n{one.source}\n{one.note}"
            self.choice.setItemData(place, tip, Qt.ItemDataRole.ToolTipRole)

    def follow(self) -> None:
        """Show what the settings say; a list of the user's is offered from then on."""
        kind = self._settings.listed
        if kind.startswith(LIST_PREFIX):
            self._lists[kind] = self._settings.own_list
            if self.choice.findData(kind) < 0:
                place = self.choice.findData(PASTE)
                self.choice.insertItem(place, kind.removeprefix(LIST_PREFIX), kind)
        self.choice.setCurrentIndex(self.choice.findData(kind))

    def add_list(self, name: str, genes: tuple[str, ...]) -> None:
        """Offer a list of the user's, and choose it."""
        self._settings.update(listed=LIST_PREFIX + name, own_list=genes)

    def choose(self, kind: str) -> None:
        """Choose as if clicked: ``all``, ``favourites``, ``set:NAME`` or ``list:NAME``."""
        self._settings.update(listed=kind, own_list=self._lists.get(kind, ()))

    def load(self, path: Path) -> None:
        """Read a list from a file: one gene a line, CSV, JSON or GMT, whose sets are offered."""
        set_name, genes = None, tuple[str, ...]()
        lines: list[str] = []
        with suppress(OSError, ValueError):  # reading the panel says what is wrong
            lines = [line for line in read_text(path).splitlines() if line.strip()]
        if path.suffix.lower() == ".gmt" and len(lines) > 1:
            names = [line.split("\t")[0].strip() for line in lines]
            told = f"{path.name} holds {len(names)} sets:"
            set_name, is_sure = QInputDialog.getItem(
                self, "Choose a gene set", told, names, 0, False
            )
            if not is_sure:
                return
        elif path.suffix.lower() in {".csv", ".tsv"}:
            genes = _first_column(lines)
        try:
            self.add_list(set_name or path.stem, genes or read_panel(path, set_name))
        except StemError as error:
            self.message.say(str(error))

    def _fill(self) -> None:
        self.choice.addItem("All genes", ALL)
        self.choice.addItem("★ Favourites", FAVOURITES)
        self.choice.insertSeparator(self.choice.count())
        for name in gene_sets():
            self.choice.addItem(name, SET_PREFIX + name)
        self.offer(GeneSearch(()))
        self.choice.insertSeparator(self.choice.count())
        self.choice.addItem("Paste a list …", PASTE)
        self.choice.addItem("Load a list (GMT, CSV, text) …", LOAD)
        self.choice.setToolTip("Which genes the list below shows")

    def _said(self, genes: tuple[str, ...], missing: tuple[str, ...], search: GeneSearch) -> str:
        """Say how many there are, which are marked, and which lack and why, as far as that is known."""
        absent = [gene for gene in missing if gene.upper() in search.not_measured]
        others = [gene for gene in missing if gene not in absent]
        shown = [_with_similar(gene, search.genes) for gene in others[:N_SHOWN_MISSING]]
        if len(others) > len(shown):
            shown.append(f"{len(others) - len(shown)} more")
        named = {
            MARK: [gene for gene in genes if gene in self._settings.by_chance],
            "not measured in the training data": absent,
            "not predicted": shown,
        }
        told = [f"{what}: {', '.join(some)}" for what, some in named.items() if some]
        n_named = count(len(genes) + len(missing), "gene")
        return "; ".join([f"This model predicts {len(genes)} of {n_named}", *told]) + "."

    def _on_choice(self, place: int) -> None:
        kind = self.choice.itemData(place)
        if kind not in {PASTE, LOAD}:
            self.choose(kind)
            return
        self.follow()  # until there is a list
        if kind == PASTE:
            text, is_sure = QInputDialog.getMultiLineText(
                self, "Paste a list of genes", "Genes, separated by spaces, commas or lines:"
            )
            genes = tuple(names_in(text)) if is_sure else ()
            if genes:
                self.add_list("Pasted list", genes)
            return
        chosen, _ = QFileDialog.getOpenFileName(self, "Load a list of genes", "", FILES)
        if chosen:
            self.load(Path(chosen))


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
            settings.apply(picked=(*settings.picked[: most - 1], gene))

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
        self._settings.apply(picked=tuple(g for g in self._settings.picked if g != gene))


def _swatch(colour: str) -> QIcon:
    pixmap = QPixmap(SWATCH_PX, SWATCH_PX)
    pixmap.fill(QColor(PURE_GREEN if colour == "green" else colour))
    return QIcon(pixmap)


def _first_column(lines: Sequence[str]) -> tuple[str, ...]:
    """First column of a table below its title, if it has one."""
    first = [names_in(line)[:1] for line in lines if not line.startswith("#")]
    genes = [name for names in first for name in names]
    if genes and genes[0].lower() in TITLES:
        genes = genes[1:]
    return tuple(dict.fromkeys(genes))


def _with_similar(gene: str, known: tuple[str, ...]) -> str:
    similar = offered(gene, known)
    return f"{gene} (similar: {', '.join(similar)})" if similar else gene
