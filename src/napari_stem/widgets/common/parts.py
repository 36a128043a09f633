"""Small parts that several panels share: lines of text, rows, what folds, errors shown once."""

from __future__ import annotations

import math
import re
import time
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from napari.utils.notifications import notification_manager, show_error
from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QBoxLayout,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.hints import Hint

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence


Box = TypeVar("Box", bound=QBoxLayout)
SHORTEST_CHOICE = 12  # letters
CLICK_PIXELS = 5  # on the screen; a press that goes no further is a click
HINT_INDENT = 22  # under the title, past its arrow
LINK_COLOUR = "#3b8eea"  # Qt's own blue cannot be read on napari's dark theme; this one can on both
# Display, overview and measuring meet a lost file within moments of each other; later than that, it is
# the answer to something that the user has done.
SAME_ERROR_S = 5.0

# What is said elsewhere -> what a person at the dock would look for; longer ones first.
_WORDS = {
    "HF_HUB_OFFLINE forbids downloads; unset it": "“Work offline” forbids downloads; untick it",
    "HF_HUB_OFFLINE forbids asking; unset it": "“Work offline” forbids asking; untick it",
    "log in with `hf auth login` and a token": "enter a token",
    "then log in with `hf auth login`": "then enter your token with “Enter token…”",
    "`hf auth login`": "“Enter token…”",
    "of $NAPARI_STEM_ENCODERS": "inside that of “Use a folder…”",
    "(Without internet: $NAPARI_STEM_ENCODERS.)": "(Without internet: “Use a folder…”.)",
    "or give --model a folder or .zip with its files": "or add a folder or .zip with its files",
    "choose another place with --to": "choose another place with the variable HF_HOME",
    "give those of this slide with --embeddings": "choose those of this slide under “Embeddings”",
    "with --encoder (such as uni)": "under “Made by” (such as uni)",
    "--encoder": "“Made by”",
    "--patch-px": "“Patch side”",
    "--coordinates": "“Places”",
    "with --tolerance": "under “Tolerance”",
    " um per pixel": " µm per pixel",
    " um wide": " µm wide",
    "run 'predict' again": "predict again",
    "of napari-stem; wait for it, or choose another name": "of Stem; wait for it, then try again",
    "state the right one with --mpp or in the Slide panel": "state the right one under “Change pixel size…”",
}


class Note(QLabel):
    """A wrapping line of text, which the user may select and copy."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)

    def say(self, text: str) -> None:
        """Show a text; an empty one hides the line."""
        self.setText(text)
        self.setVisible(bool(text))


class ProgressBar(QProgressBar):
    """How much of something is done.

    It stands still where that is not known: Qt's moving bar paints the whole window 20 times a second, half of
    what a processor can do where it draws the window as well.
    """

    def show_share(self, n_done: int, n_all: int) -> None:
        """Show how much of how much is done; ``n_all`` of 0: it is not known."""
        self.setRange(0, n_all or 1)
        self.setValue(n_done if n_all else 0)


def warning() -> Note:
    """Make a line for what the user should be wary of; hidden until there is something to say."""
    line = Note()
    line.setObjectName("warning")
    line.setVisible(False)
    return line


def linked_note(text: str = "") -> Note:
    """Make a wrapping line of rich text, whose addresses open in the browser."""
    line = Note(text)
    line.setTextFormat(Qt.TextFormat.RichText)
    line.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
    line.setOpenExternalLinks(True)
    return line


def link(address: str, text: str = "") -> str:
    """Rich text of an address; it is shown itself where no text is given."""
    return f'<a href="{escape(address)}" style="color: {LINK_COLOUR}">{escape(text or address)}</a>'


def button(
    text: str, tip: str = "", act: Callable[..., object] | None = None, *, is_small: bool = False
) -> Any:
    """Make a button with a tooltip, and what a click does."""
    made = QToolButton() if is_small else QPushButton()
    made.setText(text)
    made.setToolTip(tip)
    if act is not None:
        made.clicked.connect(act)
    return made


class NarrowChoice(QComboBox):
    """A list that no long title widens: the middle is left out, as titles often differ at their ends."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(SHORTEST_CHOICE)

    def initStyleOption(self, option: QStyleOptionComboBox) -> None:
        """Say what is painted, for Qt."""
        super().initStyleOption(option)
        control, part = QStyle.ComplexControl.CC_ComboBox, QStyle.SubControl.SC_ComboBoxEditField
        room = self.style().subControlRect(control, option, part, self)
        middle, metrics = Qt.TextElideMode.ElideMiddle, self.fontMetrics()
        option.currentText = metrics.elidedText(option.currentText, middle, room.width() - 2)


def choice(
    options: Mapping[str, str | tuple[str, str]],
    tip: str = "",
    act: Callable[[Any], object] | None = None,
    *,
    is_narrow: bool = False,
) -> QComboBox:
    """Make a list to choose one from; ``act`` is told what the user has chosen.

    ``options`` are titles, or title and tooltip, by what each stands for; ``tip`` is of the whole. One that
    ``is_narrow`` is a `NarrowChoice`.
    """
    box = NarrowChoice() if is_narrow else QComboBox()
    for place, (data, told) in enumerate(options.items()):
        title, own_tip = (told, "") if isinstance(told, str) else told
        box.addItem(title, data)
        if own_tip:
            box.setItemData(place, own_tip, Qt.ItemDataRole.ToolTipRole)
    box.setToolTip(tip)
    if act is not None:
        box.activated.connect(lambda place: act(box.itemData(place)))
    return box


def row(*items: QWidget | QLayout, stretched: int = -1) -> QHBoxLayout:
    """Lay things out beside one another; that at the place ``stretched`` takes what is left."""
    return _filled(QHBoxLayout(), items, stretched)


def row_widget(*items: QWidget | QLayout, stretched: int = -1) -> QWidget:
    """Make a row that can be hidden as one."""
    held = QWidget()
    layout = row(*items, stretched=stretched)
    layout.setContentsMargins(0, 0, 0, 0)
    held.setLayout(layout)
    return held


def labelled(rows: Mapping[str, QWidget | QLayout]) -> QFormLayout:
    """Lay fields out one below the other, each with its label at the left, or above where both do not fit."""
    layout = QFormLayout()
    layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    for label, field in rows.items():
        layout.addRow(label, field)
    return layout


def stack(
    held: QWidget, *items: QWidget | QLayout, stretched: int = -1, is_window: bool = False
) -> QVBoxLayout:
    """Lay things out one below the other within a widget; a window has margins."""
    layout = QVBoxLayout(held)
    if not is_window:
        layout.setContentsMargins(0, 0, 0, 0)
    return _filled(layout, items, stretched)


def _filled(layout: Box, items: Sequence[QWidget | QLayout], stretched: int) -> Box:
    for place, item in enumerate(items):
        add = layout.addWidget if isinstance(item, QWidget) else layout.addLayout
        add(item, int(place == stretched))
    return layout


def answer_buttons(dialog: QDialog, needed: QLineEdit) -> QDialogButtonBox:
    """Make the buttons of a dialog that asks: OK once ``needed`` is filled in, and Cancel."""
    standard = QDialogButtonBox.StandardButton
    buttons = QDialogButtonBox(standard.Ok | standard.Cancel)
    ok = buttons.button(standard.Ok)
    ok.setEnabled(False)
    needed.textChanged.connect(lambda text: ok.setEnabled(bool(text.strip())))
    buttons.accepted.connect(dialog.accept)
    buttons.rejected.connect(dialog.reject)
    return buttons


def close_button(dialog: QDialog) -> QDialogButtonBox:
    """Make the button of a dialog that only shows something."""
    buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
    buttons.rejected.connect(dialog.reject)
    return buttons


def is_click(event: Any) -> Generator[None, None, bool]:
    """Wait in a callback of napari's until the mouse is let go; tell whether that was a click, and no drag."""
    start, moved_px = tuple(event.pos), 0.0
    yield
    while event.type == "mouse_move":
        moved_px = max(moved_px, math.dist(start, event.pos))
        yield
    return moved_px < CLICK_PIXELS


class HasFolder(Protocol):
    """A widget that remembers where its files were last looked for."""

    folder: str


def ask_for_file(asking: HasFolder, title: str, filters: str) -> str:
    """Ask for a file to read; its path, empty where there is none. Remembers the folder."""
    path, _ = QFileDialog.getOpenFileName(asking, title, asking.folder, filters)
    return _noted(asking, path)


def ask_where_to_save(asking: HasFolder, title: str, name: str, filters: str) -> str:
    """Ask for a file to write, as `ask_for_file`.

    A name without an ending, or with one that no filter takes, gets the first of the chosen filter, or that of
    ``name`` where the filter takes all files; the dialog has not asked about that name, so that the user is
    asked here before a file is replaced.
    """
    suggested, ending = str(Path(asking.folder) / name), r"\*(\.\w+)"
    path, chosen = QFileDialog.getSaveFileName(asking, title, suggested, filters)
    suffix = Path(path).suffix.lower()
    is_taken = suffix in re.findall(ending, filters) or (suffix and "(*)" in filters)
    if path and not is_taken:
        path += (re.findall(ending, chosen) or [Path(name).suffix])[0]
        asked = f"{Path(path).name} is there already. Replace it?"
        yes = QMessageBox.StandardButton.Yes
        if Path(path).exists() and QMessageBox.question(asking, title, asked) != yes:
            return ""
    return _noted(asking, path)


def ask_for_folder(asking: HasFolder, title: str) -> str:
    """Ask for a folder to read, as `ask_for_file`."""
    return _noted(asking, QFileDialog.getExistingDirectory(asking, title, asking.folder))


def _noted(asking: HasFolder, path: str) -> str:
    if path:
        asking.folder = str(Path(path).parent)
    return path


def one_shot(parent: QObject, interval_ms: int, act: Callable[[], object]) -> QTimer:
    """Make a timer that acts once whenever it is started, and starts anew while it runs."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(interval_ms)
    timer.timeout.connect(act)
    return timer


def listening(*connections: tuple[Any, Callable[..., object]]) -> Callable[[], None]:
    """Call functions on events; call what comes back to end that."""
    for event, act in connections:
        event.connect(act)

    def let_go() -> None:
        for event, act in connections:
            event.disconnect(act)

    return let_go


class Folding(QWidget):
    """A titled part that folds away, and is as tall as what it holds at the moment."""

    unfolded = Signal()

    def __init__(self, title: str, content: QWidget, *, is_open: bool) -> None:
        super().__init__()
        self._content, self._said = content, Hint("")
        self._button = QToolButton()
        self._button.setText(title)
        self._button.setCheckable(True)
        font = self._button.font()
        font.setBold(True)
        self._button.setFont(font)
        self._button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.hint = Note()  # under the title
        self.hint.setObjectName("hint")
        self.hint.setContentsMargins(HINT_INDENT, 0, 0, 2)
        stack(self, self._button, self.hint, content).setContentsMargins(0, 0, 0, 4)
        self._button.toggled.connect(self._show)
        self._button.setChecked(is_open)
        self._show(is_open)

    def show_hint(self, hint: Hint) -> None:
        """Say in a line under the title what is missing here, or what has been done."""
        self._said = hint
        self.hint.setText(hint.text)
        is_seen = hint.when_open if self.is_open() else hint.when_folded
        self.hint.setVisible(bool(hint.text) and is_seen)

    def open(self) -> None:
        """Unfold."""
        self._button.setChecked(True)

    def fold(self) -> None:
        """Fold away, unless it stands alone."""
        self._button.setChecked(self._button.isHidden())

    def stand_alone(self) -> None:
        """Show no title, and stay open: what holds it names it."""
        self.open()
        self._button.hide()

    def is_open(self) -> bool:
        """Whether the content is to be seen."""
        return bool(self._button.isChecked())

    def _show(self, is_open: bool) -> None:
        self._content.setVisible(is_open)
        self.show_hint(self._said)
        self._button.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        wanted = QSizePolicy.Policy  # what is folded takes no room that others leave
        self.setSizePolicy(wanted.Preferred, wanted.Preferred if is_open else wanted.Maximum)
        if is_open:
            self.unfolded.emit()


def duration(seconds: float) -> str:
    """Say a time to wait as people do."""
    if seconds < 5:
        return "a few seconds"
    if seconds < 90:
        return f"about {5 * round(seconds / 5)} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


def in_window_words(sentence: str) -> str:
    """Say a sentence of the command line so that it names what is in the window."""
    for elsewhere, here in _WORDS.items():
        sentence = sentence.replace(elsewhere, here)
    return sentence


def tell_error(sentence: str) -> None:
    """Show an error in napari's notifications, unless the same was shown a moment ago.

    The words of the command line become those of the window.
    """
    words = in_window_words(sentence)
    same = [each.date for each in notification_manager.records if each.message == words]
    if not same or time.time() - same[-1].timestamp() > SAME_ERROR_S:
        show_error(words)
