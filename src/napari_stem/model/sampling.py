"""How a network is sampled: which samplers may be used on it, and from which noise it starts."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_stem.diffusion.noise import START, located_field, located_normal, mirrored
from napari_stem.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from napari_stem.geometry import Spots
    from napari_stem.model.config import ModelConfig
    from napari_stem.model.residual import Residual
    from napari_stem.settings import Objective, SamplerName, SamplingSettings

# Sampler -> its function of `napari_stem.diffusion.samplers`, by name: torch takes seconds to come.
# Any network can be seen as a denoiser in sigma; the published chain needs one that was trained on it.
SIGMA_SAMPLERS: dict[SamplerName, str] = {
    "dpmpp-2m": "dpmpp_2m",
    "heun": "heun",
    "ancestral": "euler_ancestral",
}
CHAIN_SAMPLERS: dict[SamplerName, str] = {"ancestral": "ddpm_ancestral", "ddim": "ddim"}
SAMPLERS: dict[Objective, tuple[SamplerName, ...]] = {
    "edm": tuple(SIGMA_SAMPLERS),
    "published": tuple(SIGMA_SAMPLERS | CHAIN_SAMPLERS),
}


def require_sampler(objective: Objective, settings: SamplingSettings) -> None:
    """Check that the sampler can be used: that of a chain needs a network which was trained on the chain.

    ModelError: it cannot.
    """
    fitting = SAMPLERS[objective]
    if settings.sampler not in fitting:
        raise ModelError(
            f"Sampler '{settings.sampler}' does not fit a model of objective '{objective}'; choose "
            f"{', '.join(fitting[:-1])} or {fitting[-1]}."
        )


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
    noise = located_normal(settings.seed, spots.x_px, spots.y_px, n_pairs, START, width)
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


def sample_network(
    config: ModelConfig,
    network: nn.Module,
    condition: Tensor,
    start: Tensor,
    noise: Callable[[int], Tensor],
    settings: SamplingSettings,
    callback: Callable[[int, int, Any], None] | None,
) -> Tensor:
    """Sample what a network generates, as its objective asks.

    ``edm``: the leading scores of residuals. They are uncorrelated and of unit variance: EDM's skip, x / (1 +
    sigma^2), is the exact denoiser of their Gaussian, and a network that gives zeros changes nothing.
    ``published``: values, with Stem's own chain, or with a solver in sigma on the same network.

    Of n rows (spots times draws) the condition is (n, C); start, what ``noise`` gives for a step, and the
    result are (n, G), the first two standard normal. Else as in `napari_stem.diffusion.samplers`.
    """
    import torch

    from napari_stem.diffusion import samplers
    from napari_stem.diffusion.objectives import edm_denoised, published_denoised
    from napari_stem.diffusion.schedule import LinearSchedule, karras_sigmas

    sampler, n_steps = settings.sampler, settings.n_steps
    result: Tensor
    if config.objective == "published":
        chain = LinearSchedule.published()
        if sampler in CHAIN_SAMPLERS:
            walk = getattr(samplers, CHAIN_SAMPLERS[sampler])
            result = walk(network, start, chain, n_steps, condition, noise, callback)
            return result
        denoise = partial(published_denoised, network, chain, condition=condition)
        sigmas = karras_sigmas(n_steps, float(chain.sigmas[0]), float(chain.sigmas[-1]))
    else:
        denoise = partial(edm_denoised, network, condition=condition)
        sigmas = karras_sigmas(n_steps, config.sigma_min, config.sigma_max)
    solve = getattr(samplers, SIGMA_SAMPLERS[sampler])
    width = 1.0
    if config.objective == "edm":
        # Finite steps give their Gaussian another width (16 of DPM-Solver++ 1.02, of ancestral .81): what goes
        # in is divided by it. A column each tells what becomes of the start and of each step's noise; as these
        # are independent and of unit variance, the width is the length of the result.
        inputs = torch.eye(n_steps + 1)
        shares = solve(
            lambda x, sigma: x / (1 + sigma**2),
            inputs[:1] * sigmas[0],
            sigmas,
            lambda step: inputs[step],
        )
        width = float(shares.norm())
    x = start * sigmas[0] / width
    result = solve(denoise, x, sigmas, lambda step: noise(step) / width, callback)
    return result
