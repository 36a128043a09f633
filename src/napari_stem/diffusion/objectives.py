"""What a network is trained to predict, and how it is then seen as a denoiser.

A *denoiser* is a function of (x, sigma, condition) that returns the estimate of the clean x.
`edm_denoised` makes one of a bare network (ours), `published_denoised` of a network trained as
published; the samplers in sigma need nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

Network: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]  # of x, c_noise, condition

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_stem.diffusion.schedule import LinearSchedule


def rows_of(value: float | Tensor, x: Tensor) -> Tensor:
    """(n,) of x's dtype and device from one noise level for all rows, or from one per row."""
    if isinstance(value, Tensor):
        return value.to(x).expand(len(x))
    return x.new_full((len(x),), value)  # filled on the device: nothing waits for a copy


def edm_denoised(network: Network, x: Tensor, sigma: float | Tensor, condition: Tensor) -> Tensor:
    """Estimate the clean x, of unit variance, by a preconditioned network.

    Table 1 ("ours") of Karras et al. 2022.

    Parameters
    ----------
    network
        Returns (n, G).
    x
        (n, G), the clean values plus ``sigma`` times standard normal noise.
    sigma
        Noise level above 0, one for all rows or (n,).
    condition
        (n, C).

    Returns
    -------
    Tensor
        (n, G).
    """
    sigma = rows_of(sigma, x)[:, None]  # (n, 1)
    total = (sigma**2 + 1).sqrt()
    c_skip, c_out, c_in = 1 / total**2, sigma / total, 1 / total
    c_noise = sigma[:, 0].log() / 4  # (n,)
    raw: Tensor = network(c_in * x, c_noise, condition)
    return c_skip * x + c_out * raw


def edm_loss(
    network: Network, x0: Tensor, condition: Tensor, sigma: Tensor, noise: Tensor
) -> Tensor:
    """Denoising error per row, weighted so that every noise level has an effective weight of one.

    Parameters
    ----------
    network
        In training, as `edm_denoised` calls it.
    x0, condition, sigma, noise
        (n, G) clean targets, (n, C), (n,) noise levels, and (n, G) standard normals.

    Returns
    -------
    Tensor
        (n,) loss, the mean over genes.
    """
    sigma = rows_of(sigma, x0)
    error = edm_denoised(network, x0 + sigma[:, None] * noise, sigma, condition) - x0
    return (sigma**2 + 1) / sigma**2 * error.square().mean(dim=1)


class PublishedLoss(NamedTuple):
    """Terms of the published objective, (n,) each; their sum is what is minimised."""

    mse: Tensor
    vb: Tensor


def published_loss(
    network: Network,
    x0: Tensor,
    condition: Tensor,
    *,
    step: Tensor,
    noise: Tensor,
    schedule: LinearSchedule,
) -> PublishedLoss:
    """Hybrid objective of published Stem: noise prediction with learned variance.

    Eq. 16 of Nichol and Dhariwal 2021 with weight 1. The variational bound ``vb`` (bits per gene)
    trains the variance alone: it takes no gradient through the mean.

    Parameters
    ----------
    network
        Returns (n, 2, G): the noise, then the raw variance channel.
    x0, noise
        (n, G) clean targets and standard normal noise.
    condition
        (n, C).
    step
        (n,) int64 index into ``schedule``.
    schedule
        The full chain.
    """
    signal = _at(schedule.alphas_cumprod, step, x0)
    xt = signal.sqrt() * x0 + (1 - signal).sqrt() * noise
    out = network(xt, _at(schedule.timesteps, step, x0)[:, 0], condition)
    epsilon, raw_variance = out.unbind(dim=1)
    mse = (noise - epsilon).square().mean(dim=1)
    log_variance = learned_log_variance(raw_variance, step, schedule)
    x0_estimate = (xt - (1 - signal).sqrt() * epsilon.detach()) / signal.sqrt()
    vb = _bound(x0, xt, x0_estimate, log_variance, (step, schedule))
    return PublishedLoss(mse, vb)


def learned_log_variance(raw: Tensor, step: Tensor | int, schedule: LinearSchedule) -> Tensor:
    """Log variance between the chain's two bounds, eq. 15 of Nichol and Dhariwal 2021.

    Parameters
    ----------
    raw
        (n, G) the network's variance channel; -1 is the posterior variance, 1 is beta.
    step
        Index into ``schedule``: one for all rows, or (n,) int64.
    schedule
        The chain being walked.
    """
    low, high = (
        float(table[step])
        if isinstance(step, int)
        else _at(table, step, raw)  # no copy is waited for
        for table in (schedule.posterior_log_variance_clipped, np.log(schedule.betas))
    )
    return low + (raw + 1) / 2 * (high - low)


def _at(table: NDArray[Any], step: Tensor, like: Tensor) -> Tensor:
    """(n, 1) entries of a schedule's table, in the dtype and on the device of ``like``."""
    values = torch.from_numpy(table)[step.cpu()]
    return values.to(device=like.device, dtype=like.dtype)[:, None]


def _bound(
    x0: Tensor,
    xt: Tensor,
    x0_estimate: Tensor,
    log_variance: Tensor,
    at: tuple[Tensor, LinearSchedule],
) -> Tensor:
    """(n,) term of the variational bound at each row's (step, schedule), in bits per gene."""
    step, schedule = at
    of_x0, of_xt = (_at(table, step, x0) for table in schedule.posterior_mean_coefficients)
    true_log_variance = _at(schedule.posterior_log_variance_clipped, step, x0)
    true_mean = of_x0 * x0 + of_xt * xt
    mean = of_x0 * x0_estimate + of_xt * xt
    divergence = _normal_kl(true_mean, true_log_variance, mean, log_variance)
    first = _binned_nll(x0, mean, 0.5 * log_variance)
    nats = torch.where(step[:, None] == 0, first, divergence)
    return nats.mean(dim=1) / math.log(2)


def _normal_kl(mean_p: Tensor, log_var_p: Tensor, mean_q: Tensor, log_var_q: Tensor) -> Tensor:
    """Kullback-Leibler divergence of normal p from normal q, in nats."""
    spread = (log_var_p - log_var_q).exp() + (mean_p - mean_q).square() * (-log_var_q).exp()
    return 0.5 * (spread - 1 + log_var_q - log_var_p)


def _binned_nll(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Negative log likelihood of x under a normal cut into bins of 2/255, in nats.

    The bins, open beyond +-0.999, and the tanh form of the normal's distribution function are those
    of image models on [-1, 1]. Published Stem keeps them for expression; parity asks for the same.
    """
    upper = _normal_cdf((x - mean + 1 / 255) * (-log_scale).exp())
    lower = _normal_cdf((x - mean - 1 / 255) * (-log_scale).exp())
    inner = torch.where(x > 0.999, 1 - lower, upper - lower)
    mass = torch.where(x < -0.999, upper, inner)
    return -mass.clamp(min=1e-12).log()


def _normal_cdf(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def published_denoised(
    network: Network,
    schedule: LinearSchedule,
    x: Tensor,
    sigma: float | Tensor,
    condition: Tensor,
) -> Tensor:
    """Estimate the clean x by a network trained by `published_loss`; `edm_denoised` says with what shapes.

    The chain scales the signal down as it adds noise; dividing by ``sqrt(1 + sigma**2)`` takes x
    there. Between two of the chain's noise levels the time step is interpolated.
    """
    rows = rows_of(sigma, x)  # (n,)
    # From the level as given: float32 would round it off the chain's own levels.
    exact = sigma.detach().cpu().double().numpy() if isinstance(sigma, Tensor) else sigma
    times = schedule.time_of_sigma(exact)
    time = rows_of(torch.from_numpy(times) if times.ndim else float(times), x)
    out = network(x / (1 + rows[:, None] ** 2).sqrt(), time, condition)
    epsilon: Tensor = out[:, 0] if out.ndim == 3 else out
    return x - rows[:, None] * epsilon
