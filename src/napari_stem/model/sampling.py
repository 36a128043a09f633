"""From noise to draws, which sampler walks which parameterisation with which noise, and to what is asked for.

Both kinds of network can be seen as a denoiser in sigma, which any solver in sigma can walk; what walks the
published chain itself (`ancestral` as in the paper, `ddim`) needs a network that was trained on that chain.

Asked for may be another depth, shares, another patient. A model draws counts as deep as the training sections'
and, as one more gene, each spot's library size. For a slide of known depth they are thinned, or scaled up. How
much more or less of a gene another patient has is drawn once for the slide: it makes intervals wider, and
leaves differences within the slide as they are.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.diffusion.noise import located_field, located_normal, mirrored, spot_keys
from napari_stem.errors import ModelError
from napari_stem.spatial.normalise import in_unit, normalisation, possible

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from napari_stem.geometry import Spots
    from napari_stem.model.config import ModelConfig, Objective
    from napari_stem.model.residual import Residual
    from napari_stem.settings import SamplerName, SamplingSettings

    Array = NDArray[np.float32]

SAMPLERS: dict[Objective, tuple[SamplerName, ...]] = {
    "edm": ("dpmpp-2m", "heun", "ancestral"),
    "published": ("dpmpp-2m", "heun", "ancestral", "ddim"),
}
# Step of the noise that a whole slide shares; the field's is the one after.
_OF_PATIENT = (1 << 16) - 2


def noise_of_step(
    spots: Spots, settings: SamplingSettings, shape: tuple[int, int, int], device: str, step: int
) -> Tensor:
    """Location-keyed standard normals of one step, (n * draws, genes).

    Every second draw mirrors the one before it (antithetic variates): each alone is as random as ever, and the
    mean of a few draws is nearly that of many.
    """
    import torch

    n, n_draws, n_genes = shape
    n_pairs = (n_draws + 1) // 2
    normals = located_normal(settings.seed, spots.x_px, spots.y_px, n_pairs, step, n_genes)
    return torch.from_numpy(mirrored(normals, n_draws)).reshape(n * n_draws, n_genes).to(device)


def located_scores(
    spots: Spots, settings: SamplingSettings, residual: Residual
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Make the normals of a residual: (n, draws, K) along its directions, (n, draws, G) of each gene by itself.

    Spots share of them what `Residual.shared` says; each alone is standard normal all the same.
    """
    far, near, _ = (float(value) for value in residual.shared)
    whole, field = shared_scores(spots.xy_um, settings, residual)
    n_pairs, width = whole.shape
    n_directions = residual.directions.shape[0]
    noise = located_normal(settings.seed, spots.x_px, spots.y_px, n_pairs, 0, width)
    noise *= math.sqrt(1 - far - near)
    noise += math.sqrt(far) * whole
    noise += math.sqrt(near) * field
    noise = mirrored(noise, settings.n_draws)
    return noise[..., :n_directions], noise[..., n_directions:]


def shared_scores(
    xy_um: NDArray[np.float64], settings: SamplingSettings, residual: Residual
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Make what (n, 2) spot centres share of their normals, as `located_field`; a run's first call is slow."""
    width = sum(residual.directions.shape)
    n_pairs, length_um = (settings.n_draws + 1) // 2, float(residual.shared[2])
    return located_field(settings.seed, xy_um, n_pairs, width, length_um)


def walked(
    config: ModelConfig,
    network: nn.Module,
    condition: Tensor,
    noise: Callable[[int], Tensor],
    settings: SamplingSettings,
    callback: Callable[[int, int, Any], None] | None,
) -> Tensor:
    """Sample what a network generates, as its objective asks.

    ``edm``: the leading scores of residuals. They are uncorrelated and of unit variance: EDM's skip, x / (1 +
    sigma^2), is the exact denoiser of their Gaussian, and a network that gives zeros changes nothing.
    ``published``: values, with Stem's own chain, or with a solver in sigma on the same network.
    """
    import torch

    from napari_stem.diffusion import samplers
    from napari_stem.diffusion.objectives import edm_denoised, published_denoised
    from napari_stem.diffusion.schedule import LinearSchedule, karras_sigmas

    start, n_steps = noise(0), settings.n_steps

    def fresh(step: int) -> Tensor:
        return noise(step + 1)

    solve = samplers.heun if settings.sampler == "heun" else samplers.dpmpp_2m
    if config.objective == "edm":
        sigmas = karras_sigmas(n_steps, config.sigma_min, config.sigma_max)
        denoise = partial(edm_denoised, network, condition=condition)
        start = start * sigmas[0]
        if settings.sampler == "ancestral":
            return samplers.euler_ancestral(denoise, start, sigmas, fresh, callback)
        # A finite number of steps makes their Gaussian too wide (16 by 2%): begin so that it ends as it should.
        gain = solve(lambda x, sigma: x / (1 + sigma**2), torch.full((1, 1), sigmas[0]), sigmas)
        return solve(denoise, start / float(gain), sigmas, callback)
    chain = LinearSchedule.published()
    if settings.sampler == "ancestral":
        return samplers.ddpm_ancestral(
            network, start, chain, n_steps, condition, noise=fresh, callback=callback
        )
    if settings.sampler == "ddim":
        return samplers.ddim(network, start, chain, n_steps, condition, callback=callback)
    low, high = float(chain.sigmas[0]), float(chain.sigmas[-1])
    denoise = partial(published_denoised, network, chain, condition=condition)
    return solve(denoise, start * high, karras_sigmas(n_steps, low, high), callback)


LEVEL = 0.90
_NARROWEST, _WIDEST = 0.25, 4.0


def spread_factors(
    truth: NDArray[np.float32], draws: NDArray[np.float32], level: float = LEVEL
) -> NDArray[np.float32]:
    """Factor by which each gene's draws must spread about their mean to cover the truth as often as they say.

    The score of a spot is how far the central interval would have to be stretched about the mean of the draws
    to reach the truth; the factor is the conformal quantile of the scores (Vovk et al.; eq. 2 of Angelopoulos
    and Bates 2021, arXiv 2107.07511).

    Parameters
    ----------
    truth
        (spots, genes) measured values of spots that the model has not seen.
    draws
        (spots, genes, draws) uncalibrated.
    level
        Central interval that shall hold this share of the truth.

    Returns
    -------
    (genes,) float32, kept between 0.25 and 4.
    """
    mean = draws.mean(-1)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=-1, method="weibull")
    above = (truth - mean) / np.maximum(high - mean, 1e-6)
    below = (mean - truth) / np.maximum(mean - low, 1e-6)
    scores = np.maximum(above, below)
    rank = min(len(scores), int(np.ceil((len(scores) + 1) * level)))
    factors = np.sort(scores, axis=0)[rank - 1]
    kept: NDArray[np.float32] = np.clip(factors, _NARROWEST, _WIDEST).astype(np.float32)
    return kept


def spread(draws: NDArray[np.float32], factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stretch draws about their mean: (spots, genes, draws) with (genes,) -> the same shape."""
    mean = draws.mean(-1, keepdims=True)
    stretched: NDArray[np.float32] = mean + (draws - mean) * factors[None, :, None]
    return stretched


def unit_asked(config: ModelConfig, settings: SamplingSettings) -> tuple[str, str]:
    """Return the normalisation of what is asked for, and the unit as users read it.

    Raises
    ------
    ModelError
        The model knows no library sizes, and a depth or shares are asked for.
    """
    if config.depth is None and (settings.depth or settings.quantity == "share"):
        raise ModelError(
            f"Model '{config.name}' does not know how deep its training sections were sequenced: it gives "
            f"{normalisation(config.normalisation).label} as they were, no other depth and no shares."
        )
    if settings.quantity == "share":
        share = normalisation("log1p_cp10k")
        return share.name, share.label
    label = normalisation(config.normalisation).label
    if settings.depth:
        label += f" at {settings.depth:,.0f} counts per spot"
    elif config.depth is not None:
        label += " at the training depth"
    return config.normalisation, label


def as_asked(
    drawn: Array,
    patient_effect: Array,
    config: ModelConfig,
    settings: SamplingSettings,
    spots: Spots,
) -> Array:
    """Turn what a model draws into what is asked for.

    Parameters
    ----------
    drawn
        (n, genes, draws) in the model's unit at the training depth; with ``config.depth`` a last row is the
        library size. May be changed.
    patient_effect
        (genes,) as `Residual.patient_effect`, of the same rows.
    config, settings, spots
        Of the model and the run.

    Returns
    -------
    (n, genes of the panel, draws) float32 in the unit of `unit_asked`, such as a measurement could give.

    Raises
    ------
    ModelError
        As `unit_asked`.
    """
    unit_asked(config, settings)
    n_genes, is_new = len(config.genes), settings.patient == "new"
    if is_new and config.depth is None:
        drawn += _effects(patient_effect, settings)
    if config.depth is None or not (is_new or settings.depth or settings.quantity == "share"):
        return possible(drawn[:, :n_genes], config.normalisation)
    exp = np.exp2 if normalisation(config.normalisation).log_base == 2 else np.exp
    times = np.ones((len(drawn[0]), 1))  # of every gene, and of the library
    if is_new:
        effects = _effects(patient_effect, settings).astype(np.float64)
        if settings.depth:
            effects[-1] = 0  # how deep this slide was sequenced is known
        times = exp(np.concatenate([effects[:-1] + effects[-1:], effects[-1:]]))
    factor = (settings.depth or config.depth) / config.depth
    asked = np.empty((len(drawn), n_genes, drawn.shape[2]), np.float32)
    places = spot_keys(spots.x_px, spots.y_px)
    for spot, place in enumerate(places):  # what fits a core's cache
        counts = (exp(np.maximum(drawn[spot], 0), dtype=np.float64) - 1) * times
        of_genes = _sequenced(counts[:n_genes], factor, settings.seed, place)
        if settings.quantity == "counts":
            asked[spot] = in_unit(of_genes, config.normalisation, of_genes.sum)
        else:
            library = np.maximum(counts[n_genes:] * factor, of_genes.sum(axis=0))
            asked[spot] = np.log1p(1e4 * of_genes / np.maximum(library, 1))
    return asked


def _sequenced(
    counts: NDArray[np.float64], factor: float, seed: int, place: np.uint64
) -> NDArray[np.float64]:
    """Whole counts at so many times the depth: thinned if it is less, as sequencing does, and else scaled.

    What a spot gets depends on its place (`spot_keys`) alone.
    """
    if factor >= 1:
        return np.asarray(np.rint(counts * factor))
    key = np.array([seed % (1 << 64), place], np.uint64)
    thinning = np.random.Generator(np.random.Philox(key=key))
    return thinning.binomial(np.rint(counts).astype(np.int64), factor).astype(np.float64)


def _effects(patient_effect: Array, settings: SamplingSettings) -> Array:
    """(genes, draws) how much more of each gene a patient has, in the model's unit; the same for all spots."""
    corner, n_pairs = np.zeros(1), (settings.n_draws + 1) // 2
    normals = located_normal(
        settings.seed, corner, corner, n_pairs, _OF_PATIENT, len(patient_effect)
    )
    effects: Array = (mirrored(normals, settings.n_draws)[0] * patient_effect).T
    return effects
