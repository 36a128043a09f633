"""Predictors that run side by side on the same features, folds and genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.errors import ModelError
from napari_stem.evaluation.baselines.linear import hest_ridge, hest_ridge_cv, ridge
from napari_stem.evaluation.baselines.neighbours import knn
from napari_stem.evaluation.baselines.place import place
from napari_stem.evaluation.baselines.residuals import bootstrap, gaussian
from napari_stem.evaluation.baselines.stem import QUICK_STEPS, Denoising, ours, published

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.evaluation.baselines.base import Predictor

NAMES = (
    "ours",
    "published",
    "ridge",
    "hest-ridge",
    "hest-ridge-centred",
    "hest-ridge-cv",
    "knn",
    "place",
    "gaussian",
    "bootstrap",
)


def predictors(
    names: Sequence[str],
    denoising: Denoising | None = None,
    published_steps: int = QUICK_STEPS,
) -> list[Predictor]:
    """Make predictors by name, in the order asked for.

    Parameters
    ----------
    names
        Of `NAMES`.
    denoising
        How the diffusion models are trained.
    published_steps
        Ancestral steps of published Stem.

    Raises
    ------
    ModelError
        There is no such predictor.
    """
    how = denoising or Denoising()
    known: dict[str, Predictor] = {
        p.name: p
        for p in (
            ours(how),
            published(how, published_steps),
            ridge(),
            hest_ridge(),
            hest_ridge(centred=True),
            hest_ridge_cv(),
            knn(),
            place(),
            gaussian(),
            bootstrap(),
        )
    }
    for name in names:
        if name not in known:
            raise ModelError(f"There is no predictor '{name}'; choose among {', '.join(NAMES)}.")
    return [known[name] for name in names]
