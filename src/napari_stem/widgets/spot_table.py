"""The genes of one spot against the slide, as a Qt item model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.evaluation.spot_profile import SpotProfile

GENE, Z, RANGE, MEAN = range(4)
TITLES = ("Gene", "SDs above slide", "90% interval", "Predicted")
TIPS = (
    "Click to see its map",
    "How far the spot's predicted mean lies above the mean of all predicted spots of this slide, in "
    "standard deviations between them",
    "The spot's 90% interval on the same scale: a gene whose interval holds 0 may be as everywhere else",
    "Predicted mean of the spot",
)
Role = Qt.ItemDataRole
SORT_ROLE = int(Role.UserRole)


class SpotTable(QAbstractTableModel):
    """Genes of one spot, with how far each stands out."""

    def __init__(self) -> None:
        super().__init__()
        self._genes: tuple[str, ...] = ()
        self._profile: SpotProfile | None = None

    def set_profile(self, genes: Sequence[str], profile: SpotProfile) -> None:
        """Show another spot."""
        self.beginResetModel()
        self._genes, self._profile = tuple(genes), profile
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Count of genes."""
        return 0 if parent is not None and parent.isValid() else len(self._genes)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Count of columns."""
        return 0 if parent is not None and parent.isValid() else len(TITLES)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Role.DisplayRole
    ) -> Any:
        """Titles and what they mean."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        return {Role.DisplayRole: TITLES, Role.ToolTipRole: TIPS}.get(role, (None,) * 4)[section]

    def data(self, index: QModelIndex, role: int = Role.DisplayRole) -> Any:
        """Return what a cell shows, or is sorted by."""
        profile = self._profile
        if profile is None or not index.isValid():
            return None
        row, column = index.row(), index.column()
        if role == Role.TextAlignmentRole and column != GENE:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == SORT_ROLE:
            if column == GENE:
                return self._genes[row]
            value = (profile.z, profile.z_low, profile.mean)[column - Z][row]
            return float(value) if np.isfinite(value) else -np.inf
        if role != Role.DisplayRole:
            return None
        if column == GENE:
            return self._genes[row]
        if column == MEAN:
            return f"{profile.mean[row]:.2f}"
        if not np.isfinite(profile.z[row]):
            return "–"
        if column == Z:
            return f"{profile.z[row]:+.1f}"
        return f"{profile.z_low[row]:+.1f} to {profile.z_high[row]:+.1f}"


def sorted_spots(table: SpotTable) -> QSortFilterProxyModel:
    """Make the table sortable, by numbers rather than by their text."""
    proxy = QSortFilterProxyModel()
    proxy.setSourceModel(table)
    proxy.setSortRole(SORT_ROLE)
    return proxy
