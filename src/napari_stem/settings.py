"""Frozen settings of a run and where the program keeps its caches."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from napari_stem.errors import SettingsError

ExportKind = Literal["report", "figure", "h5ad", "zarr", "spatialdata", "csv", "geojson"]
SamplerName = Literal["dpmpp-2m", "heun", "ancestral", "ddim"]
GAUSSIAN = "gaussian"  # recorded where no sampler is used: a model without a network
SAMPLER_TITLES = {
    "dpmpp-2m": "DPM-Solver++ (2M)",
    "heun": "Heun's method",
    "ancestral": "ancestral sampling",
    "ddim": "DDIM",
    GAUSSIAN: "exact draws of a Gaussian copula",
}
Quantity = Literal["counts", "share"]
Patient = Literal["new", "same"]
DEFAULT_MODEL = "her2st-breast"
MAX_STEPS = 1000  # of the published chain; the other samplers have long converged by then
MAX_DRAWS = 10_000  # samples per spot: their quantiles have long settled by then
MAX_DEPTH = 1e9  # counts per spot: thousands of times what any sequencing gives
MAX_SEED = 2**32 - 1  # that every generator takes
CACHE_VARIABLE = "NAPARI_STEM_CACHE"


def cache_dir() -> Path:
    """Folder of all caches: ``$NAPARI_STEM_CACHE``, else the platform's own cache folder."""
    from platformdirs import user_cache_path  # sampling needs torch and numpy alone

    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else user_cache_path("napari-stem")


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How draws are taken.

    Attributes
    ----------
    n_draws
        Samples per spot, at least 2. More samples: steadier uncertainty, longer runs.
    n_steps
        Steps from noise to one sample, 1 to 1000; 16 suffice.
    sampler
        ``dpmpp-2m`` and ``heun`` (deterministic given their start; the latter evaluates the network twice a
        step), ``ancestral`` (fresh noise at every step; for Stem's own objective the paper's chain, respaced
        to ``n_steps``) or ``ddim`` (its deterministic twin, for that objective only).
    seed
        The same number gives the same map again: noise depends on it and on the spot alone.
    quantity
        ``counts``, or ``share``: of the counts of all genes, per 10,000.
    depth
        Counts per spot (of all genes) that the slide would be sequenced to; 0: as in training.
    patient
        ``new``, or ``same`` as in training: for a new one intervals are wider, as patients differ.
    device
        ``auto`` (CUDA, then Apple's MPS, then the CPU) or a torch device name.
    spots_per_block
        Spots sampled and written together: the unit of progress, cancelling and resuming.
    """

    n_draws: int = 32
    n_steps: int = 16
    sampler: SamplerName = "dpmpp-2m"
    seed: int = 0
    quantity: Quantity = "counts"
    depth: float = 0.0
    patient: Patient = "new"
    device: str = "auto"
    spots_per_block: int = 16

    def __post_init__(self) -> None:
        """Refuse values that cannot give a prediction with a spread."""
        for number, things, least, most in (
            (self.n_draws, "samples per spot", 2, MAX_DRAWS),
            (self.n_steps, "denoising steps", 1, MAX_STEPS),
            (self.spots_per_block, "spots per block", 1, math.inf),
        ):
            if not least <= number <= most:
                word = "few" if number < least else "many"
                bounds = f"{least} or more" if number < least else f"{most} or fewer"
                raise SettingsError(f"{number} {things} are too {word}; ask for {bounds}.")
        if not 0 <= self.depth <= MAX_DEPTH:
            raise SettingsError(
                f"A depth of {self.depth:g} counts per spot is not possible; give a number above 0, and at "
                f"most {MAX_DEPTH:g}."
            )
        if not 0 <= self.seed <= MAX_SEED:
            raise SettingsError(
                f"A seed of {self.seed} is not possible; give one from 0 to {MAX_SEED}."
            )
        choices = {"quantity": Quantity, "patient": Patient, "sampler": SamplerName}
        for name, known in choices.items():
            if (given := getattr(self, name)) not in get_args(known):
                raise SettingsError(
                    f"The {name} cannot be '{given}'; give one of {', '.join(get_args(known))}."
                )
