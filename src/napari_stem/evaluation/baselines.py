"""Predictors that run side by side on the same features, folds and genes: fitted once a fold, then asked.

The diffusion models, ours and published Stem, and baselines that no network is trained for: linear, retrieval,
place, and residuals drawn round ridge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from napari_stem.errors import ModelError
from napari_stem.evaluation.options import BenchmarkOptions
from napari_stem.progress import silent
from napari_stem.settings import SamplingSettings
from napari_stem.spatial.lattice import nearest_distance_px
from napari_stem.training import mean
from napari_stem.training.mean import N_DRAWS, gaussian_residuals, round_ridge, stacked, standards

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.progress import Progress
    from napari_stem.spatial.normalise import NormalisationName
    from napari_stem.training.mean import Array, Residuals
    from napari_stem.training.sections import SectionArrays

N_COMPONENTS = 256  # HEST-bench's
PENALTIES = tuple(10.0**power for power in range(-3, 7))
CHOICES_OF_K = (5, 10, 20, 40, 80)
BANDWIDTHS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0)  # in distances between spots
N_BINS = 20
OURS = SamplingSettings(n_draws=64, n_steps=16, patient="same")
PAPER_DRAWS, PAPER_STEPS = 20, 1000


@dataclass(frozen=True)
class Forecast:
    """Expression of one section's n spots and G genes, in the unit that was fitted."""

    mean: NDArray[np.float32]  # (n, G)
    # (n, G, D), None for a predictor that gives a mean alone
    draws: NDArray[np.float32] | None = None
    # whether the draws are samples, of which there could be more, or all that is forecast
    is_sampled: bool = True


Fitted: TypeAlias = Callable[["SectionArrays"], Forecast]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a predictor is told besides the training sections."""

    panel: tuple[str, ...]  # names of the G genes, the columns of every section's ``values``
    normalisation: NormalisationName  # unit of these
    # encoder, encoder_version: what made the embeddings
    encoder: str
    encoder_version: str
    seed: int = 0  # of everything random
    progress: Progress = silent  # told (what, done, in all); may raise to cancel


@dataclass(frozen=True)
class Predictor:
    """One way to predict expression from embeddings."""

    name: str  # as users ask for it
    about: str  # one line on what it is
    # fits on training sections; the function that it returns forecasts a section that was not among them,
    # whose ``values`` are NaN: no predictor can look at what it is asked for
    fit: Callable[[Sequence[SectionArrays], Task], Fitted]
    # whether another seed gives other numbers; if not, it runs once whatever seeds are asked for
    seeded: bool = False
    # what else its numbers depend on that users can choose, JSON-ready
    settings: dict[str, Any] = field(default_factory=dict)


def _diffusion(
    name: str,
    about: str,
    objective: Literal["edm", "published"],
    sampling: SamplingSettings,
    asked: BenchmarkOptions,
) -> Predictor:
    """Make a model of one objective; all of it is trained on each fold's training sections."""

    def fit(train: Sequence[SectionArrays], task: Task) -> Fitted:
        from napari_stem.training.fit import TrainingOptions, fit_sections

        options = TrainingOptions(
            objective=objective,
            encoder=task.encoder,
            normalisation=task.normalisation,
            size=asked.size,
            minutes=asked.minutes,
            steps=asked.steps,
            seed=task.seed,
            device=asked.device,
        )
        model = fit_sections(
            train,
            task.panel,
            options,
            name=name,
            encoder_version=task.encoder_version,
            progress=task.progress,
        )
        how = replace(sampling, seed=task.seed, device=asked.device)

        def forecast(section: SectionArrays) -> Forecast:
            def step(done: int, total: int, _x: object) -> None:
                task.progress(f"Sampling section {section.id}", done, total)

            draws = model.sample(section.embedding, section.spots, how, step)
            return Forecast(model.mean(section.embedding, draws, how), draws)

        return forecast

    # not the device, which changes no more than the last digits
    settings = {name: getattr(asked, name) for name in ("minutes", "steps", "size")}
    settings |= {name: getattr(sampling, name) for name in ("n_draws", "n_steps", "sampler")}
    return Predictor(name, about, fit, seeded=True, settings=settings)


def fit_ridge(train: Sequence[SectionArrays], _task: Task) -> Fitted:
    """Fit `napari_stem.training.mean.fit_ridge`."""
    fitted, _ = mean.fit_ridge(train)
    return lambda section: Forecast(fitted(section.embedding))


def probe(name: str, about: str, *, centred: bool, penalties: Sequence[float] = ()) -> Predictor:
    """HEST-bench's probe, as `fit_probe` fits it."""

    def fit(train: Sequence[SectionArrays], _task: Task) -> Fitted:
        x, y = (part.astype(np.float32) for part in stacked(train)[:2])
        predict = fit_probe(x, y, centred=centred, penalties=penalties)
        return lambda section: Forecast(predict(section.embedding))

    return Predictor(name, f"PCA({N_COMPONENTS}) and ridge, {about}", fit)


def fit_probe(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    *,
    centred: bool = False,
    penalties: Sequence[float] = (),
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Fit HEST-bench's probe (Jaume et al. 2024, arXiv 2406.16192), setting by setting.

    ``StandardScaler``, PCA of 256 components (fewer where there are fewer spots or features), ridge
    without intercept on targets as they are. The components have mean zero, so predictions centre on
    zero: correlations do not mind, squared errors do.

    HEST fits log1p of raw counts. The penalty is quadratic and there is no intercept, so log2
    targets give the same predictions times 1 / ln 2, and the same correlations.

    Parameters
    ----------
    x
        (n, W) embeddings of the training spots.
    y
        (n, G) their targets.
    centred
        Whether the targets' mean is taken off before, and put back after.
    penalties
        To choose among by generalised leave-one-out cross-validation; none: HEST's own.

    Returns
    -------
    A function: (n, W) embeddings -> (n, G) values.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    n_components = min(N_COMPONENTS, *x.shape)
    reduce = make_pipeline(StandardScaler(), PCA(n_components, random_state=1))
    reduced = reduce.fit_transform(x)
    centre = y.mean(axis=0) if centred else np.zeros(y.shape[1], y.dtype)
    alpha = 100 / (n_components * y.shape[1])
    fixed = Ridge(solver="lsqr", alpha=alpha, fit_intercept=False, max_iter=1000, random_state=0)
    ridge = RidgeCV(list(penalties), fit_intercept=False) if penalties else fixed
    fitted = ridge.fit(reduced, y - centre)

    def predict(asked: NDArray[np.float32]) -> NDArray[np.float32]:
        predicted = fitted.predict(reduce.transform(asked)).reshape(len(asked), -1)
        return np.asarray(predicted + centre, np.float32)

    return predict


def fit_knn(train: Sequence[SectionArrays], _task: Task) -> Fitted:
    """Mean of the k most alike training spots; the neighbours' own values are its draws.

    Embeddings are standardised, distances Euclidean. k has the smallest squared error when one training section
    at a time (or strip of a single one) is retrieved from the others.
    """
    every_x, every_y, group = stacked(train)
    x, y = every_x.astype(np.float32), every_y.astype(np.float32)
    k = best_k(x, y, group)

    def forecast(section: SectionArrays) -> Forecast:
        draws = np.moveaxis(y[_nearest(x, section.embedding, k)], 1, 2)  # (n, G, k)
        return Forecast(draws.mean(-1), draws if k > 1 else None, is_sampled=False)

    return forecast


def best_k(x: NDArray[np.float32], y: NDArray[np.float32], group: NDArray[np.int64]) -> int:
    """Choose k by the squared error of each group's spots, retrieved from the other groups.

    Parameters
    ----------
    x, y
        (n, W) embeddings and (n, G) values.
    group
        (n,) whose spots never answer for each other.
    """
    held = np.unique(group)
    fewest = min(int((group != g).sum()) for g in held)
    choices = [k for k in CHOICES_OF_K if k <= fewest] or [fewest]
    errors = np.zeros(len(choices))
    for g in held:
        rest, out = group != g, group == g
        found = y[rest][_nearest(x[rest], x[out], choices[-1])]  # (n, k, G), nearest first
        for i, k in enumerate(choices):
            errors[i] += np.sum((found[:, :k].mean(axis=1) - y[out]) ** 2, dtype=np.float64)
    return choices[int(np.argmin(errors))]


def _nearest(x: NDArray[np.float32], asked: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """(n, k) rows of ``x`` most alike each of ``asked``, the nearest first."""
    from sklearn.neighbors import NearestNeighbors

    centre, scale = standards(x)
    known = NearestNeighbors(n_neighbors=k).fit((x - centre) / scale)
    return np.asarray(known.kneighbors((asked - centre) / scale, return_distance=False))


def fit_place(train: Sequence[SectionArrays], _task: Task) -> Fitted:
    """Kernel regression (Nadaraya 1964, Watson 1964) of expression on place, sections laid centre on centre.

    It knows nothing of the tissue. Where it does well, sections left out are nearly copies of those trained on,
    and a model's figures say little of another patient. The bandwidth has the smallest squared error when one
    training section at a time (or strip of a single one) is predicted from the others.
    """
    xy = np.concatenate([_places(s) for s in train])
    _, y, group = stacked(train)
    errors = dict.fromkeys(BANDWIDTHS, 0.0)
    for held in np.unique(group):
        out, rest = group == held, group != held
        for bandwidth in BANDWIDTHS:
            predicted = smoothed(xy[rest], y[rest], xy[out], bandwidth)
            errors[bandwidth] += float(np.sum((predicted - y[out]) ** 2))
    best = min(errors, key=errors.__getitem__)
    return lambda section: Forecast(smoothed(xy, y, _places(section), best).astype(np.float32))


def smoothed(
    xy: NDArray[np.float64], y: NDArray[np.float64], asked: NDArray[np.float64], bandwidth: float
) -> NDArray[np.float64]:
    """Mean of values (n, G) at (n, 2) round each of (m, 2), with Gaussian weights: (m, G)."""
    from scipy.spatial.distance import cdist
    from scipy.special import softmax

    weights = softmax(-cdist(asked, xy, "sqeuclidean") / (2 * bandwidth**2), axis=1)
    return np.asarray(weights @ y)


def _places(section: SectionArrays) -> NDArray[np.float64]:
    """(n, 2) in distances between spots from the middle of the section's spots."""
    xy_px = np.column_stack([section.spots.x_px, section.spots.y_px]).astype(np.float64)
    return np.asarray((xy_px - xy_px.mean(0)) / (nearest_distance_px(xy_px) or 1.0))


def bootstrapped_residuals(mean: Array, residual: Array) -> Residuals:
    """Keep residuals (n, G) in units of their spread at the (n, G) out-of-fold mean."""
    edges = np.quantile(mean, np.linspace(0, 1, N_BINS + 1))
    bins = np.clip(np.searchsorted(edges, mean.ravel()) - 1, 0, N_BINS - 1)
    counted = np.maximum(np.bincount(bins, minlength=N_BINS), 1)
    centre = np.bincount(bins, mean.ravel(), N_BINS) / counted
    spread = np.sqrt(np.bincount(bins, residual.ravel() ** 2, N_BINS) / counted) + 1e-3
    unit = residual / np.interp(mean, centre, spread)

    def draw(asked: Array, rng: np.random.Generator) -> Array:
        return unit[rng.integers(len(unit), size=len(asked))] * np.interp(asked, centre, spread)

    return draw


def round_the_mean(
    name: str, about: str, fit_residuals: Callable[[Array, Array], Residuals]
) -> Predictor:
    """Ridge, and residuals drawn round it as they are fitted to those out of fold."""

    def fit(train: Sequence[SectionArrays], task: Task) -> Fitted:
        drawn = round_ridge(train, task.normalisation, fit_residuals)
        return lambda section: Forecast(*drawn(section.embedding, task.seed))

    return Predictor(name, about, fit, seeded=True, settings={"n_draws": N_DRAWS})


def predictors(names: Sequence[str], asked: BenchmarkOptions) -> list[Predictor]:
    """Make predictors by name, of `NAMES`, in the order asked for.

    ModelError: there is no such predictor.
    """
    known = {predictor.name: predictor for predictor in _every(asked)}
    for name in names:
        if name not in known:
            raise ModelError(f"There is no predictor '{name}'; choose among {', '.join(NAMES)}.")
    return [known[name] for name in names]


def _every(asked: BenchmarkOptions) -> tuple[Predictor, ...]:
    """All of these, with what is said of each; of published Stem's 1000 steps as many as are asked for."""
    n_steps = asked.published_steps
    paper = SamplingSettings(
        n_draws=PAPER_DRAWS, n_steps=n_steps, sampler="ancestral", patient="same"
    )
    of_paper = "" if n_steps == PAPER_STEPS else f" (the paper: {PAPER_STEPS})"
    of_hest = "alpha = 100 / (components x genes), "
    left_out = "chosen by leaving out"
    return (
        _diffusion(
            "ours",
            f"mean by regression and residual diffusion, {OURS.n_draws} draws of {OURS.n_steps} steps",
            "edm",
            OURS,
            asked,
        ),
        _diffusion(
            "published",
            f"Stem as published, {PAPER_DRAWS} ancestral draws of {n_steps} steps{of_paper}",
            "published",
            paper,
            asked,
        ),
        Predictor("ridge", f"ridge, penalty {left_out} training sections", fit_ridge),
        probe("hest-ridge", f"{of_hest}targets not centred, as HEST-bench", centred=False),
        probe("hest-ridge-centred", f"{of_hest}centred targets", centred=True),
        # the fixed penalty is far too small (HEST#140)
        probe(
            "hest-ridge-cv",
            "penalty by leave-one-out cross-validation, centred targets",
            centred=True,
            penalties=PENALTIES,
        ),
        Predictor(
            "knn",
            f"mean of the k most alike training spots, k {left_out} training sections",
            fit_knn,
        ),
        Predictor(
            "place",
            f"kernel regression on place in the section, no image; bandwidth {left_out} sections",
            fit_place,
        ),
        round_the_mean(
            "gaussian",
            f"ridge and {N_DRAWS} draws of a Gaussian residual, full covariance (Ledoit-Wolf)",
            gaussian_residuals,
        ),
        round_the_mean(
            "bootstrap",
            f"ridge and {N_DRAWS} residual vectors of training spots, scaled by their spread",
            bootstrapped_residuals,
        ),
    )


NAMES = tuple(predictor.name for predictor in _every(BenchmarkOptions()))
