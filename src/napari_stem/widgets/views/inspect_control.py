"""Clicks on the map: the spot under the cursor is looked at in depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject

from napari_stem.widgets.views.spot_details import spot_details

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari.viewer import Viewer

    from napari_stem.evaluation.spot_profile import Background
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.genes.gene_samples import GeneSamples, SampleReader
    from napari_stem.widgets.genes.genes_panel import GenesPanel
    from napari_stem.widgets.genes.map_display import MapDisplay, Shown
    from napari_stem.widgets.views.inspect_panel import InspectPanel
    from napari_stem.widgets.views.spot_details import SpotDetails

CLICK_PIXELS = 4  # a press that moves further on the screen moves the view
UNLIKE = "It looks unlike the tissue that the model learnt from: do not rely on it."


class InspectControl(QObject):
    """Shows the clicked spot of the active slide, and follows the chosen gene.

    Parameters
    ----------
    viewer, jobs
        Where is clicked, and where spots are read.
    panel, genes, maps
        What shows the spot, which gene is chosen, and which prediction is on the map.
    samples
        Reads the samples of the chosen gene.
    """

    def __init__(
        self,
        viewer: Viewer,
        jobs: Jobs,
        panel: InspectPanel,
        genes: GenesPanel,
        maps: MapDisplay,
        samples: SampleReader,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._jobs, self._panel, self._genes = viewer, jobs, panel, genes
        self._maps, self._samples = maps, samples
        self._spot: tuple[Path, int] | None = None
        self._ground: tuple[tuple[Path, int], Background] | None = None
        viewer.mouse_drag_callbacks.append(self._on_press)
        panel.spot.view.chosen.connect(genes.choose)
        maps.drawn.connect(self._follow)
        samples.ready.connect(self._follow)

    def close(self) -> None:
        """Let go of the viewer."""
        if self._on_press in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_press)

    def inspect(self, spot: int) -> None:
        """Look at a finished spot of the active slide in depth."""
        shown = self._maps.current()
        if shown is None:
            return
        prediction = shown.maps.prediction
        self._spot = prediction.path, spot
        key = prediction.path, int(prediction.done.sum())
        ground = self._ground[1] if self._ground is not None and self._ground[0] == key else None

        def found(details: SpotDetails) -> None:
            self._ground = key, details.ground
            current = self._maps.current()
            if current is shown and self._spot == (prediction.path, spot):
                self._show(shown, details)

        self._jobs.start(spot_details, shown.slide, prediction, spot, ground, done=found)

    def _show(self, shown: Shown, details: SpotDetails) -> None:
        prediction, spot = shown.maps.prediction, details.spot
        warning = UNLIKE if prediction.ood[spot] else ""
        name = prediction.spots.names[spot]
        self._panel.spot.show_spot(details, prediction.genes, name, warning)
        self._follow()

    def _follow(self) -> None:
        """Show the samples of the chosen gene; leave the spot of another prediction."""
        shown = self._maps.current()
        if self._spot is None or shown is None or shown.maps.prediction.path != self._spot[0]:
            self._spot = None
            self._panel.spot.show_nothing()
            return
        samples = self._samples.get(shown.maps.prediction, shown.gene)
        if samples is not None:
            self._plot(shown, self._spot[1], samples)

    def _plot(self, shown: Shown, spot: int, samples: GeneSamples) -> None:
        draws = None if samples.draws is None else samples.draws[spot].astype(np.float64)
        mean = float(shown.maps.values.values(shown.gene)[spot])
        low, high = float(samples.low[spot]), float(samples.high[spot])
        unit = shown.maps.prediction.unit
        self._panel.spot.show_samples(shown.gene, draws, mean, low, high, unit)

    def _on_press(self, viewer: Viewer, event: Any) -> Iterator[None]:
        active = viewer.layers.selection.active
        start = np.asarray(event.pos)
        if event.button != 1 or getattr(active, "mode", "pan_zoom") != "pan_zoom":
            return
        yield
        has_moved = False
        while event.type == "mouse_move":
            has_moved |= bool(np.abs(np.asarray(event.pos) - start).max() > CLICK_PIXELS)
            yield
        shown = self._maps.current()
        spot = shown.maps.spot_at(event.position) if shown and not has_moved else None
        if spot is not None:
            self.inspect(spot)
