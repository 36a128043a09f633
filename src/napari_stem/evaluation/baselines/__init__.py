"""Predictors that run side by side on the same features, folds and genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.errors import ModelError
from napari_stem.evaluation.baselines.simple import simple_predictors
from napari_stem.evaluation.baselines.stem import ours, published

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.evaluation.baselines.base import Predictor
    from napari_stem.evaluation.baselines.stem import Denoising

NAMES = ("ours", "published", *(predictor.name for predictor in simple_predictors()))


def predictors(names: Sequence[str], denoising: Denoising) -> list[Predictor]:
    """Make predictors by name, of `NAMES`, in the order asked for.

    Raises
    ------
    ModelError
        There is no such predictor.
    """
    every = (ours(denoising), published(denoising), *simple_predictors())
    known = {predictor.name: predictor for predictor in every}
    for name in names:
        if name not in known:
            raise ModelError(f"There is no predictor '{name}'; choose among {', '.join(NAMES)}.")
    return [known[name] for name in names]
