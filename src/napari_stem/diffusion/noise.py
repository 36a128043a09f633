"""Noise keyed by location: the same spot gives the same numbers, whatever is sampled around it.

A counter-based generator has no state to advance: each number is a function of its own address,
here (seed, spot centre, draw, step, element). Neither the region drawn round a spot, nor the size
of a batch, nor a resumed run can change what a spot receives.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_stem.errors import SpotError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LOCATION_STEPS_PER_PX = 16
N_WAVES = 128  # of a field: its correlation is right to about .05
MAX_DRAWS = MAX_STEPS = 1 << 16  # draw and step share one 32-bit word of the counter

_WORD = 0xFFFFFFFF
_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)


def located_normal(
    seed: int,
    x_px: ArrayLike,
    y_px: ArrayLike,
    n_draws: int,
    step: int,
    width: int,
    *,
    first_draw: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Make the standard normals of each spot and draw at one sampling step.

    Parameters
    ----------
    seed
        Seed of the run, its low 64 bits count.
    x_px, y_px
        (n_spots,) spot centres in level-0 px, told apart to 1/16 px.
    n_draws
        Draws per spot.
    step
        Which of a sampler's noises: by convention 0 for the start, ``1 + i`` for that of step i.
    width
        Numbers per spot and draw. A wider request begins with the narrower one's numbers.
    first_draw
        Index of the first draw, to take draws in parts.
    device, dtype
        Of the result. The numbers are made in float64 (on the CPU for devices without it).

    Returns
    -------
    Tensor
        (n_spots, n_draws, width).

    Raises
    ------
    SpotError
        If the spots have no finite centres, or as many x as y.
    ValueError
        If a draw or step lies outside 0..65535.
    """
    if not (0 <= first_draw <= first_draw + n_draws <= MAX_DRAWS and 0 <= step < MAX_STEPS):
        msg = f"Noise for draws {first_draw} to {first_draw + n_draws}, step {step}: 0..65535 only."
        raise ValueError(msg)
    working = torch.device("cpu") if torch.device(device).type == "mps" else torch.device(device)
    location = _location_words(x_px, y_px).to(working, non_blocking=True)  # (2, n_spots)
    draw = torch.arange(first_draw, first_draw + n_draws, device=working)
    block = torch.arange(math.ceil(width / 4), device=working)
    counter = (
        block[None, None, :],
        location[0][:, None, None],
        location[1][:, None, None],
        (draw << 16 | step)[None, :, None],
    )
    words = philox4x32(counter, (seed & _WORD, seed >> 32 & _WORD))
    normals = _box_muller(words)  # (n_spots, n_draws, blocks, 4)
    return normals.flatten(2)[..., :width].to(dtype).to(device)


def located_field(
    seed: int,
    xy_um: NDArray[np.float64],
    n_draws: int,
    width: int,
    length_um: float,
) -> tuple[Tensor, Tensor]:
    """Make noise that spots share: of the whole slide, and of a neighbourhood.

    The latter is a Gaussian field with correlation exp(-d / length), as a sum of waves whose amplitudes are
    normals; the waves are spread over its spectrum, (length^-2 + w^2)^(-3/2) in two dimensions. It is known at
    any place without the others.

    Parameters
    ----------
    seed
        Of the run.
    xy_um
        (n_spots, 2) spot centres.
    n_draws, width
        As of `located_normal`.
    length_um
        Distance at which the correlation has fallen to 1/e.

    Returns
    -------
    (n_draws, width) and (n_spots, n_draws, width), standard normal, on the CPU.
    """
    amplitudes = _amplitudes(seed, n_draws, width)  # (1 + 2 waves, n_draws, width)
    number = np.arange(N_WAVES)
    frequency = np.sqrt((N_WAVES / (number + 0.5)) ** 2 - 1) / length_um
    angle = math.pi * (number * (math.sqrt(5) - 1) / 2 % 1)
    phase = xy_um @ (frequency * np.stack([np.cos(angle), np.sin(angle)]))
    waves = np.concatenate([np.cos(phase), np.sin(phase)], axis=1) / math.sqrt(N_WAVES)
    field = torch.from_numpy(waves).float() @ amplitudes[1:].flatten(1)
    return amplitudes[0], field.reshape(-1, n_draws, width)


@lru_cache(maxsize=2)
def _amplitudes(seed: int, n_draws: int, width: int) -> Tensor:
    """(1 + 2 waves, n_draws, width) standard normals of a run, at the last step of a spot in the corner."""
    corner = np.zeros(1)
    n_waves = 1 + 2 * N_WAVES
    normals = located_normal(seed, corner, corner, n_draws, MAX_STEPS - 1, n_waves * width)
    return normals.reshape(n_draws, n_waves, width).transpose(0, 1).contiguous()


def philox4x32(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> Tensor:
    """Philox4x32-10 of Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".

    Parameters
    ----------
    counter
        Four int64 tensors of 32-bit words that broadcast together.
    key
        Two 32-bit words.

    Returns
    -------
    Tensor
        (..., 4) int64, four random 32-bit words per counter.
    """
    c0, c1, c2, c3 = counter
    key0, key1 = key
    for _ in range(_ROUNDS):
        high0, low0 = _product_words(c0, _MULTIPLIERS[0])
        high1, low1 = _product_words(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ key0, low1, high0 ^ c3 ^ key1, low0
        key0 = (key0 + _KEY_INCREMENTS[0]) & _WORD
        key1 = (key1 + _KEY_INCREMENTS[1]) & _WORD
    return torch.stack([c0, c1, c2, c3], dim=-1)  # every word has met every other: one shape


def _product_words(a: Tensor, b: int) -> tuple[Tensor, Tensor]:
    """High and low 32-bit words of a 32 x 32 bit product, by halves: int64 never overflows."""
    low = a * (b & 0xFFFF)  # < 2**48
    high = a * (b >> 16) + (low >> 16)  # the product's bits from the 16th on, < 2**49
    return high >> 16, (high & 0xFFFF) << 16 | low & 0xFFFF


def _box_muller(words: Tensor) -> Tensor:
    """Turn random 32-bit words into standard normals, (..., 4) int64 -> (..., 4) float64."""
    uniform = (words.double() + 0.5) / 2**32  # inside (0, 1): neither log 0 nor a repeated angle
    radius = (-2 * uniform[..., :2].log()).sqrt()
    angle = 2 * math.pi * uniform[..., 2:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=-1)


def _location_words(x_px: ArrayLike, y_px: ArrayLike) -> Tensor:
    """(2, n_spots) int64: centres in sixteenths of a px, as 32-bit words."""
    x, y = np.asarray(x_px, dtype=np.float64), np.asarray(y_px, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        msg = "Every spot needs a finite x and y in pixels; check the list of spots."
        raise SpotError(msg)
    sixteenths = np.rint(np.stack([x, y]) * LOCATION_STEPS_PER_PX).astype(np.int64)
    return torch.from_numpy(sixteenths & _WORD)
