"""Small parts that several panels share."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget

HINT_INDENT = 22  # under the title, past its arrow


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
        self._shows_hint = (True, False)  # when folded, when open
        self._hint = note("")
        self._hint.setObjectName("hint")
        self._hint.setContentsMargins(HINT_INDENT, 0, 0, 2)
        layout.addWidget(self._button)
        layout.addWidget(self._hint)
        layout.addWidget(content)
        self.show_hint("")
        self._button.toggled.connect(self._show)
        self._button.setChecked(is_open)
        self._show(is_open)

    def show_hint(self, text: str, *, when_folded: bool = True, when_open: bool = False) -> None:
        """Say in a line under the title what is missing here, or what has been done.

        Parameters
        ----------
        text
            One line.
        when_folded, when_open
            When it is to be seen: an open part shows by itself what has been done.
        """
        self._hint.setText(text)
        self._shows_hint = (when_folded, when_open)
        self._hint.setVisible(bool(text) and self._shows_hint[self.is_open()])

    def hint(self) -> str:
        """Return the line under the title."""
        return str(self._hint.text())

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
        when_folded, when_open = self._shows_hint
        self.show_hint(self.hint(), when_folded=when_folded, when_open=when_open)
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
