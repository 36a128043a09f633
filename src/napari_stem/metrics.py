"""How well predicted expression agrees with what was measured, on one section.

Arrays are ``truth`` and ``mean`` (spots, genes) and ``draws`` (spots, genes, draws), all in the
model's normalised unit; the arithmetic is in float64. Never pool sections: between-section
differences would pass for skill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np

from napari_stem.errors import PredictionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

    Array: TypeAlias = NDArray[np.float64]

Floating = TypeVar("Floating", np.float32, np.float64)
TOP_K = (10, 50, 200)
COVERAGE_LEVELS = (50, 80, 90, 95)
MAX_SPOTS_FOR_SSC = 4000  # its matrices are spots x spots
MOST_FOR_VARIOGRAM = (1000, 200)  # spots, genes
LEAST_VARIANCE = 1e-13  # of correlations; below is rounding


# Every metric, levels of ``coverage`` as `flat` names them, in the order of tables, and what it says.
MEANINGS = {
    "n_spots": "spots compared",
    "n_genes": "genes compared",
    "pcc_10": "correlation over spots, mean of the best 10 genes (1 is perfect)",
    "pcc_50": "correlation over spots, mean of the best 50 genes (1 is perfect)",
    "pcc_200": "correlation over spots, mean of the best 200 genes (1 is perfect)",
    "pcc_mean": "correlation over spots, mean of all genes (1 is perfect)",
    "pcc_mean_zeroed": "pcc_mean, a gene without a correlation (constant) counted as 0",
    "pcc_undefined": "genes left out of pcc_mean: constant in the truth or the prediction",
    "mse": "mean squared error (lower is better)",
    "mae": "mean absolute error (lower is better)",
    "crps": "error of the whole distribution (lower is better)",
    "energy_score": "error of the distribution of all genes of a spot at once (lower is better)",
    "variogram_score": "error of how far genes of a spot lie apart (lower: correlations are right)",
    "coverage 50": "share of the truth inside the 50% interval, ties broken at random (should be .50)",
    "coverage 80": "share of the truth inside the 80% interval, ties broken at random (should be .80)",
    "coverage 90": "share of the truth inside the 90% interval, ties broken at random (should be .90)",
    "coverage 95": "share of the truth inside the 95% interval, ties broken at random (should be .95)",
    "interval_width_90": "mean width of the 90% interval (narrower is better if coverage holds)",
    "rvd_mean": "how far the mean's variance over spots is off, per gene (0 is right)",
    "rvd_draw": "how far a single sample's variance over spots is off, per gene (0 is right)",
    "gsc_mean": "agreement of gene-gene correlations, predicted mean (1 is perfect)",
    "gsc_draw": "agreement of gene-gene correlations, single samples (1 is perfect)",
    "ssc_mean": "agreement of spot-spot correlations, predicted mean (1 is perfect)",
    "ssc_draw": "agreement of spot-spot correlations, single samples (1 is perfect)",
}


def all_metrics(
    truth: ArrayLike,
    mean: ArrayLike,
    draws: ArrayLike | None = None,
    *,
    is_sampled: bool = True,
) -> dict[str, Any]:
    """Every metric of one section, ready for JSON.

    Parameters
    ----------
    truth, mean
        (spots, genes) measured and predicted expression.
    draws
        (spots, genes, draws), at least 2 draws; without it what needs draws is None.
    is_sampled
        The draws are samples, of which there could be more. False: they are all that is forecast, such as the
        values of the nearest neighbours, and CRPS and energy score take them as they are.

    Returns
    -------
    dict
        Those of `MEANINGS`, but ``coverage`` in one: share by percent, as ``{"50": ..., "90": ...}``. None: not
        computable.

    Raises
    ------
    PredictionError
        If shapes differ, a value is not finite, there is no spot or gene, or a single draw.
    """
    measured, predicted = _table(truth, "measured"), _table(mean, "predicted")
    _same_shape(measured, predicted)
    coefficients = pcc(measured, predicted)
    figures = {
        "n_spots": measured.shape[0],
        "n_genes": measured.shape[1],
        **{f"pcc_{k}": _number(top_mean(coefficients, k)) for k in TOP_K},
        "pcc_mean": _number(top_mean(coefficients, len(coefficients))),
        "pcc_mean_zeroed": top_mean(coefficients, len(coefficients), "zero"),
        "pcc_undefined": int(np.isnan(coefficients).sum()),
        "mse": mse(measured, predicted),
        "mae": mae(measured, predicted),
        "rvd_mean": _number(rvd(measured, predicted)),
        "gsc_mean": _number(gsc(measured, predicted)),
        "ssc_mean": _number(ssc(measured, predicted)),
    }
    if draws is not None:
        return figures | _draw_figures(measured, _draw_table(draws, measured), is_sampled)
    rest = [name for name in MEANINGS if name not in figures and not name.startswith("coverage")]
    coverage = dict.fromkeys(map(str, COVERAGE_LEVELS))
    return figures | dict.fromkeys(rest) | {"coverage": coverage}


def flat(figures: Mapping[str, Any]) -> dict[str, float | int | None]:
    """Metrics with one entry per coverage level, ``coverage 90`` and so on."""
    levels = {f"coverage {level}": value for level, value in figures["coverage"].items()}
    return {**{k: v for k, v in figures.items() if k != "coverage"}, **levels}


def _draw_figures(truth: Array, draws: NDArray[Any], is_sampled: bool) -> dict[str, Any]:
    """Figures that need draws."""
    place = pit(truth, draws)
    return {
        "crps": _number(_of_halves(crps, truth, draws, is_sampled)),
        "energy_score": _number(_of_halves(energy_score, truth, draws, is_sampled)),
        "variogram_score": variogram_score(truth, draws),
        "rvd_draw": _number(of_one_draw(rvd, truth, draws)),
        "gsc_draw": _number(of_one_draw(gsc, truth, draws)),
        "ssc_draw": _number(of_one_draw(ssc, truth, draws)),
        "interval_width_90": interval_width(draws, 0.9),
        "coverage": {str(p): coverage_of(place, p / 100) for p in COVERAGE_LEVELS},
    }


def pcc(truth: Array, mean: Array) -> Array:
    """(genes,) Pearson correlation over spots; NaN where either side is constant."""
    centred_truth, centred_mean = truth - truth.mean(axis=0), mean - mean.mean(axis=0)
    covariance = (centred_truth * centred_mean).sum(axis=0)
    norms = np.sqrt((centred_truth**2).sum(axis=0) * (centred_mean**2).sum(axis=0))
    # Asked of the values themselves: rounding can leave a constant gene a variance of 1e-32.
    defined = (np.ptp(truth, axis=0) > 0) & (np.ptp(mean, axis=0) > 0) & (norms > 0)
    quotient: Array = np.full(truth.shape[1], np.nan)
    np.divide(covariance, norms, out=quotient, where=defined)
    return quotient


def top_mean(coefficients: Array, k: int, undefined: Literal["drop", "zero"] = "drop") -> float:
    """Mean of the k largest coefficients (of all, if there are fewer), the published PCC-k.

    Undefined (NaN) ones are left out, or count as 0. NaN if nothing is left.
    """
    known = ~np.isnan(coefficients)
    values = coefficients[known] if undefined == "drop" else np.where(known, coefficients, 0.0)
    return float(np.sort(values)[::-1][:k].mean()) if values.size else float("nan")


def mse(truth: Array, mean: Array) -> float:
    """Mean squared error over spots and genes."""
    return float(np.mean((truth - mean) ** 2))


def mae(truth: Array, mean: Array) -> float:
    """Mean absolute error over spots and genes."""
    return float(np.mean(np.abs(truth - mean)))


def rvd(truth: Array, mean: Array) -> float:
    """Relative variation distance of published Stem: ((var_p - var_t) / var_t)^2, mean over genes.

    Genes constant in the truth are left out. Noise of the right variance scores 0 wherever it puts
    its peaks, so read it beside the other figures.
    """
    known = np.ptp(truth, axis=0) > 0
    if not known.any():
        return float("nan")
    measured, predicted = truth[:, known].var(axis=0), mean[:, known].var(axis=0)
    return float(np.mean(((predicted - measured) / measured) ** 2))


def crps(truth: Array, draws: NDArray[Any], *, is_sampled: bool = True) -> float:
    """Continuous ranked probability score, mean over spots and genes.

    The fair estimator, unbiased in the number of draws (Ferro 2014): E|X - y| - E|X - X'| / 2 with
    X and X' two different draws. In the data's unit; for a single certain value it is the MAE.
    It credits few draws with the spread that more of them would show; draws that are the whole forecast
    (``is_sampled`` False) have no more to show, and any two of them are compared, alike or not.
    """
    n = draws.shape[2]
    pairs = n * (n - 1) if is_sampled else n * n
    rank_weights = 2 * np.arange(n) - n + 1  # each sorted draw's part in the sum of all differences
    scores = []
    for gene in range(truth.shape[1]):  # gene by gene, to keep memory small
        ordered = np.sort(draws[:, gene].astype(np.float64), axis=1)
        error = np.abs(ordered - truth[:, gene, None]).mean(axis=1)
        spread = (ordered * rank_weights).sum(axis=1) / pairs
        scores.append(np.mean(error - spread))
    return float(np.mean(scores))


def energy_score(truth: Array, draws: NDArray[Any], *, is_sampled: bool = True) -> float:
    """Mean of `energy_scores` over spots."""
    return float(np.mean(energy_scores(truth, draws, is_sampled=is_sampled)))


def energy_scores(truth: Array, draws: NDArray[Any], *, is_sampled: bool = True) -> Array:
    """(spots,) energy score (Gneiting and Raftery 2007): the CRPS of all genes of a spot at once.

    E||X - y|| - E||X - X'|| / 2 with Euclidean norms over the genes, estimated as `crps` is. It asks whether
    genes vary together as they should, though less sharply than `variogram_score`.
    """
    from scipy.spatial.distance import pdist

    n = draws.shape[2]
    pairs = n * (n - 1) if is_sampled else n * n
    scores = []
    for measured, drawn in zip(truth, draws, strict=True):
        values = drawn.T.astype(np.float64)
        error = np.linalg.norm(values - measured, axis=1).mean()
        scores.append(error - pdist(values).sum() / pairs)
    return np.array(scores)


def variogram_score(truth: Array, draws: NDArray[Any]) -> float:
    """Variogram score of order 0.5 (Scheuerer and Hamill 2015), mean over spots and pairs of genes.

    (|y_i - y_j|^.5 - E|X_i - X_j|^.5)^2, all pairs alike: it tells wrong correlations. Beyond 200 genes or
    1,000 spots, of so many spread evenly over their order. It falls as draws are added (by 3% from 32 on,
    1.5% from 64; mirrored pairs count as one): compare it at the same number of them.
    """
    rows, columns = (
        np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))
        for n, most in zip(truth.shape, MOST_FOR_VARIOGRAM, strict=True)
    )
    if len(columns) < 2:
        return 0.0

    first, second = np.triu_indices(len(columns), 1)

    def steps(values: NDArray[Any]) -> Array:  # of each pair of genes
        wide = values.astype(np.float64)
        return np.asarray(np.sqrt(np.abs(wide[first] - wide[second])))

    scores = []
    for row in rows:
        expected = sum(map(steps, draws[row, columns].T)) / draws.shape[2]
        scores.append(np.mean((steps(truth[row, columns]) - expected) ** 2))
    return float(np.mean(scores))


def _of_halves(
    score: Callable[..., float], truth: Array, draws: NDArray[Any], is_sampled: bool
) -> float:
    """Score of the even and of the odd draws, averaged; NaN of two draws, which may be one pair.

    The model's draws come in mirrored pairs, independent within each half only; pairs would flatter the score.
    """
    if not is_sampled:
        return score(truth, draws, is_sampled=False)
    halves = [half for half in (draws[..., ::2], draws[..., 1::2]) if half.shape[-1] > 1]
    return float(np.mean([score(truth, half) for half in halves])) if halves else float("nan")


def central_interval(
    draws: NDArray[Floating], level: float
) -> tuple[NDArray[Floating], NDArray[Floating]]:
    """(..., draws) -> lower and upper bound, (...) each, of the draws' central interval, as precise as they.

    Quantiles at ranks q (n + 1) (Weibull; Hyndman and Fan 1996, type 6): for draws exchangeable with the truth,
    the interval then holds the truth with probability ``level`` where these ranks are whole, and with 1%
    more at most between them, at any number of draws n >= 2 / (1 - level) - 1 (of 32 in mirrored pairs 91.1% of
    normal truths, for 90%). With fewer draws the outermost two bound it, and it holds the truth less often.
    """
    # few values are sorted in a seventh of the time that `numpy.quantile` takes to choose among them
    ordered, last, tail = np.sort(draws, axis=-1), draws.shape[-1] - 1, round((1 - level) / 2, 12)
    low, high = (min(max(q * (last + 2) - 1, 0.0), last) for q in (tail, 1 - tail))
    return _between(ordered, low), _between(ordered, high)


def interval_width(draws: NDArray[Any], level: float) -> float:
    """Mean width of the `central_interval` of draws, (spots, genes, draws)."""
    widths = []
    for drawn in draws:  # spot by spot, to keep memory small
        low, high = central_interval(drawn.astype(np.float64), level)
        widths.append(np.mean(high - low))
    return float(np.mean(widths))


def _between(ordered: NDArray[Floating], place: float) -> NDArray[Floating]:
    """Interpolate along the last axis, where NaN comes last and makes everything NaN."""
    below = int(place)
    above = min(below + 1, ordered.shape[-1] - 1)
    low, high = ordered[..., below], ordered[..., above]
    return np.where(np.isnan(ordered[..., -1]), np.nan, low + (place - below) * (high - low))


def holding(estimate: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Bounds of intervals, widened where need be to hold the estimate that they stand beside; all of one shape.

    Of a rare gene few draws may all be alike, and lie beside its mean.
    """
    return np.minimum(low, estimate), np.maximum(high, estimate)


def gsc(truth: Array, mean: Array) -> float:
    """Gene structure correlation: how alike the measured and predicted gene-gene correlations are.

    Pearson correlation between the two matrices' entries above the diagonal; genes that are
    constant on either side are left out. NaN with fewer than three genes.
    """
    kept = (np.ptp(truth, axis=0) > 0) & (np.ptp(mean, axis=0) > 0)
    if kept.sum() < 3:
        return float("nan")
    measured, predicted = (_of_unit_length(side[:, kept]) for side in (truth, mean))
    variances = [_covariance_of_correlations(side, side) for side in (measured, predicted)]
    if min(variances) < LEAST_VARIANCE:
        return float("nan")
    return float(_covariance_of_correlations(measured, predicted) / np.sqrt(np.prod(variances)))


def ssc(truth: Array, mean: Array) -> float:
    """Spot structure correlation: `gsc` of the spot-spot correlations.

    Beyond 4,000 spots, of 4,000 evenly spread over their order.
    """
    n_spots = len(truth)
    chosen = np.unique(np.linspace(0, n_spots - 1, min(n_spots, MAX_SPOTS_FOR_SSC)).astype(int))
    return gsc(truth[chosen].T, mean[chosen].T)


def of_one_draw(
    metric: Callable[[Array, Array], float], truth: Array, draws: NDArray[Any]
) -> float:
    """Mean over draws of a metric of each draw taken by itself."""
    n = draws.shape[2]
    return float(np.mean([metric(truth, draws[..., i].astype(np.float64)) for i in range(n)]))


def _of_unit_length(columns: Array) -> Array:
    """Columns whose products with each other are their correlations."""
    centred = columns - columns.mean(axis=0)
    return np.asarray(centred / np.linalg.norm(centred, axis=0))


def _covariance_of_correlations(a: Array, b: Array) -> float:
    """Covariance of a'a and b'b off their diagonals, which are 1.

    The product of two matrices of thousands of genes is had from that of their few spots.
    """
    n_rows, n = a.shape
    product = np.square(a @ b.T).sum() if n_rows < n else np.vdot(a.T @ a, b.T @ b)
    sum_a, sum_b = (np.square(side.sum(axis=1)).sum() - n for side in (a, b))
    n_pairs = n * (n - 1)
    return float((product - n - sum_a * sum_b / n_pairs) / n_pairs)


def _table(values: ArrayLike, what: str) -> Array:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise PredictionError(
            f"The {what} expression must be a table of finite numbers, spots by genes."
        )
    return table


def _draw_table(draws: ArrayLike, truth: Array) -> NDArray[Any]:
    """Draws as stored (float16 or float32): they are made float64 piece by piece."""
    table = np.asarray(draws)
    if table.ndim != 3 or table.shape[2] < 2 or not np.isfinite(table).all():
        raise PredictionError(
            "The samples must be finite numbers, spots by genes by 2 or more samples."
        )
    _same_shape(truth, table[..., 0])
    return table


def _same_shape(truth: Array, other: NDArray[Any]) -> None:
    if truth.shape != other.shape:
        raise PredictionError(
            f"The truth has {truth.shape[0]} spots and {truth.shape[1]} genes, what is compared "
            f"with it {other.shape[0]} and {other.shape[1]}; match spots and genes first."
        )


def _number(value: float) -> float | None:
    """None for NaN, which JSON cannot hold."""
    return None if np.isnan(value) else value


LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
N_BINS = 20


def pit(truth: NDArray[Any], draws: NDArray[Any]) -> Array:
    """Randomised probability integral transform: where among its draws each truth lies, 0 to 1.

    Uniform where truth and independent draws come from one distribution, at any number of draws and whatever
    their ties (Czado, Gneiting and Held 2009). Of draws in mirrored pairs, as our models give them, the middle
    is met a little too often: intervals of 50 and 90% hold 51.5 and 90.3% by 32 right draws, 52.3 and 90.5% by
    20. Among counts the truth often equals draws (many zeros): its place among those is drawn at random, the
    same one each time. Intervals that count their ends as inside hold more than they say.

    Parameters
    ----------
    truth
        (spots, genes).
    draws
        (spots, genes, draws).

    Returns
    -------
    (spots, genes).
    """
    rng, place = np.random.default_rng(0), np.empty(truth.shape)
    rounding = 2 * np.finfo(draws.dtype).eps  # a count stored in half precision is still that count
    for gene in range(truth.shape[1]):  # gene by gene, to keep memory small
        off = draws[:, gene].astype(np.float64) - truth[:, gene, None]
        margin = rounding * np.abs(truth[:, gene, None])
        below, tied = (off < -margin).sum(axis=1), (np.abs(off) <= margin).sum(axis=1)
        among = rng.uniform(size=len(truth)) * (tied + 1)
        place[:, gene] = (below + among) / (draws.shape[2] + 1)
    return place


def coverage_of(place: Array, level: float) -> float:
    """Share of `pit` places inside the central interval of a level."""
    return float(np.mean(np.abs(2 * place - 1) <= level))


def pit_histogram(place: Array) -> Array:
    """(20,) share of `pit` places in each twentieth: flat if right, a U if too narrow, a hill if too wide."""
    counted = np.histogram(place, bins=N_BINS, range=(0, 1))[0]
    return np.asarray(counted / place.size)
