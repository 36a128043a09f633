"""Keys and gestures, in a window of their own."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QGridLayout, QLabel, QVBoxLayout, QWidget

KEYS: dict[str, tuple[tuple[str, str], ...]] = {
    "Everywhere on the panel": (
        ("Ctrl+Return", "Run the prediction"),
        ("Ctrl+Z", "Take back the last change of a region"),
        ("Ctrl+Shift+Z", "Make it again"),
        ("Ctrl+S", "Save the session: slides, regions, predictions, view"),
        ("F1", "These keys"),
    ),
    "Drawing on the slide": (
        ("Double-click, Return or Escape", "Close a polygon"),
        ("Delete", "Remove the chosen region (in the table, or on the slide)"),
        ("Space, held", "Move the slide while drawing"),
        ("Double-click in the table", "Rename a region or choose its class"),
    ),
    "Genes": (
        ("Page Up, Page Down", "Previous and next gene"),
        ("Type in “Find a gene”", "Show only genes with these letters"),
    ),
    "Dragging files onto the panel": (
        ("A slide", "Opens it"),
        ("A prediction (.zarr)", "Shows it on its slide"),
        ("Regions (.geojson)", "Adds them to the active slide"),
        ("A model folder", "Adds the model"),
        ("A session (.json)", "Restores it"),
    ),
}


class HelpBox(QDialog):
    """Lists the keys."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys and gestures")
        grid = QGridLayout()
        grid.setHorizontalSpacing(24)
        line = 0
        for title, keys in KEYS.items():
            heading = QLabel(title)
            font = heading.font()
            font.setBold(True)
            heading.setFont(font)
            heading.setContentsMargins(0, 8 if line else 0, 0, 2)
            grid.addWidget(heading, line, 0, 1, 2)
            line += 1
            for key, meaning in keys:
                grid.addWidget(QLabel(key), line, 0, Qt.AlignmentFlag.AlignTop)
                grid.addWidget(QLabel(meaning), line, 1)
                line += 1
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addLayout(grid)
        layout.addWidget(buttons)
