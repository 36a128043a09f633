"""Values of a prediction: read by gene, and as colours.

Limits and titles of maps, fading by uncertainty, probabilities, scores, legends of domains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_stem.errors import PredictionError
from napari_stem.texts import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_stem.progress import Poll
    from napari_stem.results import Prediction

MapField = Literal["mean", "sd"]  # of the fields of a prediction, those that have maps
RangeKind = Literal["gene", "all", "percentile", "fixed"]
FIELD_TITLES: dict[str, str] = {"mean": "predicted", "sd": "predicted, uncertainty (SD)"}
PERCENTILES = (1.0, 99.0)
NARROWEST = 1e-6  # limits closer than this show no difference


@dataclass(frozen=True)
class ColourRange:
    """How the limits of the colours are chosen.

    ``gene``: 1st to 99th percentile of each gene; ``all``: of all genes together; ``percentile``: of each gene,
    from ``low`` to ``high`` percent; ``fixed``: the values ``low`` and ``high`` for every gene, in the
    prediction's unit.
    """

    kind: RangeKind = "gene"
    low: float = PERCENTILES[0]
    high: float = PERCENTILES[1]

    def limits(
        self, values: ArrayLike, of_all: tuple[float, float] | None = None
    ) -> tuple[float, float]:
        """(low, high), low < high, for a map of values of any shape; NaN is left out.

        ``of_all`` are the limits of all genes, where they are known already.
        """
        if self.kind == "fixed":
            return apart(self.low, self.high)
        if self.kind == "all" and of_all is not None:
            return of_all
        if self.kind == "percentile":
            return colour_limits(values, (self.low, self.high))
        return colour_limits(values)

    def as_percentiles(self) -> ColourRange:
        """Return it for values of another unit, where limits that are values of expression mean nothing."""
        return self if self.kind == "percentile" else ColourRange()


def colour_limits(
    values: ArrayLike, percentiles: tuple[float, float] = PERCENTILES
) -> tuple[float, float]:
    """(low, high), low < high: percentiles, 0 to 100, of values of any shape; (0, 1) where none is known."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if known.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(known, sorted(percentiles)))
    return apart(low, high)


def apart(low: float, high: float) -> tuple[float, float]:
    """Return limits that differ: a gene without any spread still needs two."""
    if high - low < NARROWEST:
        return low - 0.5, low + 0.5
    return low, high


def map_title(gene: str, field: MapField, unit: str = "") -> str:
    """Name of a map as the layer list and the legend show it: always says that it is predicted."""
    return f"{gene} {FIELD_TITLES[field]}" + (f", {unit}" if unit else "")


def score_title(name: str, n_used: int, n_named: int) -> str:
    """Name of the map of a score: which set, how much of it, that it is predicted, and its unit."""
    return f"Score of {name}, {n_used} of {count(n_named, 'gene')}, predicted, mean z-score"


SURE_PERCENTILE, UNSURE_PERCENTILE = 5.0, 95.0
LEAST_RATIO = 1.5  # where all spots are about equally sure, none is faded much
FAINTEST = 0.1


@dataclass(frozen=True)
class Fading:
    """How opacity follows confidence.

    Up to the standard deviation ``sure``, in the prediction's unit, a spot is fully shown, from ``unsure`` on
    it is as faint as it gets (`FAINTEST`); in between opacity falls in proportion.
    """

    sure: float
    unsure: float

    @classmethod
    def of(cls, sd: ArrayLike) -> Fading:
        """Fading of one gene: from the 5th to the 95th percentile of its (n_spots,) standard deviations.

        The end is at least 1.5 times the start, so that chance differences are not made to look large. NaN is
        left out.
        """
        known = np.asarray(sd, dtype=np.float64)
        known = known[np.isfinite(known)]
        if not known.size:
            return cls(0.0, 1.0)
        low, high = np.percentile(known, (SURE_PERCENTILE, UNSURE_PERCENTILE))
        return cls(float(low), float(max(high, LEAST_RATIO * low, low + 1e-6)))

    def opacity(self, sd: ArrayLike) -> NDArray[np.float64]:
        """(n_spots,) opacity, `FAINTEST` to 1; 0 where nothing is predicted."""
        values = np.asarray(sd, dtype=np.float64)
        share = np.clip((values - self.sure) / (self.unsure - self.sure), 0, 1)
        return np.where(np.isfinite(values), 1 - (1 - FAINTEST) * share, 0.0)


def faded_colours(rgba: ArrayLike, opacity: ArrayLike) -> NDArray[np.uint8]:
    """Colours of spots with an opacity of their own: (n, 4) float 0 to 1, (n,) -> (n, 4) uint8."""
    colours = np.asarray(rgba, dtype=np.float64).copy()
    colours[:, 3] *= np.asarray(opacity)
    return np.asarray(np.round(255 * np.nan_to_num(colours)), dtype=np.uint8)


def probability_over(draws: ArrayLike, threshold: float) -> NDArray[np.float64]:
    """Share of draws above a threshold in the prediction's unit: (n_spots, draws) -> (n_spots,) float64.

    NaN where nothing is predicted.
    """
    values = np.asarray(draws, dtype=np.float32)
    share = (values > threshold).mean(axis=-1, dtype=np.float64)
    return np.where(np.isfinite(values).all(axis=-1), share, np.nan)


MOST_LINES = 12  # of a legend on the canvas


def legend_lines(names: Sequence[str], colours: Sequence[str]) -> list[tuple[str, str]]:
    """Lines of a legend, (text, colour of its ground): the names of domains, in their order, on their colours.

    Of more than ``MOST_LINES`` the first, and how many follow.
    """
    lines = list(zip(names, colours, strict=True))
    if len(lines) <= MOST_LINES:
        return lines
    kept = lines[: MOST_LINES - 1]
    return [*kept, (f"and {len(lines) - len(kept)} more, in the panel", "#ffffff")]


def readable_on(colour: str) -> str:
    """Black or white, whichever is read more easily on a colour (WCAG 2.1)."""
    channels = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return "#000000" if luminance(channels) > 0.179 else "#ffffff"


def luminance(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative luminance of sRGB colours (WCAG 2.1): (..., 3), 0 to 1 -> (...)."""
    is_dark = colours <= 0.04045
    linear = np.where(is_dark, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ (0.2126, 0.7152, 0.0722))


SPOTS_PER_READ = 4096


def read_by_gene(prediction: Prediction, field: MapField, poll: Poll) -> NDArray[np.float32]:
    """Read one field of all spots, turned to (genes, spots) float32; ``poll`` may raise to stop.

    PredictionError where the prediction is gone, or damaged.
    """
    by_gene = np.empty((len(prediction.genes), len(prediction.spots)), dtype=np.float32)
    for start in range(0, len(prediction.spots), SPOTS_PER_READ):
        poll()
        rows = slice(start, start + SPOTS_PER_READ)
        by_gene[:, rows] = prediction.rows(rows, field).T
    return by_gene


def mean_z_score(genes: Iterable[NDArray[np.float32]]) -> tuple[NDArray[np.float32], int]:
    """Mean over genes of how many standard deviations a spot lies above the slide's mean.

    Values are (n_spots,) of one gene after the other, NaN where nothing is predicted. Gives (n_spots,) float32,
    and how many genes vary over the slide, as only those count; PredictionError where none does.
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
    return (total / n_used).astype(np.float32), n_used
