"""What of a prediction is exported: the spots that are finished and the genes that were chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from napari_stem.errors import PredictionError
from napari_stem.geometry import region_names
from napari_stem.texts import RESEARCH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp, Region, Spots
    from napari_stem.results import Field, Prediction

Shown: TypeAlias = Literal["predicted", "measured", "predicted minus measured"]
NOTICES: dict[Shown, str] = {
    "predicted": f"Predicted from the H&E image, not measured. {RESEARCH}",
    "measured": f"Measured, not predicted. {RESEARCH}",
    "predicted minus measured": f"Predicted from the H&E image, minus what was measured. {RESEARCH}",
}
NOTICE = NOTICES["predicted"]


@dataclass(frozen=True)
class Selection:
    """Finished spots and chosen genes of a prediction, fixed when the export begins.

    Attributes
    ----------
    prediction
        Where the values come from; may go on growing.
    genes
        In the order in which they are written.
    rows
        (n,) int64, which of the prediction's spots were done, ascending.
    regions
        Areas of interest, for means and outlines; may be empty. They choose no spots.
    """

    prediction: Prediction
    genes: tuple[str, ...]
    rows: NDArray[np.int64]
    regions: tuple[Region, ...] = ()

    @classmethod
    def of(
        cls, prediction: Prediction, genes: Sequence[str] = (), regions: Sequence[Region] = ()
    ) -> Selection:
        """Choose all spots that are done, and genes in the order in which they are written; of none, all.

        Raises
        ------
        UnknownGeneError
            The prediction lacks one; the message offers names that are alike.
        PredictionError
            No spot is done.
        """
        prediction.columns(genes)  # all there?
        rows = np.flatnonzero(prediction.done)
        if not len(rows):
            raise PredictionError(
                f"No spot of {prediction.path} is predicted yet, so there is nothing to export."
            )
        return cls(prediction, tuple(genes) or prediction.genes, rows, tuple(regions))

    @property
    def spots(self) -> Spots:
        """The finished spots."""
        return self.prediction.spots.take(self.rows)

    @property
    def ood(self) -> NDArray[np.bool_]:
        """(n,) bool: spots unlike anything the model was trained on."""
        chosen: NDArray[np.bool_] = self.prediction.ood[self.rows]
        return chosen

    @property
    def knows_domain(self) -> bool:
        """Whether the model could tell which spots are unlike its training data."""
        return self.prediction.provenance.get("domain") != "unknown"

    @property
    def n_missing(self) -> int:
        """Count of spots that were asked for and are not predicted yet."""
        return len(self.prediction.spots) - len(self.rows)

    @property
    def is_whole(self) -> bool:
        """Whether every spot and every gene is chosen."""
        return self.n_missing == 0 and self.genes == self.prediction.genes

    @property
    def mpp(self) -> Mpp:
        """Pixel size with which the slide was predicted."""
        return self.prediction.mpp

    def values(self, gene: str, field: Field = "mean") -> NDArray[np.float32]:
        """(n,) float32 of one gene at the finished spots."""
        return self.prediction.values(gene, field)[self.rows]

    def region_names(self) -> list[str]:
        """Names of the regions that hold each spot's centre, joined by "; "; empty outside of all."""
        return region_names(self.spots, self.regions)
