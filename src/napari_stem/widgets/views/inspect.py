"""Inspect: what is predicted at the spot under the cursor, and all of a spot that was clicked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QWidget

from napari_stem.widgets.common.parts import Note, stack
from napari_stem.widgets.genes.map_layers import SpotOutlines
from napari_stem.widgets.genes.map_turns import INSPECTED
from napari_stem.widgets.state import BESIDE, SCORE
from napari_stem.widgets.views.spot_inspector import SpotInspector, spot_details

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari.viewer import Viewer

    from napari_stem.evaluation.spot_profile import Background
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.genes.active_prediction import ActivePrediction
    from napari_stem.widgets.genes.gene_facts import GeneSamples, SampleReader
    from napari_stem.widgets.genes.map_display import MapDisplay
    from napari_stem.widgets.views.spot_inspector import SpotDetails

POINT_AT = "Point at the map to read a spot; click to look at it closely."
UNLIKE = "looks unlike the tissue that the model learnt from: do not rely on it."
OUTLINE_COLOURS = "black", "white"  # one within the other: seen on whatever colour
CLICK_PIXELS = 4  # a press that moves further on the screen moves the view


class InspectPanel(QWidget):
    """Reads out the spot under the cursor in a line, shows the clicked one in depth, for the chosen gene.

    Parameters
    ----------
    jobs, maps
        Where spots are read, and which prediction is on the map.
    samples
        Reads the samples of the chosen gene.
    """

    def __init__(self, jobs: Jobs, maps: MapDisplay, samples: SampleReader) -> None:
        super().__init__()
        self._jobs, self._maps, self._samples = jobs, maps, samples
        self._viewer = maps.turns.viewer
        self.readout, self.spot = Note(POINT_AT), SpotInspector()
        stack(self, self.readout, self.spot)
        self.outline = SpotOutlines(
            maps.turns, "inspected", "Inspected spot", OUTLINE_COLOURS, INSPECTED
        )
        self.inspected: tuple[Path, int] | None = None  # the clicked spot, and of which prediction
        self._ground: tuple[tuple[str, int], Background] | None = None
        self._viewer.mouse_drag_callbacks.append(self.on_press)
        self._viewer.mouse_move_callbacks.append(self.read_out)
        self.spot.view.chosen.connect(lambda gene: maps.settings.update(gene=gene))
        maps.drawn.connect(self._follow)
        samples.ready.connect(self._follow)

    def let_go(self) -> None:
        """Let go of the viewer."""
        for callbacks, own in (
            (self._viewer.mouse_drag_callbacks, self.on_press),
            (self._viewer.mouse_move_callbacks, self.read_out),
        ):
            if own in callbacks:
                callbacks.remove(own)

    def read_out(self, _viewer: Viewer, event: Any) -> None:
        """Say what is predicted under the cursor."""
        active = self._maps.current()
        spot = self._spot_at(active, event.position)
        self.readout.setText(
            POINT_AT if active is None or spot is None else self._reading(active, spot)
        )

    def inspect(self, spot: int) -> None:
        """Look at a finished spot of the active slide in depth."""
        active = self._maps.current()
        if active is None:
            return
        self.inspected = active.prediction.path, spot
        key = active.state()
        ground = self._ground[1] if self._ground is not None and self._ground[0] == key else None
        self._jobs.start(
            spot_details,
            active.slide,
            active.prediction,
            spot,
            ground,
            done=partial(self._show, active, key),
        )

    def on_press(self, viewer: Viewer, event: Any) -> Iterator[None]:
        """Tell a click on a spot from a drag, as napari's callbacks of the mouse do."""
        layer = viewer.layers.selection.active
        start = np.asarray(event.pos)
        if event.button != 1 or getattr(layer, "mode", "pan_zoom") != "pan_zoom":
            return
        yield
        has_moved = False
        while event.type == "mouse_move":
            has_moved |= bool(np.abs(np.asarray(event.pos) - start).max() > CLICK_PIXELS)
            yield
        spot = self._spot_at(self._maps.current(), event.position)
        if spot is not None and not has_moved:
            self.inspect(spot)

    def _spot_at(self, active: ActivePrediction | None, position: Any) -> int | None:
        return None if active is None else active.spot_at(position, self._maps.settings.shape)

    def _reading(self, active: ActivePrediction, spot: int) -> str:
        settings, unit = self._maps.settings, active.prediction.unit
        if settings.shown_arrangement == SCORE and active.score is not None:
            _, title, score = active.score
            text = f"{score.values[spot]:+.2f}: {title}"
        else:
            readings = [active.values.reading(gene, spot) for gene in settings.genes]
            text = "\n".join(
                f"{r.gene} predicted {r.mean:.2f} (90% interval {r.low:.2f} to {r.high:.2f}), {unit}"
                for r in readings
            )
        return text + (f". This spot {UNLIKE}" if active.prediction.ood[spot] else "")

    def _show(self, active: ActivePrediction, key: tuple[str, int], details: SpotDetails) -> None:
        self._ground = key, details.ground
        prediction, spot = active.prediction, details.spot
        if active is self._maps.current() and self.inspected == (prediction.path, spot):
            warning = f"It {UNLIKE}" if prediction.ood[spot] else ""
            name = prediction.spots.names[spot]
            self.spot.show_spot(details, prediction.gene_accuracy["by_chance"], name, warning)
            self._follow()

    def _follow(self) -> None:
        """Show the samples of the chosen gene; leave the spot of another prediction."""
        active = self._maps.current()
        if active is None:
            self.readout.setText(POINT_AT)
        if self.inspected is None or active is None or active.prediction.path != self.inspected[0]:
            self.inspected = None
            self.spot.setVisible(False)
            self.outline.hide()
            return
        if self._maps.settings.shown_arrangement == BESIDE:  # the outline would take a view
            self.outline.hide()
        else:
            mpp, spot = active.slide.require_mpp(), np.array([self.inspected[1]])
            self.outline.show(active.prediction, mpp, spot, self._maps.settings.shape)
        samples = self._samples.get(active.prediction, active.gene)
        if samples is not None:
            self._plot(active, self.inspected[1], samples)

    def _plot(self, active: ActivePrediction, spot: int, samples: GeneSamples) -> None:
        draws = None if samples.draws is None else samples.draws[spot].astype(np.float64)
        mean = float(active.values.values(active.gene)[spot])
        interval = float(samples.low[spot]), float(samples.high[spot])
        self.spot.show_samples(active.gene, draws, mean, interval, active.prediction.unit)
