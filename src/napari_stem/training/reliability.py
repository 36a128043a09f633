"""How far each gene can be trusted: what sections left out say, with sequencing depth and without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import DatasetError
from napari_stem.spatial.normalise import counts_of
from napari_stem.training.mean import out_of_fold, stacked
from napari_stem.training.sections import SectionArrays, groups_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.spatial.panels import Panel

    Array = NDArray[np.float64]

PREDICTABLE = "predictable"  # as a panel
LEAST_PCC, FALSE_DISCOVERIES = 0.15, 0.05
# What was left out together: (n,) rows of the array, and (n, G) measured and predicted values.
LeftOut = tuple["NDArray[np.int64]", "Array", "Array"]


def left_out_parts(
    sections: Sequence[SectionArrays], measured: Array, predicted: Array
) -> list[LeftOut]:
    """Take (n, G) values of all training spots apart, by what was left out together: sections or strips."""
    row = np.concatenate([s.spots.array_row for s in sections])
    group = np.concatenate(groups_of(sections))
    return [
        (row[own], measured[own], predicted[own]) for own in (group == g for g in np.unique(group))
    ]


def left_out_pcc(parts: Sequence[LeftOut]) -> tuple[Array, Array, Array]:
    """PCC of each gene on parts left out: (parts, G), its mean (G,) and the mean's standard error (G,).

    The error is that of the correlations' influence functions, spots of a row of the array counting as one,
    since neighbours err alike. A gene that is constant in a part has no PCC there (NaN): others judge it.
    """
    found, variances = [], []
    for rows, measured, predicted in parts:
        a, b = _standard(measured), _standard(predicted)
        r = (a * b).mean(0)
        influence = a * b - r * (a**2 + b**2) / 2
        _, row = np.unique(rows, return_inverse=True)
        sums = np.zeros((row.max() + 1, a.shape[1]))
        np.add.at(sums, row, influence)
        found.append(r)
        variances.append((sums**2).sum(0) * len(sums) / max(1, len(sums) - 1) / len(a) ** 2)
    pcc, known = np.array(found), np.isfinite(found)
    n_known = np.where(known.any(0), known.sum(0), np.nan)
    mean = np.where(known, pcc, 0).sum(0) / n_known
    return pcc, mean, np.sqrt(np.where(known, variances, 0).sum(0)) / n_known


def told_from_chance(found: Array, mean: Array, error: Array) -> NDArray[np.bool_]:
    """(G,) genes whose PCC is above chance at 5% false discoveries, and not small in any part left out."""
    from scipy.stats import false_discovery_control, norm

    known = np.isfinite(mean)
    p_value = norm.sf(mean[known] / np.maximum(error[known], 1e-9))
    told = np.zeros(len(mean), bool)
    told[known] = false_discovery_control(p_value) <= FALSE_DISCOVERIES
    told &= np.nan_to_num(found, nan=-1).min(axis=0) >= LEAST_PCC
    return told


def shares(sections: Sequence[SectionArrays], normalisation: str) -> Array | None:
    """(n, G) ln(counts per 10,000 + 1) of all training spots; None where library sizes are not known."""
    parts = []
    for section in sections:
        counts = counts_of(section.values, normalisation)
        if section.library_sizes is None or counts is None:
            return None
        sizes = section.library_sizes
        parts.append(np.log1p(1e4 * counts / np.maximum(sizes, 1)[:, None]))
    return np.concatenate(parts)


def noise_ceilings(sections: Sequence[SectionArrays], normalisation: str) -> Array | None:
    """(G,) highest PCC that counts as sparse as these allow, mean over sections; None of a unit without counts.

    Counts are split in two at random; what two measurements half as deep have in common says (Spearman and
    Brown) how well the whole one knows the expression beneath it, and no prediction can know it better.
    """
    rng, found = np.random.default_rng(0), []
    for section in sections:
        counts = counts_of(section.values, normalisation)
        if counts is None:
            return None
        half = rng.binomial(counts.astype(np.int64), 0.5)
        a, b = (_standard(np.log1p(part)) for part in (half, counts - half))  # of any base
        r = np.clip((a * b).mean(0), 0, 1)
        found.append(np.sqrt(2 * r / (1 + r)))
    ceilings: Array = np.nan_to_num(found).mean(0)
    return ceilings


def reliability(
    sections: Sequence[SectionArrays], parts: Sequence[LeftOut], panel: Sequence[str], unit: str
) -> dict[str, Any]:
    """Say how far each gene can be trusted in the unit of the values.

    ``parts`` are the sections' spots predicted by a model that has not seen them.

    Returns
    -------
    For the card: ``gene_pcc`` (gene -> [mean, lowest, highest of the 95% interval], None where it is constant
    everywhere), and of counts ``gene_ceiling`` (gene -> `noise_ceilings`).
    """
    card: dict[str, Any] = {"gene_pcc": _by_gene(panel, *left_out_pcc(parts)[1:])}
    ceilings = noise_ceilings(sections, unit)
    if ceilings is not None:
        card["gene_ceiling"] = dict(zip(panel, ceilings.round(3).tolist(), strict=True))
    return card


def share_reliability(
    sections: Sequence[SectionArrays], panel: Sequence[str], unit: str
) -> dict[str, Any]:
    """Say what is left of it where depth is gone; nothing where library sizes are unknown.

    Returns
    -------
    For the card: ``gene_share_pcc`` (as ``gene_pcc``, of counts per 10,000) and ``genes_by_chance`` (what these
    do not tell from chance).
    """
    found = share_pcc(sections, unit)
    if found is None:
        return {}
    told = told_from_chance(*found)
    by_chance = [gene for gene, is_told in zip(panel, told, strict=True) if not is_told]
    return {"gene_share_pcc": _by_gene(panel, *found[1:]), "genes_by_chance": by_chance}


def share_pcc(sections: Sequence[SectionArrays], unit: str) -> tuple[Array, Array, Array] | None:
    """`left_out_pcc` of shares predicted from the embeddings; None where there are none."""
    values = shares(sections, unit)
    if values is None:
        return None
    x, _, group = stacked(sections)
    return left_out_pcc(left_out_parts(sections, values, out_of_fold(x, values, group)))


def only_told(
    sections: Sequence[SectionArrays], panel: Panel, named: Panel, unit: str
) -> tuple[list[SectionArrays], Panel]:
    """Keep the genes of a panel that shares tell from chance on its sections, and those that were named.

    DatasetError: no library sizes are known, or no gene is left.
    """
    found = share_pcc(sections, unit)
    if found is None:
        raise DatasetError(
            f"Genes can be told from chance only in units of counts, and '{PREDICTABLE}' was asked for; choose "
            f"log2_counts or another panel."
        )
    kept = np.flatnonzero(told_from_chance(*found) | np.isin(panel, named))
    if not len(kept):
        raise DatasetError(
            f"No gene is told from chance on sections left out; choose a panel other than '{PREDICTABLE}'."
        )
    return [section.of_genes(kept) for section in sections], tuple(panel[i] for i in kept)


def _by_gene(panel: Sequence[str], mean: Array, error: Array) -> dict[str, list[float] | None]:
    low, high = np.maximum(mean - 1.96 * error, -1), np.minimum(mean + 1.96 * error, 1)
    rows = np.stack([mean, low, high], axis=1).round(3).tolist()
    return {g: r if np.isfinite(r[0]) else None for g, r in zip(panel, rows, strict=True)}


def _standard(values: NDArray[np.floating[Any]]) -> Array:
    """Each gene with mean 0 and variance 1; NaN where it is constant."""
    about = values - values.mean(0, dtype=np.float64)
    spread = about.std(0)
    return np.asarray(about / np.where(spread > 1e-9, spread, np.nan))
