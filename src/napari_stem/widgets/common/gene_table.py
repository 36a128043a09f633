"""The genes of a prediction as a Qt item model, which filters and sorts tens of thousands by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QColor

from napari_stem.widgets.genes.gene_search import NO_MATCH, GeneSearch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

STAR, GENE, MEAN, SPREAD, CLUSTERING, RELIABILITY = range(6)
HEADERS = ("★", "Gene", "Mean", "Varies", "Clusters", "Reliable")
UNRELIABLE_BELOW = 0.2  # correlation with measurements
UNRELIABLE = QColor(130, 130, 130)
STAR_TIP = "Favourites. Click, or press F, to add or remove a gene."
GENE_ROLE = Qt.ItemDataRole.UserRole
NO_PARENT = QModelIndex()


class GeneTable(QAbstractTableModel):
    """One row per listed gene. Rows are places in an array: no gene has an object of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.search = GeneSearch(())
        self._columns = _no_values(0)
        self._unit = ""
        self._favourites: set[str] = set()
        self._allowed: frozenset[str] | None = None
        self._text = ""
        self._aliases: dict[int, str] = {}
        self._sorted_by: tuple[int, bool] | None = None  # column, whether the largest comes first
        self._rows: NDArray[np.int64] = np.zeros(0, np.int64)  # which gene each row shows
        self._row_of: dict[str, int] = {}

    def set_genes(
        self, genes: Sequence[str], reliability: Mapping[str, float | None], unit: str = ""
    ) -> None:
        """List other genes.

        Parameters
        ----------
        genes
            Names, in the model's order.
        reliability
            Correlation with measurements on left-out sections, for the genes where it is known.
        unit
            Of the predicted values.
        """
        self.search = GeneSearch(genes)
        self._unit = unit
        self._columns = _no_values(len(self.search.genes))
        known = [reliability.get(gene) for gene in self.search.genes]
        self._columns[RELIABILITY] = np.array([np.nan if v is None else v for v in known], float)
        self._arrange()

    def fill(self, column: int, values: ArrayLike) -> None:
        """Show a column that has been computed, (genes,) float in the model's order."""
        self._columns[column] = np.asarray(values, dtype=float)
        if self._sorted_by is not None and self._sorted_by[0] == column:
            self._arrange()
        elif len(self._rows):
            self.dataChanged.emit(self.index(0, column), self.index(len(self._rows) - 1, column))

    def set_favourites(self, favourites: Collection[str]) -> None:
        """Mark genes with a star."""
        self._favourites = set(favourites)
        self._arrange()

    def show_only(self, genes: Iterable[str] | None) -> None:
        """List these genes only; None lists all."""
        self._allowed = None if genes is None else frozenset(genes)
        self._arrange()

    def set_filter(self, text: str) -> None:
        """List what matches: names that begin so first, then other names of genes, then parts of names."""
        self._text = text
        self._arrange()

    def listed(self) -> tuple[str, ...]:
        """Names of the listed genes, as sorted."""
        return tuple(self.search.genes[place] for place in self._rows)

    def gene_at(self, row: int) -> str:
        """Name of the gene in a row."""
        return self.search.genes[int(self._rows[row])]

    def row_of(self, gene: str) -> int | None:
        """Row of a gene, None where it is not listed."""
        return self._row_of.get(gene)

    def doubt(self, gene: str) -> str:
        """Why not to rely on a gene; empty where nothing speaks against it."""
        return self._doubt(self.search.genes.index(gene))

    def rowCount(self, parent: QModelIndex = NO_PARENT) -> int:
        """Count of listed genes."""
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: QModelIndex = NO_PARENT) -> int:
        """Star, name, and what genes are sorted by."""
        return 0 if parent.isValid() else len(HEADERS)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; -1 is the model's own order."""
        self._sorted_by = None if column < 0 else (column, order == Qt.SortOrder.DescendingOrder)
        self._arrange()

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what one cell shows or says."""
        place, column = int(self._rows[index.row()]), index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._shown(place, column)
        if role == GENE_ROLE:
            return self.search.genes[place]
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(place, column)
        if role == Qt.ItemDataRole.ForegroundRole:
            return UNRELIABLE if self._doubt(place) else None
        if role == Qt.ItemDataRole.TextAlignmentRole and column >= MEAN:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Titles of the columns."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return HEADERS[section]
        return self._meaning(section) if role == Qt.ItemDataRole.ToolTipRole else None

    def _arrange(self) -> None:
        """Choose and sort the rows anew."""
        genes = self.search.genes
        ranks, aliases = self.search.ranks(self._text)
        if self._allowed is not None:
            is_allowed = np.fromiter((gene in self._allowed for gene in genes), bool, len(genes))
            ranks = np.where(is_allowed, ranks, NO_MATCH).astype(np.int8)
        places = np.flatnonzero(ranks < NO_MATCH)
        order = np.lexsort((self._keys()[places], ranks[places]))
        self.beginResetModel()
        self._aliases = aliases
        self._rows = places[order]
        self._row_of = {genes[place]: row for row, place in enumerate(self._rows)}
        self.endResetModel()

    def _keys(self) -> NDArray[np.float64]:
        """(genes,) by which to sort, the smallest first; genes without a value come last."""
        n_genes = len(self.search.genes)
        if self._sorted_by is None:
            return np.arange(n_genes, dtype=float)
        column, largest_first = self._sorted_by
        if column == GENE:
            by_name = sorted(range(n_genes), key=lambda place: self.search.genes[place].upper())
            keys = np.empty(n_genes)
            keys[by_name] = np.arange(n_genes)
        elif column == STAR:
            keys = np.array([float(gene in self._favourites) for gene in self.search.genes])
        else:
            keys = self._columns[column]
        keys = -keys if largest_first else keys
        return np.where(np.isfinite(keys), keys, np.inf)

    def _shown(self, place: int, column: int) -> str:
        gene = self.search.genes[place]
        if column == STAR:
            return "★" if gene in self._favourites else "☆"
        if column == GENE:
            return f"{gene} ({self._aliases[place]})" if place in self._aliases else gene
        value = self._columns[column][place]
        return f"{value:.2f}" if np.isfinite(value) else "–"

    def _tip(self, place: int, column: int) -> str:
        doubt = self._doubt(place)
        said = self._meaning(column)
        return f"{doubt}\n\n{said}" if doubt and column != STAR else said

    def _doubt(self, place: int) -> str:
        known, gene = self._columns[RELIABILITY][place], self.search.genes[place]
        if not np.isfinite(known):
            return f"Do not rely on {gene}: how well it is predicted has not been measured."
        if known < UNRELIABLE_BELOW:
            return (
                f"Do not rely on {gene}: its predictions hardly followed measurements "
                f"(correlation {known:.2f} on tissue that the model had not seen)."
            )
        return ""

    def _meaning(self, column: int) -> str:
        unit = f", {self._unit}" if self._unit else ""
        return (
            STAR_TIP,
            "Type above to find a gene. Page Down: next gene. Page Up: previous gene.",
            f"Mean of the predicted expression over the slide{unit}",
            f"How much the predicted expression varies over the slide: standard deviation{unit}",
            "How much neighbouring spots resemble each other (Moran's I of the prediction):\n"
            "1: smooth patches. 0: scattered at random. –: not computed; click the title to ask for it.",
            "How well predictions of this gene followed measurements on tissue that the model never "
            "saw (correlation):\n1 is perfect, 0 is no better than chance. It may be lower on your slide.",
        )[column]


def _no_values(n_genes: int) -> dict[int, NDArray[np.float64]]:
    return {column: np.full(n_genes, np.nan) for column in range(MEAN, len(HEADERS))}
