"""The values of a prediction gene by gene, in memory, so that a change of gene never waits for a disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import PredictionError
from napari_stem.layers.colours import NARROWEST, Field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from napari_stem.results import Prediction

SPOTS_PER_READ = 4096
LARGEST_BYTES = 1_500_000_000  # of one field; what is larger is read from disk gene by gene


class GeneValues:
    """Values of one prediction by gene, from memory where they have been read, else from the prediction.

    On disk a gene lies in one file per thousand spots or so: quick for a region, seconds for a whole slide.
    """

    def __init__(self, prediction: Prediction) -> None:
        self._prediction = prediction
        self._by_gene: dict[str, NDArray[np.float32]] = {}
        self._column = {gene: i for i, gene in enumerate(prediction.genes)}

    def hold(self, field: Field, by_gene: NDArray[np.float32]) -> None:
        """Answer from memory from now on: (genes, spots) float32, as `read_by_gene` returns it."""
        self._by_gene[field] = by_gene

    def let_go(self) -> None:
        """Answer from the prediction again, which grows."""
        self._by_gene.clear()

    def values(self, gene: str, field: Field = "mean") -> NDArray[np.float32]:
        """(n_spots,) float32 of one gene, NaN where nothing is predicted; not to be changed.

        UnknownGeneError where the prediction has no such gene.
        """
        held = self._by_gene.get(field)
        if held is None or gene not in self._column:
            return self._prediction.values(gene, field)
        values: NDArray[np.float32] = held[self._column[gene]]
        return values

    def reading(self, gene: str, spot: int) -> tuple[float, float, float]:
        """Mean of one gene at one spot, and the ends of its 90% interval; reads one block from disk.

        PredictionError where it is damaged.
        """
        here, rows = slice(spot, spot + 1), self._prediction.rows
        mean, low, high = (rows(here, f, [gene]).item() for f in ("mean", "q05", "q95"))
        return mean, low, high


def fits_in_memory(prediction: Prediction) -> bool:
    """Whether one field of a prediction may be held in memory."""
    return len(prediction.spots) * len(prediction.genes) * 4 <= LARGEST_BYTES


def read_by_gene(
    prediction: Prediction, field: Field, is_stopped: Callable[[], bool]
) -> NDArray[np.float32] | None:
    """Read one field of all spots, turned to (genes, spots) float32; None where it was stopped.

    PredictionError where the prediction is gone, or damaged.
    """
    by_gene = np.empty((len(prediction.genes), len(prediction.spots)), dtype=np.float32)
    for start in range(0, len(prediction.spots), SPOTS_PER_READ):
        if is_stopped():
            return None
        rows = slice(start, start + SPOTS_PER_READ)
        by_gene[:, rows] = prediction.rows(rows, field).T
    return by_gene


@dataclass(frozen=True)
class GeneScore:
    """A score, and what it rests on."""

    values: NDArray[np.float32]  # (n_spots,) NaN where nothing is predicted
    n_used: int  # genes that vary over the slide, whose z-scores were averaged


def mean_z_score(genes: Iterable[NDArray[np.float32]]) -> GeneScore:
    """Mean over genes of how many standard deviations a spot lies above the slide's mean.

    Values are (n_spots,) of one gene after the other, NaN where nothing is predicted; PredictionError where no
    gene of the set varies over the slide.
    """
    total, n_used = np.zeros(0), 0
    for values in genes:
        exact = values.astype(np.float64)
        known = exact[np.isfinite(exact)]
        spread = float(known.std()) if known.size else 0.0
        if spread < NARROWEST:
            continue
        z_score = (exact - known.mean()) / spread
        total = z_score if n_used == 0 else total + z_score
        n_used += 1
    if not n_used:
        raise PredictionError(
            "None of these genes varies over the predicted spots, so they have no score; choose others."
        )
    return GeneScore((total / n_used).astype(np.float32), n_used)
