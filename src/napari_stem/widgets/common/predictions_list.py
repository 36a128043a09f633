"""The predictions of one slide, of today and of earlier days: choose which one is shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QGuiApplication, QPalette
from qtpy.QtWidgets import QHeaderView, QLabel, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from napari_stem.widgets.common.parts import note

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_stem.geometry import Mpp

TITLES = ("Model", "Spots", "Made")
MAX_ROWS_SHOWN = 5
OTHERS = "Grey: made with another pixel size than the slide has now ({}); not shown on it."


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
    mpp
        Pixel size that it was made with.
    """

    path: Path
    model: str
    n_done: int
    n_spots: int
    made: float
    details: str = ""
    mpp: Mpp | None = None

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
        self.others = note("")
        header = self.tree.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.addWidget(QLabel("Predictions of this slide"))
        layout.addWidget(self.tree)
        layout.addWidget(self.others)
        self.tree.itemClicked.connect(self._choose)
        self.show_predictions((), None)

    def show_predictions(
        self, listed: Sequence[Listed], shown: Path | None, mpp: Mpp | None = None
    ) -> None:
        """List predictions and mark the one that is on screen.

        Parameters
        ----------
        listed, shown
            All of the slide, and the one on screen.
        mpp
            The slide's pixel size: those made with another one are greyed, and say so.
        """
        self.tree.clear()
        others = [each for each in listed if not is_same_size(each.mpp, mpp)]
        for each in sorted(listed, key=lambda item: -item.made):
            item = _item(each, is_other=each in others)
            self.tree.addTopLevelItem(item)
            if each.path == shown:
                self.tree.setCurrentItem(item)
        self.others.setText(OTHERS.format(um_per_pixel(mpp)))
        self.others.setVisible(bool(others))
        self.setVisible(bool(listed))
        row = self.tree.sizeHintForRow(0) if listed else 0
        height = self.tree.header().sizeHint().height() + row * min(len(listed), MAX_ROWS_SHOWN)
        self.tree.setFixedHeight(height + 2 * self.tree.frameWidth() + 4)

    def _choose(self, item: QTreeWidgetItem) -> None:
        self.chosen.emit(item.data(0, Qt.ItemDataRole.UserRole))


def is_same_size(one: Mpp | None, other: Mpp | None) -> bool:
    """Whether two pixel sizes are known and the same."""
    if one is None or other is None:
        return False
    return all(abs(a / b - 1) < 1e-6 for a, b in ((one.y_um, other.y_um), (one.x_um, other.x_um)))


def um_per_pixel(mpp: Mpp | None) -> str:
    """Say a pixel size."""
    return "an unknown pixel size" if mpp is None else f"{mpp.x_um:.3g} µm per pixel"


def _item(each: Listed, *, is_other: bool) -> QTreeWidgetItem:
    texts, details = each.texts(), each.details
    if is_other:
        texts[0] += f" (at {um_per_pixel(each.mpp)})"
        details += f"; made at {um_per_pixel(each.mpp)}, which the slide has no more"
    item = QTreeWidgetItem(texts)
    item.setData(0, Qt.ItemDataRole.UserRole, each.path)
    for column in range(len(TITLES)):
        item.setToolTip(column, details)
        if is_other:
            grey = QGuiApplication.palette().color(
                QPalette.ColorGroup.Disabled, QPalette.ColorRole.Text
            )
            item.setForeground(column, grey)
    return item
