"""Noise schedules: EDM's sigmas and the published linear betas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def karras_sigmas(
    n: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0
) -> tuple[float, ...]:
    """Noise levels for ``n`` denoising steps, eq. 5 of Karras et al. 2022.

    Parameters
    ----------
    n
        Steps, 1 or more.
    sigma_min, sigma_max
        Last noise level before zero and first one, in the unit of the data.
    rho
        How much the steps shorten towards ``sigma_min``.

    Returns
    -------
    tuple of float
        ``n + 1`` falling levels; the first is ``sigma_max``, the last 0.
    """
    if n < 1 or not 0 < sigma_min <= sigma_max:
        raise ValueError(f"No schedule of {n} steps runs from {sigma_max} to {sigma_min}.")
    ramp = np.linspace(0.0, 1.0, n)
    start, end = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    sigmas = (start + ramp * (end - start)) ** rho
    return (*sigmas.tolist(), 0.0)


@dataclass(frozen=True, eq=False)
class LinearSchedule:
    """Variance-preserving chain of published Stem (DDPM, Ho et al. 2020), or a respaced part of it.

    All tables are (k,) float64, index 0 the least noisy step.

    Attributes
    ----------
    betas
        Variance added at each step.
    timesteps
        (k,) int64, the step of the full chain that each one stands for: what the network is told.
    """

    betas: NDArray[np.float64]
    timesteps: NDArray[np.int64]

    @classmethod
    def published(cls) -> LinearSchedule:
        """1000 betas rising linearly from 1e-4 to 0.02."""
        return cls(np.linspace(1e-4, 0.02, 1000), np.arange(1000))

    def __len__(self) -> int:
        """Count the steps."""
        return len(self.betas)

    def respaced(self, k: int) -> LinearSchedule:
        """``k`` evenly spread steps, first and last kept, with the same noise levels at them."""
        if not 1 <= k <= len(self):
            raise ValueError(f"A schedule of {len(self)} steps cannot be respaced to {k}.")
        kept = np.round(np.linspace(0, len(self) - 1, k)).astype(np.int64)
        levels = self.alphas_cumprod[kept]
        betas = 1.0 - levels / np.append(1.0, levels[:-1])
        return LinearSchedule(betas, self.timesteps[kept])

    @cached_property
    def alphas_cumprod(self) -> NDArray[np.float64]:
        """Share of the signal's variance left, alpha-bar."""
        return np.cumprod(1.0 - self.betas, dtype=np.float64)

    @cached_property
    def alphas_cumprod_prev(self) -> NDArray[np.float64]:
        """Alpha-bar one step nearer the data; 1 before the first."""
        return np.append(1.0, self.alphas_cumprod[:-1])

    @cached_property
    def sigmas(self) -> NDArray[np.float64]:
        """Noise level over signal level: EDM's sigma of each step."""
        return np.sqrt((1.0 - self.alphas_cumprod) / self.alphas_cumprod)

    @cached_property
    def posterior_variance(self) -> NDArray[np.float64]:
        """Variance of q(x_{t-1} | x_t, x_0), eq. 7 of Ho et al. 2020."""
        return self.betas * (1.0 - self.alphas_cumprod_prev) / (1.0 - self.alphas_cumprod)

    @cached_property
    def posterior_log_variance_clipped(self) -> NDArray[np.float64]:
        """Its logarithm, the first entry (log 0) replaced by the second's."""
        variance = self.posterior_variance
        # A chain of one step has no second entry: any finite value will do, it adds no noise.
        first = variance[1] if len(self) > 1 else self.betas[0]
        clipped: NDArray[np.float64] = np.log(np.append(first, variance[1:]))
        return clipped

    @cached_property
    def posterior_mean_coefficients(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights of x_0 and x_t in the mean of q(x_{t-1} | x_t, x_0)."""
        rest = 1.0 - self.alphas_cumprod
        of_x0 = self.betas * np.sqrt(self.alphas_cumprod_prev) / rest
        of_xt = (1.0 - self.alphas_cumprod_prev) * np.sqrt(1.0 - self.betas) / rest
        return of_x0, of_xt

    def time_of_sigma(self, sigma: ArrayLike) -> NDArray[np.float64]:
        """Full-chain time step of noise level ``sigma``: linear in log sigma, clamped."""
        levels = np.asarray(sigma, dtype=np.float64)
        return np.asarray(np.interp(np.log(levels), np.log(self.sigmas), self.timesteps))
