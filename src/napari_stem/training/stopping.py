"""How long to train: what left-out sections say of each look at them, and whether training pays at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.metrics import crps, energy_score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fold:
    """One training section left out.

    Attributes
    ----------
    truth
        (n, genes) measured.
    rows
        (n,) row of the array that each spot lies in: spots of one row are not independent of each other.
    draws_at
        Step -> (n, genes, draws), after each look at it.
    """

    truth: NDArray[np.float32]
    rows: NDArray[np.int64]
    draws_at: dict[int, NDArray[np.float32]]


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
    """Choose the steps with the smallest mean CRPS on left-out sections.

    Returns
    -------
    The steps, and for the card the curve, ``crps_of_steps``.
    """
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
    energy = [{s: _energies(f.truth, f.draws_at[s]) for s in steps} for f in folds]
    gained, clusters = [], []
    for number, (fold, own) in enumerate(zip(folds, energy, strict=True)):
        chosen = _least([e for e in energy if e is not own], steps[1:])
        gained.append(own[chosen] - own[0])
        clusters.append(fold.rows + number * (1 << 32))
    interval = paired_interval(np.concatenate(gained), np.concatenate(clusters))
    best, errors = _least(energy, steps[1:]), crps_of_steps(folds, steps)
    pays = interval[2] < 0 and errors[str(best)] <= errors["0"]
    card = {
        "energy_of_steps": {str(s): _mean_energy(energy, s) for s in steps},
        "crps_of_steps": errors,
        "energy_gained": [round(value, 4) for value in interval],
    }
    return best if pays else 0, card


def _least(energy: Sequence[dict[int, Array]], steps: Sequence[int]) -> int:
    return min(steps, key=lambda step: _mean_energy(energy, step))


def _mean_energy(energy: Sequence[dict[int, Array]], step: int) -> float:
    return float(np.mean([of_fold[step].mean() for of_fold in energy]))


def _energies(truth: NDArray[np.float32], draws: NDArray[np.float32]) -> Array:
    """(n,) energy score of each spot."""
    values = truth.astype(np.float64)
    return np.array([energy_score(values[i : i + 1], draws[i : i + 1]) for i in range(len(truth))])


def paired_interval(difference: Array, clusters: NDArray[np.int64]) -> tuple[float, float, float]:
    """Mean of paired differences and its 95% interval, spots of a cluster counting as one observation.

    Parameters
    ----------
    difference
        (n,) of two scores of the same spots.
    clusters
        (n,) number of each spot's cluster.

    Returns
    -------
    Mean, and bounds by the normal approximation for a ratio of sums over clusters; infinite for one cluster.
    """
    _, place, size = np.unique(clusters, return_inverse=True, return_counts=True)
    mean = float(difference.mean())
    if len(size) < 2:
        return mean, -np.inf, np.inf
    excess = np.bincount(place, difference) - mean * size
    variance = len(size) / (len(size) - 1) * (excess**2).sum() / len(difference) ** 2
    half = 1.96 * float(np.sqrt(variance))
    return mean, mean - half, mean + half
