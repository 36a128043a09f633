"""The predictions of one slide, of today and of earlier days: choose which one is shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHeaderView, QLabel, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TITLES = ("Model", "Spots", "Made")
MAX_ROWS_SHOWN = 5


@dataclass(frozen=True)
class Listed:
    """What the list says of one prediction.

    Attributes
    ----------
    path
        Its folder.
    model
        That made it.
    n_done, n_spots
        Spots predicted, and all.
    made
        Seconds since the epoch at which it was begun.
    details
        For the tooltip.
    """

    path: Path
    model: str
    n_done: int
    n_spots: int
    made: float
    details: str = ""

    def texts(self) -> list[str]:
        """Say what stands in the columns."""
        spots = f"{self.n_spots:,}"
        if self.n_done < self.n_spots:
            spots = f"{self.n_done:,} of {spots}"
        moment = datetime.fromtimestamp(self.made).astimezone()
        is_today = moment.date() == datetime.now().astimezone().date()
        return [self.model, spots, f"{moment:%H:%M}" if is_today else f"{moment:%d %b %Y}"]


class PredictionsList(QWidget):
    """Lists predictions, newest first; asks for one to be shown."""

    chosen = Signal(object)  # path

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tree = QTreeWidget()
        self.tree.setHeaderLabels(TITLES)
        self.tree.setRootIsDecorated(False)
        self.tree.setToolTip("Click a prediction to show it again")
        header = self.tree.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.addWidget(QLabel("Predictions of this slide"))
        layout.addWidget(self.tree)
        self.tree.itemClicked.connect(self._choose)
        self.show_predictions((), None)

    def show_predictions(self, listed: Sequence[Listed], shown: Path | None) -> None:
        """List predictions and mark the one that is on screen."""
        self.tree.clear()
        for each in sorted(listed, key=lambda item: -item.made):
            item = QTreeWidgetItem(each.texts())
            item.setData(0, Qt.ItemDataRole.UserRole, each.path)
            for column in range(len(TITLES)):
                item.setToolTip(column, each.details)
            self.tree.addTopLevelItem(item)
            if each.path == shown:
                self.tree.setCurrentItem(item)
        self.setVisible(bool(listed))
        row = self.tree.sizeHintForRow(0) if listed else 0
        height = self.tree.header().sizeHint().height() + row * min(len(listed), MAX_ROWS_SHOWN)
        self.tree.setFixedHeight(height + 2 * self.tree.frameWidth() + 4)

    def _choose(self, item: QTreeWidgetItem) -> None:
        self.chosen.emit(item.data(0, Qt.ItemDataRole.UserRole))
