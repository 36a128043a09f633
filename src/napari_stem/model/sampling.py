"""From noise to draws: which sampler walks which parameterisation, with which noise.

Both kinds of network can be seen as a denoiser in sigma, which any solver in sigma can walk; what walks the
published chain itself (`ancestral` as in the paper, `ddim`) needs a network that was trained on that chain.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.diffusion.noise import located_field, located_normal, mirrored

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from napari_stem.geometry import Spots
    from napari_stem.model.config import ModelConfig, Objective
    from napari_stem.model.residual import Residual
    from napari_stem.settings import SamplerName, SamplingSettings

SAMPLERS: dict[Objective, tuple[SamplerName, ...]] = {
    "edm": ("dpmpp-2m", "heun", "ancestral"),
    "published": ("dpmpp-2m", "heun", "ancestral", "ddim"),
}


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


def residual_walk(
    config: ModelConfig,
    network: nn.Module,
    condition: Tensor,
    noise: Callable[[int], Tensor],
    settings: SamplingSettings,
    callback: Callable[[int, int, Any], None] | None,
) -> Tensor:
    """Sample the leading scores of residuals with EDM's parameterisation.

    They are uncorrelated and of unit variance: EDM's skip, x / (1 + sigma^2), is the exact denoiser of their
    Gaussian, and a network that gives zeros changes nothing.
    """
    import torch

    from napari_stem.diffusion import samplers
    from napari_stem.diffusion.objectives import edm_denoised
    from napari_stem.diffusion.schedule import karras_sigmas

    sigmas = karras_sigmas(settings.n_steps, config.sigma_min, config.sigma_max)
    denoise = partial(edm_denoised, network, condition=condition)
    start = noise(0) * sigmas[0]
    if settings.sampler == "ancestral":
        return samplers.euler_ancestral(
            denoise, start, sigmas, lambda step: noise(step + 1), callback
        )
    solve = samplers.heun if settings.sampler == "heun" else samplers.dpmpp_2m
    # A finite number of steps makes their Gaussian too wide (16 by 2%): begin so that it ends as it should.
    gain = solve(lambda x, sigma: x / (1 + sigma**2), torch.full((1, 1), sigmas[0]), sigmas)
    return solve(denoise, start / float(gain), sigmas, callback)


def published_walk(
    config: ModelConfig,
    network: nn.Module,
    condition: Tensor,
    noise: Callable[[int], Tensor],
    settings: SamplingSettings,
    callback: Callable[[int, int, Any], None] | None,
) -> Tensor:
    """Sample values with published Stem's chain, or with a solver in sigma on the same network."""
    from napari_stem.diffusion import samplers
    from napari_stem.diffusion.objectives import published_denoised
    from napari_stem.diffusion.schedule import LinearSchedule, karras_sigmas

    chain = LinearSchedule.published()
    if settings.sampler == "ancestral":
        return samplers.ddpm_ancestral(
            network,
            noise(0),
            chain,
            settings.n_steps,
            condition,
            noise=lambda step: noise(step + 1),
            callback=callback,
        )
    if settings.sampler == "ddim":
        start, steps = noise(0), settings.n_steps
        return samplers.ddim(network, start, chain, steps, condition, callback=callback)
    low, high = float(chain.sigmas[0]), float(chain.sigmas[-1])
    sigmas = karras_sigmas(settings.n_steps, low, high)
    denoise = partial(published_denoised, network, chain, condition=condition)
    solve = samplers.heun if settings.sampler == "heun" else samplers.dpmpp_2m
    return solve(denoise, noise(0) * high, sigmas, callback)


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
