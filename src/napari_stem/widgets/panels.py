"""The panels of the dock, in the order of its steps, as the user left them."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

    from napari_stem.widgets.common.worker import Jobs


class Panels:
    """All panels, as the user left them, and the maps that they share."""

    def __init__(self, viewer: Viewer, jobs: Jobs, remembered: Remembered) -> None:
        settings = DisplaySettings()
        settings.restore(remembered.look())
        self.slide = SlidePanel(viewer, jobs, remembered.folder)
        self.genes = GenesPanel(settings)
        self.maps = maps = MapDisplay(viewer, jobs, self.genes, parent=self.genes)
        for changed in (self.slide.activated, self.slide.moved):
            changed.connect(lambda *_: maps.layer_queue.lay_on(self.slide.from_slide_um()))
        self.slide.activated.connect(maps.activate)  # first: those below ask maps for it
        self.model = ModelPanel(jobs, self.slide, maps, remembered)
        self.run = RunBar(jobs, self.slide, self.model, remembered)
        self.region = RegionPanel(viewer, jobs, self.slide, self.model.pitch, remembered)
        self.uncertainty = UncertaintyPanel(maps)
        self.inspect = InspectPanel(jobs, maps)
        self.measured = MeasuredPanel(jobs, maps, remembered.folder)
        self.analysis = AnalysisPanel(jobs, maps, remembered.export_folder)
        self.compare = ComparePanel(jobs, maps, self.region)
        self.export = ExportPanel(jobs, maps, self.region.regions, remembered.export_folder)

    def steps(self) -> dict[str, dict[str, QWidget]]:
        """Panels by their titles, by the name of the step in which they are looked at together."""
        return {
            "Slide": {"Slide": self.slide},
            "Region": {"Region": self.region},
            "Model": {"Model": self.model},
            "Genes": {
                "Genes": self.genes,
                "Uncertainty": self.uncertainty,
                "Inspect": self.inspect,
            },
            "Analyse": {
                "Compare": self.compare,
                "Measured data": self.measured,
                "Spatial analysis": self.analysis,
            },
            "Export": {"Export": self.export},
        }

    def choices(self) -> Remembered:
        """Return what to remember of them."""
        tissue = self.region.tissue.settings()
        return Remembered(
            folder=self.slide.folder,
            export_folder=self.export.folder,
            model_name=self.model.model_name() or Remembered.model_name,
            model_folders=self.model.models.folders(),
            **self.model.choices(),
            **self.genes.settings.look(),
            region_folder=self.region.folder,
            n_click_spots=int(self.region.click_size.value()),
            tissue_sensitivity=tissue.sensitivity,
            tissue_min_area_mm2=tissue.min_area_mm2,
            encoder_folder=self.model.encoders.window_of_all.folder,
            works_offline=self.model.encoders.window_of_all.is_offline_chosen,
            pace=self.model.pace.as_text(),
            cache_folder=self.run.cache.folder,
        )
