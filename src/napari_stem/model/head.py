"""From an embedding to what the denoiser is told: the condition, the linear mean, the distance.

`Head` belongs to the residual diffusion, `EmbeddingHead` to Stem's own objective. The arrays are plain
numpy, fitted by scikit-learn in training, so that predicting needs neither its classes nor a pickle.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.model.domain import unexplained
from napari_stem.model.residual import Residual

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class EmbeddingHead:
    """What Stem's own objective needs: the denoiser is told the embedding itself, W wide.

    Attributes
    ----------
    centre, scale
        (W,) standardisation of the embedding; 0 and 1 where the denoiser was told it as it is.
    domain_components
        (D, W) principal components of the standardised embedding that tell what looks like the training data.
    domain_spread
        (W,) what these leave of each feature of training sections left out.
    domain_limit
        () `unexplained` beyond which a spot counts as unlike the training data; NaN where nothing is
        known of them.
    """

    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    domain_components: NDArray[np.float32]
    domain_spread: NDArray[np.float32]
    domain_limit: NDArray[np.float32]

    def require_sound(self, condition_width: int, n_genes: int) -> None:
        """Check the arrays against a denoiser and what they stand for; ValueError names the first wrong one."""
        sizes = {"W": condition_width, "D": len(self.domain_components)}
        shapes = {"centre": "W", "scale": "W", "domain_components": "DW", "domain_spread": "W"}
        _require_shapes(self, shapes, sizes)
        _require_positive(self, ("scale", "domain_spread"))

    @classmethod
    def as_is(cls, width: int) -> EmbeddingHead:
        """Head of a published checkpoint: the embedding as the encoder gives it, no domain known."""
        centre, scale = np.zeros(width, np.float32), np.ones(width, np.float32)
        nothing = np.zeros((0, width), np.float32)
        return cls(centre, scale, nothing, scale, np.array(np.nan, np.float32))

    @property
    def knows_domain(self) -> bool:
        """Whether `distance` can tell spots that are unlike the training data."""
        return bool(np.isfinite(self.domain_limit))

    def condition(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, W) -> (n, W)."""
        condition: NDArray[np.float32] = ((embedding - self.centre) / self.scale).astype(np.float32)
        return condition

    def distance(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, W) -> (n,) as `Head.distance`; NaN where no domain is known."""
        return _distance(self, self.condition(embedding))

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Name -> array, as a model file holds them."""
        return _contiguous(vars(self))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float32]]) -> EmbeddingHead:
        """Read `to_arrays` back; KeyError names the first array that is missing."""
        return cls(**{f.name: np.asarray(arrays[f.name], np.float32) for f in fields(cls)})


@dataclass(frozen=True)
class Head:
    """Linear part of the residual diffusion; W embedding width, G genes, K and M components.

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
    domain_components
        (D, W) principal components of the standardised embedding that tell what looks like the training data.
    domain_spread
        (W,) what these leave of each feature of training sections left out.
    domain_limit
        () `unexplained` beyond which a spot counts as unlike the training data.
    residual
        How what was measured is distributed about the mean.
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
    domain_components: NDArray[np.float32]
    domain_spread: NDArray[np.float32]
    domain_limit: NDArray[np.float32]
    residual: Residual

    def require_sound(self, condition_width: int | None, n_genes: int) -> None:
        """Check the arrays against a denoiser and what they stand for; ValueError names the first wrong one."""
        sizes = {
            "W": self.centre.size,
            "G": n_genes,
            "K": self.component_scale.size,
            "M": self.mean_component_scale.size,
            "D": len(self.domain_components),
        }
        made = sizes["K"] + sizes["M"]
        if condition_width not in (None, made):
            msg = f"a condition {made} wide is made, and the denoiser takes {condition_width}"
            raise ValueError(msg)
        _require_shapes(self, _SHAPES, sizes)
        _require_positive(
            self, ("scale", "component_scale", "mean_component_scale", "domain_spread")
        )
        self.residual.require_sound(n_genes)

    @property
    def knows_domain(self) -> bool:
        """Whether `distance` can tell spots that are unlike the training data."""
        return bool(np.isfinite(self.domain_limit))

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
        guess = (mean - self.mean_centre) @ self.mean_components.T / self.mean_component_scale
        return np.concatenate([self.look(embedding), guess], axis=1).astype(np.float32)

    def look(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, W) -> (n, K) unit-variance components of the embedding: the condition's first part."""
        return self.standardise(embedding) @ self.components.T / self.component_scale

    def distance(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, W) -> (n,) how unlike the training data a spot looks; above 1 is out of its domain."""
        return _distance(self, self.standardise(embedding))

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Name -> array, as a model file holds them."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "residual"}
        return _contiguous(own | vars(self.residual))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float32]]) -> Head:
        """Read `to_arrays` back; KeyError names the first array that is missing."""
        names = [f.name for f in fields(cls) if f.name != "residual"]
        own = {name: np.asarray(arrays[name], np.float32) for name in names}
        return cls(**own, residual=Residual.from_arrays(arrays))


def _distance(head: Head | EmbeddingHead, standardised: NDArray[np.float32]) -> NDArray[np.float32]:
    rest = unexplained(standardised, head.domain_components, head.domain_spread)
    return (rest / head.domain_limit).astype(np.float32)


def _contiguous(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    return {name: np.array(array, np.float32, order="C") for name, array in arrays.items()}


_SHAPES = {
    "centre": "W",
    "scale": "W",
    "weights": "WG",
    "intercept": "G",
    "components": "KW",
    "component_scale": "K",
    "mean_centre": "G",
    "mean_components": "MG",
    "mean_component_scale": "M",
    "domain_components": "DW",
    "domain_spread": "W",
}


def _require_shapes(
    head: Head | EmbeddingHead, axes: Mapping[str, str], sizes: Mapping[str, int]
) -> None:
    for name, letters in axes.items():
        wanted, found = tuple(sizes[letter] for letter in letters), getattr(head, name).shape
        if found != wanted:
            msg = f"'{name}' is of shape {found}, not {wanted} as the others ask"
            raise ValueError(msg)


def _require_positive(head: Head | EmbeddingHead, names: tuple[str, ...]) -> None:
    if head.domain_limit.size != 1:
        msg = f"'domain_limit' is of shape {head.domain_limit.shape}, not one number"
        raise ValueError(msg)
    for name in (*names, "domain_limit"):
        if (getattr(head, name) <= 0).any():
            msg = f"'{name}' holds numbers that are not positive"
            raise ValueError(msg)
