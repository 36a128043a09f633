"""What of a prediction is exported, finished spots and chosen genes, and what it says in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from napari_stem.errors import ModelError, PredictionError
from napari_stem.geometry import Mpp, Region, Spots, inside, region_names
from napari_stem.io import sha256
from napari_stem.metrics import central_interval, holding
from napari_stem.results import FIELDS, Field, Prediction
from napari_stem.texts import NOTICE, RESEARCH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray


Shown: TypeAlias = Literal["predicted", "measured", "predicted minus measured"]
NOTICES: dict[Shown, str] = {
    "predicted": NOTICE,
    "measured": f"Measured, not predicted. {RESEARCH}",
    "predicted minus measured": f"Predicted from the H&E image, minus what was measured. {RESEARCH}",
}
SPOTS_PER_READ = 256


@dataclass(frozen=True)
class Selection:
    """Finished spots and chosen genes of a prediction, fixed when the export begins."""

    prediction: Prediction  # may go on growing
    genes: tuple[str, ...]  # in the order in which they are written
    spot_indices: NDArray[np.int64]  # (n,) which of the prediction's spots were done, ascending
    # areas of interest, for means and outlines; they choose no spots
    regions: tuple[Region, ...] = ()

    @classmethod
    def of(
        cls, prediction: Prediction, genes: Sequence[str] = (), regions: Sequence[Region] = ()
    ) -> Selection:
        """Choose all spots that are done, and genes in the order in which they are written; of none, all.

        A gene that is named twice is written once.

        UnknownGeneError where the prediction lacks one, which offers names that are alike; PredictionError
        where no spot is done.
        """
        genes = tuple(dict.fromkeys(genes))
        prediction.columns(genes)  # all there?
        done = np.flatnonzero(prediction.done)
        if not len(done):
            raise PredictionError(
                f"No spot of {prediction.path} is predicted yet, so there is nothing to export."
            )
        return cls(prediction, genes or prediction.genes, done, tuple(regions))

    @property
    def spots(self) -> Spots:
        """The finished spots."""
        return self.prediction.spots.take(self.spot_indices)

    @property
    def ood(self) -> NDArray[np.bool_]:
        """(n,) bool: spots unlike anything the model was trained on."""
        chosen: NDArray[np.bool_] = self.prediction.ood[self.spot_indices]
        return chosen

    @property
    def n_missing(self) -> int:
        """Count of spots that were asked for and are not predicted yet."""
        return len(self.prediction.spots) - len(self.spot_indices)

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
        return self.prediction.values(gene, field)[self.spot_indices]

    @property
    def region_names(self) -> list[str]:
        """Per spot, the name of the region that it lies in ("A; B" in both); empty outside of all.

        Of ``regions``; where there are none, of those that were asked for when the prediction was made.
        """
        if self.regions:
            return region_names(self.spots, self.regions)
        names = self.prediction.region_names
        return [names[row] for row in self.spot_indices]


@dataclass(frozen=True)
class Estimate:
    """A mean with its 90% interval, in the prediction's unit."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class RegionSummary:
    """A region in numbers."""

    name: str
    area_mm2: float  # of the outline, whatever of it is predicted
    n_spots: int  # finished, with their centre inside
    n_unlike: int  # those of them unlike the training data
    genes: Mapping[str, Estimate]  # mean over those spots; empty where there are none


def region_summaries(selection: Selection) -> list[RegionSummary]:
    """Summarise every region.

    The interval of a region's mean is that of the mean over its spots within each draw. Where draws were not
    kept, it is the mean of the spots' intervals, as if all erred alike: wider than it need be. Either is
    widened to hold the mean where samples are too few.
    """
    mpp, spots, ood = selection.mpp, selection.spots, selection.ood
    return [
        RegionSummary(
            region.name,
            region.area_mm2(mpp),
            int(held.sum()),
            int(ood[held].sum()),
            _estimates(selection, held),
        )
        for region in selection.regions
        for held in [inside(spots, [region])]
    ]


def _estimates(selection: Selection, held: NDArray[np.bool_]) -> dict[str, Estimate]:
    """Mean of every gene over the spots that are held, with its interval; nothing where none is."""
    if not held.any():
        return {}
    prediction = selection.prediction
    mean, low, high = (
        np.array([selection.values(g, f)[held].mean(dtype=float) for g in selection.genes])
        for f in ("mean", "q05", "q95")
    )
    if prediction.n_kept_draws:
        spots = selection.spot_indices[held]
        total = np.zeros((len(selection.genes), prediction.n_kept_draws))
        for start in range(0, len(spots), SPOTS_PER_READ):
            some = prediction.draws(spots[start : start + SPOTS_PER_READ], selection.genes)
            total += some.sum(axis=0, dtype=float)
        low, high = central_interval(total / len(spots), 0.9)
    low, high = holding(mean, low, high)
    rows = zip(mean.tolist(), low.tolist(), high.tolist(), strict=True)
    return {g: Estimate(*row) for g, row in zip(selection.genes, rows, strict=True)}


def gene_summaries(selection: Selection) -> pd.DataFrame:
    """Summarise every chosen gene over all finished spots.

    Returns
    -------
    By gene: ``mean`` over spots; ``sd`` and ``width``, means over spots of the predicted standard deviation and
    of the 90% interval's width; ``low`` and ``high``, the 5th and 95th percentile of the spots' means; and
    how well it is predicted on left-out training sections (`Prediction.gene_accuracy`).
    """
    import pandas as pd

    rows = []
    for gene in selection.genes:
        mean, sd, q05, q95 = (selection.values(gene, field) for field in FIELDS)
        means = (values.mean(dtype=float) for values in (mean, sd, q95 - q05))
        rows.append((*means, *np.percentile(mean, (5, 95))))
    columns = ["mean", "sd", "width", "low", "high"]
    summaries = pd.DataFrame(rows, index=list(selection.genes), columns=columns)
    return summaries.join(selection.prediction.gene_accuracy)


def model_card(prediction: Prediction) -> Mapping[str, Any]:
    """Card of the model that made a prediction, where that very model is a packaged one; else nothing."""
    from napari_stem.model.config import WEIGHTS_FILE, read_config
    from napari_stem.model.sources import named_in_file

    wanted = prediction.provenance.get("model_weights_sha256")
    try:
        folder = named_in_file(prediction.provenance.get("model"))
        digest = sha256(folder / WEIGHTS_FILE)
        return read_config(folder).card if digest == wanted else {}
    except (ModelError, OSError):
        return {}


def most_reliable_genes(prediction: Prediction, n: int) -> tuple[str, ...]:
    """Genes to show first, ``n`` at most: the most reliable ones (`Prediction.reliability`).

    Where nothing is known of that, those whose predicted differences between spots stand out most from their
    predicted uncertainty.
    """
    if known := prediction.reliability:
        return tuple(known)[:n]
    done = prediction.done
    if not done.any():
        return prediction.genes[:n]
    contrast = {
        g: float(
            prediction.values(g)[done].var() / ((prediction.values(g, "sd")[done] ** 2).mean() or 1)
        )
        for g in prediction.genes
    }
    return tuple(sorted(contrast, key=lambda gene: -contrast[gene])[:n])
