"""Small parts that several panels share."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget


def note(text: str) -> QLabel:
    """Make a wrapping line of text, which the user may select and copy."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


class Folding(QWidget):
    """A titled part that folds away, and is as tall as what it holds at the moment."""

    def __init__(self, title: str, content: QWidget, *, is_open: bool) -> None:
        super().__init__()
        self._content = content
        self._button = QToolButton()
        self._button.setText(title)
        self._button.setCheckable(True)
        font = self._button.font()
        font.setBold(True)
        self._button.setFont(font)
        self._button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 4)
        layout.addWidget(self._button)
        layout.addWidget(content)
        self._button.toggled.connect(self._show)
        self._button.setChecked(is_open)
        self._show(is_open)

    def open(self) -> None:
        """Unfold."""
        self._button.setChecked(True)

    def fold(self) -> None:
        """Fold away."""
        self._button.setChecked(False)

    def is_open(self) -> bool:
        """Whether the content is to be seen."""
        return bool(self._button.isChecked())

    def _show(self, is_open: bool) -> None:
        self._content.setVisible(is_open)
        self._button.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)


def duration(seconds: float) -> str:
    """Say a time to wait as people do."""
    if seconds < 5:
        return "a few seconds"
    if seconds < 90:
        return f"about {5 * round(seconds / 5)} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


def count(number: int, thing: str) -> str:
    """Say a number with its noun: ``1 spot``, ``2,000 spots``."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
