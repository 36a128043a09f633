"""Do intervals hold what they promise: coverage at many levels, and where the truth falls among draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
N_BINS = 20


def coverage_curve(truth: NDArray[np.float32], draws: NDArray[Any]) -> NDArray[np.float64]:
    """Share of spots and genes inside the draws' central interval of each of `LEVELS`, bounds included.

    Parameters
    ----------
    truth
        (spots, genes).
    draws
        (spots, genes, draws).

    Returns
    -------
    (levels,), by the interval of `napari_stem.metrics.central_interval`.
    """
    levels = np.array(LEVELS)
    tails = np.concatenate([(1 - levels) / 2, (1 + levels) / 2])
    inside = np.zeros(len(levels))
    for gene in range(truth.shape[1]):  # gene by gene, to keep memory small
        values = draws[:, gene].astype(np.float64)
        low, high = np.split(np.quantile(values, tails, axis=1, method="weibull"), 2)
        inside += ((low <= truth[:, gene]) & (truth[:, gene] <= high)).mean(axis=1)
    share: NDArray[np.float64] = inside / truth.shape[1]
    return share


def pit_histogram(
    truth: NDArray[np.float32], draws: NDArray[Any], seed: int = 0
) -> NDArray[np.float64]:
    """Share of spots and genes in each twentieth of the probability integral transform.

    Flat where draws and truth come from one distribution, a U where draws are too narrow, a hill
    where too wide. Counts have ties (many zeros), which are broken at random (Czado, Gneiting and
    Held 2009).

    Returns
    -------
    (20,), sums to 1.
    """
    rng = np.random.default_rng(seed)
    n_draws = draws.shape[2]
    shares = np.zeros(N_BINS)
    for gene in range(truth.shape[1]):
        asked = truth[:, gene, None]
        below = (draws[:, gene] < asked).sum(axis=1)
        tied = (draws[:, gene] == asked).sum(axis=1)
        place = (below + rng.uniform(size=len(truth)) * (tied + 1)) / (n_draws + 1)
        shares += np.histogram(place, bins=N_BINS, range=(0, 1))[0]
    normalised: NDArray[np.float64] = shares / shares.sum()
    return normalised
