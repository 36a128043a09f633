"""Model: which one, how finely and how often it predicts, how long that takes; Run and Cancel."""

from __future__ import annotations

import json
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLineEdit,
    QMenu,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from napari_stem.settings import MAX_STEPS, SamplingSettings
from napari_stem.widgets.common.cache_box import CacheBox
from napari_stem.widgets.common.download_control import DownloadRow
from napari_stem.widgets.common.form import Form, attribute_helps
from napari_stem.widgets.common.hints import few_samples
from napari_stem.widgets.common.memory import DEVICES
from napari_stem.widgets.common.parts import (
    Folding,
    Note,
    ProgressBar,
    button,
    count,
    duration,
    row,
    row_widget,
    stack,
    warning,
)
from napari_stem.widgets.common.predictions_list import PredictionsList
from napari_stem.widgets.model.encoder_box import EncoderBox
from napari_stem.widgets.slide.about_slide_box import AboutSlideBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.widgets.common.memory import Remembered

STAGES = {
    "starting": "Getting ready",
    "embedding": "Looking at the tissue",
    "sampling": "Predicting",
}
QUANTITIES = {"Counts": "counts", "Share of all counts (per 10,000)": "share"}
PATIENTS = {"New": "new", "As in training": "same"}
DEEPEST = 1e6  # counts per spot
DEVICE_TIP = "Where to compute; Automatic takes a graphics card if there is one"
MOST_SAMPLES = 1000
LARGEST_SEED = 2**31 - 1
PITCH_UM = (5.0, 2000.0)
FINER_UM = (100.0, 50.0)  # offered beside the model's own
# A laptop with two processor cores: to look at one spot, and for one denoising step of one sample.
LOOK_S = 0.025
STEP_S = 2e-5
START_S = 1.0
KEPT = 8  # measurements
OWN_TIP = "As the model was trained"
FINER_TIP = (
    "A finer map: the model is asked at each place. It looks as far round each spot as before, so "
    "that neighbours share tissue: the map is smoother, its detail not finer in the same measure"
)
LEAST_SPOTS = 32  # of a run that counts as a measurement


class Pace:
    """Estimates from what this machine needed, relative to a laptop.

    Parameters
    ----------
    remembered
        JSON as `as_text` gives it; anything else is a machine that has not run yet.
    """

    def __init__(self, remembered: str = "") -> None:
        self._factors: dict[str, list[float]] = {}
        try:
            told = json.loads(remembered or "{}")
            self._factors = {str(k): [float(f) for f in v][-KEPT:] for k, v in told.items()}
        except (ValueError, TypeError, AttributeError):  # a file edited by hand
            self._factors = {}

    def measured(
        self, settings: SamplingSettings, n_spots: int, seconds: float, *, looks: bool = True
    ) -> None:
        """Learn from a run; runs of few spots say more about starting than about pace.

        Parameters
        ----------
        settings, n_spots
            What it was.
        seconds
            How long it took.
        looks
            Whether an encoder looked at the spots; else embeddings came from a file.
        """
        if n_spots < LEAST_SPOTS or seconds <= 0:
            return
        factor = seconds / _laptop_s(settings, n_spots, looks=looks)
        key = _key(settings.device, looks=looks)
        self._factors[key] = [*self._factors.get(key, []), factor][-KEPT:]

    def estimate_s(self, settings: SamplingSettings, n_spots: int, *, looks: bool = True) -> float:
        """Seconds that a run will take, about."""
        device = settings.device
        factors = self._factors.get(_key(device, looks=looks)) or self._factors.get(device)
        laptop_s = _laptop_s(settings, n_spots, looks=looks)
        return laptop_s * (median(factors) if factors else 1.0)

    def is_measured(self, device: str, *, looks: bool = True) -> bool:
        """Whether this machine has made such a run before."""
        return bool(self._factors.get(_key(device, looks=looks)))

    def as_text(self) -> str:
        """JSON, to be remembered."""
        return json.dumps({k: [round(f, 4) for f in v] for k, v in self._factors.items()})


def _key(device: str, *, looks: bool) -> str:
    return device if looks else f"{device}, embeddings from a file"


def _laptop_s(settings: SamplingSettings, n_spots: int, *, looks: bool) -> float:
    return START_S + n_spots * (LOOK_S * looks + STEP_S * settings.n_draws * settings.n_steps)


class ModelChoice(QWidget):
    """Lists models and says what the chosen one is for."""

    chosen = Signal(str)  # name or folder; empty where none can be used

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self._wanted = wanted
        self.models: dict[str, dict[str, Any]] = {}  # by name or folder
        self.box = QComboBox()
        self.box.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.box.setToolTip(
            "The model that predicts; it must have been made for this kind of tissue"
        )
        self.add_button = button("Add…", "Add a model that was trained or downloaded")
        menu = QMenu(self.add_button)
        self.folder_action = menu.addAction("Folder…")
        self.zip_action = menu.addAction("Zip file…")
        menu.addAction("From Hugging Face…", self.ask_for_repository)
        menu.addSeparator()
        self.remove_action = menu.addAction("Take the chosen one off the list")
        self.add_button.setMenu(menu)
        self.card, self.warning = Note(), warning()
        self.hub_field = QLineEdit()
        self.hub_field.setPlaceholderText("owner/name on Hugging Face")
        self.hub_button = QPushButton("Get")
        self.hub_line = row_widget(self.hub_field, self.hub_button, stretched=0)
        self.row = DownloadRow()
        choosing = row(self.box, self.add_button, stretched=0)
        stack(self, choosing, self.hub_line, self.row, self.card, self.warning)
        self.hub_line.setVisible(False)
        self.box.activated.connect(self._choose)
        self.hub_field.returnPressed.connect(self.hub_button.click)

    def name(self) -> str:
        """Name or folder of the chosen model, empty where there is none."""
        return str(self.box.currentData() or "")

    def show_models(self, models: Sequence[dict[str, Any]], wanted: str = "") -> None:
        """List the models and choose one; those that cannot be used are greyed out and say why.

        Parameters
        ----------
        models
            Entries of ``list_models``; those that the user added have the ``folder`` (or zip) too.
        wanted
            Name or folder of the one to choose; else that chosen before, or in the last session.
        """
        self._wanted = wanted or self.name() or self._wanted
        self.models = {str(m.get("folder") or m["name"]): m for m in models}
        self.box.clear()
        for place, (name, model) in enumerate(self.models.items()):
            self.box.addItem(str(model["name"]), name)
            tip = name if model["ready"] else str(model["why_not"])
            self.box.setItemData(place, tip, Qt.ItemDataRole.ToolTipRole)
            self.box.model().item(place).setEnabled(bool(model["ready"]))
        ready = [name for name, model in self.models.items() if model["ready"]]
        name = self._wanted if self._wanted in ready else next(iter(ready), "")
        self.box.setCurrentIndex(self.box.findData(name))
        self._choose()

    def show_card(
        self, text: str, limits: Sequence[str] = (), warnings: Sequence[str] = ()
    ) -> None:
        """Say what the chosen model is for, in the tooltip what not to use it for, and what is alarming."""
        self.card.setText(text)
        self.card.setToolTip("\n".join(limits))
        self.warning.say("\n".join(warnings))

    def ask_for_repository(self) -> None:
        """Show the field for a repository on Hugging Face."""
        self.hub_line.setVisible(True)
        self.hub_field.setFocus()

    def show_fetching(self, *, is_busy: bool) -> None:
        """Take no second repository while one is on its way."""
        self.hub_line.setEnabled(not is_busy)

    def _choose(self) -> None:
        name = self.name()
        self.remove_action.setEnabled("folder" in self.models.get(name, {}))
        if not name:
            self.show_card("No model can be used here; see “napari-stem models” for the reasons.")
        self.chosen.emit(name)


class ModelPanel(QWidget):
    """Holds the parameters of a run; asks for it and for its end."""

    def __init__(self, remembered: Remembered) -> None:
        super().__init__()
        self._n_spots = 0
        self._is_running = False
        self._missing = self._wary = ""
        self.missing = ""  # of the model and its encoder, for the active slide
        self.takes_file = False  # of embeddings: spots are then its patches, not the lattice's
        self.pace = Pace(remembered.pace)
        self.models = ModelChoice(remembered.model_name)
        self.choice, self.card = self.models.box, self.models.card
        self.encoders = EncoderBox(remembered.encoder_folder, is_offline=remembered.works_offline)
        self.about = AboutSlideBox()
        self.pitch = _pitch_box()
        self.pitches: dict[float, QRadioButton] = {}  # offered, with what each costs
        self._pitch_rows = QVBoxLayout()
        self._pitch_buttons = [QRadioButton(self) for _ in range(1 + len(FINER_UM))]
        for place, made in enumerate(self._pitch_buttons):
            made.clicked.connect(partial(self._choose_pitch, place))
            self._pitch_rows.addWidget(made)
        self._form = Form(
            SamplingSettings,
            n_draws={"min": 2, "max": MOST_SAMPLES},
            n_steps={"min": 1, "max": MAX_STEPS},
            seed={"max": LARGEST_SEED},
            quantity={"choices": list(QUANTITIES.items())},
            depth={"max": DEEPEST, "step": 1000},
            patient={"choices": list(PATIENTS.items())},
            device={"choices": list(DEVICES.items()), "tooltip": DEVICE_TIP},
        )
        self.n_draws, self.n_steps = self._form["n_draws"], self._form["n_steps"]
        self.seed, self.device = self._form["seed"], self._form["device"]
        self.quantity, self.depth = self._form["quantity"], self._form["depth"]
        self.patient = self._form["patient"]
        self.depth.setDecimals(0)
        self.depth.setSpecialValueText("as in training")
        self.depth.setSuffix(" counts per spot")
        self.quantity.setCurrentIndex(list(QUANTITIES.values()).index(remembered.quantity))
        self.patient.setCurrentIndex(list(PATIENTS.values()).index(remembered.patient))
        self.seed.setValue(remembered.seed)
        self.prefer(remembered)
        self.run_button, self.cancel_button = QPushButton("Run"), QPushButton("Cancel")
        self.why_not = Note()
        self.caution = warning()  # of regions and samples
        self.cache = CacheBox(remembered.cache_folder)
        self.scale_warning = warning()  # that the pixel size may be wrong
        self.progress, self.progress_text = ProgressBar(), Note()
        self.bar = QWidget()  # of the run, in sight whatever part is looked at
        self.predictions = PredictionsList()
        self._lay_out()
        self.models.chosen.connect(self._refresh_run_button)
        for changed in (
            self.n_draws.valueChanged,
            self.n_steps.valueChanged,
            self.device.currentIndexChanged,
        ):
            changed.connect(self._refresh_run_button)
        self.offer_pitches(self.pitch.value())
        self.show_spots(0)
        self.show_idle()

    def prefer(self, remembered: Remembered) -> None:
        """Show what the user prefers."""
        self.n_draws.setValue(remembered.n_draws)
        self.n_steps.setValue(remembered.n_steps)
        self.device.setCurrentIndex(max(0, self.device.findText(remembered.device)))

    def settings(self) -> SamplingSettings:
        """Return the parameters as chosen."""
        return self._form.settings()

    def offer_steps(self, *, has_network: bool) -> None:
        """Offer steps for models that generate in several; a Gaussian is drawn at once."""
        self.n_steps.setEnabled(has_network)
        told = attribute_helps(SamplingSettings)["n_steps"]
        self.n_steps.setToolTip(told if has_network else "This model draws a sample in one step")

    def offer_pitches(self, own_um: float) -> None:
        """Offer the spacing that the model was trained with, and finer ones."""
        offered = (own_um, *(finer for finer in FINER_UM if finer < own_um))
        self.pitches = dict(zip(offered, self._pitch_buttons, strict=False))
        for place, made in enumerate(self._pitch_buttons):
            made.setVisible(place < len(offered))
            made.setToolTip(FINER_TIP if place else OWN_TIP)
        self._refresh_run_button()

    def _choose_pitch(self, place: int, *_: object) -> None:
        self.pitch.setValue(list(self.pitches)[place])

    def _show_costs(self) -> None:
        """Say of each spacing how many spots it takes, near enough, and how long."""
        for pitch_um, made in self.pitches.items():
            n_spots = round(self._n_spots * (self.pitch.value() / pitch_um) ** 2)
            seconds = self.pace.estimate_s(self.settings(), n_spots, looks=not self.takes_file)
            cost = f": {count(n_spots, 'spot')}, {duration(seconds)}" if n_spots else ""
            made.setText(f"{pitch_um:g} µm{cost}")
            made.setAutoExclusive(False)  # none is checked where another was typed
            made.setChecked(pitch_um == self.pitch.value())
            made.setAutoExclusive(True)
            made.setEnabled(not self.takes_file)

    def model_name(self) -> str:
        """Name of the chosen model, empty where there is none."""
        return self.models.name()

    def show_spots(self, n_spots: int, missing: str = "", wary: str = "") -> None:
        """Say on the Run button how much there is to do, beside it what is missing or to be wary of."""
        self._n_spots, self._missing, self._wary = n_spots, missing, wary
        self._refresh_run_button()

    def learn_pace(self, n_spots: int, seconds: float, *, looks: bool = True) -> None:
        """Learn from a run with the settings of now how long runs take here."""
        self.pace.measured(self.settings(), n_spots, seconds, looks=looks)
        self._refresh_run_button()

    def show_running(
        self,
        stage: str,
        n_done: int,
        n_spots: int,
        seconds_left: float | None,
        on: str = "",
        device: str = "",
    ) -> None:
        """Show how far a run is; ``on`` names a slide that is not looked at, ``device`` what computes."""
        self.progress.show_share(n_done, n_spots)
        text = on + STAGES.get(stage, stage)
        if stage == "sampling":
            text += f": {n_done:,} of {count(n_spots, 'spot')} done"
        if seconds_left is not None:
            text += f", {duration(seconds_left)} left"
        self.progress_text.say(f"{text} ({device})" if device else text)
        self._show_run(is_running=True)

    def show_cancelling(self) -> None:
        """Show that Cancel was heard."""
        self.cancel_button.setEnabled(False)
        self.progress_text.say("Stopping; what is finished is kept.")

    def show_idle(self, text: str = "") -> None:
        """Show that nothing runs, and how the last run ended."""
        self.progress_text.say(text)
        self._show_run(is_running=False)

    def _show_run(self, *, is_running: bool) -> None:
        self._is_running = is_running
        self.progress.setVisible(is_running)
        self.cancel_button.setVisible(is_running)
        self.cancel_button.setEnabled(is_running)
        self.run_button.setVisible(not is_running)
        self._refresh_run_button()

    def _refresh_run_button(self) -> None:
        self._show_costs()
        settings, n_spots, looks = self.settings(), self._n_spots, not self.takes_file
        missing = self._missing or ("" if self.model_name() else "No model is ready yet.")
        is_ready = n_spots > 0 and not missing
        wary = (self._wary, few_samples(settings.n_draws)) if is_ready else ()
        told = self.progress_text.text()
        self.caution.say(" ".join(each for each in wary if each not in told))
        self.run_button.setEnabled(is_ready)
        self.why_not.setText("" if is_ready else missing or "Choose a region first.")
        self.why_not.setVisible(not is_ready and not self._is_running)
        if not is_ready:
            self.run_button.setText("Run")
            return
        seconds = self.pace.estimate_s(settings, n_spots, looks=looks)
        text = count(n_spots, "spot") if looks else _patches(n_spots)
        self.run_button.setText(f"Run: {text} × {settings.n_draws} samples, {duration(seconds)}")
        where = "" if looks else "Predicted is where the patches of the file lie in the regions. "
        whose = (
            "what your last runs took"
            if self.pace.is_measured(settings.device, looks=looks)
            else "a laptop's; after the first run it is this computer's"
        )
        self.run_button.setToolTip(f"{where}The time is {whose} (Ctrl+Return runs)")

    def ask_depth(self, depth: float) -> None:
        """Ask for counts of a sequencing depth, in counts per spot."""
        self.quantity.setCurrentIndex(list(QUANTITIES.values()).index("counts"))
        self.depth.setValue(depth)
        self.advanced.open()
        show_info(
            f"The next run gives counts at {self.depth.value():,.0f} per spot (Sequencing depth, in Model)."
        )

    def _lay_out(self) -> None:
        form, numbers = QFormLayout(), QFormLayout()
        form.addRow(self.models)
        form.addRow(self.encoders)
        form.addRow("Spacing between spots", self.pitch)
        form.addRow(self._pitch_rows)
        form.addRow("Samples per spot", self.n_draws)
        form.addRow("Values", self.quantity)
        form.addRow("Patient", self.patient)
        numbers.addRow("Sequencing depth", self.depth)
        numbers.addRow("Steps per sample", self.n_steps)
        numbers.addRow("Random seed", self.seed)
        numbers.addRow("Compute on", self.device)
        further = QWidget()
        stack(further, numbers)
        self.about_part = Folding("About this slide", self.about, is_open=False)
        self.advanced = Folding("More settings", further, is_open=False)
        stack(
            self,
            form,
            self.advanced,
            self.about_part,
            self.scale_warning,
            self.predictions,
        )
        stack(
            self.bar,
            self.cache,
            self.progress_text,
            self.progress,
            self.caution,
            self.why_not,
            row(self.run_button, self.cancel_button),
        ).setSpacing(4)


def _pitch_box() -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(*PITCH_UM)
    box.setDecimals(0)
    box.setSingleStep(10.0)
    box.setSuffix(" µm")
    box.setValue(200.0)
    box.setToolTip("From the centre of one spot to the next; the model's own is best")
    return box


def _patches(number: int) -> str:
    return f"{number:,} patch of the file" if number == 1 else f"{number:,} patches of the file"
