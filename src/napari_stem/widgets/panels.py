"""The panels of the dock, in the order of the road, as the user left them; and what they lie in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSize
from qtpy.QtWidgets import QScrollArea, QTabBar, QWidget

from napari_stem.widgets.common.memory import Remembered
from napari_stem.widgets.genes.genes_panel import GenesPanel
from napari_stem.widgets.genes.map_display import MapDisplay
from napari_stem.widgets.model.model_panel import ModelPanel
from napari_stem.widgets.model.runs import RunBar
from napari_stem.widgets.regions.region_panel import RegionPanel
from napari_stem.widgets.slide.slide_panel import SlidePanel
from napari_stem.widgets.state import DisplaySettings
from napari_stem.widgets.views.analysis import AnalysisPanel
from napari_stem.widgets.views.compare import ComparePanel
from napari_stem.widgets.views.export import ExportPanel
from napari_stem.widgets.views.inspect import InspectPanel
from napari_stem.widgets.views.measured import MeasuredPanel
from napari_stem.widgets.views.uncertainty import UncertaintyPanel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.viewer import Viewer
    from qtpy.QtGui import QResizeEvent

    from napari_stem.widgets.common.worker import Jobs


class Panels:
    """The stations of the road, as the user left them, and the maps that they share."""

    def __init__(self, viewer: Viewer, jobs: Jobs, remembered: Remembered) -> None:
        settings = DisplaySettings()
        settings.restore(vars(remembered))
        self.slide = SlidePanel(viewer, jobs, remembered.folder)
        self.genes = GenesPanel(settings)
        self.maps = maps = MapDisplay(viewer, jobs, self.genes, parent=self.genes)
        self.slide.activated.connect(maps.activate)  # before whatever speaks of what is shown
        self.model = ModelPanel(jobs, self.slide, maps, remembered)
        self.run = RunBar(jobs, self.model, maps, remembered)
        self.region = RegionPanel(viewer, jobs, self.slide, self.model.pitch, remembered)
        self.uncertainty = UncertaintyPanel(jobs, maps)
        self.inspect = InspectPanel(jobs, maps, self.uncertainty.samples)
        self.measured = MeasuredPanel(jobs, maps, lambda: self.slide.slide, remembered.folder)
        self.analysis = AnalysisPanel(jobs, maps, remembered.export_folder)
        self.compare = ComparePanel(jobs, maps, self.region)
        self.export = ExportPanel(jobs, maps, self.region.regions, remembered.export_folder)

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

    @staticmethod
    def steps() -> dict[str, tuple[str, ...]]:
        """Titles of the parts that are looked at together, by the name of their step."""
        return {
            "Slide": ("Slide",),
            "Region": ("Region",),
            "Model": ("Model",),
            "Genes": ("Genes", "Uncertainty", "Inspect"),
            "Analyse": ("Compare", "Measured data", "Spatial analysis"),
            "Export": ("Export",),
        }

    def choices(self) -> Remembered:
        """Return what to remember of them."""
        settings = self.model.settings()
        return Remembered(
            folder=self.slide.folder,
            export_folder=self.export.folder,
            model_name=self.model.model_name() or Remembered.model_name,
            model_folders=self.model.models.folders(),
            n_draws=settings.n_draws,
            n_steps=settings.n_steps,
            seed=settings.seed,
            quantity=settings.quantity,
            patient=settings.patient,
            device=self.model.device.currentText(),
            **self.genes.settings.look(),
            region_folder=self.region.folder,
            n_click_spots=int(self.region.click_size.value()),
            tissue_sensitivity=self.region.tissue.settings().sensitivity,
            tissue_min_area_mm2=self.region.tissue.settings().min_area_mm2,
            encoder_folder=self.model.encoders.window_of_all.folder,
            works_offline=self.model.encoders.window_of_all.is_offline_chosen,
            pace=self.run.pace.as_text(),
            cache_folder=self.run.cache.folder,
        )


class Road(QWidget):
    """All parts of the dock, as tall as they are at this width: lines of text wrap."""

    def minimumSizeHint(self) -> QSize:
        """Leave no part less than it needs."""
        hint, layout = super().minimumSizeHint(), self.layout()
        if layout is not None and self.width() > 0:
            hint.setHeight(max(hint.height(), layout.totalHeightForWidth(self.width())))
        return hint

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Another width wraps lines elsewhere."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.updateGeometry()


class Steps(QTabBar):
    """Names of the steps, of which one is the present one."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        for name in names:
            self.addTab(name)
        self.setExpanding(True)
        self.setUsesScrollButtons(False)
        self.setDrawBase(False)

    def go(self, name: str) -> None:
        """Make a step the present one."""
        self.setCurrentIndex(self._place(name))

    def now(self) -> str:
        """Return the present step."""
        return str(self.tabText(self.currentIndex()))

    def tell(self, name: str, text: str) -> None:
        """Say of a step in its tooltip what is missing there, or what has been done."""
        self.setTabToolTip(self._place(name), text)

    def _place(self, name: str) -> int:
        return [self.tabText(place) for place in range(self.count())].index(name)


class RoadView(QScrollArea):
    """Scrolls up and down only, and is never narrower than what it holds."""

    def minimumSizeHint(self) -> QSize:
        """As wide as the widest part."""
        hint = super().minimumSizeHint()
        bar = self.verticalScrollBar().sizeHint().width()
        hint.setWidth(self.widget().minimumSizeHint().width() + bar)
        return hint

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follow a part that becomes wider."""
        if watched is self.widget() and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return bool(super().eventFilter(watched, event))
