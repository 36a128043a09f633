"""What a training is asked for, and how each of its denoisers is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path  # noqa: TC003 - a field's type
from typing import TYPE_CHECKING, Annotated, Any, Literal

from napari_stem.errors import ModelError
from napari_stem.settings import MAX_SEED, Bounds, Objective, Stated, require_possible
from napari_stem.spatial.normalise import NormalisationName  # noqa: TC001 - a field's type

if TYPE_CHECKING:
    from napari_stem.diffusion.denoiser import DenoiserConfig

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
        Sections to test on, never trained on.
    genes
        hmhvg:N, hvg:N, set:NAME, a file, or several joined by + (see 'genes'). As
        `napari_stem.spatial.panels.parse_panel` reads it.
    encoder
        Name in the registry; of ``embeddings``, whatever their files say.
    embeddings
        Folder with embeddings made elsewhere, SECTION.h5 (.zarr, .h5ad, .pt, .npz). One file for every section,
        in place of an encoder; None: the encoder looks.
    stated
        What those files do not say.
    objective
        What to train: ours (``edm``), or ``published`` Stem's. Ours is a mean and residual diffusion.
    size
        Size of the published network; full: 12 x 384. ``small`` (4 blocks of width 96, batch 64) for a laptop,
        ``full`` as published (12 blocks of width 384, 6 heads, batch 256). Ours has one size.
    minutes
        Train for this long at the most. All denoisers share it.
    steps
        Training steps at the most. None takes the objective's default. Ours chooses the number of steps among
        these on left-out sections; with 0 it draws the residual's Gaussian as it is. The published objective
        makes them all; told neither ``minutes`` nor ``steps``, it chooses too.
    batch
        Spots per step, over all processes. None for the size's own.
    augment
        Train on 8 turns of each patch; default: published objective only. Each draw of a spot is one of them
        (needs sections loaded ``turned``); None: yes for the published objective, no for ours and where
        embeddings come from files.
    calibrate
        Calibrate the published objective too, on left-out sections. It takes as many more trainings as there
        are sections. Ours always is.
    ema
        Decay of the averaged weights. None: 0.9999 as published, 0.995 for ours. It is ramped up as ``min(ema,
        (1 + step) / (10 + step))``, so that short trainings average sensibly too.
    precision
        auto: bf16 where CUDA has it. Else float32; ``bf16`` is by autocast.
    compile
        Use torch.compile. Where that fails it goes on without.
    checkpoint_minutes
        Minutes between two checkpoints.
    resume
        Go on from the checkpoints in the model folder.
    keep_checkpoints
        Keep checkpoints when the model is finished.
    log
        Curves of the training, in the model folder's logs.
    seed
        The same seed gives the same numbers.
    device
        Where encoder and denoiser run.
    name
        Name of the model; default: the folder's.
    normalisation
        Unit of the values.

    Raises
    ------
    ModelError
        A word is none of those to choose among, or a number is out of its bounds.
    """

    hold_out: tuple[str, ...] = ()
    genes: str = "hmhvg:200"
    encoder: str = "bundled"
    embeddings: Path | None = None
    stated: Stated | None = None
    objective: Objective = "edm"
    size: Size = "small"
    normalisation: NormalisationName = "log2_counts"
    minutes: Annotated[float | None, Bounds(0, is_open=True)] = None
    steps: Annotated[int | None, Bounds(0)] = None
    batch: Annotated[int | None, Bounds(1)] = None
    augment: bool | None = None
    calibrate: bool = False
    ema: Annotated[float | None, Bounds(0, 0.999999)] = None
    precision: PrecisionName = "auto"
    compile: bool = False
    checkpoint_minutes: Annotated[float, Bounds(0)] = 10
    resume: bool = False
    keep_checkpoints: bool = False
    log: LogKind = "csv"
    seed: Annotated[int, Bounds(0, MAX_SEED)] = 0
    device: str = "cpu"
    name: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be asked for."""
        require_possible(self, ModelError)
        if self.steps == 0 and self.objective != "edm":
            raise ModelError(
                "steps must be a whole number from 1 for the published objective, not 0."
            )

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
