"""What remains about the mean: how each gene's residual is distributed, and how genes vary together.

A residual is a gene's factor times a quantile that depends on the predicted mean; the place of that quantile is
standard normal. Those of all genes together are a Gaussian with some leading directions and a rest of each
gene's own (a Gaussian copula).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

FURTHEST, STEP = 3.5, 0.125  # normal scores at which quantiles are kept
SCORES = np.arange(-FURTHEST, FURTHEST + STEP / 2, STEP)
PATIENT_PRIOR, DEPTH_PRIOR = 0.7, 1.0  # standard deviations between patients, in factors of two


def of(axes: str, *, is_positive: bool = False) -> dict[str, Any]:
    """Metadata of an array's field: the letters of its axes, and whether it holds positive numbers alone."""
    return {"axes": axes, "is_positive": is_positive}


@dataclass(frozen=True)
class Arrays:
    """Arrays by name, as a model file holds them."""

    def to_arrays(self) -> dict[str, Array]:
        """Name -> array, those of parts too."""
        found: dict[str, Array] = {}
        for name, value in vars(self).items():
            is_part = isinstance(value, Arrays)
            found |= (
                value.to_arrays() if is_part else {name: np.array(value, np.float32, order="C")}
            )
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], **parts: Arrays) -> Self:
        """Read all but the parts by their names; KeyError names the first that is missing."""
        names = [f.name for f in fields(cls) if f.name not in parts]
        own: dict[str, Any] = {name: np.asarray(arrays[name], np.float32) for name in names}
        return cls(**own, **parts)

    def require_shapes(self, **sizes: int) -> None:
        """Check axes and signs against the fields' metadata; ValueError names the first wrong one.

        ``sizes`` are lengths of axes that are known; another axis is as long as in the first field that has it.
        """
        own = [each for each in fields(self) if each.metadata]
        for each in own:
            axes, found = each.metadata["axes"], getattr(self, each.name).shape
            sizes = dict(zip(axes, found, strict=False)) | sizes
            wanted = tuple(sizes.get(letter, 0) for letter in axes)
            if found != wanted:
                raise ValueError(
                    f"'{each.name}' is of shape {found}, not {wanted} as the others ask"
                )
        for each in own:
            if each.metadata["is_positive"] and (getattr(self, each.name) <= 0).any():
                raise ValueError(f"'{each.name}' holds numbers that are not positive")


@dataclass(frozen=True)
class Residual(Arrays):
    """Distribution of residuals; G genes, B means, Q normal scores (`SCORES`), K directions."""

    # (G,) how much more each gene's residuals spread than those of all
    factor: Array = field(metadata=of("G"))
    mean_at: Array = field(metadata=of("B"))  # (B,) rising predicted means
    # (B, Q) residual over ``factor`` at each of these means and normal scores, rising along the second axis
    quantiles: Array = field(metadata=of("BQ"))
    # (K, G) in which genes vary together: what a score of one there adds to the genes' normal scores
    directions: Array = field(metadata=of("KG"))
    # (G,) standard deviation of what is left, of each gene by itself
    own: Array = field(metadata=of("G"))
    # (3,) what spots share of their normals: share of the variance that is the whole slide's, share that is the
    # neighbourhood's, and the distance in um at which the latter's correlation has fallen to 1/e
    shared: Array = field(metadata=of("3"))
    # (G,) standard deviation, in the model's unit, of how much more of a gene a patient has
    patient_effect: Array = field(metadata=of("G"))

    def require_sound(self, n_genes: int) -> None:
        """Check the arrays against each other and what they stand for; ValueError names the first wrong one."""
        self.require_shapes(G=n_genes, Q=len(SCORES), **{"3": 3})
        for name in ("factor", "own", "shared", "patient_effect"):
            if (getattr(self, name) < 0).any():
                raise ValueError(f"'{name}' holds negative numbers")
        if self.shared[:2].sum() > 1 or self.shared[2] == 0:
            raise ValueError("'shared' holds shares of more than one, or a length of nothing")
        if (np.diff(self.mean_at) <= 0).any() or (np.diff(self.quantiles) < 0).any():
            raise ValueError("'mean_at' or 'quantiles' falls where it should rise")

    def correlated(self, scores: Array, own: Array) -> Array:
        """Make normal scores of genes that vary together.

        Parameters
        ----------
        scores
            (n, D, K) standard normal, along the directions.
        own
            (n, D, G) standard normal, of each gene by itself.

        Returns
        -------
        (n, G, D), each standard normal.
        """
        together: Array = scores @ self.directions + own * self.own
        return together.transpose(0, 2, 1)

    def at(self, mean: Array, scores: Array) -> Array:
        """Find the residuals of normal scores: (n, G), (n, G, D) -> (n, G, D)."""
        values = np.empty(scores.shape, np.float32)
        # of the table as one row: three times as fast as `take_along_axis`
        first = np.arange(mean.shape[1], dtype=np.int32)[:, None] * len(SCORES)
        for spot, table in enumerate(map(self._quantiles_at, mean)):  # what fits a core's cache
            place = np.clip(scores[spot], -FURTHEST, FURTHEST, order="C")
            place = (place + FURTHEST) / STEP
            whole = np.minimum(np.floor(place), len(SCORES) - 2)
            below = whole.astype(np.int32) + first
            low, high = table.ravel().take(below), table.ravel().take(below + 1)
            values[spot] = (low + (place - whole) * (high - low)) * self.factor[:, None]
        return values

    def expected(self, mean: Array) -> Array:
        """Find the expected residuals, exactly: (n, G) -> (n, G)."""
        of_one = np.interp(mean, self.mean_at, self.quantiles @ _weights())
        return (of_one * self.factor).astype(np.float32)

    def scores_of(
        self, mean: NDArray[np.float64], residual: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Find the normal scores of residuals, the inverse of `at`: (n, G), (n, G) -> (n, G)."""
        scores = np.empty(residual.shape)
        scaled = residual / np.maximum(self.factor, 1e-6)
        for gene in range(residual.shape[1]):  # gene by gene, to keep memory small
            table = self._quantiles_at(mean[:, gene : gene + 1])[:, 0]
            value = scaled[:, gene, None]
            below = np.clip((table <= value).sum(1, keepdims=True) - 1, 0, len(SCORES) - 2)
            low, high = (np.take_along_axis(table, below + i, axis=1) for i in (0, 1))
            place = below + np.clip((value - low) / np.maximum(high - low, 1e-9), 0, 1)
            scores[:, gene] = place[:, 0] * STEP - FURTHEST
        return scores

    def _quantiles_at(self, mean: NDArray[Any]) -> Array:
        """Quantiles at some means, between those that are known: (n, G) -> (n, G, Q)."""
        last = len(self.mean_at) - 1
        place = np.interp(mean, self.mean_at, np.arange(last + 1.0))
        below = np.minimum(place.astype(np.int64), max(0, last - 1))
        share = (place - below)[..., None].astype(np.float32)
        low, high = self.quantiles[below], self.quantiles[np.minimum(below + 1, last)]
        quantiles: Array = low + share * (high - low)
        return quantiles

    def of_genes(self, columns: NDArray[np.int64]) -> Residual:
        """Keep some of the genes."""
        return replace(
            self,
            factor=self.factor[columns],
            directions=self.directions[:, columns],
            own=self.own[columns],
            patient_effect=self.patient_effect[columns],
        )


@cache
def _weights() -> NDArray[np.float64]:
    """(Q,) what quantiles at `SCORES` count for in an expectation, read between them as `Residual.at` does."""
    normal = NormalDist()
    # whose second derivative is the density
    integral = [z * normal.cdf(z) + normal.pdf(z) for z in SCORES]
    weights: NDArray[np.float64] = np.diff(np.diff(integral) / STEP, prepend=0, append=1)
    return weights
