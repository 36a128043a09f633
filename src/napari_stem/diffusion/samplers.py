"""Samplers: from noise to draws, each a plain function that reads like its paper's algorithm.

`dpmpp_2m`, `heun` and `euler_ancestral` walk down noise levels sigma with any denoiser; bind its
network and condition first, with ``functools.partial``. They start at ``sigmas[0]`` times standard
normal noise. `ddpm_ancestral` and `ddim` walk the published chain and start at standard normal
noise. Those of a kind have one signature, also where they are deterministic and take no ``noise``;
`napari_stem.model.sampling` has their names as users write them.

Steps are counted from 1, the noisiest. ``callback(step, n_steps, x0_estimate)`` is called after
each; it may raise, which cancels. ``noise(step)`` gives standard normals of x's shape.
No sampler computes gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from napari_stem.diffusion.objectives import learned_log_variance

if TYPE_CHECKING:
    from napari_stem.diffusion.schedule import LinearSchedule

Denoise: TypeAlias = Callable[[Tensor, float], Tensor]
Noise: TypeAlias = Callable[[int], Tensor]
Callback: TypeAlias = Callable[[int, int, Tensor], None]


def _silent(step: int, n_steps: int, x0_estimate: Tensor) -> None:
    """Tell nobody."""


@torch.no_grad()
def dpmpp_2m(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """DPM-Solver++(2M), algorithm 2 of Lu et al. 2022 (arXiv 2211.01095), for alpha = 1.

    Second-order and deterministic, one evaluation of the denoiser a step. The first step, and the
    last one (to sigma 0, where lambda is infinite), are of first order.

    Parameters
    ----------
    denoise
        Estimate of the clean x from (x, sigma).
    x
        (n, G) start, ``sigmas[0]`` times standard normal noise.
    sigmas
        Falling noise levels; the last may be 0.
    noise
        Not used: see above.
    callback
        Told after each step; may raise to cancel.

    Returns
    -------
    Tensor
        (n, G) draws.
    """
    report, n_steps = callback or _silent, len(sigmas) - 1
    h_previous, x0_previous = 0.0, x
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas), start=1):
        x0 = denoise(x, sigma)
        ratio = sigma_next / sigma  # exp(-h), h the step in lambda = -log(sigma)
        h = -math.log(ratio) if ratio > 0 else math.inf
        if step == 1 or sigma_next == 0:
            direction = x0
        else:
            r = h_previous / h
            direction = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * x0_previous
        x = ratio * x + (1 - ratio) * direction
        h_previous, x0_previous = h, x0
        report(step, n_steps, x0)
    return x


@torch.no_grad()
def heun(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Heun's method, algorithm 1 of Karras et al. 2022, deterministic.

    Each step evaluates the denoiser twice, but the last one, to sigma 0, once. Parameters and
    result as in `dpmpp_2m`.
    """
    report, n_steps = callback or _silent, len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas), start=1):
        x0 = denoise(x, sigma)
        slope = (x - x0) / sigma
        x_next = x + (sigma_next - sigma) * slope
        if sigma_next > 0:
            slope_next = (x_next - denoise(x_next, sigma_next)) / sigma_next
            x_next = x + (sigma_next - sigma) * (slope + slope_next) / 2
        x = x_next
        report(step, n_steps, x0)
    return x


@torch.no_grad()
def euler_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    callback: Callback | None = None,
) -> Tensor:
    """Ancestral sampling in sigma: an Euler step past the next level, then fresh noise up to it.

    The noise put back has the variance of the chain's posterior, eq. 7 of Ho et al. 2020 for
    alpha = 1. Parameters and result as in `dpmpp_2m`; ``noise(step)`` gives (n, G) standard
    normals.
    """
    report, n_steps = callback or _silent, len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas), start=1):
        x0 = denoise(x, sigma)
        variance_up = sigma_next**2 * (1 - (sigma_next / sigma) ** 2)
        sigma_down = math.sqrt(sigma_next**2 - variance_up)
        x = x0 + sigma_down / sigma * (x - x0)
        if sigma_next > 0:
            x = x + math.sqrt(variance_up) * noise(step)
        report(step, n_steps, x0)
    return x


@torch.no_grad()
def ddpm_ancestral(
    network: nn.Module,
    x: Tensor,
    schedule: LinearSchedule,
    steps: int,
    condition: Tensor,
    noise: Noise,
    callback: Callback | None = None,
) -> Tensor:
    """Ancestral sampling of the published chain, algorithm 2 of Ho et al. 2020, learned variance.

    Parameters
    ----------
    network
        Predicts the noise and a variance channel, (n, 2, G).
    x
        (n, G) standard normal start.
    schedule
        The full chain; it is respaced to ``steps``.
    steps
        Steps to walk.
    condition
        (n, C).
    noise
        Standard normals (n, G) of each step; the last step adds none.
    callback
        Told after each step; may raise to cancel.

    Returns
    -------
    Tensor
        (n, G) draws.
    """
    report, chain = callback or _silent, schedule.respaced(steps)
    of_x0, of_xt = chain.posterior_mean_coefficients
    for step in range(1, steps + 1):
        i = steps - step
        epsilon, raw_variance = network(x, _time(chain, i, x), condition).unbind(dim=1)
        x0 = _clean(x, epsilon, chain, i)
        x = float(of_x0[i]) * x0 + float(of_xt[i]) * x
        if i > 0:
            log_variance = learned_log_variance(raw_variance, i, chain)
            x = x + (0.5 * log_variance).exp() * noise(step)
        report(step, steps, x0)
    return x


@torch.no_grad()
def ddim(
    network: nn.Module,
    x: Tensor,
    schedule: LinearSchedule,
    steps: int,
    condition: Tensor,
    noise: Noise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Deterministic DDIM, eq. 12 of Song et al. 2021 with eta 0, on the published chain.

    Parameters and result as in `ddpm_ancestral`; noise and a variance channel are not used.
    """
    report, chain = callback or _silent, schedule.respaced(steps)
    for step in range(1, steps + 1):
        i = steps - step
        out = network(x, _time(chain, i, x), condition)
        epsilon = out[:, 0] if out.ndim == 3 else out
        x0 = _clean(x, epsilon, chain, i)
        signal = float(chain.alphas_cumprod_prev[i])
        x = math.sqrt(signal) * x0 + math.sqrt(1 - signal) * epsilon
        report(step, steps, x0)
    return x


def _time(chain: LinearSchedule, i: int, x: Tensor) -> Tensor:
    """(n,) time step of the full chain, as the network was trained to see it."""
    return torch.full((len(x),), float(chain.timesteps[i]), dtype=x.dtype, device=x.device)


def _clean(x: Tensor, epsilon: Tensor, chain: LinearSchedule, i: int) -> Tensor:
    """Estimate of the clean x from the predicted noise."""
    signal = float(chain.alphas_cumprod[i])
    return x / math.sqrt(signal) - math.sqrt(1 / signal - 1) * epsilon
