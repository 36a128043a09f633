"""From an embedding to what the denoiser is told: the linear mean, the condition and the distance.

The arrays are plain numpy, fitted by scikit-learn in training, so that predicting needs neither its classes
nor a pickle.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Head:
    """Linear part of a model; W embedding width, G genes, K and M components.

    Attributes
    ----------
    centre, scale
        (W,) standardisation of the embedding.
    weights, intercept
        (W, G), (G,) ridge regression of expression on the standardised embedding.
    components, component_scale
        (K, W), (K,) principal components of the standardised embedding, and their standard deviations.
    mean_centre, mean_components, mean_component_scale
        (G,), (M, G), (M,) principal components of the predicted mean.
    residual_scale
        (G,) standard deviation of out-of-fold residuals: the unit of the denoiser.
    domain_limit
        () `raw_distance` beyond which a spot counts as unlike the training data.
    """

    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    intercept: NDArray[np.float32]
    components: NDArray[np.float32]
    component_scale: NDArray[np.float32]
    mean_centre: NDArray[np.float32]
    mean_components: NDArray[np.float32]
    mean_component_scale: NDArray[np.float32]
    residual_scale: NDArray[np.float32]
    domain_limit: NDArray[np.float32]

    def standardise(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, W) -> (n, W)."""
        return (embedding - self.centre) / self.scale

    def mean(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, W) -> (n, G) conditional mean in the model's unit."""
        return self.standardise(embedding) @ self.weights + self.intercept

    def condition(
        self, embedding: NDArray[np.float32], mean: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """(n, W), (n, G) -> (n, K + M): unit-variance components of the embedding, then of the mean."""
        look = self.standardise(embedding) @ self.components.T / self.component_scale
        guess = (mean - self.mean_centre) @ self.mean_components.T / self.mean_component_scale
        return np.concatenate([look, guess], axis=1).astype(np.float32)

    def distance(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, W) -> (n,) how unlike the training data a spot looks; above 1 is out of its domain."""
        return (self.raw_distance(embedding) / self.domain_limit).astype(np.float32)

    def raw_distance(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, W) -> (n,) root mean square of the standardised embedding: how unusual a spot looks."""
        squares = np.square(self.standardise(embedding)).mean(axis=1, dtype=np.float64)
        distance: NDArray[np.float32] = np.sqrt(squares).astype(np.float32)
        return distance

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Name -> array, as a model file holds them."""
        return {
            f.name: np.ascontiguousarray(getattr(self, f.name), np.float32) for f in fields(self)
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float32]]) -> Head:
        """Read `to_arrays` back; KeyError names the first array that is missing."""
        return cls(**{f.name: np.asarray(arrays[f.name], np.float32) for f in fields(cls)})
