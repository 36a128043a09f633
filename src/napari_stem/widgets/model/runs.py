"""One run at a time: what it depends on, the run itself, Run and Cancel, and how far it is."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_stem.device import device_title
from napari_stem.io import only_writer
from napari_stem.slide.tissue import on_glass
from napari_stem.texts import count
from napari_stem.widgets.common import parts
from napari_stem.widgets.common.hints import few_samples, of_result
from napari_stem.widgets.common.memory import CacheBox, Remembered
from napari_stem.widgets.common.worker import Jobs, StoppableJob

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_stem.geometry import Region, Spots
    from napari_stem.prediction_blocks import PredictionProgress
    from napari_stem.prediction_job import PredictionJob
    from napari_stem.results import Prediction
    from napari_stem.settings import SamplingSettings
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.genes.map_display import MapDisplay
    from napari_stem.widgets.model.model_panel import ModelPanel
    from napari_stem.widgets.slide.slide_panel import SlidePanel

STAGES = {
    "starting": "Getting ready",
    "embedding": "Looking at the tissue",
    "sampling": "Predicting",
}
MOST_REST_S = 1.0


@dataclass(eq=False)
class Run:
    """What a run depends on, fixed when Run is clicked, and how far it is."""

    slide: Slide  # that was active then; results belong to it whatever is active later
    settings: SamplingSettings
    looks: bool  # an encoder looks at the spots; else embeddings come from a file
    plan: Callable[[], PredictionJob]  # checks all that was chosen; StemError where it does not fit
    # what a run in doubt is trusted for: the slide as it is sized, and the model
    trust: tuple[object, ...]
    are_seen: threading.Event = field(default_factory=threading.Event)  # spots of it
    prediction: Prediction | None = None  # once it grows
    n_before: int = 0  # spots that were done already
    began_s: float = 0.0
    expected_s: float = 0.0
    nothing: str = "Stopped before anything was predicted."  # what is said where nothing was


def run_prediction(
    plan: Callable[[], PredictionJob],
    despite_doubt: bool,
    report: Callable[[Prediction | str | PredictionProgress], None],
    are_seen: threading.Event,
    is_stopped: Callable[[], bool],
    _report: object,
) -> bool:
    """Run a prediction; every finished block is on disk before it is reported.

    ``report`` is told first where the results grow, or why it should not begin unasked, unless that is wanted
    ``despite_doubt``; then how far it is. The run rests until the first spots ``are_seen``, as drawing them
    needs the same cores, and ends at the next block, or sooner within a long one, where it ``is_stopped``.
    Gives whether it ended by itself; StemError is what stopped it.
    """
    job = plan()
    with only_writer(out := job.cache_path()):
        if despite_doubt:
            begun: Prediction | str = job.create_or_resume(out, resume=True)
        else:
            begun = job.create_or_warn(out, is_stopped)
        if isinstance(begun, str):
            report(begun)
            return not is_stopped()
        _ = begun.gene_accuracy  # kept, so that the window need not read it
        report(begun)
        n_before = int(begun.done.sum())
        for step in job.steps(begun, is_stopped):
            report(step)
            if step.n_done > n_before:
                are_seen.wait(MOST_REST_S)
                are_seen.set()
    return not is_stopped()


class RunBar(QWidget):
    """Runs a prediction from the model panel to the maps, and shows how far it is; asks before one in doubt."""

    began = Signal()
    ended = Signal()

    def __init__(
        self,
        jobs: Jobs,
        slides: SlidePanel,
        model: ModelPanel,
        maps: MapDisplay,
        remembered: Remembered,
    ) -> None:
        super().__init__()
        self._jobs, self._slides, self._model, self._maps = jobs, slides, model, maps
        self._predictions = model.predictions
        self._n_spots = 0
        self._missing = self._wary = ""
        # runs in doubt that were wanted all the same
        self._trusted: set[tuple[object, ...]] = set()
        self._job = StoppableJob(jobs)
        self._run: Run | None = None  # on its way
        self._told: dict[str, str] = {}  # how the last run ended, by the slide's fingerprint
        self.run_button, self.cancel_button = (
            parts.button("Run"),
            parts.button("Cancel", act=self.cancel),
        )
        self.why_not = parts.Note()
        self.caution = parts.warning()  # of regions and samples
        self.cache = CacheBox(remembered.cache_folder)
        self.progress, self.progress_text = parts.ProgressBar(), parts.Note()
        parts.stack(
            self,
            self.cache,
            self.progress_text,
            self.progress,
            self.caution,
            self.why_not,
            parts.row(self.run_button, self.cancel_button),
        ).setSpacing(4)
        for changed in (
            model.n_draws.valueChanged,
            model.n_steps.valueChanged,
            model.device.currentIndexChanged,
        ):
            changed.connect(self._refresh)
        slides.activated.connect(self._say_end)
        self._show()
        self.cache.look(jobs)

    @property
    def is_running(self) -> bool:
        """Whether a run is on its way."""
        return self._job.is_running

    def is_running_on(self, slide: Slide | None) -> bool:
        """Whether a run predicts this slide."""
        return self._run is not None and slide is self._run.slide

    def _say_end(self, *_: object) -> None:
        """Say of the active slide how its own last run ended, unless a run is on its way."""
        slide = self._slides.slide
        if not self.is_running:
            self._show(self._told.get(slide.fingerprint, "") if slide else "")

    def forget(self, slide: Slide) -> None:
        """Say no more of a run whose maps are gone."""
        self._told.pop(slide.fingerprint, None)
        self._say_end()

    def start(
        self, slide: Slide, regions: tuple[Region, ...] = (), spots: Spots | None = None
    ) -> None:
        """Predict what the model panel asks for, in regions of the active slide or else at spots.

        What is in view is predicted first. Ignored while another run is on its way.
        """
        panel, begin_at_um = self._model, self._slides.centre_um()
        name, settings, pitch_um = panel.model_name(), panel.settings(), panel.pitch.value()
        embedder, species = panel.about.embedder, panel.about.stated_species
        model, encoder = panel.loaded()

        def plan() -> PredictionJob:
            # torch comes with these; it must not be loaded by merely showing the dock
            from napari_stem.model import load_model
            from napari_stem.prediction_job import PredictionJob

            job = PredictionJob.planned(
                slide,
                model or load_model(name),
                settings,
                spots=spots,
                regions=regions or None,
                pitch_um=pitch_um,
                embedder=embedder,
                species=species or None,
                keep_draws=None,
            )
            return replace(job, encoder=encoder, begin_at_um=begin_at_um)

        trust = slide.fingerprint, slide.mpp, name
        self._start(Run(slide, settings, embedder is None, plan, trust))

    def _start(self, run: Run) -> None:
        if self.is_running:
            return
        self._run = run
        self._job.start(
            run_prediction,
            run.plan,
            run.trust in self._trusted,
            self._jobs.in_window(partial(self._progressed, run)),
            run.are_seen,
            done=partial(self._finished, run),
            failed=partial(self._finished, run, False),
        )
        self.progress.show_share(0, 0)
        self._show(STAGES["starting"])
        self.began.emit()

    def show_spots(self, n_spots: int, missing: str = "", wary: str = "") -> None:
        """Say on the Run button how much there is to do, beside it what is missing or to be wary of."""
        self._n_spots, self._missing, self._wary = n_spots, missing, wary
        self._refresh()

    def cancel(self) -> None:
        """Stop the run; what is finished stays on disk and on screen."""
        if self.is_running:
            self._job.stop()
            self.cancel_button.setEnabled(False)
            self.progress_text.say("Stopping; what is finished is kept.")

    def _progressed(self, run: Run, step: Prediction | str | PredictionProgress) -> None:
        from napari_stem.results import Prediction

        slide, settings = run.slide, run.settings
        if isinstance(step, str):
            run.nothing = "Predict all the same? It is asked in a window of its own."
            self._ask(run, step)
            return
        if isinstance(step, Prediction):
            run.prediction = step
            run.began_s, run.n_before = time.monotonic(), int(step.done.sum())
            n_spots, pace = len(step.spots) - run.n_before, self._model.pace
            run.expected_s = pace.estimate_s(settings, n_spots, looks=run.looks)
            self._predictions.begin(slide, step)
            return
        if step.n_done > run.n_before:
            self._maps.grow(slide)
            if not run.are_seen.is_set():
                self._maps.layer_queue.afterwards(run.are_seen.set)
        if self._job.is_wanted:
            left = step.seconds_left
            if left is None:  # no pace of this run is known yet: as runs were before
                left = max(0.0, run.expected_s - (time.monotonic() - run.began_s))
            text = "" if slide is self._slides.slide else f"{slide.path.stem}: "
            text += STAGES.get(step.stage, step.stage)
            if step.stage == "sampling":
                text += f": {step.n_done:,} of {count(step.n_spots, 'spot')} done"
            where = device_title(settings.device)  # torch has come by now, if needed
            self.progress.show_share(step.n_done, step.n_spots)
            self._show(f"{text}, {parts.duration(left)} left ({where})")

    def _ask(self, run: Run, sentence: str) -> None:
        """Ask whether to predict all the same; until it is answered, nothing is held up."""
        yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
        asked = QMessageBox(
            QMessageBox.Icon.Warning, "Unlike the training data", sentence, yes | no, self
        )
        asked.setInformativeText("Predict all the same?")
        asked.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)

        def on_answer(answer: int) -> None:
            if answer == yes:
                self._trusted.add(run.trust)
                self._start(replace(run, nothing=Run.nothing))
            else:
                self._tell(run.slide, f"Nothing was predicted. {sentence}")

        asked.finished.connect(on_answer)
        asked.open()

    def _finished(self, run: Run, ended_by_itself: bool) -> None:
        slide, prediction = run.slide, run.prediction
        self._run = None
        if prediction is None:
            self._tell(slide, run.nothing)
            self.cache.look(self._jobs)
            self.ended.emit()
            return
        self._maps.finish(slide)
        self._predictions.refresh()
        self._predictions.make_room()
        n_done, n_spots = int(prediction.done.sum()), len(prediction.spots)
        seconds, n_new = time.monotonic() - run.began_s, n_done - run.n_before
        self._model.pace.measured(run.settings, n_new, seconds, looks=run.looks)
        text = f"Done: {count(n_spots, 'spot')} predicted."
        if n_done < n_spots:
            text = f"{n_done:,} of {count(n_spots, 'spot')} predicted"
            text = (
                f"{text}." if ended_by_itself else f"Stopped: {text} and kept. Run again to go on."
            )
        self._tell(slide, text)
        self._jobs.start(_caution, slide, prediction, done=partial(self._tell_caution, slide, text))
        self.ended.emit()

    def _tell(self, slide: Slide, text: str) -> None:
        self._told[slide.fingerprint] = text
        self._say_end()

    def _tell_caution(self, slide: Slide, text: str, caution: str) -> None:
        if self._told.get(slide.fingerprint) == text:  # no other run has ended since
            self._tell(slide, f"{text} {caution}".strip())

    def _show(self, text: str = "") -> None:
        """Say how far a run is, or how the last one ended."""
        self.progress_text.say(text)
        is_running = self.is_running
        self.progress.setVisible(is_running)
        self.cancel_button.setVisible(is_running)
        self.cancel_button.setEnabled(is_running)
        self.run_button.setVisible(not is_running)
        self._refresh()

    def _refresh(self) -> None:
        settings, n_spots, looks = self._model.settings(), self._n_spots, not self._model.takes_file
        pace = self._model.pace
        self._model.show_costs(n_spots)
        missing = self._missing or ("" if self._model.model_name() else "No model is ready yet.")
        is_ready = n_spots > 0 and not missing
        wary = (self._wary, few_samples(settings.n_draws)) if is_ready else ()
        told = self.progress_text.text()
        self.caution.say(" ".join(each for each in wary if each not in told))
        self.run_button.setEnabled(is_ready)
        self.why_not.setText("" if is_ready else missing or "Choose a region first.")
        self.why_not.setVisible(not is_ready and not self.is_running)
        if not is_ready:
            self.run_button.setText("Run")
            return
        seconds = pace.estimate_s(settings, n_spots, looks=looks)
        text = count(n_spots, "spot")
        if not looks:
            text = f"{n_spots:,} patch{'es' * (n_spots != 1)} of the file"
        self.run_button.setText(
            f"Run: {text} × {settings.n_draws} samples, {parts.duration(seconds)}"
        )
        where = "" if looks else "Predicted is where the patches of the file lie in the regions. "
        whose = (
            "what your last runs took"
            if pace.is_measured(settings.device, looks=looks)
            else "a laptop's; after the first run it is this computer's"
        )
        self.run_button.setToolTip(f"{where}The time is {whose} (Ctrl+Return runs)")


def _caution(slide: Slide, prediction: Prediction) -> str:
    done = prediction.done
    n_unlike = int((prediction.ood & done).sum()) if prediction.knows_domain else 0
    n_on_glass = int((on_glass(slide, prediction.spots) & done).sum())
    return of_result(n_unlike, n_on_glass, int(prediction.provenance["draws"]))
