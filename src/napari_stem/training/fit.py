"""Train a model on a data set: panel, linear mean, denoiser, calibration, card.

Everything is chosen by leaving out one training section at a time; held-out sections are looked at once, at
the end, to be reported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.encoders.registry import load_encoder
from napari_stem.errors import DatasetError
from napari_stem.evaluation.metrics import evaluate
from napari_stem.model.bundle import Model, ModelConfig, objective_of
from napari_stem.model.card import LIMITS
from napari_stem.predict import quantiles
from napari_stem.settings import SamplingSettings
from napari_stem.spatial.panels import parse_panel
from napari_stem.training.folds import Fold, best_steps, calibrated, gene_pcc, splits
from napari_stem.training.linear import LinearFit, fit_linear
from napari_stem.training.sections import SectionArrays, load_sections

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from napari_stem.spatial.dataset import Dataset
    from napari_stem.training.denoiser_fit import FitSettings

    Progress = Callable[[str, int, int], None]

_CHECK = SamplingSettings(n_draws=20, n_steps=16, device="cpu")
_FULL = SamplingSettings(n_draws=64, n_steps=16, device="cpu")
_DEFAULT_STEPS = {"edm": 700, "published": 4000}


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What `train` is asked for.

    Attributes
    ----------
    hold_out
        Sections that training never sees; evaluated at the end.
    genes
        Panel: ``hmhvg:200``, ``hvg:50`` or a file with one gene a line.
    encoder
        Name in the registry.
    objective
        ``edm`` (linear mean and residual diffusion) or ``published`` (Stem's own).
    minutes
        Limit for training the denoisers.
    steps
        Optimiser steps at the most; None takes the objective's default.
    seed
        Of everything random.
    device
        Where the encoder runs.
    name
        Of the model; None takes the folder's.
    normalisation
        Unit of the values.
    """

    hold_out: tuple[str, ...] = ()
    genes: str = "hmhvg:200"
    encoder: str = "bundled"
    objective: str = "edm"
    minutes: float | None = None
    steps: int | None = None
    seed: int = 0
    device: str = "cpu"
    name: str | None = None
    normalisation: str = "log2_counts"


def train(
    dataset: Dataset,
    out: Path,
    options: TrainingOptions | None = None,
    progress: Progress | None = None,
) -> Model:
    """Train a model and write its folder.

    Parameters
    ----------
    dataset
        Sections in HEST layout.
    out
        Model folder to write.
    options
        What to train.
    progress
        Told (what, done, in all).

    Returns
    -------
    The model as written.

    Raises
    ------
    DatasetError
        No section is left to train on, or a held-out one does not exist.
    ModelError
        The folder cannot be written, or the objective is unknown.
    """
    from napari_stem.model.bundle import load_folder

    options = options or TrainingOptions()
    tell = progress or _silent
    objective_of(options.objective)
    ids = _training_ids(dataset, options.hold_out)
    panel = parse_panel(options.genes)([dataset.section(i).counts for i in ids])
    encoder = load_encoder(options.encoder, options.device)
    load = partial(
        load_sections,
        dataset,
        genes=panel,
        normalisation=options.normalisation,
        encoder=encoder,
        progress=tell,
    )
    sections = load(ids)
    config = _config(options, out, panel, encoder.version, sections)
    pairs = splits(sections)
    settings = _settings(options, config, n_fits=len(pairs) + 1)
    folds = _leave_one_out(pairs, config, settings, tell)
    steps, curve = best_steps(folds)
    tell("Training on all sections", 0, steps)
    model = _fit(
        sections,
        config,
        replace(settings, steps=steps),
        tell,
        "Training on all sections",
    )
    model.spread_factor = calibrated(folds, steps)
    card = {
        **config.card,
        "training_steps": steps,
        "crps_of_steps": curve,
        "gene_pcc": gene_pcc(folds, steps, panel),
    }
    model.config = replace(model.config, card=card)
    if options.hold_out:
        held = load(options.hold_out)
        model.config.card["metrics"] = {s.id: evaluate_section(model, s) for s in held}
    model.save(out)
    return load_folder(out)


def evaluate_section(model: Model, section: SectionArrays) -> dict[str, Any]:
    """Every metric on one measured section: of the model, and of its linear mean alone (ridge)."""
    draws = model.sample(section.embedding, section.spots, _FULL)
    q05, q95 = quantiles(draws)
    figures = {"napari-stem": evaluate(section.values, draws.mean(-1), draws, q05=q05, q95=q95)}
    if model.config.objective == "edm":
        figures["ridge"] = evaluate(section.values, model.head.mean(section.embedding))
    return figures


def _training_ids(dataset: Dataset, hold_out: Sequence[str]) -> list[str]:
    for section_id in hold_out:
        dataset.section(section_id)
    ids = [i for i in dataset.sections if i not in hold_out]
    if not ids:
        raise DatasetError(f"All sections of {dataset.folder} are held out; leave one to train on.")
    return ids


def _config(
    options: TrainingOptions,
    out: Path,
    panel: Sequence[str],
    encoder_version: str,
    sections: Sequence[SectionArrays],
) -> ModelConfig:
    about = sections[0].metadata
    name = options.name or out.name
    card = {
        "tissue": about.get("tissue"),
        "species": about.get("species"),
        "source": about.get("study_link"),
        "licence": about.get("license", "unknown"),
        "attribution": about.get("citation"),
        "sections": [s.id for s in sections],
        "held_out": list(options.hold_out),
        "seed": options.seed,
        "genes_chosen_by": options.genes,
        "limits": list(LIMITS),
    }
    return ModelConfig(
        name=name,
        genes=tuple(panel),
        normalisation=options.normalisation,
        encoder=options.encoder,
        encoder_version=encoder_version,
        pitch_um=sections[0].spots.pitch_um,
        objective=objective_of(options.objective),
        denoiser={},
        card=card,
    )


def _settings(options: TrainingOptions, config: ModelConfig, n_fits: int) -> FitSettings:
    """How each of ``n_fits`` denoisers is trained; they share the time limit."""
    from napari_stem.diffusion.denoiser import DenoiserConfig
    from napari_stem.training.denoiser_fit import FitSettings

    steps = options.steps or _DEFAULT_STEPS[config.objective]
    n_genes = len(config.genes)
    light = DenoiserConfig(
        n_genes=n_genes, condition_width=1, hidden=256, depth=3, dropout=0.3, condition_dropout=0.3
    )
    published = replace(DenoiserConfig.published(n_genes, 1), hidden=96, depth=4, heads=4)
    is_light = config.objective == "edm"
    return FitSettings(
        objective=config.objective,
        denoiser=light if is_light else published,
        steps=steps,
        look_up_every=max(1, steps // 14),
        batch=128 if is_light else 64,
        learning_rate=3e-4,
        condition_noise=0.6 if is_light else 0.0,
        seconds=options.minutes * 60 / n_fits if options.minutes else None,
        seed=options.seed,
    )


def _fit(
    sections: Sequence[SectionArrays],
    config: ModelConfig,
    settings: FitSettings,
    tell: Progress,
    what: str,
    look: Callable[[int, Model], None] | None = None,
) -> Model:
    """Fit head and denoiser on some sections; ``look`` sees the model as it stands now and then."""
    from napari_stem.training.denoiser_fit import fit_denoiser

    linear = fit_linear(sections)
    settings = replace(
        settings, denoiser=replace(settings.denoiser, condition_width=linear.condition.shape[1])
    )
    config = replace(config, denoiser=settings.denoiser.to_dict())
    no_change = np.ones(len(config.genes), np.float32)

    def look_up(step: int, network: nn.Module) -> None:
        tell(what, step, settings.steps)
        if look is not None:
            look(step, Model(config, linear.head, no_change, network))

    network = fit_denoiser(_target(linear, sections, config), linear.condition, settings, look_up)
    return Model(config, linear.head, no_change, network)


def _target(
    linear: LinearFit, sections: Sequence[SectionArrays], config: ModelConfig
) -> NDArray[np.float32]:
    if config.objective == "edm":
        return linear.residual
    return np.concatenate([s.values for s in sections])


def _leave_one_out(
    pairs: Sequence[tuple[list[SectionArrays], SectionArrays]],
    config: ModelConfig,
    settings: FitSettings,
    tell: Progress,
) -> list[Fold]:
    folds = []
    for number, (rest, left_out) in enumerate(pairs, start=1):
        fold = Fold(left_out.values, {})

        def look(
            step: int, model: Model, fold: Fold = fold, left_out: SectionArrays = left_out
        ) -> None:
            fold.draws_at[step] = model.raw_draws(left_out.embedding, left_out.spots, _CHECK)

        _fit(
            rest,
            config,
            settings,
            tell,
            f"Leaving out {left_out.id} ({number} of {len(pairs)})",
            look,
        )
        folds.append(fold)
    return folds


def _silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
