"""Predictions on screen: which gene of which slide, in which colours; the readout and the export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_stem.layers import colour_limits
from napari_stem.model.card import most_reliable
from napari_stem.widgets.map_layers import MapLayers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.viewer import Viewer

    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.export_panel import ExportPanel
    from napari_stem.widgets.genes_panel import GenesPanel
    from napari_stem.widgets.inspect_panel import InspectPanel
    from napari_stem.widgets.worker import Jobs

REFRESH_MS = 300  # the map is drawn anew at most this often while it fills


@dataclass
class Shown:
    """One slide's prediction on screen."""

    maps: MapLayers
    reliability: Mapping[str, float | None]
    gene: str
    shared_limits: tuple[float, float] | None = None


class MapDisplay(QObject):
    """Keeps the maps of every slide, and connects the gene, inspect and export panels with them."""

    told = Signal(str)  # good news for the user

    def __init__(
        self,
        viewer: Viewer,
        jobs: Jobs,
        genes: GenesPanel,
        inspect: InspectPanel,
        export: ExportPanel,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._jobs = viewer, jobs
        self._genes, self._inspect, self._export = genes, inspect, export
        self._shown: dict[str, Shown] = {}  # by the slide's fingerprint
        self._active: str | None = None
        self._stale: set[str] = set()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self._refresh_stale)
        genes.gene_chosen.connect(self._show_gene)
        genes.view_chosen.connect(self._show_field)
        genes.range_chosen.connect(self._change_range)
        genes.opacity_chosen.connect(self._set_opacity)
        export.export_requested.connect(self._save)
        viewer.mouse_move_callbacks.append(self._read_out)

    def begin(
        self, slide: Slide, prediction: Prediction, reliability: Mapping[str, float | None]
    ) -> None:
        """Show a prediction, in place of an older one of the same slide."""
        older = self._shown.pop(slide.fingerprint, None)
        if older is not None:
            older.maps.remove()
        opacity = self._genes.opacity.value() / 100
        maps = MapLayers(self._viewer, prediction, slide.require_mpp(), opacity)
        maps.limits_edited.connect(self._keep_range)
        gene = (
            older.gene if older and older.gene in prediction.genes else most_reliable(reliability)
        )
        gene = gene if gene in prediction.genes else prediction.genes[0]
        self._shown[slide.fingerprint] = Shown(maps, reliability, gene)
        self._draw(slide.fingerprint)
        if self._active == slide.fingerprint:
            self._fill_panels()
            maps.select()
        else:  # the user went to another slide meanwhile
            maps.set_active(is_active=False)

    def grow(self, slide: Slide) -> None:
        """More spots are done: draw the map anew, soon."""
        self._stale.add(slide.fingerprint)
        if not self._timer.isActive():
            self._timer.start()

    def finish(self, slide: Slide) -> None:
        """No more spots come: draw the map as it stays."""
        self._stale.discard(slide.fingerprint)
        shown = self._shown.get(slide.fingerprint)
        if shown is not None:
            shown.shared_limits = None
            self._draw(slide.fingerprint)

    def activate(self, slide: Slide | None) -> None:
        """Let the panels speak of another slide, and hide the maps of the others."""
        wanted = slide.fingerprint if slide else None
        if wanted == self._active:
            return
        self._active = wanted
        for fingerprint, shown in self._shown.items():
            shown.maps.set_active(is_active=fingerprint == wanted)
        self._fill_panels()

    def close(self) -> None:
        """Let go of the viewer."""
        self._timer.stop()
        if self._read_out in self._viewer.mouse_move_callbacks:
            self._viewer.mouse_move_callbacks.remove(self._read_out)

    def maps(self) -> MapLayers | None:
        """Return the maps of the active slide."""
        shown = self._current()
        return shown.maps if shown else None

    def _current(self) -> Shown | None:
        return self._shown.get(self._active) if self._active else None

    def _fill_panels(self) -> None:
        shown = self._current()
        self._export.setEnabled(shown is not None)
        self._inspect.show_nothing()
        if shown is None:
            self._genes.show_genes((), {})
            return
        gene = shown.gene  # showing the list chooses nothing, but clears what was chosen
        self._export.suggested_name = (
            f"{shown.maps.prediction.path.stem.rsplit('-', 1)[0]}_predicted"
        )
        self._genes.show_genes(shown.maps.prediction.genes, shown.reliability)
        self._genes.choose(gene)
        shown.maps.show_field(self._genes.shown())

    def _refresh_stale(self) -> None:
        for fingerprint in self._stale:
            self._draw(fingerprint)
        self._stale.clear()

    def _draw(self, fingerprint: str) -> None:
        shown = self._shown.get(fingerprint)
        if shown is None:
            return
        kind = self._genes.range_kind()
        if kind == "all" and shown.shared_limits is None:
            self._find_shared_limits(fingerprint, shown)
        shared = shown.shared_limits if kind == "all" else None
        shown.maps.show_gene(shown.gene, shared, keep=kind == "kept")

    def _find_shared_limits(self, fingerprint: str, shown: Shown) -> None:
        def found(limits: tuple[float, float]) -> None:
            if self._shown.get(fingerprint) is shown:
                shown.shared_limits = limits
                self._draw(fingerprint)

        shown.shared_limits = colour_limits(shown.maps.prediction.values(shown.gene))
        self._jobs.start(_limits_of_all_genes, shown.maps.prediction, done=found)

    def _show_gene(self, gene: str) -> None:
        shown = self._current()
        if shown is not None and self._active is not None:
            shown.gene = gene
            self._draw(self._active)

    def _show_field(self, field: str) -> None:
        maps = self.maps()
        if maps is not None:
            maps.show_field(field)
            maps.select()

    def _change_range(self, kind: str) -> None:
        for shown in self._shown.values():
            shown.shared_limits = None
        if self._active is not None:
            self._draw(self._active)

    def _keep_range(self) -> None:
        self._genes.show_range("kept")

    def _set_opacity(self, opacity: float) -> None:
        for shown in self._shown.values():
            shown.maps.set_opacity(opacity)

    def _read_out(self, viewer: Viewer, event: Any) -> None:
        shown = self._current()
        spot = shown.maps.spot_at(event.position) if shown else None
        if shown is None or spot is None:
            self._inspect.show_nothing()
            return
        prediction, gene = shown.maps.prediction, shown.gene
        mean, low, high = (
            float(prediction.values(gene, field)[spot]) for field in ("mean", "q05", "q95")
        )
        self._inspect.show_spot(
            gene, mean, low, high, prediction.unit, is_unlike=bool(prediction.ood[spot])
        )

    def _save(self, path: str) -> None:
        shown = self._current()
        if shown is None:
            return
        self._export.show_busy(is_busy=True)
        self._export.show_message(f"Saving {Path(path).name} …")
        self._jobs.start(
            _export, shown.maps.prediction, Path(path), done=self._saved, failed=self._not_saved
        )

    def _saved(self, path: Path) -> None:
        self._export.show_busy(is_busy=False)
        self._export.show_message(f"Saved {path}")
        self.told.emit(f"Saved {path}")

    def _not_saved(self) -> None:
        self._export.show_busy(is_busy=False)
        self._export.show_message("Not saved.")


def _limits_of_all_genes(prediction: Prediction) -> tuple[float, float]:
    return colour_limits(prediction.to_anndata().X)


def _export(prediction: Prediction, path: Path) -> Path:
    prediction.export(path)
    return path
