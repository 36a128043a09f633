"""The dock: one road from the slide to the export, each part folding away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication, QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_stem.widgets.coordinator import Coordinator
from napari_stem.widgets.export_panel import ExportPanel
from napari_stem.widgets.genes_panel import GenesPanel
from napari_stem.widgets.inspect_panel import InspectPanel
from napari_stem.widgets.memory import Remembered, recall, remember
from napari_stem.widgets.model_panel import ModelPanel
from napari_stem.widgets.parts import Folding, note
from napari_stem.widgets.region_panel import RegionPanel
from napari_stem.widgets.slide_panel import SlidePanel

if TYPE_CHECKING:
    import napari.viewer
    from qtpy.QtGui import QCloseEvent, QHideEvent

NOTICE = "Predicted from the image, not measured. For research use only, not for diagnosis."
WIDTH = 350
SCROLL_BAR_GAP = 6


@dataclass(frozen=True)
class Panels:
    """The stations of the road."""

    slide: SlidePanel
    region: RegionPanel
    model: ModelPanel
    genes: GenesPanel
    inspect: InspectPanel
    export: ExportPanel

    @classmethod
    def new(cls, remembered: Remembered) -> Panels:
        """Panels as the user left them."""
        return cls(
            slide=SlidePanel(remembered.folder),
            region=RegionPanel(),
            model=ModelPanel(remembered),
            genes=GenesPanel(remembered.opacity_percent),
            inspect=InspectPanel(),
            export=ExportPanel(remembered.export_folder),
        )

    def titled(self) -> dict[str, QWidget]:
        """Panels by the titles that users read, in the order of the road."""
        return {
            "Slide": self.slide,
            "Region": self.region,
            "Model": self.model,
            "Genes": self.genes,
            "Inspect": self.inspect,
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
            opacity_percent=self.genes.opacity.value(),
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
        self.panels = Panels.new(recall())
        self.parts: dict[str, Folding] = {}
        self._went_on: set[str] = set()
        self._lay_out()
        self.coordinator = Coordinator(viewer, self.panels, parent=self)
        self.coordinator.road_went_on.connect(self._open_part)
        self._is_closed = False
        # without this a window closed during a run would linger until its last spot
        QApplication.instance().aboutToQuit.connect(self.shut_down)

    def event(self, event: QEvent) -> bool:
        """Stop what runs when the dock is taken out of its window, as napari does on a click on its cross."""
        handled = bool(super().event(event))
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.shut_down()
        return handled

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stop what runs."""
        self.shut_down()
        super().closeEvent(event)

    def hideEvent(self, event: QHideEvent) -> None:
        """Remember the choices; a dock that is only hidden goes on working."""
        remember(self.panels.choices())
        super().hideEvent(event)

    def shut_down(self) -> None:
        """Stop what runs and remember the choices, once."""
        if not self._is_closed:
            self._is_closed = True
            remember(self.panels.choices())
            self.coordinator.close()

    def _lay_out(self) -> None:
        road = QWidget()
        road_layout = QVBoxLayout(road)
        for title, panel in self.panels.titled().items():
            part = Folding(title, panel, is_open=title in {"Slide", "Region"})
            self.parts[title] = part
            road_layout.addWidget(part)
        road_layout.addStretch(1)
        road_layout.setContentsMargins(0, 0, SCROLL_BAR_GAP, 0)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(road)
        notice = note(NOTICE)
        notice.setObjectName("notice")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 2, 4)
        layout.addWidget(notice)
        layout.addWidget(scroll, 1)
        self.setMinimumWidth(WIDTH)

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
