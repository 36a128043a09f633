"""Linear baselines: ridge, and HEST-bench's probe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.evaluation.baselines.base import Forecast, Predictor, stacked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_stem.evaluation.baselines.base import Fitted, Task
    from napari_stem.training.sections import SectionArrays

N_COMPONENTS = 256  # HEST-bench's
PENALTIES = tuple(10.0**power for power in range(-3, 7))


def fit_ridge(train: Sequence[SectionArrays], _task: Task) -> Fitted:
    """Fit `napari_stem.training.mean.fit_ridge`."""
    from napari_stem.training import mean

    fitted, _ = mean.fit_ridge(train)
    return lambda section: Forecast(fitted(section.embedding))


def ridge() -> Predictor:
    """Ridge; its penalty is chosen by leaving out sections."""
    about = "ridge, penalty chosen by leaving out training sections"
    return Predictor("ridge", about, fit_ridge)


def hest_ridge(*, centred: bool = False) -> Predictor:
    """HEST-bench's probe; see `fit_probe`."""
    name = "hest-ridge-centred" if centred else "hest-ridge"
    target = "centred targets" if centred else "targets not centred, as HEST-bench"
    return _probe(name, f"alpha = 100 / (components x genes), {target}", centred=centred)


def hest_ridge_cv() -> Predictor:
    """HEST-bench's probe, its penalty chosen by cross-validation: the fixed one is far too small (HEST#140)."""
    about = "penalty by leave-one-out cross-validation, centred targets"
    return _probe("hest-ridge-cv", about, centred=True, penalties=PENALTIES)


def _probe(name: str, about: str, *, centred: bool, penalties: Sequence[float] = ()) -> Predictor:
    def fit(train: Sequence[SectionArrays], _task: Task) -> Fitted:
        predict = fit_probe(*stacked(train), centred=centred, penalties=penalties)
        return lambda section: Forecast(predict(section.embedding))

    return Predictor(name, f"PCA({N_COMPONENTS}) and ridge, {about}", fit)


def fit_probe(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    *,
    centred: bool = False,
    penalties: Sequence[float] = (),
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Fit HEST-bench's probe (Jaume et al. 2024, arXiv 2406.16192), setting by setting.

    ``StandardScaler``, PCA of 256 components (fewer where there are fewer spots or features), ridge
    without intercept on targets as they are. The components have mean zero, so predictions centre on
    zero: correlations do not mind, squared errors do.

    HEST fits log1p of raw counts. The penalty is quadratic and there is no intercept, so log2
    targets give the same predictions times 1 / ln 2, and the same correlations.

    Parameters
    ----------
    x
        (n, W) embeddings of the training spots.
    y
        (n, G) their targets.
    centred
        Whether the targets' mean is taken off before, and put back after.
    penalties
        To choose among by generalised leave-one-out cross-validation; none: HEST's own.

    Returns
    -------
    A function: (n, W) embeddings -> (n, G) values.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    n_components = min(N_COMPONENTS, *x.shape)
    reduce = make_pipeline(StandardScaler(), PCA(n_components, random_state=1))
    reduced = reduce.fit_transform(x)
    centre = y.mean(axis=0) if centred else np.zeros(y.shape[1], y.dtype)
    alpha = 100 / (n_components * y.shape[1])
    fixed = Ridge(solver="lsqr", alpha=alpha, fit_intercept=False, max_iter=1000, random_state=0)
    ridge = RidgeCV(list(penalties), fit_intercept=False) if penalties else fixed
    fitted = ridge.fit(reduced, y - centre)

    def predict(asked: NDArray[np.float32]) -> NDArray[np.float32]:
        predicted = fitted.predict(reduce.transform(asked)).reshape(len(asked), -1)
        return np.asarray(predicted + centre, np.float32)

    return predict
