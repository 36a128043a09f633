"""From sections to a model: what either objective trains on, what left-out sections choose, and the fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import DatasetError
from napari_stem.metrics import crps, energy_scores
from napari_stem.model.bundle import Model
from napari_stem.model.calibration import calibration_factors
from napari_stem.model.head import EmbeddingHead, Head
from napari_stem.settings import SamplingSettings
from napari_stem.training.batches import TrainingData
from napari_stem.training.denoiser_fit import TrainingRun, fit_denoiser
from napari_stem.training.head_fit import HeadFit, fit_domain, fit_head
from napari_stem.training.mean import stacked, standards
from napari_stem.training.options import TrainingOptions, fit_settings
from napari_stem.training.reliability import left_out_parts, reliability, share_reliability
from napari_stem.training.sections import SectionArrays, groups_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import nn

    from napari_stem.model.config import ModelConfig

    Array = NDArray[np.float64]

N_CORRECTED = 16  # directions; the rest of the residual stays Gaussian
MOST_JUDGED = 200  # genes by which steps are chosen: every so many-th of a wider panel


@dataclass(frozen=True)
class Prepared:
    """Some sections, ready to train a denoiser on."""

    head: Head | EmbeddingHead  # what comes before the denoiser
    data: TrainingData  # what it is trained on
    # (n, genes) predicted by a mean that has not seen the spot; None where there is no separate mean
    out_of_fold: NDArray[np.float64] | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """Widths of what the denoiser generates, and of what it is told."""
        return self.data.target.shape[1], self.data.embedding.shape[-1]


def fit_recipe(
    sections: Sequence[SectionArrays],
    config: ModelConfig,
    options: TrainingOptions,
    run: TrainingRun,
) -> Model:
    """Train on sections, embedded and with the panel's values; all is chosen and calibrated inside them.

    ``config`` is the model's; its denoiser is filled in.
    """
    leaves_out = options.trains and (options.chooses_steps or options.is_calibrated)
    pairs = splits(sections) if leaves_out else []
    prepared = _prepare(sections, options)
    settings = fit_settings(options, prepared.sizes, len(pairs) + 1)
    folds = [
        _leave_out(number, len(pairs), pair, config, options, run)
        for number, pair in enumerate(pairs, start=1)
    ]
    steps, spread_factor, learned = run.team.share(
        lambda: _judge(folds, sections, prepared, settings.steps, options, config)
    )
    network, trained_with, denoiser = None, {}, {}
    if steps > 0:
        settings = replace(settings, steps=steps, eval_every=steps)
        fitted = fit_denoiser(
            prepared.data, settings, run=run, stage="all", what="Training on all sections"
        )
        network, steps, denoiser = fitted.network, fitted.steps, settings.denoiser.to_dict()
        recorded = {k: v for k, v in vars(settings).items() if k not in ("denoiser", "device")}
        trained_with = {"training": recorded}
    card = config.card | {"training_steps": steps} | trained_with | learned
    config = replace(config, card=card, calibrated=options.is_calibrated, denoiser=denoiser)
    return Model(config, prepared.head, spread_factor, network)


def _leave_out(
    number: int,
    n_folds: int,
    pair: tuple[list[SectionArrays], SectionArrays],
    config: ModelConfig,
    options: TrainingOptions,
    run: TrainingRun,
) -> Fold:
    """Train on the rest, drawing for the left-out section at every look."""
    rest, left_out = pair
    prepared = _prepare(rest, options)
    settings = fit_settings(options, prepared.sizes, n_folds + 1)
    config = replace(config, denoiser=settings.denoiser.to_dict(), calibrated=False)
    head = prepared.head
    if isinstance(head, Head):
        judged = np.arange(0, len(config.genes), -(-len(config.genes) // MOST_JUDGED))
        head, left_out = head.of_genes(judged), left_out.of_genes(judged)
        config = replace(config, genes=tuple(config.genes[i] for i in judged), depth=None)
    no_change = np.ones(len(config.genes), np.float32)
    check = SamplingSettings(n_draws=20, n_steps=16, device=options.device, patient="same")

    def draw(network: nn.Module | None) -> NDArray[np.float32]:
        model = Model(config, head, no_change, network)
        return model.sample(left_out.embedding, left_out.spots, check)

    fitted = fit_denoiser(
        prepared.data,
        settings,
        draw,
        run,
        stage=f"left-out-{number}",
        what=f"Leaving out {left_out.id} ({number} of {n_folds})",
    )
    untrained = {0: draw(None)} if isinstance(head, Head) else {}
    return Fold(left_out.values, left_out.spots.array_row, untrained | fitted.looks)


def _judge(
    folds: Sequence[Fold],
    sections: Sequence[SectionArrays],
    prepared: Prepared,
    steps: int,
    options: TrainingOptions,
    config: ModelConfig,
) -> tuple[int, NDArray[np.float32], dict[str, Any]]:
    """Give the steps to train on all sections, (genes,) spread factors (else ones), and facts for the card."""
    panel, unit, is_ours = config.genes, config.normalisation, config.objective == "edm"
    card: dict[str, Any] = {}
    no_change = np.ones(len(panel), np.float32)
    if not options.trains:
        steps = 0
    elif not folds:
        return steps, no_change, card
    elif options.chooses_steps:
        steps, card = (steps_that_pay if is_ours else best_steps)(folds)
    else:  # the last look at each, wherever the clock struck
        folds = [replace(f, draws_at={steps: f.draws_at[max(f.draws_at)]}) for f in folds]
    if prepared.out_of_fold is None:
        parts = [
            (f.rows, f.truth.astype(np.float64), f.draws_at[steps].mean(-1, dtype=np.float64))
            for f in folds
        ]
    else:
        parts = left_out_parts(sections, stacked(sections)[1], prepared.out_of_fold)
        card |= share_reliability(sections, panel, unit)
    card |= reliability(sections, parts, panel, unit)
    if is_ours or not options.is_calibrated:
        return steps, no_change, card
    truth = np.concatenate([f.truth for f in folds])
    draws = np.concatenate([f.draws_at[steps] for f in folds])
    return steps, calibration_factors(truth, draws), card


def splits(
    sections: Sequence[SectionArrays],
) -> list[tuple[list[SectionArrays], SectionArrays]]:
    """Pair (the rest, the one left out), by section, or by strip where there is one section."""
    if len(sections) > 1:
        return [([s for s in sections if s is not out], out) for out in sections]
    (only,), (group,) = sections, groups_of(sections)
    return [([only.part(group != held)], only.part(group == held)) for held in np.unique(group)]


def _prepare(sections: Sequence[SectionArrays], options: TrainingOptions) -> Prepared:
    """Make ready what goes before the denoiser, and what it is trained on, as the objective asks."""
    prepare = prepare_edm if options.objective == "edm" else prepare_published
    return prepare(sections, options)


def prepare_edm(sections: Sequence[SectionArrays], options: TrainingOptions) -> Prepared:
    """Fit mean and Gaussian; the denoiser is told principal components and generates the leading scores."""
    fitted = fit_head(sections, options.normalisation)
    condition = _conditions_of_turns(fitted, sections) if options.augments else fitted.condition
    data = TrainingData(fitted.scores[:, :N_CORRECTED], condition)
    return Prepared(fitted.head, data, fitted.mean[:, : sections[0].values.shape[1]])


def _conditions_of_turns(fitted: HeadFit, sections: Sequence[SectionArrays]) -> NDArray[np.float32]:
    """(n, 8, C) conditions of the turned patches, about the one out-of-fold mean of each spot.

    The scores are about this mean, so that the components of it which the condition holds stay as they are.
    """
    turns = np.concatenate([s.turned for s in sections if s.turned is not None])  # (n, 8, W)
    condition = np.repeat(fitted.condition[:, None], turns.shape[1], axis=1)
    n_leading = len(fitted.head.component_scale)
    for turn in range(turns.shape[1]):
        condition[:, turn, :n_leading] = fitted.head.leading_components(
            turns[:, turn].astype(np.float32)
        )
    return condition


# Encoders whose features have no common scale: statistics of stain beside those of a network. The published
# ones (UNI, CONCH) are told as they are.
UNSCALED_ENCODERS = frozenset({"bundled"})


def prepare_published(sections: Sequence[SectionArrays], options: TrainingOptions) -> Prepared:
    """Take embeddings and values as published; spots without a single count are left out, as there.

    DatasetError: no spot has a count of any gene of the panel.
    """
    values = np.concatenate([s.values for s in sections])
    counted = values.any(axis=1)
    if not counted.any():
        raise DatasetError(
            f"No spot of {', '.join(s.id for s in sections)} has a count of any gene of the panel."
        )
    embedding = np.concatenate([s.embedding for s in sections])
    if UNSCALED_ENCODERS & set(options.encoder.split("+")):
        x = embedding.astype(np.float64)
        domain = fit_domain(x, np.concatenate(groups_of(sections)), sections[0].n_fields)
        centre, scale = standards(x)
        head = EmbeddingHead(centre.astype(np.float32), scale.astype(np.float32), *domain)
    else:
        head = EmbeddingHead.as_is(embedding.shape[1])
    seen: NDArray[np.float32] | NDArray[np.float16] = embedding
    if options.augments:
        seen = np.concatenate([s.turned for s in sections if s.turned is not None])
    data = TrainingData(values[counted], seen[counted], head.condition)
    return Prepared(head, data)


@dataclass(frozen=True)
class Fold:
    """One training section left out."""

    truth: NDArray[np.float32]  # (n, genes) measured
    # (n,) row of the array that each spot lies in: spots of one row are not independent of each other
    rows: NDArray[np.int64]
    draws_at: dict[int, NDArray[np.float32]]  # step -> (n, genes, draws), after each look at it


def common_steps(folds: Sequence[Fold]) -> list[int]:
    """Find the steps at which every fold was looked at: the shortest training's last, if the clock struck."""
    common = sorted(set.intersection(*(set(f.draws_at) for f in folds)))
    if any(common):
        return common
    last = min(max(f.draws_at) for f in folds)
    for fold in folds:
        fold.draws_at[last] = fold.draws_at[max(fold.draws_at)]
    return [*common, last]


def crps_of_steps(folds: Sequence[Fold], steps: Sequence[int]) -> dict[str, float]:
    """Mean CRPS on left-out sections after each of some steps."""
    return {
        str(s): float(np.mean([crps(f.truth.astype(np.float64), f.draws_at[s]) for f in folds]))
        for s in steps
    }


def best_steps(folds: Sequence[Fold]) -> tuple[int, dict[str, Any]]:
    """Choose the steps with the smallest mean CRPS on left-out sections; for the card, ``crps_of_steps``."""
    curve = crps_of_steps(folds, common_steps(folds))
    return int(min(curve, key=lambda s: curve[s])), {"crps_of_steps": curve}


def steps_that_pay(folds: Sequence[Fold]) -> tuple[int, dict[str, Any]]:
    """Choose the steps of a correction: those of the smallest energy score, or none.

    None where the gain cannot be told from chance, or the CRPS is larger than without. The gain on a section is
    that of the steps which the others choose, so that choosing does not flatter it.

    Parameters
    ----------
    folds
        Two or more, looked at after 0 steps too, with the same noise at every look.

    Returns
    -------
    The steps, and for the card ``energy_of_steps``, ``crps_of_steps`` and ``energy_gained``: what a correction
    adds to the energy score, [mean, lowest, highest] of the 95% interval.
    """
    steps = common_steps(folds)
    # of each fold: (steps, n)
    energy = [
        np.array([energy_scores(f.truth.astype(np.float64), f.draws_at[s]) for s in steps])
        for f in folds
    ]
    mean = np.array([of_fold.mean(axis=1) for of_fold in energy])  # (folds, steps)
    gained, clusters = [], []
    for number, (fold, own) in enumerate(zip(folds, energy, strict=True)):
        chosen = 1 + np.argmin(np.delete(mean, number, axis=0).mean(axis=0)[1:])
        gained.append(own[chosen] - own[0])
        clusters.append(fold.rows + number * (1 << 32))
    interval = paired_interval(np.concatenate(gained), np.concatenate(clusters))
    of_steps = mean.mean(axis=0)
    best, errors = steps[1 + int(np.argmin(of_steps[1:]))], crps_of_steps(folds, steps)
    pays = interval[2] < 0 and errors[str(best)] <= errors["0"]
    card = {
        "energy_of_steps": dict(zip(map(str, steps), of_steps.tolist(), strict=True)),
        "crps_of_steps": errors,
        "energy_gained": [round(value, 4) for value in interval],
    }
    return best if pays else 0, card


def paired_interval(difference: Array, clusters: NDArray[np.int64]) -> tuple[float, float, float]:
    """Mean of (n,) paired differences and its 95% interval, spots of a cluster counting as one observation.

    Bounds are those of the normal approximation for a ratio of sums over clusters; infinite for one cluster.
    """
    _, place, size = np.unique(clusters, return_inverse=True, return_counts=True)
    mean = float(difference.mean())
    if len(size) < 2:
        return mean, -np.inf, np.inf
    excess = np.bincount(place, difference) - mean * size
    variance = len(size) / (len(size) - 1) * (excess**2).sum() / len(difference) ** 2
    half = 1.96 * float(np.sqrt(variance))
    return mean, mean - half, mean + half
