"""One run at a time: what it depends on, the run itself, Run and Cancel, and how far it is."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_stem.caches import why_unwritable
from napari_stem.device import device_title
from napari_stem.errors import OutputError, PredictionError
from napari_stem.io import only_writer
from napari_stem.progress import LOG_OF_FILES
from napari_stem.slide.tissue import on_glass
from napari_stem.texts import count
from napari_stem.widgets.common import parts
from napari_stem.widgets.common.hints import RoadState, few_samples, missing_for_run, of_result
from napari_stem.widgets.common.memory import CacheBox, Remembered
from napari_stem.widgets.common.worker import Jobs, StoppableJob

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from napari_stem.geometry import Region, Spots
    from napari_stem.model.bundle import Model
    from napari_stem.prediction_blocks import PredictionProgress
    from napari_stem.prediction_job import PredictionJob
    from napari_stem.progress import Poll
    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.model.model_panel import Effort, ModelPanel
    from napari_stem.widgets.slide.slide_panel import SlidePanel

STAGES = {
    "starting": "Getting ready",
    "embedding": "Looking at the tissue",
    "sampling": "Predicting",
}
STOPPED = "Stopped before anything was predicted."
FAILED = "Nothing was predicted, for the reason that was shown."
ASKED = "Predict all the same? It is asked in a window of its own."
REST_S = 0.3  # without it the first colours of a click come .3 to .5 s later


@dataclass(frozen=True, eq=False)
class RunRequest:
    """What a run depends on, fixed when Run is clicked."""

    slide: Slide  # that was active then; results belong to it whatever is active later
    effort: Effort  # of its settings
    model_name: str
    model: Model | None  # where it is loaded already
    further: Mapping[str, Any]  # what else `PredictionJob.planned` takes
    # what a doubt is about, once it is put aside: the slide as it was sized, and the model
    subject: tuple[object, ...]

    def job(self) -> PredictionJob:
        """Check all that was chosen; StemError where it does not fit."""
        # torch comes with these; it must not be loaded by merely showing the dock
        from napari_stem.model import load_model
        from napari_stem.prediction_job import PredictionJob

        model = self.model or load_model(self.model_name)
        return PredictionJob.planned(self.slide, model, self.effort.settings, **self.further)


def run_prediction(
    request: RunRequest,
    despite_doubt: bool,
    begun: Callable[[Prediction], None],
    progressed: Callable[[PredictionProgress], None],
    poll: Poll,
) -> str | None:
    """Run a prediction; every finished block is on disk before it is reported.

    ``begun`` is told where the results grow, then ``progressed`` how far it is. The run rests after the first
    spots, as drawing them needs the same cores, and ends at the next block, or sooner within a long one, where
    ``poll`` raises `Stopped`. Of a run that ends without any spot nothing is left.

    Gives why it should not begin unasked, and did not, unless that is wanted ``despite_doubt``; else None.
    StemError is what stopped it.
    """
    job = request.job()
    out, check = job.cache_path(), str if despite_doubt else partial(job.domain_warning, poll)
    try:
        with only_writer(out), ExitStack() as opened:
            try:
                prediction, doubt = opened.enter_context(job.created_while(out, check))
            except PredictionError:
                make_way(out)
                prediction, doubt = opened.enter_context(job.created_while(out, check))
            poll()
            if doubt:
                return doubt
            _ = prediction.gene_accuracy  # kept, so that the window need not read it
            n_before, has_rested = int(prediction.done.sum()), False
            begun(prediction)
            for step in job.steps(prediction, poll):
                progressed(step)
                if step.n_done > n_before and not has_rested:
                    time.sleep(REST_S)
                    has_rested = True
    except OutputError as error:
        if why := why_unwritable():  # for which the bar offers another folder
            raise OutputError(why) from error
        raise
    return None


def make_way(out: Path) -> None:
    """Put a prediction that cannot be opened aside: the place is the run's own, so no other can be chosen."""
    from napari_stem.results import Prediction

    if not out.exists():
        return
    try:
        Prediction.open(out)
    except PredictionError:
        aside = out.with_name(f"damaged-{out.name}")
        shutil.rmtree(aside, ignore_errors=True)
        out.rename(aside)
        LOG_OF_FILES.warning(
            "What this run had predicted before is damaged, so it begins anew; the damaged one is kept in %s.",
            aside,
        )


class RunBar(QWidget):
    """Runs a prediction as the model panel asks, and shows how far it is; asks before one in doubt."""

    started = Signal()
    begun = Signal(object, object)  # slide, and its prediction, which grows from now on
    grown = Signal(object)  # the prediction, of which more spots are done
    ended = Signal(object, object)  # slide, and its prediction; None where nothing was begun

    def __init__(
        self, jobs: Jobs, slides: SlidePanel, model: ModelPanel, remembered: Remembered
    ) -> None:
        super().__init__()
        self._jobs, self._slides, self._model = jobs, slides, model
        self._n_spots, self._missing, self._warning = 0, missing_for_run(RoadState()), ""
        self._put_aside: set[tuple[object, ...]] = set()  # subjects of doubts
        self._job = StoppableJob(jobs)
        # of the run on its way: what was asked for, and, once they grow, its results
        self._request: RunRequest | None = None
        self._prediction: Prediction | None = None
        self._n_before, self._began_s = 0, 0.0  # spots that were done already, and when it began
        # how the last run ended, and one of an earlier day, of what is shown, by the slide's fingerprint
        self._told: dict[str, str] = {}
        self._earlier: dict[str, str] = {}
        self._under_way = ""  # how far the run on its way is
        # open questions, by the subject of the doubt
        self._questions: dict[tuple[object, ...], QMessageBox] = {}
        self.run_button = parts.button("Run")
        self.cancel_button = parts.button("Cancel", act=self.cancel)
        self.why_not = parts.Note()
        self.warning = parts.warning()  # of regions and samples
        self.cache = CacheBox(remembered.cache_folder)
        self.progress, self.progress_text = parts.ProgressBar(), parts.Note()
        lines = self.progress_text, self.progress, self.warning, self.why_not
        buttons = parts.row(self.run_button, self.cancel_button)
        parts.stack(self, self.cache, *lines, buttons).setSpacing(4)
        model.form.when_changed(self._refresh)
        slides.activated.connect(self._say)
        self._show()
        self.cache.look(jobs)

    @property
    def is_running(self) -> bool:
        """Whether a run is on its way."""
        return self._job.is_running

    def is_running_on(self, slide: Slide | None) -> bool:
        """Whether a run predicts this slide."""
        return self._request is not None and slide is self._request.slide

    def _say(self, *_: object) -> None:
        """Say how far the run on its way is, and of which slide; else how the active slide's own ended."""
        slide, request = self._slides.slide, self._request
        if not self.is_running:
            earlier = self._earlier.get(slide.fingerprint, "") if slide else ""
            self._show(self._told.get(slide.fingerprint, earlier) if slide else "")
        elif request is not None and self._job.is_wanted:
            whose = "" if request.slide is slide else f"{request.slide.path.stem}: "
            self._show(f"{whose}{self._under_way}")

    def forget(self, slide: Slide) -> None:
        """Say no more of a run whose maps are gone."""
        self._told.pop(slide.fingerprint, None)
        self._earlier.pop(slide.fingerprint, None)
        self._say()

    def start(
        self, slide: Slide, regions: tuple[Region, ...] = (), spots: Spots | None = None
    ) -> None:
        """Predict what the model panel asks for, in regions of the active slide or else at spots.

        What is in view is predicted first. Ignored while another run is on its way.
        """
        panel = self._model
        name, (model, encoder) = panel.model_name(), panel.loaded()
        further = {
            "spots": spots,
            "regions": regions or None,
            "pitch_um": panel.pitch.value(),
            "embedder": panel.about.embedder,
            "encoder": encoder,
            "begin_at_um": self._slides.centre_um(),
            "species": panel.about.stated_species or None,
            "keep_draws": None,
        }
        subject = slide.fingerprint, slide.mpp, name
        self._start(RunRequest(slide, panel.effort(), name, model, further, subject))

    def _start(self, request: RunRequest) -> None:
        if self.is_running:
            return
        self._request, self._prediction = request, None
        self._job.start(
            run_prediction,
            request,
            request.subject in self._put_aside,
            self._jobs.in_window(partial(self._on_begun, request)),
            self._jobs.in_window(partial(self._on_progress, request)),
            done=partial(self._on_end, request),
            failed=partial(self._on_end, request, has_failed=True),
        )
        self.progress.show_share(0, 0)
        self._under_way = STAGES["starting"]
        self._say()
        self.started.emit()

    def show_spots(self, n_spots: int, missing: str = "", warning: str = "") -> None:
        """Say on the Run button how much there is to do, beside it what is missing or what to be wary of."""
        self._n_spots, self._missing, self._warning = n_spots, missing, warning
        self._refresh()

    def cancel(self) -> None:
        """Stop the run; what is finished stays on disk and on screen."""
        if self.is_running:
            self._job.stop()
            self.cancel_button.setEnabled(False)
            self.progress_text.say("Stopping; what is finished is kept.")

    def _on_begun(self, request: RunRequest, prediction: Prediction) -> None:
        self._prediction = prediction
        self._began_s, self._n_before = time.monotonic(), int(prediction.done.sum())
        self.begun.emit(request.slide, prediction)

    def _on_progress(self, request: RunRequest, step: PredictionProgress) -> None:
        if step.n_done > self._n_before:
            self.grown.emit(self._prediction)
        if self._job.is_wanted:
            left = step.seconds_left
            if left is None:  # no pace of this run is known yet: as runs were before
                n_spots, since_s = step.n_spots - self._n_before, time.monotonic() - self._began_s
                left = max(0.0, self._model.pace.estimate_s(request.effort, n_spots) - since_s)
            text = STAGES.get(step.stage, step.stage)
            if step.stage == "sampling":
                text += f": {step.n_done:,} of {count(step.n_spots, 'spot')} done"
            where = device_title(request.effort.settings.device)  # torch has come by now, if needed
            self.progress.show_share(step.n_done, step.n_spots)
            self._under_way = f"{text}, {parts.duration(left)} left ({where})"
            self._say()

    def _ask(self, request: RunRequest, doubt: str) -> None:
        """Ask whether to predict all the same; meanwhile the window can be used, and other runs be made.

        A later question of the same subject takes the place of an earlier one.
        """
        if (earlier := self._questions.pop(request.subject, None)) is not None:
            earlier.finished.disconnect()
            earlier.close()
        yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
        asked = QMessageBox(
            QMessageBox.Icon.Warning, "Unlike the training data", doubt, yes | no, self
        )
        asked.setInformativeText("Predict all the same?")
        asked.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        asked.setWindowModality(Qt.WindowModality.NonModal)
        self._questions[request.subject] = asked

        def on_answer(answer: int) -> None:
            del self._questions[request.subject]
            if answer != yes:
                self._tell(request.slide, f"Nothing was predicted. {doubt}")
                return
            self._put_aside.add(request.subject)
            if self.is_running:
                show_info("Another run is on its way. Once it has ended, click Run again.")
            self._start(request)

        asked.finished.connect(on_answer)
        asked.show()

    def _on_end(
        self, request: RunRequest, doubt: str | None = None, *, has_failed: bool = False
    ) -> None:
        """Say how the run ended: by itself, stopped, by an error, which has been shown, or in ``doubt``."""
        slide, prediction, self._request = request.slide, self._prediction, None
        n_done = 0 if prediction is None else int(prediction.done.sum())
        if prediction is None or not n_done:
            self._tell(slide, ASKED if doubt else FAILED if has_failed else STOPPED)
            self.cache.look(self._jobs)
            if doubt:
                self._ask(request, doubt)
            self.ended.emit(slide, prediction)
            return
        n_new, seconds = n_done - self._n_before, time.monotonic() - self._began_s
        self._model.pace.measured(request.effort, n_new, seconds)
        text = _how_far(prediction)
        self._tell(slide, text)
        self._jobs.start(_warning, slide, prediction, done=partial(self._tell_warning, slide, text))
        self.ended.emit(slide, prediction)

    def tell_of(self, slide: Slide, prediction: Prediction) -> None:
        """Say of a prediction that is shown how far an earlier run came, where none of this dock has ended."""
        if not self.is_running_on(slide):
            self._earlier[slide.fingerprint] = "" if prediction.done.all() else _how_far(prediction)
            self._say()

    def _tell(self, slide: Slide, text: str) -> None:
        self._told[slide.fingerprint] = text
        self._say()

    def _tell_warning(self, slide: Slide, text: str, warning: str) -> None:
        if self._told.get(slide.fingerprint) == text:  # no other run has ended since
            self._tell(slide, f"{text} {warning}".strip())

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
        effort, n_spots = self._model.effort(), self._n_spots
        n_draws, looks = effort.settings.n_draws, effort.looks
        pace, is_ready = self._model.pace, not self._missing
        self._model.show_costs(n_spots)
        warnings = (self._warning, few_samples(n_draws)) if is_ready else ()
        told = self.progress_text.text()
        chosen = " ".join(each for each in warnings if each and each not in told)
        self.warning.say(f"As chosen now: {chosen}" if chosen and self.is_running else chosen)
        self.run_button.setEnabled(is_ready)
        self.why_not.setText(self._missing)
        self.why_not.setVisible(not is_ready and not self.is_running)
        if not is_ready:
            self.run_button.setText("Run")
            return
        seconds = pace.estimate_s(effort, n_spots)
        text = count(n_spots, "spot")
        if not looks:
            text = f"{n_spots:,} patch{'es' * (n_spots != 1)} of the file"
        self.run_button.setText(
            f"Run: {text} × {count(n_draws, 'sample')}, {parts.duration(seconds)}"
        )
        where = "" if looks else "Predicted is where the patches of the file lie in the regions. "
        whose = (
            "what your last runs took"
            if pace.is_measured(effort)
            else "a laptop's; after the first run it is this computer's"
        )
        self.run_button.setToolTip(f"{where}The time is {whose} (Ctrl+Return runs)")


def _how_far(prediction: Prediction) -> str:
    """Say how far a run has come that has ended."""
    n_done, spots = int(prediction.done.sum()), count(len(prediction.spots), "spot")
    if prediction.done.all():
        return f"Done: {spots} predicted."
    return f"Stopped: {n_done:,} of {spots} predicted and kept. Run again to go on."


def _warning(slide: Slide, prediction: Prediction) -> str:
    done = prediction.done
    n_unlike = int((prediction.ood & done).sum()) if prediction.knows_domain else 0
    n_on_glass = int((on_glass(slide, prediction.spots) & done).sum())
    return of_result(n_unlike, n_on_glass, int(prediction.provenance["draws"]))
