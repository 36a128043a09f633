"""From what a model draws to what is asked for: another depth, shares, another patient.

A model draws counts as deep as the training sections' and, as one more gene, each spot's library size. For a
slide of known depth they are thinned, or scaled up. How much more or less of a gene another patient has is
drawn once for the slide: it makes intervals wider, and leaves differences within the slide as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.diffusion.noise import (
    PATIENT,
    mirrored,
    slide_normal,
    spot_keys,
    thinning_generator,
)
from napari_stem.errors import ModelError
from napari_stem.spatial.normalise import in_unit, normalisation, possible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_stem.geometry import Spots
    from napari_stem.model.config import ModelConfig
    from napari_stem.settings import SamplingSettings

    Array = NDArray[np.float32]


def unit_asked(config: ModelConfig, settings: SamplingSettings) -> tuple[str, str]:
    """Return the normalisation of what is asked for, and the unit as users read it.

    ModelError: the model knows no library sizes, and a depth or shares are asked for.
    """
    if config.depth is None and (settings.depth or settings.quantity == "share"):
        raise ModelError(
            f"Model '{config.name}' does not know how deep its training sections were sequenced: it gives "
            f"{normalisation(config.normalisation).label} as they were, no other depth and no shares."
        )
    if settings.quantity == "share":
        share = normalisation("log1p_cp10k")
        return share.name, share.label
    label = normalisation(config.normalisation).label
    if settings.depth:
        label += f" at {settings.depth:,.0f} counts per spot"
    elif config.depth is not None:
        label += " at the training depth"
    return config.normalisation, label


def convert_units(
    drawn: Array,
    patient_effect: Array,
    config: ModelConfig,
    settings: SamplingSettings,
    spots: Spots,
) -> Array:
    """Convert what a model draws to the quantity, depth and patient that are asked for.

    Parameters
    ----------
    drawn
        (n, genes, draws) in the model's unit at the training depth; with ``config.depth`` a last row is the
        library size. May be changed.
    patient_effect
        (genes,) as `Residual.patient_effect`, of the same rows.
    config, settings, spots
        Of the model and the run.

    Returns
    -------
    (n, genes of the panel, draws) float32 in the unit of `unit_asked`, such as a measurement could give.

    Raises
    ------
    ModelError
        As `unit_asked`.
    """
    unit_asked(config, settings)
    n_genes, is_new = len(config.genes), settings.patient == "new"
    if is_new and config.depth is None:
        drawn += _effects(patient_effect, settings)
    if config.depth is None or not (is_new or settings.depth or settings.quantity == "share"):
        return possible(drawn[:, :n_genes], config.normalisation)
    exp = np.exp2 if normalisation(config.normalisation).log_base == 2 else np.exp
    times = np.ones((len(drawn[0]), 1))  # of every gene, and of the library
    if is_new:
        effects = _effects(patient_effect, settings).astype(np.float64)
        if settings.depth:
            effects[-1] = 0  # how deep this slide was sequenced is known
        times = exp(np.concatenate([effects[:-1] + effects[-1:], effects[-1:]]))
    factor = (settings.depth or config.depth) / config.depth
    asked = np.empty((len(drawn), n_genes, drawn.shape[2]), np.float32)
    places = spot_keys(spots.x_px, spots.y_px)
    for spot, place in enumerate(places):  # what fits a core's cache
        counts = (exp(np.maximum(drawn[spot], 0), dtype=np.float64) - 1) * times
        of_genes = _at_depth(counts[:n_genes], factor, settings.seed, place)
        if settings.quantity == "counts":
            asked[spot] = in_unit(of_genes, config.normalisation, of_genes.sum)
        else:
            library = np.maximum(counts[n_genes:] * factor, of_genes.sum(axis=0))
            asked[spot] = np.log1p(1e4 * of_genes / np.maximum(library, 1))
    return asked


def _at_depth(
    counts: NDArray[np.float64], factor: float, seed: int, place: np.uint64
) -> NDArray[np.float64]:
    """Whole counts at so many times the depth: thinned if it is less, as sequencing does, and else scaled.

    What a spot gets depends on its place (`spot_keys`) alone.
    """
    if factor >= 1:
        return np.asarray(np.rint(counts * factor))
    whole = np.rint(counts).astype(np.int64)
    return thinning_generator(seed, place).binomial(whole, factor).astype(np.float64)


def _effects(patient_effect: Array, settings: SamplingSettings) -> Array:
    """(genes, draws) how much more of each gene a patient has, in the model's unit; the same for all spots."""
    n_pairs, n_genes = (settings.n_draws + 1) // 2, len(patient_effect)
    normals = slide_normal(settings.seed, n_pairs, PATIENT, n_genes)
    effects: Array = (mirrored(normals[None], settings.n_draws)[0] * patient_effect).T
    return effects
