"""The dock: one road from the slide to the export, each part folding away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_info
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QApplication, QFrame, QVBoxLayout, QWidget

from napari_stem.widgets.common import keys
from napari_stem.widgets.common.memory import Remembered, recall, remember
from napari_stem.widgets.common.parts import Folding
from napari_stem.widgets.coordinator import Coordinator
from napari_stem.widgets.genes.genes_panel import GenesPanel
from napari_stem.widgets.menu_bar import MenuBar
from napari_stem.widgets.model.model_panel import ModelPanel
from napari_stem.widgets.regions.region_panel import RegionPanel
from napari_stem.widgets.road_view import Road, RoadView
from napari_stem.widgets.slide.overview_window import OverviewWindow
from napari_stem.widgets.slide.slide_panel import SlidePanel
from napari_stem.widgets.slide.tissue_box import remembered_settings
from napari_stem.widgets.state import DisplaySettings
from napari_stem.widgets.views.analysis_panel import AnalysisPanel
from napari_stem.widgets.views.compare import ComparePanel
from napari_stem.widgets.views.export import ExportPanel
from napari_stem.widgets.views.inspect import InspectPanel
from napari_stem.widgets.views.measured import MeasuredPanel
from napari_stem.widgets.views.uncertainty import UncertaintyPanel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import napari.viewer
    from qtpy.QtGui import (
        QCloseEvent,
        QDragEnterEvent,
        QDropEvent,
        QHideEvent,
        QShowEvent,
    )

    from napari_stem.widgets.common.hints import Hint
    from napari_stem.widgets.common.keys import Key

WIDTH = 350
VIEWER_OVERVIEW = keys.OVERVIEW.sequence.replace("+", "-")  # as napari writes it
SCROLL_BAR_GAP = 6


@dataclass(frozen=True)
class Panels:
    """The stations of the road."""

    slide: SlidePanel
    region: RegionPanel
    model: ModelPanel
    genes: GenesPanel
    uncertainty: UncertaintyPanel
    inspect: InspectPanel
    compare: ComparePanel
    measured: MeasuredPanel
    analysis: AnalysisPanel
    export: ExportPanel

    @classmethod
    def new(cls, remembered: Remembered) -> Panels:
        """Panels as the user left them."""
        settings = DisplaySettings()
        settings.restore(vars(remembered))
        return cls(
            slide=SlidePanel(remembered.folder),
            region=RegionPanel(
                remembered.region_folder,
                remembered.n_click_spots,
                remembered_settings(remembered.tissue_sensitivity, remembered.tissue_min_area_mm2),
            ),
            model=ModelPanel(remembered),
            genes=GenesPanel(settings),
            uncertainty=UncertaintyPanel(settings),
            inspect=InspectPanel(),
            compare=ComparePanel(),
            measured=MeasuredPanel(settings, remembered.folder),
            analysis=AnalysisPanel(settings, remembered.export_folder),
            export=ExportPanel(remembered.export_folder),
        )

    def titled(self) -> dict[str, QWidget]:
        """Panels by the titles that users read, in the order of the road."""
        return {
            "Slide": self.slide,
            "Region": self.region,
            "Model": self.model,
            "Genes": self.genes,
            "Uncertainty": self.uncertainty,
            "Inspect": self.inspect,
            "Compare": self.compare,
            "Measured data": self.measured,
            "Spatial analysis": self.analysis,
            "Export": self.export,
        }

    def choices(self) -> Remembered:
        """Return what to remember of them."""
        settings = self.model.settings()
        return Remembered(
            folder=self.slide.folder,
            export_folder=self.export.folder,
            model_name=self.model.model_name() or Remembered.model_name,
            n_draws=settings.n_draws,
            n_steps=settings.n_steps,
            seed=settings.seed,
            device=settings.device,
            **self.genes.settings.look(),
            region_folder=self.region.folder,
            n_click_spots=self.region.click_size.value(),
            tissue_sensitivity=self.region.tissue.settings().sensitivity,
            tissue_min_area_mm2=self.region.tissue.settings().min_area_mm2,
            encoder_folder=self.model.encoders.window_of_all.folder,
            works_offline=int(self.model.encoders.window_of_all.is_offline_chosen),
            pace=self.model.pace.as_text(),
        )


class StemDock(QWidget):
    """Predict gene expression on a slide.

    Parameters
    ----------
    viewer
        The viewer in which slides and maps are shown.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        # without this a window closed during a run would linger until its last spot; connected before there are
        # jobs: what runs is stopped first, then waited for (`garbage`), as a thread must not outlive Qt
        QApplication.instance().aboutToQuit.connect(self.shut_down)
        remembered = recall()
        # napari hands plugins a proxy, which wraps every layer anew: no two of these are the same object
        self._viewer = viewer = getattr(viewer, "__wrapped__", viewer)
        self.panels = Panels.new(remembered)
        self.menu = MenuBar(remembered.session_folder)
        self.parts: dict[str, Folding] = {}
        self._went_on: set[str] = set()
        self._is_window_closing = False
        self._lay_out()
        self.coordinator = Coordinator(viewer, self.panels, remembered.model_folders, parent=self)
        self.coordinator.road_went_on.connect(self._open_part)
        self.coordinator.hints_changed.connect(self._show_hints)
        self._connect_menu()
        self._add_keys()
        self.setAcceptDrops(True)
        self.coordinator.slides.announce()
        self._is_closed = False

    def event(self, event: QEvent) -> bool:
        """Stop what runs when the dock is taken out of its window, as napari does on a click on its cross."""
        handled = bool(super().event(event))
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.shut_down()
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
        elif event.type() == QEvent.Type.Hide and self._is_window_closing:
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
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open what was dropped, whatever of ours it is."""
        urls = event.mimeData().urls()
        paths = [Path(url.toLocalFile()) for url in urls if url.isLocalFile()]
        self.coordinator.dropped.open(paths)
        event.acceptProposedAction()

    def show_part(self, title: str) -> None:
        """Unfold a part and bring its title to the top."""
        part = self.parts[title]
        part.open()
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

    def shut_down(self) -> None:
        """Stop what runs and remember the choices, once."""
        if not self._is_closed:
            self._is_closed = True
            self._viewer.bind_key(VIEWER_OVERVIEW, None)
            if (window := self.overview_window()) is not None:
                window.close()
            self._remember()
            self.coordinator.close()

    def _lay_out(self) -> None:
        road = Road()
        road_layout = QVBoxLayout(road)
        for title, panel in self.panels.titled().items():
            part = Folding(title, panel, is_open=title in {"Slide", "Region"})
            self.parts[title] = part
            road_layout.addWidget(part)
        road_layout.addStretch(1)
        road_layout.setContentsMargins(0, 0, SCROLL_BAR_GAP, 0)
        self._scroll = scroll = RoadView()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(road)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 2, 4)
        layout.addWidget(self.menu)
        layout.addWidget(scroll, 1)
        self.setMinimumWidth(WIDTH)

    def _connect_menu(self) -> None:
        coordinator = self.coordinator
        self.menu.overview_wanted.connect(self.toggle_overview)
        self.menu.session_to_save.connect(coordinator.sessions.save)
        self.menu.session_to_load.connect(coordinator.sessions.load)
        self.menu.prediction_to_open.connect(lambda path: coordinator.predictions.open(Path(path)))

    def _add_keys(self) -> None:
        regions, model = self.coordinator.regions, self.panels.model
        acts: dict[Key, Callable[[], object]] = {
            keys.RUN: model.run_button.click,
            keys.UNDO: regions.undo,
            keys.REDO: regions.redo,
            keys.SAVE: self.menu.ask_where_to_save,
            keys.WHOLE_SLIDE: self.coordinator.slides.fit,
            keys.OVERVIEW: self.toggle_overview,
            keys.HELP: self.menu.show_help,
        }
        for key, act in acts.items():
            shortcut = QShortcut(QKeySequence(key.sequence), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(act)
        # the slide has the keys to itself while it is clicked on
        self._viewer.bind_key(VIEWER_OVERVIEW, lambda _: self.toggle_overview(), overwrite=True)

    def _remember(self) -> None:
        choices = self.panels.choices()
        choices.model_folders = self.coordinator.models.folders()
        choices.session_folder = self.menu.folder
        remember(choices)

    def _show_hints(self, hints: Mapping[str, Hint]) -> None:
        for title, hint in hints.items():
            part = self.parts[title]
            part.show_hint(hint.text, when_folded=hint.when_folded, when_open=hint.when_open)

    def _open_part(self, title: str) -> None:
        """Unfold the next part of the road once; later on the user decides."""
        if title in self._went_on:
            return
        self._went_on.add(title)
        self.parts[title].open()
        if title == "Genes":  # the run's progress stays in sight; what led to it folds away
            for done in ("Slide", "Region"):
                self.parts[done].fold()
            for following in ("Inspect", "Export"):
                self.parts[following].open()
