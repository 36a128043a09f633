"""The overview in a window of its own, for when the part of the dock that holds it is folded away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QMainWindow, QSizePolicy, QVBoxLayout

if TYPE_CHECKING:
    from qtpy.QtGui import QCloseEvent
    from qtpy.QtWidgets import QWidget

    from napari_stem.widgets.slide.overview import Overview

SIDE_PX = 260
FROM_CORNER_PX = 16
FILLING = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)


class OverviewWindow(QDialog):
    """Borrows the overview from the panel that it lies in, and gives it back when it is closed.

    Parameters
    ----------
    overview
        In the layout of a panel.
    parent
        In the lower left corner of whose window's canvas it appears: legends are on the right.
    """

    def __init__(self, overview: Overview, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Tool)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Overview")
        self._overview, self._home = overview, overview.parentWidget()
        self._place = self._home.layout().indexOf(overview)
        self._policy = overview.sizePolicy()
        overview.setSizePolicy(FILLING)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(overview)
        self.finished.connect(self.give_back)
        self.resize(SIDE_PX, SIDE_PX)
        window = parent.window()
        canvas = window.centralWidget() if isinstance(window, QMainWindow) else window
        corner = canvas.mapToGlobal(canvas.rect().bottomLeft())
        self.move(corner.x() + FROM_CORNER_PX, corner.y() - SIDE_PX - FROM_CORNER_PX)

    def give_back(self) -> None:
        """Put the overview where it was."""
        if self._overview.parentWidget() is self:
            self._overview.setSizePolicy(self._policy)
            self._home.layout().insertWidget(self._place, self._overview)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Give the overview back, whoever closes the window."""
        self.give_back()
        super().closeEvent(event)
