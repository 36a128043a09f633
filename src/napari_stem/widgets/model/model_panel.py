"""Model: which one, how finely and how often it predicts; Run and Cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFormLayout,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.pace import Pace
from napari_stem.widgets.common.parts import Folding, count, duration, note
from napari_stem.widgets.common.predictions_list import PredictionsList
from napari_stem.widgets.model.encoder_box import EncoderBox
from napari_stem.widgets.model.model_choice import ModelChoice
from napari_stem.widgets.model.run_settings import RunSettings
from napari_stem.widgets.slide.about_slide_box import AboutSlideBox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_stem.settings import SamplingSettings
    from napari_stem.widgets.common.memory import Remembered

STAGES = {
    "starting": "Getting ready",
    "embedding": "Looking at the tissue",
    "sampling": "Predicting",
}


class ModelPanel(QWidget):
    """Holds the parameters of a run; asks for it and for its end."""

    model_chosen = Signal(str)  # name
    pitch_changed = Signal(float)  # um
    run_requested = Signal()
    cancel_requested = Signal()
    folder_requested = Signal(str)  # a model folder or zip to add to the list

    def __init__(self, remembered: Remembered, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._n_spots = 0
        self._is_running = False
        self._missing = ""
        self.missing = ""  # of the model and its encoder, for the active slide
        self.takes_file = False  # of embeddings: spots are then its patches, not the lattice's
        self.pace = Pace(remembered.pace)
        self.models = ModelChoice(remembered.model_name)
        self.choice, self.card = self.models.box, self.models.card
        self.encoders = EncoderBox(
            remembered.encoder_folder, is_offline=bool(remembered.works_offline)
        )
        self.about = AboutSlideBox()
        self._fields = RunSettings(remembered, self)
        self.pitch, self.n_draws = self._fields.pitch, self._fields.n_draws
        self.n_steps, self.seed = self._fields.n_steps, self._fields.seed
        self.device = self._fields.device
        self.run_button = QPushButton("Run")
        self.why_not = note("")
        self.scale_warning = note("")
        self.scale_warning.setObjectName("warning")
        self.show_scale_warning("")
        self.predictions = PredictionsList()
        self.cancel_button = QPushButton("Cancel")
        self.progress = QProgressBar()
        self.progress_text = note("")
        self._lay_out()
        self.models.chosen.connect(self._choose)
        self.models.added.connect(self.folder_requested)
        self.pitch.valueChanged.connect(self.pitch_changed)
        for field in (self.n_draws, self.n_steps):
            field.valueChanged.connect(self._refresh_run_button)
        self.device.currentIndexChanged.connect(self._refresh_run_button)
        self.run_button.clicked.connect(self.run_requested)
        self.cancel_button.clicked.connect(self.cancel_requested)
        self.show_spots(0)
        self.show_idle()

    def settings(self) -> SamplingSettings:
        """Return the parameters as chosen."""
        return self._fields.chosen()

    def model_name(self) -> str:
        """Name of the chosen model, empty where there is none."""
        return self.models.name()

    def show_models(self, models: Sequence[Mapping[str, Any]], wanted: str = "") -> None:
        """List the models and choose one; those that cannot be used are greyed out and say why.

        Parameters
        ----------
        models
            Entries of ``list_models``; those that the user added have the ``folder`` (or zip) too.
        wanted
            Name or folder of the one to choose; else that chosen before, or in the last session.
        """
        self.models.show_models(models, wanted)

    def show_spots(self, n_spots: int, missing: str = "") -> None:
        """Say on the Run button how much there is to do, or beside it what is missing."""
        self._n_spots, self._missing = n_spots, missing
        self._refresh_run_button()

    def show_scale_warning(self, text: str) -> None:
        """Say by the Run button that the pixel size may be wrong; no text: nothing speaks for it."""
        self.scale_warning.setText(text)
        self.scale_warning.setVisible(bool(text))

    def learn_pace(self, n_spots: int, seconds: float, *, looks: bool = True) -> None:
        """Learn from a run with the settings of now how long runs take here."""
        asked = self.settings()
        self.pace.measured(
            asked.device, n_spots, asked.n_draws, asked.n_steps, seconds, looks=looks
        )
        self._refresh_run_button()

    def show_running(
        self, stage: str, n_done: int, n_spots: int, seconds_left: float | None
    ) -> None:
        """Show how far a run is."""
        self.progress.setRange(0, n_spots if stage == "sampling" else 0)
        self.progress.setValue(n_done)
        told = STAGES.get(stage, stage)
        if stage == "sampling":
            told += f": {n_done:,} of {count(n_spots, 'spot')} done"
        if seconds_left is not None:
            told += f", {duration(seconds_left)} left"
        self.progress_text.setText(told)
        self._show_run(is_running=True)

    def show_cancelling(self) -> None:
        """Show that Cancel was heard."""
        self.cancel_button.setEnabled(False)
        self.progress_text.setText("Stopping; what is finished is kept.")

    def show_idle(self, text: str = "") -> None:
        """Show that nothing runs, and how the last run ended."""
        self._show_run(is_running=False)
        self.progress_text.setText(text)
        self.progress_text.setVisible(bool(text))

    def _show_run(self, *, is_running: bool) -> None:
        self._is_running = is_running
        self.progress.setVisible(is_running)
        self.progress_text.setVisible(True)
        self.cancel_button.setVisible(is_running)
        self.cancel_button.setEnabled(is_running)
        self.run_button.setVisible(not is_running)
        self._refresh_run_button()

    def _refresh_run_button(self) -> None:
        settings = self.settings()
        n_spots, n_draws = self._n_spots, settings.n_draws
        missing = self._missing or ("" if self.model_name() else "No model is ready yet.")
        is_ready = n_spots > 0 and not missing
        self.run_button.setEnabled(is_ready)
        self.why_not.setText("" if is_ready else missing or "Choose a region first.")
        self.why_not.setVisible(not is_ready and not self._is_running)
        if not is_ready:
            self.run_button.setText("Run")
            return
        looks = not self.takes_file
        seconds = self.pace.estimate_s(
            settings.device, n_spots, n_draws, settings.n_steps, looks=looks
        )
        told = count(n_spots, "spot") if looks else _patches(n_spots)
        self.run_button.setText(f"Run: {told} × {n_draws} samples, {duration(seconds)}")
        where = "" if looks else "Predicted is where the patches of the file lie in the regions. "
        self.run_button.setToolTip(
            f"{where}The time is what your last runs took (Ctrl+Return runs)"
            if self.pace.is_measured(settings.device, looks=looks)
            else f"{where}The time is a laptop's; after the first run it is this computer's "
            f"(Ctrl+Return runs)"
        )

    def _choose(self, name: str) -> None:
        self._refresh_run_button()
        if name:
            self.model_chosen.emit(name)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow(self.models)
        form.addRow(self.encoders)
        form.addRow("Spacing between spots", self.pitch)
        form.addRow("Samples per spot", self.n_draws)
        advanced = QWidget()
        inner = QVBoxLayout(advanced)
        inner.setContentsMargins(0, 0, 0, 0)
        numbers = QFormLayout()
        numbers.addRow("Steps per sample", self.n_steps)
        numbers.addRow("Random seed", self.seed)
        numbers.addRow("Compute on", self.device)
        inner.addLayout(numbers)
        self.about_part = Folding("About this slide", self.about, is_open=False)
        self.advanced = Folding("More settings", advanced, is_open=False)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button)
        buttons.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.advanced)
        layout.addWidget(self.about_part)
        layout.addLayout(buttons)
        layout.addWidget(self.why_not)
        layout.addWidget(self.scale_warning)
        layout.addWidget(self.progress)
        layout.addWidget(self.progress_text)
        layout.addWidget(self.predictions)


def _patches(number: int) -> str:
    return f"{number:,} patch of the file" if number == 1 else f"{number:,} patches of the file"
