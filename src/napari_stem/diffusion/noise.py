"""Noise keyed by location: the same spot gives the same numbers, whatever is sampled around it.

A counter-based generator has no state to advance: each number is a function of its own address,
here (seed, spot centre, draw, step, element). Neither the region drawn round a spot, nor the size
of a batch, nor a resumed run can change what a spot receives. All that is random in a run is made here:

====================================================  ======================  ==============================
what is random                                        step                    place
====================================================  ======================  ==============================
a network's start, or the normal scores of residuals  `START`                 each spot (`located_normal`)
noise that a sampler adds at its step i, from 1 on    i                       each spot (`located_normal`)
what a new patient has more of each gene              `PATIENT`               the slide (`slide_normal`)
what spots share of their normal scores               `FIELD`                 the slide (`located_field`)
which counts are left at a lower depth                a generator of its own  each spot (`thinning_generator`)
====================================================  ======================  ==============================
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import SpotError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float32]

LOCATION_STEPS_PER_PX = 16
N_WAVES = 128  # of a field: its correlation is right to about .05
COUNTER_LIMIT = 1 << 16  # draws and steps are below it, far more than settings allow
START, PATIENT, FIELD = 0, COUNTER_LIMIT - 2, COUNTER_LIMIT - 1
_KEPT_AMPLITUDES = 32  # draws, 3 MB each for 3,000 genes; of more they are made for each block


def located_normal(
    seed: int,
    x_px: ArrayLike,
    y_px: ArrayLike,
    n_draws: int,
    step: int,
    width: int,
    *,
    first_draw: int = 0,
) -> Array:
    """Make the standard normals of each spot and draw at one sampling step.

    Each spot and draw has a stream of its own of Philox (Salmon et al. 2011, "Parallel random numbers: as easy
    as 1, 2, 3"), as numpy has it.

    Parameters
    ----------
    seed
        Seed of the run, its low 64 bits count.
    x_px, y_px
        (n_spots,) spot centres in level-0 px, told apart to 1/16 px.
    n_draws
        Draws per spot.
    step
        Which noise: see the table above.
    width
        Numbers per spot and draw. A wider request begins with the narrower one's numbers.
    first_draw
        Index of the first draw, to take draws in parts.

    Returns
    -------
    (n_spots, n_draws, width) float32.

    Raises
    ------
    SpotError
        If the spots have no finite centres, or as many x as y.
    ValueError
        If a draw or step lies outside 0..65535.
    """
    if not (0 <= first_draw <= first_draw + n_draws <= COUNTER_LIMIT and 0 <= step < COUNTER_LIMIT):
        raise ValueError(
            f"Noise for draws {first_draw} to {first_draw + n_draws}, step {step}: 0..65535 only."
        )
    places = spot_keys(x_px, y_px)
    normals = np.empty((len(places), n_draws, width), np.float32)
    key = np.array([seed % (1 << 64), step], np.uint64)
    philox = np.random.Philox(key=key, counter=np.zeros(4, np.uint64))
    stream, address = np.random.Generator(philox), philox.state
    counter = address["state"]["counter"]  # its first word counts
    for i, place in enumerate(places):
        counter[1] = place
        for draw in range(n_draws):
            counter[2] = first_draw + draw
            philox.state = address  # takes a quarter of the time of a new generator
            stream.standard_normal(dtype=np.float32, out=normals[i, draw])
    return normals


def slide_normal(seed: int, n_draws: int, step: int, width: int, *, first_draw: int = 0) -> Array:
    """(n_draws, width) standard normals that are a whole slide's: those of a spot in its corner."""
    corner = np.zeros(1)
    normals = located_normal(seed, corner, corner, n_draws, step, width, first_draw=first_draw)
    of_slide: Array = normals[0]
    return of_slide


def thinning_generator(seed: int, place: np.uint64) -> np.random.Generator:
    """Make the generator that thins a spot's draws, one after the other, by the spot's place (`spot_keys`)."""
    key = np.array([seed % (1 << 64), place], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def mirrored(normals: Array, n_draws: int) -> Array:
    """(n, pairs, width) -> (n, draws, width): each and its opposite."""
    both = np.stack([normals, -normals], axis=2)
    return both.reshape(len(normals), -1, normals.shape[2])[:, :n_draws]


def spot_keys(x_px: ArrayLike, y_px: ArrayLike) -> NDArray[np.uint64]:
    """Make of each spot's centre, in sixteenths of a px, one number: (n_spots,) each -> (n_spots,).

    Raises
    ------
    SpotError
        As `located_normal`.
    """
    x, y = np.asarray(x_px, dtype=np.float64), np.asarray(y_px, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise SpotError("Every spot needs a finite x and y in pixels; check the list of spots.")
    sixteenths = np.rint(np.stack([x, y]) * LOCATION_STEPS_PER_PX).astype(np.int64)
    columns, rows = (sixteenths & 0xFFFFFFFF).astype(np.uint64)
    keys: NDArray[np.uint64] = columns << np.uint64(32) | rows
    return keys


def located_field(
    seed: int,
    xy_um: NDArray[np.float64],
    n_draws: int,
    width: int,
    length_um: float,
) -> tuple[Array, Array]:
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
    (n_draws, width) and (n_spots, n_draws, width) float32, standard normal.
    """
    number = np.arange(N_WAVES)
    frequency = np.sqrt((N_WAVES / (number + 0.5)) ** 2 - 1) / length_um
    angle = math.pi * (number * (math.sqrt(5) - 1) / 2 % 1)
    phase = xy_um @ (frequency * np.stack([np.cos(angle), np.sin(angle)]))
    waves = np.concatenate([np.cos(phase), np.sin(phase)], axis=1) / math.sqrt(N_WAVES)
    waves = waves.astype(np.float32)
    whole = np.empty((n_draws, width), np.float32)
    field = np.empty((len(waves), n_draws, width), np.float32)
    for draw in range(n_draws):
        amplitudes = _amplitudes(seed, draw, width)
        whole[draw], field[:, draw] = amplitudes[0], waves @ amplitudes[1:]
    return whole, field


@lru_cache(maxsize=_KEPT_AMPLITUDES)
def _amplitudes(seed: int, draw: int, width: int) -> Array:
    """(1 + 2 waves, width) standard normals of a run's draw."""
    n_waves = 1 + 2 * N_WAVES
    normals = slide_normal(seed, 1, FIELD, n_waves * width, first_draw=draw)
    return normals.reshape(n_waves, width)
