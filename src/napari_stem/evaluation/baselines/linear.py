"""Linear baselines: the ridge mean of our own models, and HEST-bench's probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.evaluation.baselines.base import Forecast, stacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.evaluation.baselines.base import Fitted, Task
    from napari_stem.training.sections import SectionArrays

N_COMPONENTS = 256  # HEST-bench's


@dataclass(frozen=True)
class LinearMean:
    """The mean that our models' diffusion starts from; its penalty is chosen by leaving out sections."""

    name: str = "ridge"
    about: str = "linear mean of our models: ridge, penalty chosen by leaving out training sections"
    seeded: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Nothing to choose."""
        return {}

    def fit(self, train: Sequence[SectionArrays], task: Task) -> Fitted:
        """Fit; see `napari_stem.training.linear.fit_linear`."""
        from napari_stem.training.linear import fit_linear

        del task
        head = fit_linear(train).head
        return lambda section: Forecast(head.mean(section.embedding))


@dataclass(frozen=True)
class HestProbe:
    """HEST-bench's probe (Jaume et al. 2024, arXiv 2406.16192), setting by setting.

    ``StandardScaler``, PCA of 256 components (fewer where there are fewer spots or features), ridge
    without intercept on targets as they are. The components have mean zero, so predictions centre on
    zero: correlations do not mind, squared errors do. ``centred`` subtracts the training mean from
    the targets first.

    HEST fits log1p of raw counts. The penalty is quadratic and there is no intercept, so log2
    targets give the same predictions times 1 / ln 2, and the same correlations.
    """

    centred: bool = False
    seeded: bool = False

    @property
    def name(self) -> str:
        """As users ask for it."""
        return "hest-ridge-centred" if self.centred else "hest-ridge"

    @property
    def about(self) -> str:
        """One line."""
        target = "centred targets" if self.centred else "targets not centred, as HEST-bench"
        return f"PCA({N_COMPONENTS}) and ridge, alpha = 100 / (components x genes), {target}"

    @property
    def settings(self) -> dict[str, Any]:
        """Nothing to choose."""
        return {}

    def fit(self, train: Sequence[SectionArrays], task: Task) -> Fitted:
        """Fit the probe on all training spots."""
        del task
        predict = fit_probe(*stacked(train), centred=self.centred)
        return lambda section: Forecast(predict(section.embedding))


class Probe:
    """A fitted probe; call it with (n, W) embeddings for (n, G) values."""

    def __init__(
        self, x: NDArray[np.float32], y: NDArray[np.float32], *, centred: bool = False
    ) -> None:
        from sklearn.decomposition import PCA
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        n_components = min(N_COMPONENTS, *x.shape)
        self._reduce = make_pipeline(StandardScaler(), PCA(n_components, random_state=1))
        reduced = self._reduce.fit_transform(x)
        self._centre = y.mean(axis=0) if centred else np.zeros(y.shape[1], y.dtype)
        self.alpha = 100 / (n_components * y.shape[1])
        self._ridge = Ridge(
            solver="lsqr", alpha=self.alpha, fit_intercept=False, max_iter=1000, random_state=0
        ).fit(reduced, y - self._centre)

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, W) -> (n, G)."""
        predicted = self._ridge.predict(self._reduce.transform(x)).reshape(len(x), -1)
        return np.asarray(predicted + self._centre, np.float32)


def fit_probe(x: NDArray[np.float32], y: NDArray[np.float32], *, centred: bool = False) -> Probe:
    """Fit HEST-bench's probe.

    Parameters
    ----------
    x
        (n, W) embeddings of the training spots.
    y
        (n, G) their targets.
    centred
        Whether the targets' mean is taken off before, and put back after.
    """
    return Probe(x, y, centred=centred)
