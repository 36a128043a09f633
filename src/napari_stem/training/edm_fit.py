"""Ours: a linear mean, and a denoiser of what it leaves (``objective="edm"``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.training.batches import TrainingData
from napari_stem.training.linear import fit_linear
from napari_stem.training.recipe import Prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.training.linear import LinearFit
    from napari_stem.training.options import TrainingOptions
    from napari_stem.training.sections import SectionArrays


def prepare_edm(sections: Sequence[SectionArrays], options: TrainingOptions) -> Prepared:
    """Fit the linear mean; the denoiser is told principal components and generates the residual."""
    linear = fit_linear(sections)
    told = _told_of_turns(linear, sections) if options.augments else linear.condition
    return Prepared(linear.head, TrainingData(linear.residual, told), linear.condition.shape[1])


def _told_of_turns(linear: LinearFit, sections: Sequence[SectionArrays]) -> NDArray[np.float32]:
    """(n, 8, C) conditions of the turned patches, about the one out-of-fold mean of each spot.

    The residual is that of this mean, so that the components of it which the condition holds stay as they are.
    """
    turns = np.concatenate([s.turned for s in sections if s.turned is not None])  # (n, 8, W)
    told = np.repeat(linear.condition[:, None], turns.shape[1], axis=1)
    n_look = len(linear.head.components)
    no_mean = np.zeros((len(turns), linear.head.n_genes), np.float32)
    for turn in range(turns.shape[1]):
        own = linear.head.condition(turns[:, turn].astype(np.float32), no_mean)
        told[:, turn, :n_look] = own[:, :n_look]
    return told
