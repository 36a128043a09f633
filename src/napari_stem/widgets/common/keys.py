"""Every key of the dock in one table, and the window that lists them beside the guide.

What a key does is said where it is bound: those of the whole dock in `StemDock`, those of a part by `shortcut`.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QDialog, QTabWidget, QTextBrowser, QWidget

from napari_stem.widgets.common.parts import close_button, stack

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Key:
    """One key: its sequence as Qt and napari take it, and what it does, in the user's words."""

    sequence: str
    meaning: str
    # bound in the viewer too: the slide has the keys to itself while it is clicked on
    is_on_canvas: bool = False


RUN = Key("Ctrl+Return", "Run the prediction")
UNDO = Key("Ctrl+Z", "Take back the last change of a region")
REDO = Key("Ctrl+Shift+Z", "Make it again")
SAVE = Key("Ctrl+S", "Save the session: slides, regions, predictions, view")
COPY_VIEW = Key(
    "Ctrl+Shift+C",
    "Copy this view as a picture, with legend, scale bar and notice",
    is_on_canvas=True,
)
SAVE_VIEW = Key("Ctrl+Shift+S", "Save this view as a picture", is_on_canvas=True)
HELP = Key("F1", "The guide, and these keys")
WHOLE_SLIDE = Key("Home", "Show the whole slide", is_on_canvas=True)
OVERVIEW = Key("Shift+Home", "Show or close the overview in a window of its own", is_on_canvas=True)
REMOVE_REGION = Key("Del", "Remove the chosen regions (in the table, or on the slide)")
NEXT_GENE = Key("PgDown", "Next gene of the list")
PREVIOUS_GENE = Key("PgUp", "Previous gene of the list")
FAVOURITE = Key("F", "Mark the gene chosen in the list as a favourite, or no longer")
NEXT_SAMPLE = Key(".", "Next single sample")
PREVIOUS_SAMPLE = Key(",", "Previous single sample")
SEE_PREDICTED = Key("Alt+1", "Predicted")
SEE_MEASURED = Key("Alt+2", "Measured")
SEE_DIFFERENCE = Key("Alt+3", "Predicted minus measured")

GROUPS: dict[str, tuple[Key, ...]] = {
    "Everywhere on the panel": (RUN, UNDO, REDO, SAVE, HELP),
    "On the panel and on the slide": (WHOLE_SLIDE, COPY_VIEW, SAVE_VIEW, OVERVIEW),
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
SIZE_PX, MOST_SHARE_OF_SCREEN = (680, 820), 0.85


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
        self.guide, self.keys = QTextBrowser(), QTextBrowser()
        self.guide.setOpenExternalLinks(True)
        self.guide.setMarkdown(guide())
        self.keys.setHtml(_table(sections()))
        tabs = QTabWidget()
        tabs.addTab(self.guide, "From slide to report")
        tabs.addTab(self.keys, "Keys and gestures")
        stack(self, tabs, close_button(self), is_window=True)
        width, height = SIZE_PX
        room = self.screen().availableGeometry().height()
        self.resize(width, min(height, int(room * MOST_SHARE_OF_SCREEN)))


def guide() -> str:
    """Return docs/guide.md without its pictures: what they show is on screen."""
    # in the package, so that it can be read without a network
    text = files("napari_stem").joinpath("guide.md").read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("![", "[")))


def sections() -> dict[str, tuple[tuple[str, str], ...]]:
    """Give the table's lines by heading: the keys as this system writes them, then the gestures."""
    form = QKeySequence.SequenceFormat.NativeText
    keys = {
        title: tuple((QKeySequence(key.sequence).toString(form), key.meaning) for key in group)
        for title, group in GROUPS.items()
    }
    return {**keys, **GESTURES}


def _table(by_heading: dict[str, tuple[tuple[str, str], ...]]) -> str:
    """Lines by heading as HTML."""
    rows = []
    for title, lines in by_heading.items():
        rows.append(f"<tr><td colspan=2><br><b>{escape(title)}</b></td></tr>")
        rows += [f"<tr><td>{escape(key)}</td><td>{escape(what)}</td></tr>" for key, what in lines]
    return f"<table cellpadding=3>{''.join(rows)}</table>"
