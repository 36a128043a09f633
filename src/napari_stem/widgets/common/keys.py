"""Every key of the dock, in one table, and the window that lists them beside the guide."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QDialog,
    QFrame,
    QGridLayout,
    QLabel,
    QScrollArea,
    QTabWidget,
    QTextBrowser,
    QWidget,
)

from napari_stem.widgets.common.parts import close_button, stack

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes
    ----------
    sequence
        As Qt writes it.
    meaning
        What it does, in the user's words.
    """

    sequence: str
    meaning: str

    @property
    def on_canvas(self) -> str:
        """As napari writes it."""
        return self.sequence.replace("+", "-")


RUN = Key("Ctrl+Return", "Run the prediction")
UNDO = Key("Ctrl+Z", "Take back the last change of a region")
REDO = Key("Ctrl+Shift+Z", "Make it again")
SAVE = Key("Ctrl+S", "Save the session: slides, regions, predictions, view")
COPY_VIEW = Key("Ctrl+Shift+C", "Copy this view as a picture, with legend, scale bar and notice")
SAVE_VIEW = Key("Ctrl+Shift+S", "Save this view as a picture")
HELP = Key("F1", "The guide, and these keys")
WHOLE_SLIDE = Key("Home", "Show the whole slide")
OVERVIEW = Key("Shift+Home", "Show or close the overview in a window of its own")
REMOVE_REGION = Key("Del", "Remove the chosen regions (in the table, or on the slide)")
NEXT_GENE = Key("PgDown", "Next gene of the list")
PREVIOUS_GENE = Key("PgUp", "Previous gene of the list")
FAVOURITE = Key("F", "Mark the gene chosen in the list as a favourite, or no longer")
NEXT_SAMPLE = Key(".", "Next single sample")
PREVIOUS_SAMPLE = Key(",", "Previous single sample")
SEE_PREDICTED = Key("Alt+1", "Predicted")
SEE_MEASURED = Key("Alt+2", "Measured")
SEE_DIFFERENCE = Key("Alt+3", "Predicted minus measured")

ON_CANVAS = "On the panel and on the slide"
GROUPS: dict[str, tuple[Key, ...]] = {
    "Everywhere on the panel": (RUN, UNDO, REDO, SAVE, WHOLE_SLIDE, HELP),
    ON_CANVAS: (COPY_VIEW, SAVE_VIEW, OVERVIEW),
    "Genes": (PREVIOUS_GENE, NEXT_GENE, FAVOURITE),
    "Uncertainty, while single samples are shown": (PREVIOUS_SAMPLE, NEXT_SAMPLE),
    "Measured data, once they are loaded": (SEE_PREDICTED, SEE_MEASURED, SEE_DIFFERENCE),
    "Regions": (REMOVE_REGION,),
}

GESTURES: dict[str, tuple[tuple[str, str], ...]] = {
    "Drawing on the slide": (
        ("Double-click, Return or Escape", "Close a polygon"),
        ("Space, held", "Move the slide while drawing"),
        ("Double-click in the table", "Rename a region or choose its class"),
    ),
    "Finding genes": (
        ("Type in “Find a gene”", "Show only genes with these letters, also in their other names"),
        ("Double-click a gene", "Add it to the genes that are mixed or side by side"),
    ),
    "Dragging files onto the window, also several at once": (
        ("A slide", "Opens it"),
        ("A prediction (.zarr, .h5ad)", "Shows it on its slide"),
        ("Measured counts (.h5ad, Visium folder)", "Lays them beside the prediction"),
        ("Regions (.geojson)", "Adds them to the active slide"),
        ("A model folder", "Adds the model"),
        ("A session (.json)", "Restores it"),
    ),
}
MOST_SHARE_OF_SCREEN = 0.85
GUIDE = "guide.md"  # in the package, so that it can be read without a network
GUIDE_WIDTH = 660


def shortcut(key: Key, part: QWidget, act: Callable[[], object]) -> QShortcut:
    """Have a key of a part do something."""
    made = QShortcut(QKeySequence(key.sequence), part)
    made.activated.connect(act)
    return made


class HelpBox(QDialog):
    """Shows the guide, and lists the keys."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Guide to Stem")
        self.guide = QTextBrowser()
        self.guide.setOpenExternalLinks(True)
        self.guide.setMarkdown(guide())
        lines = QWidget()
        grid = QGridLayout(lines)
        grid.setHorizontalSpacing(24)
        for title, told in sections().items():
            _add(grid, title, told)
        scroll = QScrollArea()
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setWidget(lines)
        tabs = QTabWidget()
        tabs.addTab(self.guide, "From slide to report")
        tabs.addTab(scroll, "Keys and gestures")
        stack(self, tabs, close_button(self), is_window=True)
        wanted = lines.sizeHint()
        room = self.screen().availableGeometry().height()
        if parent is not None:
            room = min(room, parent.window().height())
        most = int(room * MOST_SHARE_OF_SCREEN)
        width = max(wanted.width() + 60, GUIDE_WIDTH)
        self.resize(width, min(wanted.height() + 110, most))


def guide() -> str:
    """Return docs/guide.md without its pictures: what they show is on screen."""
    lines = (
        files("napari_stem").joinpath(GUIDE).read_text(encoding="utf-8").splitlines(keepends=True)
    )
    return "".join(line for line in lines if not line.startswith(("![", "[")))


def sections() -> dict[str, tuple[tuple[str, str], ...]]:
    """Lines by heading: the keys as this system writes them, then the gestures."""
    form = QKeySequence.SequenceFormat.NativeText
    keys = {
        title: tuple((QKeySequence(key.sequence).toString(form), key.meaning) for key in group)
        for title, group in GROUPS.items()
    }
    return {**keys, **GESTURES}


def _add(grid: QGridLayout, title: str, told: tuple[tuple[str, str], ...]) -> None:
    line = grid.rowCount()
    heading = QLabel(title)
    font = heading.font()
    font.setBold(True)
    heading.setFont(font)
    heading.setContentsMargins(0, 8 if line > 1 else 0, 0, 2)
    grid.addWidget(heading, line, 0, 1, 2)
    for number, (key, meaning) in enumerate(told, start=line + 1):
        grid.addWidget(QLabel(key), number, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(QLabel(meaning), number, 1)
