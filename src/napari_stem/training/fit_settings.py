"""How one denoiser is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from napari_stem.diffusion.denoiser import DenoiserConfig
    from napari_stem.model.config import Objective

STRIPS = 4  # parts of a single section that are left out in turn


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
        Spots per step, over all processes.
    learning_rate, weight_decay
        Of AdamW.
    condition_noise
        Standard deviation of noise added to the (unit-variance) condition. Every training spot has a
        condition of its own: told exactly, the network would learn the spots by heart.
    p_mean, p_std
        Training noise levels, ``ln sigma`` normal (``edm``).
    ema
        Memory of the averaged weights, approached as ``(1 + step) / (10 + step)``.
    seconds
        Time limit, None for none.
    precision
        Of the network's evaluation; losses and weights are float32.
    compile
        Whether to try ``torch.compile``.
    seed
        Of initialisation, batches and noise.
    device
        Where it trains.
    """

    objective: Objective
    denoiser: DenoiserConfig
    steps: int
    look_up_every: int
    batch: int
    learning_rate: float
    weight_decay: float = 1e-2
    condition_noise: float = 0.0
    p_mean: float = -0.4
    p_std: float = 1.2
    ema: float = 0.995
    seconds: float | None = None
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = False
    seed: int = 0
    device: str = "cpu"


def resolved_precision(name: str, device: str) -> Literal["float32", "bf16"]:
    """Resolve ``auto``: bf16 on CUDA devices that have it, else float32."""
    if name == "auto":
        import torch

        can = torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported()
        return "bf16" if can else "float32"
    return "bf16" if name == "bf16" else "float32"
