"""The dock: panels in six steps from the slide to the export, and what keeps them on screen."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_info
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QHideEvent, QShortcut, QShowEvent
from qtpy.QtWidgets import (
    QApplication,
    QFrame,
    QMenu,
    QScrollArea,
    QTabBar,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_stem.texts import NOTICE
from napari_stem.widgets.common import keys, memory, parts
from napari_stem.widgets.common.dropping import dropped_paths
from napari_stem.widgets.common.keys import HelpBox, Key
from napari_stem.widgets.coordinator import Coordinator
from napari_stem.widgets.many_slides import ManySlides
from napari_stem.widgets.slide.overview import OverviewWindow
from napari_stem.widgets.slide.reading import DOCK_TITLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import napari.viewer

    from napari_stem.widgets.common.hints import Hint

DOCK_WIDTH_PX = 350
SCROLL_BAR_GAP_PX = 6
ALL_ROOM = 100  # beside a stretch of 1
LOOK_EVERY_MS = 150  # whether the demo can press its next button
SESSIONS = "Sessions (*.json);;All files (*)"


class StepView(QScrollArea):
    """Scrolls up and down only, and is never narrower than what it holds."""

    def minimumSizeHint(self) -> QSize:
        """As wide as the widest panel."""
        hint = super().minimumSizeHint()
        bar = self.verticalScrollBar().sizeHint().width()
        hint.setWidth(self.widget().minimumSizeHint().width() + bar)
        return hint

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follow a panel that becomes wider."""
        if watched is self.widget() and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return bool(super().eventFilter(watched, event))


class StemDock(QWidget):
    """Predict gene expression on a slide, in the viewer in which slides and maps are shown."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        # as napari names it where a script does not: a file that needs a dock opens none beside this
        self.setObjectName(DOCK_TITLE)
        # without this a window closed during a run would linger until its last spot; connected before there are
        # jobs: what runs is stopped first, then waited for (`garbage`), as a thread must not outlive Qt
        QApplication.instance().aboutToQuit.connect(self.shut_down)
        remembered = memory.recall()
        # napari hands plugins a proxy, which wraps every layer anew: no two of these are the same object
        self._viewer = viewer = getattr(viewer, "__wrapped__", viewer)
        self.coordinator = Coordinator(
            viewer,
            remembered,
            self._go_on,
            self._show_hints,
            lambda path: self.show_many_slides().add([path]),
        )
        self.coordinator.setParent(self)
        self.panels = self.coordinator.panels
        self.folder = remembered.session_folder
        self.notice = parts.Note(NOTICE)
        self.notice.setObjectName("notice")
        tip = "Save or restore what is open; open a stored prediction; see where you are"
        self.menu_button = parts.button("File ▾", tip, is_small=True)
        self.help_button = parts.button(
            "?", "Guide, keys and gestures (F1)", self.show_help, is_small=True
        )
        self.help_box: HelpBox | None = None
        self.many_slides: ManySlides | None = None
        self.parts: dict[str, parts.Folding] = {}
        self._step_of: dict[str, int] = {}  # by the title of a part
        # by fingerprint, as each slide has a step of its own to come back to: that, and the parts it was led to
        self._left_at: dict[str, int] = {}
        self._went_on: set[tuple[str, str]] = set()
        self._is_window_closing = False
        self._lay_out()
        jobs, model = self.coordinator.jobs, self.panels.model
        memory.follow_preferences(jobs, memory.PREDICTING, model.prefer)
        memory.follow_preferences(jobs, memory.ENCODERS, model.encoders.window_of_all.prefer)
        self._fill_menu()
        self._add_keys()
        self.setAcceptDrops(True)
        self.coordinator.start()

    def event(self, event: QEvent) -> bool:
        """Stop what runs, and go, when taken out of the window, as napari does on a click on its cross."""
        handled = bool(super().event(event))
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.shut_down()
            self.deleteLater()
        return handled

    def showEvent(self, event: QShowEvent) -> None:
        """Learn of drops on napari's window, and of its end, with which the dock goes without being asked."""
        super().showEvent(event)
        window: QWidget = self
        while window.parentWidget() is not None:
            window = window.parentWidget()
        if window is not self:
            window.installEventFilter(self)  # once, however often
            self.coordinator.dropped.watch(window)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Stop what runs while everything is still there: a window that was closed hides first."""
        if event.type() == QEvent.Type.Close:
            self._is_window_closing = True
        is_hidden = event.type() == QEvent.Type.Hide and not event.spontaneous()  # not minimised
        if is_hidden and self._is_window_closing:
            self.shut_down()
        return bool(super().eventFilter(watched, event))

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stop what runs."""
        self.shut_down()
        super().closeEvent(event)

    def hideEvent(self, event: QHideEvent) -> None:
        """Remember the choices; a dock that is only hidden goes on working."""
        self._remember()
        super().hideEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files."""
        if dropped_paths(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open what was dropped, whatever of ours it is."""
        self.coordinator.dropped.open(dropped_paths(event))
        event.acceptProposedAction()

    def show_part(self, title: str) -> None:
        """Unfold a part and bring its title to the top."""
        part = self.parts[title]
        part.open()
        self.steps.setCurrentIndex(self._step_of[title])
        self._scroll.verticalScrollBar().setValue(part.pos().y())

    def toggle_overview(self) -> None:
        """Show the overview in a window of its own, or put it back into its part."""
        if (window := self.overview_window()) is not None:
            window.close()
        elif self.coordinator.slide is None:
            show_info("Open a slide first.")
        else:
            OverviewWindow(self.panels.slide.overview, self).show()

    def overview_window(self) -> OverviewWindow | None:
        """Return the window with the overview, where it is open."""
        window = self.panels.slide.overview.window()
        return window if isinstance(window, OverviewWindow) else None

    def show_many_slides(self) -> ManySlides:
        """Open the window in which slides are predicted one after another."""
        if self.many_slides is None:
            jobs, order = self.coordinator.jobs, self.coordinator.order
            self.many_slides = ManySlides(jobs, order, self.coordinator.dropped.open_result, self)
        self.many_slides.show()
        self.many_slides.raise_()
        return self.many_slides

    def shut_down(self) -> None:
        """Stop what runs and remember the choices, once."""
        if not self.coordinator.jobs.is_closed:
            if (window := self.overview_window()) is not None:
                window.close()
            if self.many_slides is not None:
                self.many_slides.close()
            self._remember()
            self.coordinator.close()

    def show_help(self) -> None:
        """Open the window with the guide and the keys."""
        if self.help_box is None:
            self.help_box = HelpBox(self)
        self.help_box.show()
        self.help_box.raise_()

    def _lay_out(self) -> None:
        held = QWidget()
        column = QVBoxLayout(held)
        self.steps = QTabBar()
        self.steps.setExpanding(True)
        self.steps.setUsesScrollButtons(False)
        self.steps.setDrawBase(False)
        for name, panels in self.panels.steps().items():
            step = self.steps.addTab(name)
            for title, panel in panels.items():
                part = parts.Folding(title, panel, is_open=title in {"Genes", "Inspect", "Compare"})
                self.parts[title], self._step_of[title] = part, step
                # the list of genes takes the room that is left
                column.addWidget(part, ALL_ROOM if title == "Genes" else 0)
                if len(panels) == 1:
                    part.stand_alone()
                part.unfolded.connect(partial(self.steps.setCurrentIndex, step))
        column.addStretch(1)
        column.setContentsMargins(0, 0, SCROLL_BAR_GAP_PX, 0)
        self._scroll = scroll = StepView()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(held)
        self.steps.currentChanged.connect(self._show_step)
        self._show_step()
        above = parts.row_widget(self.notice, self.menu_button, self.help_button, stretched=0)
        above.layout().setContentsMargins(0, 0, SCROLL_BAR_GAP_PX, 0)
        self.panels.run.layout().setContentsMargins(0, 0, SCROLL_BAR_GAP_PX, 0)
        layout = parts.stack(self, above, self.steps, scroll, self.panels.run, stretched=2)
        layout.setContentsMargins(6, 4, 2, 4)
        layout.addStrut(DOCK_WIDTH_PX - 8)  # and wider where letters are large: nothing is cut off

    def save_session(self) -> None:
        """Ask for a file, and write the session to it."""
        if path := parts.ask_where_to_save(self, "Save session", "session.json", SESSIONS):
            self.coordinator.sessions.save(path)

    def _restore_session(self) -> None:
        if path := parts.ask_for_file(self, "Restore session", SESSIONS):
            self.coordinator.sessions.load(path)

    def _open_prediction(self) -> None:
        if path := parts.ask_for_folder(self, "Open a prediction (a .zarr folder)"):
            self.panels.model.predictions.open(Path(path))

    def _fill_menu(self) -> None:
        menu = QMenu(self)
        self.menu_button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.menu_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu_button.setMenu(menu)
        menu.addAction("Save session…", self.save_session)
        menu.addAction("Restore session…", self._restore_session)
        menu.addSeparator()
        menu.addAction("Open prediction…", self._open_prediction)
        menu.addAction("Many slides…", self.show_many_slides)
        menu.addSeparator()
        menu.addAction(f"Overview window\t{keys.OVERVIEW.sequence}", self.toggle_overview)

    def _add_keys(self) -> None:
        regions, run = self.panels.region, self.panels.run
        acts: dict[Key, Callable[[], object]] = {
            keys.RUN: run.run_button.click,
            keys.UNDO: regions.undo,
            keys.REDO: regions.redo,
            keys.SAVE: self.save_session,
            keys.WHOLE_SLIDE: self.panels.slide.layers.fit,
            keys.OVERVIEW: self.toggle_overview,
            keys.COPY_VIEW: self.panels.export.copy_view,
            keys.SAVE_VIEW: self.panels.export.save_view,
            keys.HELP: self.show_help,
        }
        for key, act in acts.items():
            made = keys.shortcut(key, self, act)
            made.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            if key.is_on_canvas:
                self._viewer.bind_key(key.sequence, lambda _, act=act: act(), overwrite=True)
                self.coordinator.jobs.at_end(partial(self._viewer.bind_key, key.sequence, None))
        # those of parts work whatever step is looked at: hidden widgets have no keys
        for each in self.findChildren(QShortcut):
            if each.context() == Qt.ShortcutContext.WindowShortcut:
                each.setParent(self)

    def _remember(self) -> None:
        choices = self.panels.choices()
        choices.session_folder = self.folder
        memory.save_choices(choices)

    def _show_hints(self, hints: Mapping[str, Hint]) -> None:
        for title, hint in hints.items():
            self.parts[title].show_hint(hint)
        for step, panels in enumerate(self.panels.steps().values()):
            self.steps.setTabToolTip(step, hints[next(iter(panels))].text)

    def _show_step(self) -> None:
        for title, part in self.parts.items():
            part.setVisible(self._step_of[title] == self.steps.currentIndex())
        self._left_at[self._fingerprint()] = self.steps.currentIndex()
        self._scroll.verticalScrollBar().setValue(0)

    def _go_on(self, title: str) -> None:
        """Lead to the next step of the active slide, once; to another slide's own as it was left."""
        now = self._fingerprint()
        if not now or (now, title) not in self._went_on:
            self._went_on.add((now, title))
            self._left_at[now] = self._step_of[title]
        self.steps.setCurrentIndex(self._left_at[now])

    def _fingerprint(self) -> str:
        slide = self.coordinator.slide
        return "" if slide is None else slide.fingerprint


def press_buttons(viewer: napari.viewer.Viewer, dock: StemDock) -> QTimer:
    """Open the sample, take its whole tissue and press Run, each as soon as it can be done.

    Gives the timer that looks whether it can be; it stops when all buttons have been pressed.
    """
    panels = dock.panels
    steps: list[tuple[Callable[[], bool], Callable[[], None]]] = [
        (lambda: panels.model.model_name() != "", panels.slide.sample_button.click),
        (lambda: len(viewer.layers) > 0, panels.region.tissue.button.click),
        (panels.run.run_button.isEnabled, panels.run.run_button.click),
    ]
    timer = QTimer(dock)

    def go_on() -> None:
        is_ready, act = steps[0]
        if is_ready():
            del steps[0]
            act()
        if not steps:
            timer.stop()

    timer.timeout.connect(go_on)
    timer.start(LOOK_EVERY_MS)
    return timer


def show_demo() -> None:
    """Open a viewer with the dock, let the demo run in it, and stay until the window is closed."""
    import napari

    viewer = napari.Viewer(title="napari-stem", show_welcome_screen=False)
    dock = StemDock(viewer)
    viewer.window.add_dock_widget(dock, name=DOCK_TITLE, area="right")
    press_buttons(viewer, dock)
    napari.run()
