"""Model: which one, through which encoder, how finely and how often it predicts."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QRadioButton, QVBoxLayout, QWidget

from napari_stem.errors import ModelError, StemError
from napari_stem.geometry import lattice
from napari_stem.model import load_model
from napari_stem.model.serving import require_resolution
from napari_stem.settings import SamplingSettings, settings_of
from napari_stem.slide.tissue import view_of
from napari_stem.texts import count
from napari_stem.widgets.common.form import Form, number
from napari_stem.widgets.common.memory import DEVICES, PREDICTING, PREFERENCES, Remembered
from napari_stem.widgets.common.parts import Folding, duration, labelled, one_shot, stack
from napari_stem.widgets.model.model_choice import EncoderBox, ModelChoice
from napari_stem.widgets.model.predictions import PredictionsList
from napari_stem.widgets.slide.about_slide_box import AboutSlideBox, ScaleWarning

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_stem.encoders.base import Encoder
    from napari_stem.model.bundle import Model
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.genes.map_display import MapDisplay
    from napari_stem.widgets.slide.slide_panel import SlidePanel

QUANTITIES = {"Counts": "counts", "Share of all counts (per 10,000)": "share"}
PATIENTS = {"New": "new", "As in training": "same"}
DEEPEST, PER_SPOT = 1e6, " counts per spot"
DEVICE_TIP = "Where to compute; Automatic takes a graphics card if there is one"
MOST_SAMPLES = 1000  # as napari.yaml has it, which keeps them; `napari_stem.settings` allow more
PITCH_TIP = "From the centre of one spot to the next; the model's own is best"
# settings that are remembered from one session to the next
REMEMBERED = {each.name for each in fields(SamplingSettings)} & vars(Remembered()).keys()
FINER_UM = (100.0, 50.0)  # offered beside the model's own
ONE_STEP = "This model draws a sample in one step"
FINER_TIP = (
    "A finer map: the model is asked at each place. It looks as far round each spot as before, so "
    "that neighbours share tissue: the map is smoother, its detail not finer in the same measure"
)
WARM_UP_AFTER_MS = 4000  # loading libraries would hold up a slide's first pictures and its tissue
# A laptop with two processor cores: to look at one spot, and for one denoising step of one sample.
LOOK_S, STEP_S, START_S = 0.025, 2e-5, 1.0
KEPT = 8  # measurements
LEAST_SPOTS = 32  # of a run that counts as a measurement


@dataclass(frozen=True)
class Effort:
    """What a run asks of a machine."""

    settings: SamplingSettings
    looks: bool = True  # an encoder looks at the spots; else embeddings come from a file
    has_network: bool = True  # else the model draws a sample in one step

    @property
    def kind(self) -> str:
        """Where which work is done."""
        device = self.settings.device
        return device if self.looks else f"{device}, embeddings from a file"

    def laptop_s(self, n_spots: int) -> float:
        """Seconds that it takes a laptop."""
        n_steps = self.settings.n_draws * (self.settings.n_steps if self.has_network else 1)
        return START_S + n_spots * (LOOK_S * self.looks + STEP_S * n_steps)


class Pace:
    """Estimates from what this machine needed, relative to a laptop, ``remembered`` as `as_text` gives it.

    Anything else is a machine that has not run yet.
    """

    def __init__(self, remembered: str = "") -> None:
        self._factors: dict[str, list[float]] = {}  # by kind of effort
        with suppress(ValueError, TypeError, AttributeError):  # a file edited by hand
            told = json.loads(remembered or "{}")
            self._factors = {str(k): [float(f) for f in v][-KEPT:] for k, v in told.items()}

    def measured(self, effort: Effort, n_spots: int, seconds: float) -> None:
        """Learn from a run; runs of few spots say more about starting than about pace."""
        if n_spots >= LEAST_SPOTS and seconds > 0:
            factors = *self._factors.get(effort.kind, ()), seconds / effort.laptop_s(n_spots)
            self._factors[effort.kind] = list(factors[-KEPT:])

    def estimate_s(self, effort: Effort, n_spots: int) -> float:
        """Seconds that a run will take, about."""
        known = self._factors.get(effort.kind) or self._factors.get(effort.settings.device)
        return effort.laptop_s(n_spots) * median(known or [1.0])

    def is_measured(self, effort: Effort) -> bool:
        """Whether this machine has made such a run before."""
        return bool(self._factors.get(effort.kind))

    def as_text(self) -> str:
        """JSON, to be remembered."""
        return json.dumps({k: [round(f, 4) for f in v] for k, v in self._factors.items()})


class ModelPanel(QWidget):
    """Holds what a run depends on beside the regions; says what is missing before one can predict."""

    changed = Signal()  # the model, what it offers, or what is missing

    def __init__(
        self, jobs: Jobs, slides: SlidePanel, maps: MapDisplay, remembered: Remembered
    ) -> None:
        super().__init__()
        self._jobs, self._slides = jobs, slides
        self._model: Model | None = None  # the chosen one, once it is loaded
        self._warm: tuple[Model | None, str, Encoder | None] = None, "", None  # for it, on a device
        self._warming = one_shot(jobs, WARM_UP_AFTER_MS, self._warm_up)
        self.pace = Pace(remembered.pace)
        self.predictions = PredictionsList(jobs, maps, slides)
        self.models = ModelChoice(jobs, remembered, self._choose)
        self.about = AboutSlideBox(jobs, slides, self.models)
        self.encoders = EncoderBox(jobs, remembered, self._on_missing)
        self.pitch = number((5.0, 2000.0), 200, PITCH_TIP, suffix=" µm", step=10)
        # until the user states another, a model's own replaces it; None: a session has stated it
        self._pitch_um: float | None = self.pitch.value()
        self.pitches: dict[float, QRadioButton] = {}  # offered, with what each costs
        self._pitch_rows = QVBoxLayout()
        self._pitch_buttons = [QRadioButton() for _ in range(1 + len(FINER_UM))]
        for place, made in enumerate(self._pitch_buttons):
            made.clicked.connect(partial(self._choose_pitch, place))
            self._pitch_rows.addWidget(made)
        self.form = Form(
            SamplingSettings,
            n_draws={"label": "Samples per spot", "max": MOST_SAMPLES},
            quantity={"label": "Values", "choices": list(QUANTITIES.items())},
            patient={"label": "Patient", "choices": list(PATIENTS.items())},
            depth={"label": "Sequencing depth", "max": DEEPEST, "step": 1000, "suffix": PER_SPOT},
            n_steps={"label": "Steps per sample"},
            seed={"label": "Random seed"},
            device={"label": "Compute on", "choices": list(DEVICES.items()), "tooltip": DEVICE_TIP},
        )
        self.form["depth"].setDecimals(0)
        self.form["depth"].setSpecialValueText("as in training")
        self.prefer(remembered, REMEMBERED)
        self.scale_warning = ScaleWarning(jobs, slides)
        self._lay_out()
        self._offer_pitches(self.pitch.value())
        self.about.changed.connect(self._on_missing)
        slides.activated.connect(lambda _: self._load_ahead())

    def prefer(
        self, remembered: Remembered, names: Iterable[str] = PREFERENCES[PREDICTING]
    ) -> None:
        """Show settings as remembered: what the user prefers."""
        values = vars(remembered) | {"device": DEVICES.get(remembered.device)}
        self.form.restore({name: values[name] for name in names})

    def choices(self) -> dict[str, Any]:
        """Return what to remember of the settings."""
        settings = self.settings()
        values = {name: getattr(settings, name) for name in REMEMBERED}
        return values | {"device": self.form["device"].currentText()}

    def settings(self) -> SamplingSettings:
        """Return the parameters as chosen."""
        return self.form.settings()

    def run_settings(self) -> dict[str, float]:
        """Return what a run depends on that is no remembered choice, for a session."""
        depth = {"depth": self.settings().depth}
        # before a model is loaded, the spacing is nobody's
        return depth if self._model is None else {"pitch_um": self.pitch.value(), **depth}

    def restore_run(self, saved: Mapping[str, Any]) -> None:
        """Show what `run_settings` gave; what is missing or wrong stays as it is."""
        for name, field in (("pitch_um", self.pitch), ("depth", self.form["depth"])):
            value = saved.get(name)
            if isinstance(value, int | float) and field.minimum() <= value <= field.maximum():
                field.setValue(value)
                self._pitch_um = None if field is self.pitch else self._pitch_um

    def effort(self) -> Effort:
        """Return what a run as chosen asks of this machine."""
        has_network = self.form["n_steps"].isEnabled()
        return Effort(self.settings(), not self.takes_file, has_network)

    @property
    def missing(self) -> str:
        """What the model and its encoder lack for the active slide; empty where nothing is."""
        missing = self.about.missing()
        if missing or self.about.has_embeddings:
            return missing
        return self.encoders.missing() or self._too_coarse()

    def _too_coarse(self) -> str:
        """Say so where the encoder, once it is loaded, finds too little to see in the active slide."""
        slide, (model, encoder) = self._slides.slide, self.loaded()
        if slide and slide.mpp and model and encoder:
            try:
                require_resolution(model.config, encoder.patch, slide.mpp)
            except ModelError as error:
                return str(error)
        return ""

    @property
    def takes_file(self) -> bool:
        """Whether embeddings come from a file: spots are then its patches, not the lattice's."""
        return self.about.embedder is not None

    def model_name(self) -> str:
        """Name of the chosen model, empty where there is none."""
        return self.models.name()

    def show_costs(self, n_now: int) -> None:
        """Say of each spacing how many spots it takes, near enough, and how long, by the pace of this machine.

        ``n_now`` are those at the spacing that is chosen.
        """
        effort = self.effort()
        for pitch_um, made in self.pitches.items():
            n_spots = round(n_now * (self.pitch.value() / pitch_um) ** 2)
            takes = duration(self.pace.estimate_s(effort, n_spots))
            about = "" if pitch_um == self.pitch.value() else "about "  # a run lays them anew
            cost = f": {about}{count(n_spots, 'spot')}, {takes}" if n_spots else ""
            made.setText(f"{pitch_um:g} µm{cost}")
            made.setAutoExclusive(False)  # none is checked where another was typed
            made.setChecked(pitch_um == self.pitch.value())
            made.setAutoExclusive(True)
            made.setEnabled(effort.looks)

    def _offer_pitches(self, own_um: float) -> None:
        offered = (own_um, *(finer for finer in FINER_UM if finer < own_um))
        self.pitches = dict(zip(offered, self._pitch_buttons, strict=False))
        for place, made in enumerate(self._pitch_buttons):
            made.setVisible(place < len(offered))
            made.setToolTip(FINER_TIP if place else "As the model was trained")

    def _choose_pitch(self, place: int, *_: object) -> None:
        self.pitch.setValue(list(self.pitches)[place])

    def _choose(self) -> None:
        if self._model is not None:
            self._pitch_um = self.pitch.value()
        config, self._model = self.models.config(), None
        if config is not None:
            # others draw from a Gaussian, at once
            has_network, n_steps = bool(config.denoiser), self.form["n_steps"]
            n_steps.setEnabled(has_network)
            help_ = settings_of(SamplingSettings)["n_steps"].help
            n_steps.setToolTip(help_ if has_network else ONE_STEP)
            self.encoders.want(config.encoder)
            self.about.refresh()
            self._load_ahead()
        self.changed.emit()

    def _on_missing(self) -> None:
        self._warming.start()  # the encoder may have come: load it too
        self.changed.emit()

    def _load_ahead(self) -> None:
        """Load the chosen model, once there is a slide to run it on."""
        name = self.model_name()
        if not name or self._slides.slide is None:
            return
        if self._model is not None:
            self._warming.start()
        else:
            self._jobs.start(load_model, name, done=partial(self._take, name))

    def _warm_up(self) -> None:
        slide = self._slides.slide
        if self._model is not None and slide is not None:
            model, encoder = self.loaded()
            device = self.form["device"].currentText()

            def keep(found: Encoder | None) -> None:
                self._warm = model, device, found
                self.changed.emit()

            asked = slide, self._model, self.settings(), self.pitch.value(), encoder
            self._jobs.start(_warm_up, *asked, done=keep)

    def loaded(self) -> tuple[Model | None, Encoder | None]:
        """Return the chosen model, and its encoder on the chosen device, where they are loaded."""
        model, device, encoder = self._warm
        is_it = model is self._model and device == self.form["device"].currentText()
        return self._model, encoder if is_it else None

    def _take(self, name: str, model: Model) -> None:
        if name != self.model_name() or self._model is not None:
            return
        self._model = model
        self._warming.start()
        self._offer_pitches(model.pitch_um)
        if self.pitch.value() == self._pitch_um:
            self.pitch.setValue(model.pitch_um)
        self.models.show_loaded(model)
        self.changed.emit()

    def ask_depth(self, depth: float) -> None:
        """Ask for counts of a sequencing depth, in counts per spot."""
        self.form["quantity"].setCurrentIndex(self.form["quantity"].findData("counts"))
        field = self.form["depth"]
        field.setValue(depth)
        self.advanced.open()
        show_info(
            f"The next run gives counts at {field.value():,.0f} per spot (Sequencing depth, in Model)."
        )

    def _lay_out(self) -> None:
        form = labelled({})
        form.addRow(self.models)
        form.addRow(self.encoders)
        form.addRow("Spacing between spots", self.pitch)
        form.addRow(self._pitch_rows)
        self.form.rows("n_draws", "quantity", "patient", below=form)
        further = QWidget()
        stack(further, self.form.rows())
        about = Folding("About this slide", self.about, is_open=False)
        self.advanced = Folding("More settings", further, is_open=False)
        stack(self, form, self.advanced, about, self.scale_warning, self.predictions)


def _warm_up(
    slide: Slide, model: Model, settings: SamplingSettings, pitch_um: float, encoder: Encoder | None
) -> Encoder | None:
    """Do what a run would wait for, which takes seconds, so that Run then starts at once; load the encoder."""
    from napari_stem.device import torch_device
    from napari_stem.model.serving import encoder_of
    from napari_stem.prediction_job import PredictionJob

    model.prepare(settings)
    # what is missing, and how to get it, the panel says, or the run
    with suppress(StemError, OSError), TemporaryDirectory() as folder:
        spot = lattice(slide.size, slide.require_mpp(), pitch_um).take(slice(0, 1))
        _ = view_of(slide).usual_mask
        job = PredictionJob.planned(slide, model, settings, spots=spot, keep_draws=None)
        encoder = encoder or encoder_of(model, torch_device(settings.device))
        job = replace(job, encoder=encoder)
        job.embed_few()  # an encoder's first patch takes many times as long as another
        job.create_or_resume(Path(folder) / "ahead.zarr", resume=False)
    return encoder
