"""Train a denoiser, looking up from time to time to see how well it does on sections it has not seen."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_stem.diffusion.denoiser import DenoiserConfig, build_denoiser
from napari_stem.diffusion.objectives import EDMPrecond, edm_loss, lognormal_sigmas, published_loss
from napari_stem.diffusion.schedule import LinearSchedule

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from napari_stem.model.bundle import Objective


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a denoiser is trained.

    Attributes
    ----------
    objective
        ``edm`` or ``published``.
    denoiser
        Network to build.
    steps
        Optimiser steps at the most.
    look_up_every
        Steps between two looks at held-out spots.
    batch
        Spots per step.
    learning_rate, weight_decay
        Of AdamW.
    condition_noise
        Standard deviation of noise added to the (unit-variance) condition. Every training spot has a
        condition of its own: told exactly, the network would learn the spots by heart.
    p_mean, p_std
        Training noise levels, ``ln sigma`` normal (``edm``).
    seconds
        Time limit, None for none.
    seed
        Of initialisation, batches and noise.
    """

    objective: Objective
    denoiser: DenoiserConfig
    steps: int
    look_up_every: int
    batch: int
    learning_rate: float
    weight_decay: float = 1e-2
    condition_noise: float = 0.6
    p_mean: float = -0.4
    p_std: float = 1.2
    seconds: float | None = None
    seed: int = 0


def fit_denoiser(
    target: NDArray[np.float32],
    condition: NDArray[np.float32],
    settings: FitSettings,
    look_up: Callable[[int, nn.Module], None],
) -> nn.Module:
    """Train; returns the network averaged over its steps (EMA).

    Parameters
    ----------
    target
        (n, genes) what the network shall generate.
    condition
        (n, C).
    settings
        How.
    look_up
        Called with the step and the averaged network every ``look_up_every`` steps and at the end.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = build_denoiser(settings.denoiser).train()
        averaged = copy.deepcopy(network).eval()
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        x0, told = torch.from_numpy(target), torch.from_numpy(condition)
        deadline = None if settings.seconds is None else time.monotonic() + settings.seconds
        for step in range(1, settings.steps + 1):
            loss = _loss(network, x0, told, settings)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            _average(averaged, network, step)
            late = deadline is not None and time.monotonic() > deadline
            if step % settings.look_up_every == 0 or step == settings.steps or late:
                look_up(step, averaged)
            if late:
                break
    return averaged


def _loss(network: nn.Module, x0: Tensor, told: Tensor, settings: FitSettings) -> Tensor:
    index = torch.randint(len(x0), (settings.batch,))
    clean, condition = x0[index], told[index]
    condition = condition + settings.condition_noise * torch.randn_like(condition)
    noise = torch.randn_like(clean)
    if settings.objective == "published":
        schedule = LinearSchedule.published()
        step = torch.randint(len(schedule), (settings.batch,))
        terms = published_loss(network, clean, condition, step=step, noise=noise, schedule=schedule)
        return (terms.mse + terms.vb).mean()
    sigma = lognormal_sigmas(settings.batch, p_mean=settings.p_mean, p_std=settings.p_std)
    return edm_loss(EDMPrecond(network), clean, condition, sigma, noise).mean()


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, step: int) -> None:
    """Exponential moving average whose memory grows with the steps, up to some 200."""
    share_old = min(0.995, (1 + step) / (10 + step))
    for old, new in zip(averaged.parameters(), network.parameters(), strict=True):
        old.lerp_(new, 1 - share_old)
