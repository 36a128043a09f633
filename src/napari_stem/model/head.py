"""From an embedding to what the denoiser is told: the condition, the mean, the distance.

`Head` belongs to the residual diffusion, `EmbeddingHead` to Stem's own objective. The arrays are plain
numpy, fitted by scikit-learn in training, so that predicting needs neither its classes nor a pickle.

The distance: embeddings of tissue fill few directions. What a spot's embedding has outside of the leading
principal components of the training spots, their tissue did not show: another focus, stain, magnification or
organ. Within them, tissue may be rare, but it is not foreign. Each field of view has components of its own, so
that a common sight in one does not excuse a foreign one in another. `scripts/domain_comparison.py` measures how
well this tells.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_stem.model.residual import Arrays, Residual, of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

N_CHECKED = 16  # spots of a slide, before a run
ENOUGH_OF_FEW = 9  # of those round a click, which are alike and wait for it
LEAST_CHECKED = 3
MOST_LIKE = 0.85  # median distance of a slide; of training sections left out it is 0.80 at most


@dataclass(frozen=True)
class EmbeddingDomain(Arrays):
    """What either head knows of embeddings, W wide: how to standardise them, and which look like training."""

    # centre, scale: (W,) standardisation of the embedding; 0 and 1 where the denoiser was told it as it is
    centre: NDArray[np.float32] = field(metadata=of("W"))
    scale: NDArray[np.float32] = field(metadata=of("W", is_positive=True))
    # (F, D, P = W / F) principal components of each field of view's part of the standardised embedding, which
    # tell what looks like the training data
    domain_components: NDArray[np.float32] = field(metadata=of("FDP"))
    # (W,) what these leave of each feature of training sections left out
    domain_spread: NDArray[np.float32] = field(metadata=of("W", is_positive=True))
    # () `unexplained` beyond which a spot counts as unlike the training data; NaN where nothing is known of
    # them
    domain_limit: NDArray[np.float32] = field(metadata=of("", is_positive=True))

    @property
    def knows_domain(self) -> bool:
        """Whether `distance` can tell spots that are unlike the training data."""
        return bool(np.isfinite(self.domain_limit))

    @property
    def _field_width(self) -> int:
        """Features of each field of view; -1, which no shape has, where the embedding has no such parts."""
        width, rest = divmod(self.centre.size, len(self.domain_components) or 1)
        return -1 if rest else width

    def standardise(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, W) -> (n, W)."""
        return (embedding - self.centre) / self.scale

    def distance(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, W) -> (n,) how unlike training data a spot looks: above 1 is out of domain, NaN not known."""
        z = self.standardise(embedding)
        rest = unexplained(z, self.domain_components, self.domain_spread)
        return (rest / self.domain_limit).astype(np.float32)


@dataclass(frozen=True)
class EmbeddingHead(EmbeddingDomain):
    """What Stem's own objective needs: the denoiser is told the embedding itself."""

    def require_sound(self, condition_width: int | None, _n_genes: int) -> None:
        """Check the arrays against a denoiser and what they stand for; ValueError names the first wrong one."""
        self.require_shapes(W=condition_width or 0, P=self._field_width)

    @classmethod
    def as_is(cls, width: int) -> EmbeddingHead:
        """Head of a published checkpoint: the embedding as the encoder gives it, no domain known."""
        centre, scale = np.zeros(width, np.float32), np.ones(width, np.float32)
        nothing = np.zeros((1, 0, width), np.float32)
        return cls(centre, scale, nothing, scale, np.array(np.nan, np.float32))

    def condition(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, W) -> (n, W)."""
        return self.standardise(embedding).astype(np.float32)


@dataclass(frozen=True)
class Head(EmbeddingDomain):
    """What comes before the residual; W embedding width, G genes, N anchors, L, K, R and M components."""

    # weights, intercept: (W, R), (R,) of the standardised embedding: linear part of the mean along its
    # directions
    weights: NDArray[np.float32] = field(metadata=of("WR"))
    intercept: NDArray[np.float32] = field(metadata=of("R"))
    # anchors, anchor_scale, anchor_weights: (N, L), (), (N, R) training spots by their L ``components`` over
    # the scale, and what likeness to each (`kernel`) adds to the mean along its directions
    anchors: NDArray[np.float32] = field(metadata=of("NL"))
    anchor_scale: NDArray[np.float32] = field(metadata=of("", is_positive=True))
    anchor_weights: NDArray[np.float32] = field(metadata=of("NR"))
    # components, component_scale: (L, W), (K,) principal components of the standardised embedding, and the
    # standard deviations along the first K, which the denoiser is told
    components: NDArray[np.float32] = field(metadata=of("LW"))
    component_scale: NDArray[np.float32] = field(metadata=of("K", is_positive=True))
    # mean_centre, mean_components, mean_component_scale: (G,), (R, G), (M,) what the mean is about, its
    # directions, and its standard deviations along the first M, which the denoiser is told
    mean_centre: NDArray[np.float32] = field(metadata=of("G"))
    mean_components: NDArray[np.float32] = field(metadata=of("RG"))
    mean_component_scale: NDArray[np.float32] = field(metadata=of("M", is_positive=True))
    residual: Residual  # how what was measured is distributed about the mean

    def require_sound(self, condition_width: int | None, n_genes: int) -> None:
        """Check the arrays against a denoiser and what they stand for; ValueError names the first wrong one."""
        made = self.component_scale.size + self.mean_component_scale.size
        if condition_width not in (None, made):
            raise ValueError(
                f"a condition {made} wide is made, and the denoiser takes {condition_width}"
            )
        self.require_shapes(G=n_genes, P=self._field_width)
        for told, there in (
            ("component_scale", "components"),
            ("mean_component_scale", "mean_components"),
        ):
            if len(getattr(self, told)) > len(getattr(self, there)):
                raise ValueError(f"'{told}' is longer than there are components")
        self.residual.require_sound(n_genes)

    def along(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, W) -> (n, R) places of the conditional mean along its directions."""
        z = self.standardise(embedding)
        likeness = kernel(z @ self.components.T / self.anchor_scale, self.anchors)
        found = z @ self.weights + self.intercept + likeness @ self.anchor_weights
        return np.asarray(found, np.float32)

    def mean(self, along: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, R) -> (n, G) conditional mean in the model's unit."""
        return (self.mean_centre + along @ self.mean_components).astype(np.float32)

    def condition(
        self, embedding: NDArray[np.float32], along: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """(n, W), (n, R) -> (n, K + M): unit-variance components of the embedding, then of the mean."""
        guess = along[:, : len(self.mean_component_scale)] / self.mean_component_scale
        return np.concatenate([self.leading_components(embedding), guess], axis=1).astype(
            np.float32
        )

    def leading_components(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, W) -> (n, K) unit-variance components of the embedding: the condition's first part."""
        leading = self.components[: len(self.component_scale)]
        return self.standardise(embedding) @ leading.T / self.component_scale

    def of_genes(self, columns: NDArray[np.int64]) -> Head:
        """Keep some of the genes; what is drawn of each by itself depends on its place among them."""
        return replace(
            self,
            mean_centre=self.mean_centre[columns],
            mean_components=self.mean_components[:, columns],
            residual=self.residual.of_genes(columns),
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], **_parts: Arrays) -> Self:
        """Read all by their names, those of the residual too."""
        return super().from_arrays(arrays, residual=Residual.from_arrays(arrays))


def kernel(points: NDArray[Any], anchors: NDArray[Any]) -> NDArray[Any]:
    """Likeness of points to anchors, exp(-distance), a Matern kernel: (n, L), (N, L) -> (n, N)."""
    from scipy.spatial.distance import cdist

    likeness: NDArray[Any] = np.exp(-cdist(points, anchors))
    return likeness


def unexplained(
    standardised: NDArray[np.floating],
    components: NDArray[np.floating],
    spread: NDArray[np.floating],
) -> NDArray[np.float32]:
    """How much components leave of standardised embeddings.

    The mean fourth power, in units of what they leave of training sections left out: a change that is strong in
    some features tells more than one that is weak in all.

    Parameters
    ----------
    standardised
        (n, W), W = F w: one field of view after the other.
    components
        (F, D, w), orthonormal rows for each field of view.
    spread
        (W,) root mean square of what is left of each feature.

    Returns
    -------
    (n,).
    """
    rest = beyond(components, standardised) / spread
    return np.asarray(np.mean(rest**4, axis=1, dtype=np.float64) ** 0.25, np.float32)


def beyond(
    components: NDArray[np.floating], standardised: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Take from (n, F w) standardised embeddings what (F, D, w) components explain: (n, F w)."""
    n_fields, _, width = components.shape
    by_field = standardised.reshape(-1, n_fields, width).swapaxes(0, 1)
    rest = by_field - (by_field @ components.swapaxes(1, 2)) @ components
    return np.asarray(rest.swapaxes(0, 1).reshape(standardised.shape))


def evenly(n_spots: int) -> NDArray[np.intp]:
    """Choose the spots of a slide that are checked before a run, spread over their order; a third of few."""
    n = min(n_spots, N_CHECKED, max(ENOUGH_OF_FEW, n_spots // 3))
    return np.unique(np.linspace(0, n_spots - 1, n).round().astype(np.intp))


def domain_warning(distance: NDArray[np.float32], model_name: str) -> str | None:
    """Say so where the checked spots are unlike the training data as a whole.

    Parameters
    ----------
    distance
        (n,) of these, above 1 where unlike; NaN where the model cannot tell.
    model_name
        For the sentence.
    """
    middle = float(np.median(distance)) if len(distance) >= LEAST_CHECKED else 0.0
    if not middle > MOST_LIKE:
        return None
    return (
        f"The slide looks unlike the training data of model '{model_name}' (median distance of "
        f"{len(distance)} spots {middle:.2f}; up to {MOST_LIKE:g} is like it): its maps may be wrong. Check "
        f"focus, stain, tissue and pixel size."
    )
