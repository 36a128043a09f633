"""The diffusion models: ours, and published Stem, trained on the fold's sections."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from napari_stem.evaluation.baselines.base import Forecast, Predictor
from napari_stem.settings import SamplingSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.evaluation.baselines.base import Fitted, Task
    from napari_stem.training.sections import SectionArrays

OURS = SamplingSettings(n_draws=64, n_steps=16, patient="same")
PAPER_DRAWS, PAPER_STEPS = 20, 1000


@dataclass(frozen=True, kw_only=True)
class Denoising:
    """How denoisers are trained and sampled.

    Attributes
    ----------
    minutes
        Limit for the training of one model, None for none.
    steps
        Optimiser steps at the most, None for the objective's default.
    size
        ``small`` for a laptop, ``full`` as published.
    device
        torch device of training and sampling.
    published_steps
        Ancestral steps of published Stem.
    """

    minutes: float | None = None
    steps: int | None = None
    size: Literal["small", "full"] = "small"
    device: str = "cpu"
    published_steps: int = 50


def ours(denoising: Denoising) -> Predictor:
    """Linear mean and diffusion of the residual, calibrated: what this program predicts with."""
    about = (
        f"mean by regression and residual diffusion, {OURS.n_draws} draws of {OURS.n_steps} steps"
    )
    return _diffusion("ours", about, "edm", OURS, denoising)


def published(denoising: Denoising) -> Predictor:
    """Stem as published (arXiv 2501.15598), with as many of its 1000 ancestral steps as are asked for."""
    n_steps = denoising.published_steps
    about = f"Stem as published, {PAPER_DRAWS} ancestral draws of {n_steps} steps"
    if n_steps != PAPER_STEPS:
        about += f" (the paper: {PAPER_STEPS})"
    sampling = SamplingSettings(
        n_draws=PAPER_DRAWS, n_steps=n_steps, sampler="ancestral", patient="same"
    )
    return _diffusion("published", about, "published", sampling, denoising)


def _diffusion(
    name: str,
    about: str,
    objective: Literal["edm", "published"],
    sampling: SamplingSettings,
    denoising: Denoising,
) -> Predictor:
    """Make a model of one objective; all of it is trained on each fold's training sections."""

    def fit(train: Sequence[SectionArrays], task: Task) -> Fitted:
        from napari_stem.training.fit import TrainingOptions, fit_sections

        options = TrainingOptions(
            objective=objective,
            encoder=task.encoder,
            normalisation=task.normalisation,
            size=denoising.size,
            minutes=denoising.minutes,
            steps=denoising.steps,
            seed=task.seed,
            device=denoising.device,
        )
        model = fit_sections(
            train,
            task.panel,
            options,
            name=name,
            encoder_version=task.encoder_version,
            progress=task.progress,
        )
        how = replace(sampling, seed=task.seed, device=denoising.device)

        def forecast(section: SectionArrays) -> Forecast:
            def step(done: int, total: int, _x: object) -> None:
                task.progress(f"Sampling section {section.id}", done, total)

            draws = model.sample(section.embedding, section.spots, how, step)
            return Forecast(model.mean(section.embedding, draws, how), draws)

        return forecast

    # not the device, which changes no more than the last digits
    settings = {
        "minutes": denoising.minutes,
        "steps": denoising.steps,
        "size": denoising.size,
        "n_draws": sampling.n_draws,
        "n_steps": sampling.n_steps,
        "sampler": sampling.sampler,
    }
    return Predictor(name, about, fit, seeded=True, settings=settings)
