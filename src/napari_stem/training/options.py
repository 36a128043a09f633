"""What a training is asked for, and how each of its denoisers is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari_stem.errors import ModelError
from napari_stem.spatial.normalise import normalisation

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.diffusion.denoiser import DenoiserConfig
    from napari_stem.encoders.precomputed import Stated
    from napari_stem.model.config import Objective
    from napari_stem.spatial.normalise import NormalisationName

STRIPS = 4  # parts of a single section that are left out in turn


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a denoiser is trained."""

    objective: Objective  # ``edm`` or ``published``
    denoiser: DenoiserConfig  # network to build
    steps: int  # optimiser steps at the most
    eval_every: int  # steps between two looks at held-out spots
    batch: int  # spots per step, over all processes
    # learning_rate, weight_decay: of AdamW
    learning_rate: float
    weight_decay: float
    # standard deviation of noise added to the (unit-variance) condition. Every training spot has a condition of
    # its own: told exactly, the network would learn the spots by heart.
    condition_noise: float
    ema: float  # memory of the averaged weights, approached as ``(1 + step) / (10 + step)``
    seconds: float | None = None  # time limit, None for none
    # of the network's evaluation; losses and weights are float32
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = False  # whether to try ``torch.compile``
    seed: int = 0  # of initialisation, batches and noise
    device: str = "cpu"  # where it trains


def resolved_precision(name: str, device: str) -> Literal["float32", "bf16"]:
    """Resolve ``auto``: bf16 on CUDA devices that multiply it, else float32."""
    if name == "auto":
        from napari_stem.diffusion.slices import multiplies_bf16

        return "bf16" if multiplies_bf16(device) else "float32"
    return "bf16" if name == "bf16" else "float32"


Size = Literal["small", "full"]
PrecisionName = Literal["auto", "float32", "bf16"]
LogKind = Literal["csv", "tensorboard", "none"]

DEFAULT_STEPS = {
    ("edm", "small"): 140,
    ("published", "small"): 4000,
    ("published", "full"): 200_000,
}
_LOOKS = {"edm": 7, "published": 14}  # at held-out spots, while one denoiser trains


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What `train` and `fit_sections` are asked for.

    Attributes
    ----------
    hold_out
        Sections that training never sees; evaluated at the end.
    genes
        Panel: ``hmhvg:200``, ``hvg:50``, ``set:NAME``, a file, or several joined by ``+``, as
        `napari_stem.spatial.panels.parse_panel` reads it.
    encoder
        Name in the registry; of ``embeddings``, whatever their files say.
    embeddings
        Folder with a file of embeddings for every section, in place of an encoder; None: the encoder looks.
    stated
        What those files do not say.
    objective
        ``edm`` (a mean and residual diffusion) or ``published`` (Stem's own).
    size
        Of the published network: ``small`` (4 blocks of width 96, batch 64) for a laptop, ``full`` as published
        (12 blocks of width 384, 6 heads, batch 256). Ours has one size.
    minutes
        Limit for training all denoisers together.
    steps
        Optimiser steps at the most; None takes the objective's default. Ours chooses the number of steps
        among these on left-out sections; with 0 it draws the residual's Gaussian as it is. The published
        objective makes them all; told neither ``minutes`` nor ``steps``, it chooses too.
    batch
        Spots per step, over all processes; None for the size's own.
    augment
        Whether each draw of a spot is one of its 8 turns (needs sections loaded ``turned``); None: yes for the
        published objective, no for ours and where embeddings come from files.
    calibrate
        Whether the published objective's spread is calibrated on left-out sections, which takes as many more
        trainings as there are sections. Ours always is.
    ema
        Memory of the averaged weights; None: 0.9999 as published, 0.995 for ours. It is ramped up as
        ``min(ema, (1 + step) / (10 + step))``, so that short trainings average sensibly too.
    precision
        ``bf16`` (autocast), ``float32``, or ``auto``: bf16 on CUDA devices that have it.
    compile
        Whether the network goes through ``torch.compile``; where that fails it goes on without.
    seed
        Of everything random.
    device
        Where encoder and denoiser run.
    name
        Of the model; None takes the folder's.
    normalisation
        Unit of the values.
    log
        ``csv`` or ``tensorboard`` in the model folder's ``logs``, or ``none``.
    checkpoint_minutes
        Time between two checkpoints, in minutes.
    resume
        Whether to go on from the model folder's checkpoints.
    keep_checkpoints
        Whether they stay once the model is finished.

    Raises
    ------
    ModelError
        A word is none of those to choose among, or a number is out of range.
    DatasetError
        There is no such normalisation.
    """

    hold_out: tuple[str, ...] = ()
    genes: str = "hmhvg:200"
    encoder: str = "bundled"
    embeddings: Path | None = None
    stated: Stated | None = None
    objective: Objective = "edm"
    size: Size = "small"
    minutes: float | None = None
    steps: int | None = None
    batch: int | None = None
    augment: bool | None = None
    calibrate: bool = False
    ema: float | None = None
    precision: PrecisionName = "auto"
    compile: bool = False
    seed: int = 0
    device: str = "cpu"
    name: str | None = None
    normalisation: NormalisationName = "log2_counts"
    log: LogKind = "csv"
    checkpoint_minutes: float = 10
    resume: bool = False
    keep_checkpoints: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be asked for."""
        from napari_stem.model.config import Objective

        normalisation(self.normalisation)
        choices = {"objective": Objective, "size": Size, "precision": PrecisionName, "log": LogKind}
        for name, kind in choices.items():
            known, asked = get_args(kind), getattr(self, name)
            if asked not in known:
                raise ModelError(f"There is no {name} '{asked}'; choose {' or '.join(known)}.")
        fewest = 0 if self.objective == "edm" else 1
        required = {
            f"steps must be a whole number from {fewest}": self.steps is None
            or self.steps >= fewest,
            "batch must be a whole number from 1": self.batch is None or self.batch >= 1,
            "minutes must be more than 0": self.minutes is None or self.minutes > 0,
            "ema must be from 0 to less than 1": self.ema is None or 0 <= self.ema < 1,
            "checkpoint_minutes must be 0 or more": self.checkpoint_minutes >= 0,
        }
        for requirement, is_met in required.items():
            if not is_met:
                raise ModelError(f"{requirement}.")

    @property
    def trains(self) -> bool:
        """Whether a denoiser is trained at all."""
        return self.steps != 0 or self.objective != "edm"

    @property
    def augments(self) -> bool:
        """Whether training draws among the 8 turns of each patch."""
        if self.augment is None:
            return self.objective == "published" and self.embeddings is None
        return self.augment

    @property
    def chooses_steps(self) -> bool:
        """Whether the number of steps is chosen on left-out sections."""
        return self.objective == "edm" or (self.steps is None and self.minutes is None)

    @property
    def is_calibrated(self) -> bool:
        """Whether the spread is fitted to left-out sections."""
        return self.objective == "edm" or self.calibrate

    def n_fits(self, n_sections: int) -> int:
        """How many denoisers are trained on this many sections: one on all, and one per left-out part."""
        if not self.trains or not (self.chooses_steps or self.is_calibrated):
            return 1
        return 1 + (n_sections if n_sections > 1 else STRIPS)

    def fingerprint_options(self) -> dict[str, Any]:
        """Return what the outcome depends on: a checkpoint goes on under these only."""
        names = (
            "objective size steps batch augments is_calibrated chooses_steps ema precision compile seed "
            "encoder normalisation hold_out"
        )
        return {name: getattr(self, name) for name in names.split()}


def fit_settings(options: TrainingOptions, sizes: tuple[int, int], n_fits: int) -> FitSettings:
    """How each of ``n_fits`` denoisers is trained; they share the time limit.

    ``sizes`` are the widths of what a denoiser generates, and of what it is told.
    """
    from napari_stem.diffusion.denoiser import DenoiserConfig

    objective, (n_generated, width) = options.objective, sizes
    is_ours, is_full = objective == "edm", options.size == "full"
    if is_ours:
        denoiser = DenoiserConfig(
            n_genes=n_generated,
            condition_width=width,
            hidden=64,
            depth=2,
            dropout=0.3,
            condition_dropout=0.3,
        )
    else:
        denoiser = DenoiserConfig.published(n_generated, width)
        if not is_full:
            denoiser = replace(denoiser, hidden=96, depth=4, heads=4)
    size = "small" if is_ours else options.size
    steps = options.steps or DEFAULT_STEPS[objective, size]
    own_batch = 128 if is_ours else 256 if is_full else 64
    return FitSettings(
        objective=objective,
        denoiser=denoiser,
        steps=steps,
        eval_every=max(1, steps // _LOOKS[objective]) if options.chooses_steps else steps,
        batch=options.batch or own_batch,
        learning_rate=1e-4 if is_full and not is_ours else 3e-4,
        weight_decay=1e-2 if is_ours else 0.0,
        condition_noise=0.6 if is_ours else 0.0,
        ema=(0.995 if is_ours else 0.9999) if options.ema is None else options.ema,
        seconds=options.minutes * 60 / n_fits if options.minutes else None,
        precision=resolved_precision(options.precision, options.device),
        compile=options.compile,
        seed=options.seed,
        device=options.device,
    )
