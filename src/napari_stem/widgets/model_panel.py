"""Model: which one, how finely and how often it predicts; Run and Cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_stem.settings import SamplingSettings
from napari_stem.widgets.pace import Pace
from napari_stem.widgets.parts import Folding, count, duration, note
from napari_stem.widgets.predictions_list import PredictionsList

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_stem.widgets.memory import Remembered

DEVICES = {
    "Automatic": "auto",
    "Processor (CPU)": "cpu",
    "NVIDIA graphics card": "cuda",
    "Apple graphics": "mps",
}
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
    folder_requested = Signal(str)  # a model folder to add to the list

    def __init__(self, remembered: Remembered, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._wanted = remembered.model_name
        self._models: dict[str, Mapping[str, Any]] = {}
        self._n_spots = 0
        self._is_running = False
        self._missing = ""
        self.pace = Pace(remembered.pace)
        self.choice = QComboBox()
        self.choice.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.choice.setToolTip(
            "The model that predicts; it must have been made for this kind of tissue"
        )
        self.card = note("")
        self.pitch = QDoubleSpinBox()
        self.n_draws = QSpinBox()
        self.n_steps = QSpinBox()
        self.seed = QSpinBox()
        self.device = QComboBox()
        self.add_button = QPushButton("Add…")
        self.add_button.setToolTip("Add a model that was trained or downloaded: choose its folder")
        self.run_button = QPushButton("Run")
        self.why_not = note("")
        self.predictions = PredictionsList()
        self.cancel_button = QPushButton("Cancel")
        self.progress = QProgressBar()
        self.progress_text = note("")
        self._set_up_fields(remembered)
        self._lay_out()
        self.choice.activated.connect(self._choose)
        self.pitch.valueChanged.connect(self.pitch_changed)
        for field in (self.n_draws, self.n_steps):
            field.valueChanged.connect(self._refresh_run_button)
        self.device.currentIndexChanged.connect(self._refresh_run_button)
        self.add_button.clicked.connect(self._ask_for_folder)
        self.run_button.clicked.connect(self.run_requested)
        self.cancel_button.clicked.connect(self.cancel_requested)
        self.show_spots(0)
        self.show_idle()

    def settings(self) -> SamplingSettings:
        """Return the parameters as chosen."""
        return SamplingSettings(
            n_draws=self.n_draws.value(),
            n_steps=self.n_steps.value(),
            seed=self.seed.value(),
            device=self.device.currentData(),
        )

    def model_name(self) -> str:
        """Name of the chosen model, empty where there is none."""
        return str(self.choice.currentData() or "")

    def show_models(self, models: Sequence[Mapping[str, Any]], wanted: str = "") -> None:
        """List the models and choose one; those that cannot be used are greyed out and say why.

        Parameters
        ----------
        models
            Entries of ``list_models``; those of folders have the ``folder`` too.
        wanted
            Name or folder of the one to choose; else that chosen before, or in the last session.
        """
        self._wanted = wanted or self.model_name() or self._wanted
        self._models = {str(m.get("folder") or m["name"]): m for m in models}
        self.choice.clear()
        for name, model in self._models.items():
            self.choice.addItem(str(model["name"]), name)
            self.choice.setItemData(self.choice.count() - 1, name, Qt.ItemDataRole.ToolTipRole)
            if not model["ready"]:
                row = self.choice.count() - 1
                self.choice.setItemData(row, str(model["why_not"]), Qt.ItemDataRole.ToolTipRole)
                self.choice.model().item(row).setEnabled(False)
        ready = [name for name, model in self._models.items() if model["ready"]]
        wanted = self._wanted if self._wanted in ready else next(iter(ready), "")
        self.choice.setCurrentIndex(self.choice.findData(wanted))
        self._choose()

    def show_card_of(self, model: Mapping[str, Any]) -> None:
        """Say what a model is for; ``model`` is an entry of ``list_models``."""
        parts = [
            ", ".join(str(model[k]) for k in ("species", "tissue") if model.get(k)),
            f"{model['n_genes']} genes" if model.get("n_genes") else "",
            _features(str(model["encoder"])) if model.get("encoder") else "",
        ]
        self.card.setText("; ".join(part for part in parts if part))

    def show_limits(self, sections: Sequence[str], limits: Sequence[str]) -> None:
        """Say what a model was trained on, and in the tooltip what not to use it for."""
        if sections:
            self.card.setText(f"{self.card.text()}. Trained on sections {', '.join(sections)}.")
        self.card.setToolTip("\n".join(limits))

    def show_spots(self, n_spots: int, missing: str = "") -> None:
        """Say on the Run button how much there is to do, or beside it what is missing."""
        self._n_spots, self._missing = n_spots, missing
        self._refresh_run_button()

    def learn_pace(self, n_spots: int, seconds: float) -> None:
        """Learn from a run with the settings of now how long runs take here."""
        settings = self.settings()
        self.pace.measured(settings.device, n_spots, settings.n_draws, settings.n_steps, seconds)
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
        is_ready = n_spots > 0 and bool(self.model_name())
        self.run_button.setEnabled(is_ready)
        self.why_not.setText("" if is_ready else missing or "Choose a region first.")
        self.why_not.setVisible(not is_ready and not self._is_running)
        if not is_ready:
            self.run_button.setText("Run")
            return
        seconds = self.pace.estimate_s(settings.device, n_spots, n_draws, settings.n_steps)
        self.run_button.setText(
            f"Run: {count(n_spots, 'spot')} × {n_draws} samples, {duration(seconds)}"
        )
        self.run_button.setToolTip(
            "The time is what your last runs took (Ctrl+Return runs)"
            if self.pace.is_measured(settings.device)
            else "The time is a laptop's; after the first run it is this computer's (Ctrl+Return runs)"
        )

    def _choose(self) -> None:
        name = self.model_name()
        self._refresh_run_button()
        if name:
            self.model_chosen.emit(name)
        else:
            self.card.setText(
                "No model can be used here; see “napari-stem models” for the reasons."
            )

    def _ask_for_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Choose a model's folder")
        if folder:
            self.folder_requested.emit(folder)

    def _set_up_fields(self, remembered: Remembered) -> None:
        self.pitch.setRange(5.0, 2000.0)
        self.pitch.setDecimals(0)
        self.pitch.setSingleStep(10.0)
        self.pitch.setSuffix(" µm")
        self.pitch.setValue(200.0)
        self.pitch.setToolTip("From the centre of one spot to the next; the model's own is best")
        for box, low, high, value, tip in (
            (
                self.n_draws,
                2,
                1000,
                remembered.n_draws,
                "More samples: steadier uncertainty, longer runs",
            ),
            (
                self.n_steps,
                1,
                1000,
                remembered.n_steps,
                "Steps from noise to one sample; 16 suffice",
            ),
            (self.seed, 0, 2**31 - 1, remembered.seed, "The same number gives the same map again"),
        ):
            box.setRange(low, high)
            box.setValue(value)
            box.setToolTip(tip)
        for title, name in DEVICES.items():
            self.device.addItem(title, name)
        self.device.setCurrentIndex(max(0, self.device.findData(remembered.device)))
        self.device.setToolTip("Where to compute; Automatic takes a graphics card if there is one")

    def _lay_out(self) -> None:
        form = QFormLayout()
        choosing = QHBoxLayout()
        choosing.addWidget(self.choice, 1)
        choosing.addWidget(self.add_button)
        form.addRow(choosing)
        form.addRow(self.card)
        form.addRow("Spacing between spots", self.pitch)
        form.addRow("Samples per spot", self.n_draws)
        advanced_form = QWidget()
        inner = QFormLayout(advanced_form)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addRow("Steps per sample", self.n_steps)
        inner.addRow("Random seed", self.seed)
        inner.addRow("Compute on", self.device)
        self.advanced = Folding("More settings", advanced_form, is_open=False)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button)
        buttons.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.advanced)
        layout.addLayout(buttons)
        layout.addWidget(self.why_not)
        layout.addWidget(self.progress)
        layout.addWidget(self.progress_text)
        layout.addWidget(self.predictions)


def _features(encoder: str) -> str:
    return "built-in image features" if encoder == "bundled" else f"image features of {encoder}"
