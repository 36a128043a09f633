"""Work off the GUI thread: single jobs, and the run of a prediction with its progress."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, QThreadPool, Signal
from superqt.utils import create_worker

from napari_stem.errors import StemError
from napari_stem.io import only_writer
from napari_stem.progress import warnings_of_files
from napari_stem.widgets.common.developers import calm_warnings
from napari_stem.widgets.common.garbage import collect_on_gui_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from superqt.utils import WorkerBase

    from napari_stem.encoders.precomputed import PrecomputedEmbedder
    from napari_stem.geometry import Region, Spots
    from napari_stem.model.bundle import Model
    from napari_stem.predict import PredictionProgress
    from napari_stem.results import Prediction
    from napari_stem.settings import SamplingSettings
    from napari_stem.slide.base import Slide

logger = logging.getLogger(__name__)

# Qt would have as many as cores: a slide would not open while two others are measured
MOST_JOBS = 8


@dataclass(frozen=True)
class Failure:
    """What went wrong, in the one sentence that the user reads."""

    sentence: str


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """All that a run depends on, fixed when Run is clicked.

    Attributes
    ----------
    slide
        The slide that was active then; results belong to it whatever is active later.
    regions
        Where to predict.
    model_name
        Name or folder, as ``load_model`` takes it.
    pitch_um
        Distance between spots.
    settings
        How draws are taken.
    spots
        Where to predict instead of on the lattice in ``regions``.
    species
        Of the slide, as the user says; empty where not stated.
    embedder
        Stands in place of the model's encoder; spots are then its patches in ``regions``.
    despite_doubt
        Predict even if the slide looks unlike the training data.
    begin_at_um
        (x, y) of what is in view: it is predicted first.
    """

    slide: Slide
    regions: tuple[Region, ...]
    model_name: str
    pitch_um: float
    settings: SamplingSettings
    spots: Spots | None = None
    species: str = ""
    embedder: PrecomputedEmbedder | None = None
    despite_doubt: bool = False
    begin_at_um: tuple[float, float] | None = None


@dataclass(frozen=True)
class Doubt:
    """The last word of a run that should not begin unasked: why, in a sentence."""

    sentence: str


@dataclass(frozen=True)
class RunStarted:
    """The first word of a run: where its results grow, and which model makes them."""

    prediction: Prediction
    model: Model


def prediction_steps(
    request: RunRequest, stop: threading.Event
) -> Generator[RunStarted | Doubt | PredictionProgress, None, Failure | None]:
    """Run a prediction; every finished block is on disk before it is yielded.

    Parameters
    ----------
    request
        What to predict.
    stop
        Ends the run at the next block, or sooner within a long one, when set.

    Returns
    -------
    None, or what stopped the run.
    """
    try:
        yield from _prediction_steps(request, stop)
    except StemError as error:
        return Failure(str(error))
    return None


def _prediction_steps(
    request: RunRequest, stop: threading.Event
) -> Generator[RunStarted | Doubt | PredictionProgress, None, None]:
    # torch comes with these; it must not be loaded by merely showing the dock
    from napari_stem.model import load_model
    from napari_stem.prediction_job import PredictionJob

    job = PredictionJob.planned(
        request.slide,
        load_model(request.model_name),
        request.settings,
        spots=request.spots,
        regions=request.regions or None,
        pitch_um=request.pitch_um,
        embedder=request.embedder,
        species=request.species or None,
        keep_draws=None,
    )
    with only_writer(out := job.cache_path()):
        if request.despite_doubt:
            begun: Prediction | str = job.begin(out, resume=True)
        else:
            begun = job.begin_unless_in_doubt(out, stop.is_set)
        if isinstance(begun, str):
            yield Doubt(begun)
            return
        prediction = begun
        _ = prediction.gene_accuracy  # kept, so that the window need not read it
        yield RunStarted(prediction, job.model)
        job = replace(job, begin_at_um=request.begin_at_um)
        yield from job.steps(prediction, stop.is_set)


class Reporter(QObject):
    """Carries the progress of a job from its thread to the GUI's."""

    reported = Signal(str, int, int)  # what is being done, done so far, in all

    def __call__(self, text: str, done: int, total: int) -> None:
        """Report; called in the worker's thread."""
        self.reported.emit(text, done, total)


class Jobs(QObject):
    """The background jobs of one dock; after ``close`` none of them speaks any more."""

    failed = Signal(str)  # one sentence

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        collect_on_gui_thread()
        pool = QThreadPool.globalInstance()
        pool.setMaxThreadCount(max(pool.maxThreadCount(), MOST_JOBS))
        self._stops: set[threading.Event] = set()
        self._closed = False

    def start(
        self,
        function: Callable[..., Any],
        *args: Any,
        done: Callable[[Any], None],
        failed: Callable[[], None] | None = None,
    ) -> None:
        """Call a function in a thread.

        Parameters
        ----------
        function, args
            What to call. A StemError is told by the signal ``failed``; any other error by napari. What files
            are read with, as warnings, is shown at the end.
        done
            Called in the GUI's thread with the result.
        failed
            Called in the GUI's thread after any error, to put the panels in order.
        """
        # told at the end, in the GUI's thread: napari's notifications from another one can end the program
        warnings: list[str] = []

        def on_end(result: object) -> None:
            for warning in [] if self._closed else warnings:
                show_warning(warning)
            self._finish(result, done, failed)

        worker = create_worker(_guarded, warnings.append, function, *args, _start_thread=False)
        worker.returned.connect(on_end)
        worker.errored.connect(lambda error: self._broke(error, failed))
        _launch(worker)

    def start_run(
        self,
        request: RunRequest,
        *,
        progressed: Callable[[RunStarted | Doubt | PredictionProgress], None],
        finished: Callable[[bool], None],
    ) -> threading.Event:
        """Run a prediction in a thread.

        Parameters
        ----------
        request
            What to predict.
        progressed
            Called in the GUI's thread after every block.
        finished
            Called there at the end, however it came; told whether the run ended by itself.

        Returns
        -------
        The event that stops the run when set.
        """
        stop = threading.Event()
        self._stops.add(stop)

        def on_end(result: Failure | None) -> None:
            self._stops.discard(stop)
            self._finish(result, lambda _: finished(not stop.is_set()), lambda: finished(False))

        def on_error(error: Exception) -> None:
            self._stops.discard(stop)
            self._broke(error, lambda: finished(False))

        worker = create_worker(prediction_steps, request, stop, _start_thread=False)
        worker.yielded.connect(lambda step: None if self._closed else progressed(step))
        worker.returned.connect(on_end)
        worker.errored.connect(on_error)
        _launch(worker)
        return stop

    def close(self) -> None:
        """Stop what runs; results on disk stay."""
        self._closed = True
        for stop in self._stops:
            stop.set()

    def _finish(
        self, result: object, done: Callable[[Any], None], failed: Callable[[], None] | None
    ) -> None:
        if self._closed:
            return
        if not isinstance(result, Failure):
            done(result)
            return
        self.failed.emit(result.sentence)
        if failed is not None:
            failed()

    def _broke(self, error: Exception, failed: Callable[[], None] | None) -> None:
        """Log an error of ours, not the user's, which napari shows by itself."""
        logger.error("A background job broke", exc_info=error)
        if failed is not None and not self._closed:
            failed()


def _launch(worker: WorkerBase[Any]) -> None:
    calm_warnings.begin()
    worker.finished.connect(calm_warnings.end)
    worker.start()


def _guarded(warn: Callable[[str], None], function: Callable[..., Any], *args: Any) -> Any:
    try:
        with warnings_of_files(warn):
            return function(*args)
    except StemError as error:
        return Failure(str(error))
