"""What is chosen by leaving out one training section at a time: steps, calibration, reliability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.metrics import crps, pcc
from napari_stem.model.calibration import spread_factors
from napari_stem.training.sections import groups_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.training.sections import SectionArrays


@dataclass(frozen=True)
class Fold:
    """One training section left out: draws for it after each look at it."""

    truth: NDArray[np.float32]
    draws_at: dict[int, NDArray[np.float32]]


def splits(
    sections: Sequence[SectionArrays],
) -> list[tuple[list[SectionArrays], SectionArrays]]:
    """Pair (the rest, the one left out), by section, or by strip where there is one section."""
    if len(sections) > 1:
        return [([s for s in sections if s is not out], out) for out in sections]
    (only,), (group,) = sections, groups_of(sections)
    return [([only.part(group != held)], only.part(group == held)) for held in np.unique(group)]


def best_steps(folds: Sequence[Fold]) -> tuple[int, dict[str, float]]:
    """Choose the steps with the smallest mean CRPS on left-out sections, and the whole curve."""
    common = sorted(set.intersection(*(set(f.draws_at) for f in folds)))
    if not common:  # the time limit struck at different steps: take each fold's last look
        last = min(max(f.draws_at) for f in folds)
        for fold in folds:
            fold.draws_at[last] = fold.draws_at[max(fold.draws_at)]
        common = [last]
    curve = {
        str(s): float(np.mean([crps(f.truth.astype(np.float64), f.draws_at[s]) for f in folds]))
        for s in common
    }
    return int(min(curve, key=lambda s: curve[s])), curve


def calibrated(folds: Sequence[Fold], steps: int) -> NDArray[np.float32]:
    """(genes,) spread factors from all left-out spots; see `spread_factors`."""
    truth = np.concatenate([f.truth for f in folds])
    return spread_factors(truth, np.concatenate([f.draws_at[steps] for f in folds]))


def gene_pcc(folds: Sequence[Fold], steps: int, panel: Sequence[str]) -> dict[str, Any]:
    """How far each gene can be trusted: its PCC on left-out training sections, mean, lowest and highest.

    Returns
    -------
    For the card: ``gene_pcc`` (gene -> mean, None where it is constant everywhere) and ``gene_pcc_range``
    (gene -> [lowest, highest] among the sections; lacks what has no mean).
    """
    values = np.array(
        [
            pcc(f.truth.astype(np.float64), f.draws_at[steps].mean(-1, dtype=np.float64))
            for f in folds
        ]
    ).round(4)
    by_gene = {g: v[np.isfinite(v)] for g, v in zip(panel, values.T, strict=True)}
    return {
        "gene_pcc": {g: round(float(v.mean()), 4) if len(v) else None for g, v in by_gene.items()},
        "gene_pcc_range": {
            g: [float(v.min()), float(v.max())] for g, v in by_gene.items() if len(v)
        },
    }
