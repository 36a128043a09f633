"""What the samples of a gene say beyond their mean, ready to be drawn: fading, probabilities, outlines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SURE_PERCENTILE, UNSURE_PERCENTILE = 5.0, 95.0
LEAST_RATIO = 1.5  # where all spots are about equally sure, none is faded much
FAINTEST = 0.1


@dataclass(frozen=True)
class Fading:
    """How opacity follows confidence.

    Attributes
    ----------
    sure, unsure
        Standard deviations, in the prediction's unit: up to the first a spot is fully shown, from the
        second on it is as faint as it gets (`FAINTEST`); in between opacity falls in proportion.
    """

    sure: float
    unsure: float

    @classmethod
    def of(cls, sd: ArrayLike) -> Fading:
        """Fading of one gene: from the 5th to the 95th percentile of its standard deviations.

        The end is at least 1.5 times the start, so that chance differences are not made to look large.

        Parameters
        ----------
        sd
            (n_spots,) standard deviations; NaN is left out.
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


def colour_raster(colours: NDArray[np.uint8], spot_at: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Image of one colour per spot: (n, 4), (rows, cols) -> (rows, cols, 4); transparent off the spots."""
    clear = np.zeros((1, 4), np.uint8)
    return np.asarray(np.concatenate([colours, clear]).take(spot_at, axis=0))


def probability_over(draws: ArrayLike, threshold: float) -> NDArray[np.float64]:
    """Probability that expression is above a threshold, as the samples have it.

    Parameters
    ----------
    draws
        (n_spots, draws); NaN where nothing is predicted.
    threshold
        In the prediction's unit.

    Returns
    -------
    (n_spots,) float64, the share of draws above; NaN where nothing is predicted.
    """
    values = np.asarray(draws, dtype=np.float32)
    share = (values > threshold).mean(axis=-1, dtype=np.float64)
    return np.where(np.isfinite(values).all(axis=-1), share, np.nan)
