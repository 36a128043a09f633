"""One run at a time: starts it, shows how far it is, stops it; its results go to its own slide."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_stem.widgets.common.parts import count
from napari_stem.widgets.common.worker import RunStarted

if TYPE_CHECKING:
    import threading

    from napari_stem.predict import PredictionProgress
    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs, RunRequest
    from napari_stem.widgets.genes.map_display import MapDisplay
    from napari_stem.widgets.model.model_panel import ModelPanel
    from napari_stem.widgets.model.prediction_control import PredictionControl


class RunControl(QObject):
    """Carries a run from the model panel to the maps."""

    started = Signal(object)  # the slide, once its (still empty) maps are shown
    ended = Signal(bool)  # whether all spots are done

    def __init__(
        self,
        jobs: Jobs,
        panel: ModelPanel,
        maps: MapDisplay,
        predictions: PredictionControl,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._jobs, self._panel, self._maps, self._predictions = jobs, panel, maps, predictions
        self._began_s = 0.0
        self._n_before = 0
        self._looks = True  # through an encoder, else embeddings come from a file
        self._stop: threading.Event | None = None
        self._slide: Slide | None = None
        self._prediction: Prediction | None = None

    @property
    def is_running(self) -> bool:
        """Whether a run is on its way."""
        return self._stop is not None

    def is_running_on(self, slide: Slide | None) -> bool:
        """Whether a run predicts this slide."""
        return slide is not None and self.is_running and slide is self._slide

    def start(self, request: RunRequest) -> None:
        """Begin a run; ignored while another is on its way."""
        if self.is_running:
            return
        self._slide, self._prediction = request.slide, None
        self._looks = request.embedder is None
        self._panel.show_running("starting", 0, 0, None)
        self._stop = self._jobs.start_run(
            request, progressed=self._progressed, finished=self._finished
        )

    def cancel(self) -> None:
        """Stop the run; what is finished stays on disk and on screen."""
        if self._stop is not None:
            self._stop.set()
            self._panel.show_cancelling()

    def _progressed(self, step: RunStarted | PredictionProgress) -> None:
        if self._slide is None or self._stop is None:
            return
        if isinstance(step, RunStarted):
            self._prediction = step.prediction
            self._began_s, self._n_before = time.monotonic(), int(step.prediction.done.sum())
            reliability = step.prediction.reliability
            self._predictions.begin(self._slide, step.prediction, reliability)
            self.started.emit(self._slide)
            return
        self._maps.grow(self._slide)
        if not self._stop.is_set():
            self._panel.show_running(step.stage, step.n_done, step.n_spots, step.seconds_left)

    def _finished(self, ended_by_itself: bool) -> None:
        slide, prediction = self._slide, self._prediction
        self._stop = self._slide = self._prediction = None
        if slide is None or prediction is None:
            self._panel.show_idle("Stopped before anything was predicted.")
            self.ended.emit(False)
            return
        self._maps.finish(slide)
        self._predictions.refresh(slide)
        n_done, n_spots = int(prediction.done.sum()), len(prediction.spots)
        seconds = time.monotonic() - self._began_s
        self._panel.learn_pace(n_done - self._n_before, seconds, looks=self._looks)
        if n_done == n_spots:
            self._panel.show_idle(f"Done: {count(n_spots, 'spot')} predicted.")
        elif ended_by_itself:
            self._panel.show_idle(f"{n_done:,} of {count(n_spots, 'spot')} predicted.")
        else:
            self._panel.show_idle(
                f"Stopped: {n_done:,} of {count(n_spots, 'spot')} predicted and kept. Run again to go on."
            )
        self.ended.emit(n_done == n_spots)
