"""From raw counts to the values that a model predicts, and what users read beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_stem.errors import DatasetError
from napari_stem.texts import few

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import anndata
    from numpy.typing import NDArray

NormalisationName = Literal["log2_counts", "log1p_counts", "log1p_cp10k"]


@dataclass(frozen=True)
class Normalisation:
    """A unit of expression: its name in models and predictions, and as users read it beside a colour bar.

    ``log_base`` is that of its logarithm, as scanpy wants to know it.
    """

    name: NormalisationName
    label: str
    log_base: float = math.e


NORMALISATIONS: dict[str, Normalisation] = {
    unit.name: unit
    for unit in (
        Normalisation("log2_counts", "log2(count + 1)", 2.0),
        Normalisation("log1p_counts", "ln(count + 1)"),
        Normalisation("log1p_cp10k", "ln(counts per 10,000 + 1)"),
    )
}


def normalisation(name: str) -> Normalisation:
    """Look a normalisation up by its name; DatasetError where there is none such."""
    if name not in NORMALISATIONS:
        known = ", ".join(NORMALISATIONS)
        raise DatasetError(f"There is no normalisation '{name}'; choose one of {known}.")
    return NORMALISATIONS[name]


def normalised(
    counts: anndata.AnnData, genes: Sequence[str], name: str = "log2_counts"
) -> NDArray[np.float32]:
    """Values of chosen genes, in their order, in a normalised unit: (spots, genes) float32.

    ``counts`` are one section's raw counts with all genes measured: the library size needs them all.
    ``log2_counts`` is log2(count + 1), published Stem's target; ``log1p_counts`` is ln(count + 1),
    HEST-bench's; ``log1p_cp10k`` are counts scaled to 10,000 per spot, then ln(1 + value), where spots
    without any count stay 0. DatasetError: genes were not measured.
    """
    from scipy.sparse import csr_matrix

    columns = columns_of(genes, counts.var_names, "here")
    matrix = csr_matrix(counts.X, dtype=np.float64)
    return in_unit(matrix[:, columns].toarray(), name, lambda: np.asarray(matrix.sum(axis=1)))


def columns_of(genes: Sequence[str], measured: Iterable[str], where: str) -> NDArray[np.intp]:
    """Places of genes among those measured somewhere ("in section C5"); DatasetError where one was not."""
    import pandas as pd

    columns = pd.Index(measured).get_indexer(list(genes))
    absent = [gene for gene, column in zip(genes, columns, strict=True) if column < 0]
    if absent:
        raise DatasetError(
            f"{len(absent)} of {len(genes)} genes were not measured {where} ({few(absent)}); choose a gene "
            f"panel without them."
        )
    return np.asarray(columns)


def in_unit(
    counts: NDArray[np.floating], name: str, library_sizes: Callable[[], NDArray[np.float64]]
) -> NDArray[np.float32]:
    """Raw counts of some genes, (spots, genes), in a normalised unit, named as for `normalised`: float32.

    ``library_sizes`` is asked, where the unit needs it, for the counts of all genes together: (spots,) or
    (spots, 1). DatasetError where there is no such unit.
    """
    unit = normalisation(name)
    chosen = counts.astype(np.float64, copy=False)
    if unit.name == "log2_counts":
        values = np.log2(chosen + 1)
    elif unit.name == "log1p_counts":
        values = np.log1p(chosen)
    else:
        total = library_sizes().reshape(-1, 1)
        per_10k = np.divide(1e4 * chosen, total, out=np.zeros_like(chosen), where=total > 0)
        values = np.log1p(per_10k)
    return np.asarray(values, dtype=np.float32)


def is_of_counts(name: str) -> bool:
    """Whether values in a unit follow the sequencing depth, as those of plain counts do."""
    return normalisation(name).name != "log1p_cp10k"


def counts_of(values: NDArray[np.floating], name: str) -> NDArray[np.float64] | None:
    """Raw counts of values in a unit, the inverse of `in_unit`; None of shares, whose library size is gone."""
    exact = values.astype(np.float64)
    if name == "log2_counts":
        return np.asarray(np.rint(np.exp2(exact) - 1))
    return np.rint(np.expm1(exact)) if name == "log1p_counts" else None


def possible(values: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Move values, of any shape, in place to the nearest that a measurement could give, and return them.

    None is negative, and counts are whole; counts per 10,000 need not be, their library sizes being unknown.
    DatasetError where there is no such unit.
    """
    unit = normalisation(name)
    np.maximum(values, 0, out=values)
    if unit.name == "log2_counts":
        np.log2(np.rint(np.exp2(values, out=values), out=values), out=values)
    elif unit.name == "log1p_counts":
        np.log1p(np.rint(np.expm1(values, out=values), out=values), out=values)
    return values
