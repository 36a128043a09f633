"""From sections to a model, for either objective: choose and calibrate on left-out ones, then fit on all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.model.bundle import Model
from napari_stem.settings import SamplingSettings
from napari_stem.training.denoiser_fit import fit_denoiser
from napari_stem.training.folds import Fold, best_steps, calibrated, gene_pcc, splits
from napari_stem.training.options import fit_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from napari_stem.model.config import ModelConfig
    from napari_stem.model.head import EmbeddingHead, Head
    from napari_stem.training.batches import TrainingData
    from napari_stem.training.denoiser_fit import FittedDenoiser
    from napari_stem.training.fit_settings import FitSettings
    from napari_stem.training.options import TrainingOptions
    from napari_stem.training.run import TrainingRun
    from napari_stem.training.sections import SectionArrays

    Prepare = Callable[[Sequence[SectionArrays], TrainingOptions], "Prepared"]


@dataclass(frozen=True)
class Prepared:
    """Some sections, ready to train a denoiser on.

    Attributes
    ----------
    head
        What comes before the denoiser.
    data
        What it is trained on.
    condition_width
        Length of what it is told.
    """

    head: Head | EmbeddingHead
    data: TrainingData
    condition_width: int


@dataclass(frozen=True)
class Verdict:
    """What left-out sections say.

    Attributes
    ----------
    steps
        How long to train on all sections.
    spread_factor
        (genes,) calibration; ones without.
    card
        Facts for the model's card.
    """

    steps: int
    spread_factor: NDArray[np.float32]
    card: dict[str, Any]


def fit_recipe(
    sections: Sequence[SectionArrays],
    config: ModelConfig,
    options: TrainingOptions,
    prepare: Prepare,
    run: TrainingRun,
) -> Model:
    """Train on sections; everything is chosen and calibrated inside them.

    Parameters
    ----------
    sections
        Embedded, with the panel's values.
    config
        Of the model; its denoiser is filled in.
    options
        How to train.
    prepare
        Objective: what goes before the denoiser and what it is trained on.
    run
        Who takes part, where checkpoints and logs go, who is told.
    """
    pairs = splits(sections) if options.chooses_steps or options.is_calibrated else []
    prepared = prepare(sections, options)
    settings = fit_settings(options, config, prepared.condition_width, len(pairs) + 1)
    folds = [
        _leave_out(number, len(pairs), pair, config, settings, options, prepare, run)
        for number, pair in enumerate(pairs, start=1)
    ]
    verdict = run.team.share(lambda: _judge(folds, settings, options, config.genes))
    settings = replace(settings, steps=verdict.steps, look_up_every=verdict.steps)
    fitted = fit_denoiser(
        prepared.data, settings, run=run, stage="all", what="Training on all sections"
    )
    card = {**config.card, "training_steps": fitted.steps, **verdict.card}
    config = replace(
        config, card=card, denoiser=settings.denoiser.to_dict(), calibrated=options.is_calibrated
    )
    return Model(config, prepared.head, verdict.spread_factor, fitted.network)


def _leave_out(
    number: int,
    n_folds: int,
    pair: tuple[list[SectionArrays], SectionArrays],
    config: ModelConfig,
    settings: FitSettings,
    options: TrainingOptions,
    prepare: Prepare,
    run: TrainingRun,
) -> Fold:
    """Train on the rest, drawing for the left-out section at every look."""
    rest, left_out = pair
    prepared = prepare(rest, options)
    denoiser = replace(settings.denoiser, condition_width=prepared.condition_width)
    settings = replace(settings, denoiser=denoiser)
    config = replace(config, denoiser=denoiser.to_dict(), calibrated=False)
    no_change = np.ones(len(config.genes), np.float32)
    check = SamplingSettings(n_draws=20, n_steps=16, device=options.device)

    def look_up(network: nn.Module) -> NDArray[np.float32]:
        model = Model(config, prepared.head, no_change, network)
        return model.raw_draws(left_out.embedding, left_out.spots, check)

    fitted: FittedDenoiser = fit_denoiser(
        prepared.data,
        settings,
        look_up,
        run,
        stage=f"left-out-{number}",
        what=f"Leaving out {left_out.id} ({number} of {n_folds})",
    )
    return Fold(left_out.values, fitted.looks)


def _judge(
    folds: Sequence[Fold], settings: FitSettings, options: TrainingOptions, panel: Sequence[str]
) -> Verdict:
    steps = settings.steps
    card: dict[str, Any] = {}
    no_change = np.ones(len(panel), np.float32)
    if not folds:
        return Verdict(steps, no_change, card)
    if options.chooses_steps:
        steps, curve = best_steps(folds)
        card["crps_of_steps"] = curve
    else:  # the last look at each, wherever the clock struck
        folds = [Fold(f.truth, {steps: f.draws_at[max(f.draws_at)]}) for f in folds]
    card |= gene_pcc(folds, steps, panel)
    spread_factor = calibrated(folds, steps) if options.is_calibrated else no_change
    return Verdict(steps, spread_factor, card)
