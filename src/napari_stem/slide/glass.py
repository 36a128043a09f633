"""How dense a slide is above its glass, whatever the glass's colour and however uneven the light."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEP_PX = 16  # every so many pixels are looked at
ROUNDS = 6
OUTSIDE = 3.0  # times the spread: denser than this over the surface is not glass
LEAST_OUTSIDE = 0.01  # decadic optical density: scanners' noise
N_TERMS = 6  # 1, x, y, xy, x2, y2


def optical_density(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the decadic optical density of each channel, as far as 8 bits tell: the shape of ``rgb``."""
    table = -np.log10((np.arange(256, dtype=np.float32) + 1) / 256)
    return np.asarray(table[rgb], dtype=np.float32)


def above_glass(density: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take the density of the glass away: (height, width, channels), about 0 on glass.

    The glass is a quadratic surface per channel, fitted again and again to what is not denser than
    the last fit, so that tissue and ink drop out. Where there is no glass, the palest tissue serves.
    """
    height, width = density.shape[:2]
    seen = density[::STEP_PX, ::STEP_PX]
    basis = _terms(*seen.shape[:2]).reshape(-1, N_TERMS)
    seen = seen.reshape(len(basis), -1)
    if len(seen) < 4 * N_TERMS:
        return np.asarray(density - np.median(density, axis=(0, 1)), dtype=np.float32)
    mean = seen.mean(axis=1)
    kept = mean <= np.quantile(mean, 0.5)
    factors = np.zeros((N_TERMS, seen.shape[1]), np.float32)
    for _ in range(ROUNDS):
        factors = np.linalg.lstsq(basis[kept], seen[kept], rcond=None)[0]
        over = (seen - basis @ factors).mean(axis=1)
        spread = float(np.median(np.abs(over[kept])))
        still = over < max(OUTSIDE * spread, LEAST_OUTSIDE)
        if still.sum() < 4 * N_TERMS:
            break
        kept = still
    return np.asarray(density - _terms(height, width) @ factors, dtype=np.float32)


def _terms(height: int, width: int) -> NDArray[np.float32]:
    """Terms of the surface at every pixel: (height, width, 6)."""
    y, x = np.meshgrid(
        np.linspace(-1, 1, height, dtype=np.float32),
        np.linspace(-1, 1, width, dtype=np.float32),
        indexing="ij",
    )
    return np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
