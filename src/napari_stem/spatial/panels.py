"""Gene panels: which genes a model predicts, chosen on training sections or read from a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix, vstack

from napari_stem.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import anndata
    from numpy.typing import NDArray

_HVG_PER_SECTION = 2000
_UNWANTED_PREFIXES = ("MT", "mt", "RP", "rp")  # mitochondrial and ribosomal, as published
_CONTROL_WORDS = ("BLANK", "Control")
_MIN_SPOT_FRACTION = 0.10

Panel = tuple[str, ...]


def parse_panel(spec: str) -> Callable[[Sequence[anndata.AnnData]], Panel]:
    """Turn what a user wrote into a choice of genes, to be made on the training sections.

    Parameters
    ----------
    spec
        ``hmhvg:200``, ``hvg:50``, or the path of a file with one gene a line.

    Returns
    -------
    A function of the training sections' raw counts; a file's panel must be measured in all of them.

    Raises
    ------
    DatasetError
        The words fit neither form, or the file cannot be used.
    """
    match = re.fullmatch(r"(hmhvg|hvg):(\d+)", spec)
    if match:
        recipe, n = {"hmhvg": hmhvg, "hvg": top_hvg}[match[1]], int(match[2])
        return lambda sections: recipe(sections, n)
    if not Path(spec).is_file():
        raise DatasetError(
            f"'{spec}' is no gene panel: write hmhvg:200, hvg:50 or the path of a file with one "
            f"gene a line."
        )
    panel = read_panel(Path(spec))
    return lambda sections: _require_measured(panel, sections)


def read_panel(path: Path) -> Panel:
    """Read a panel of one gene a line; empty lines and lines that start with # are skipped.

    Raises
    ------
    DatasetError
        The file cannot be read, names no gene, or names one twice.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"Gene panel {path} cannot be read: {error}.") from error
    genes = tuple(line for line in lines if line and not line.startswith("#"))
    if not genes:
        raise DatasetError(f"Gene panel {path} names no gene; write one a line.")
    for gene in genes:
        if len(gene.split()) > 1 or "," in gene:
            raise DatasetError(f"Gene panel {path} has a line '{gene}'; write one gene a line.")
    if len(set(genes)) != len(genes):
        repeated = next(gene for gene in genes if genes.count(gene) > 1)
        raise DatasetError(f"Gene panel {path} names {repeated} more than once.")
    return genes


def hmhvg(sections: Sequence[anndata.AnnData], n: int = 200) -> Panel:
    """High-mean, high-variance genes: the selection of published Stem (arXiv 2501.15598).

    Highly variable genes of each section (2,000, of those measured in all), united, without
    mitochondrial and ribosomal ones; of these, the genes among the first k by mean *and* by
    standard deviation of the raw counts of all spots together, k being the least that gives n.
    Published Stem selects with the test section in view; pass training sections only.

    Parameters
    ----------
    sections
        Raw counts, all genes measured.
    n
        Genes wanted.

    Returns
    -------
    n gene names, in alphabetical order.

    Raises
    ------
    DatasetError
        No sections, or fewer than n genes qualify.
    """
    common = _common_genes(sections)
    candidates = sorted(
        gene
        for gene in set().union(*(_highly_variable(section[:, common]) for section in sections))
        if not gene.startswith(_UNWANTED_PREFIXES)
    )
    if not 0 < n <= len(candidates):
        raise DatasetError(
            f"A panel of {n} high-mean, high-variance genes was asked for; these sections have "
            f"{len(candidates)} to choose from."
        )
    counts = _pooled(sections, candidates).toarray().astype(np.float64)
    by_mean, by_spread = _ranks(counts.mean(axis=0)), _ranks(counts.std(axis=0))
    # A gene enters at the k that is the worse of its two ranks; where two enter together and only
    # one is wanted, the one of larger mean.
    entry = np.lexsort((by_mean, np.maximum(by_mean, by_spread)))
    return tuple(sorted(candidates[i] for i in entry[:n]))


def top_hvg(sections: Sequence[anndata.AnnData], n: int = 50) -> Panel:
    """Most variable genes by the recipe of HEST-bench (Jaume et al. 2024, arXiv 2406.16192).

    Genes seen in at least a tenth of the spots of every section; log1p of the raw counts of all
    spots together; scanpy's dispersion ranking.

    Parameters
    ----------
    sections
        Raw counts, all genes measured.
    n
        Genes wanted.

    Returns
    -------
    n gene names, in alphabetical order.

    Raises
    ------
    DatasetError
        No sections, or fewer than n genes qualify.
    """
    import anndata
    import pandas as pd
    import scanpy

    candidates = [
        gene
        for gene in _common_genes([_often_seen(section) for section in sections])
        if not any(word in gene for word in _CONTROL_WORDS)
    ]
    if not 0 < n <= len(candidates):
        raise DatasetError(
            f"A panel of {n} highly variable genes was asked for; these sections have "
            f"{len(candidates)} that at least {_MIN_SPOT_FRACTION:.0%} of the spots show."
        )
    pooled = anndata.AnnData(_pooled(sections, candidates), var=pd.DataFrame(index=candidates))
    pooled.obs_names_make_unique()
    scanpy.pp.log1p(pooled)
    scanpy.pp.highly_variable_genes(pooled, n_top_genes=n)
    return tuple(pooled.var_names[pooled.var["highly_variable"]][:n])


def _common_genes(sections: Sequence[anndata.AnnData]) -> list[str]:
    """Genes measured in every section, in alphabetical order."""
    if not sections:
        raise DatasetError("A gene panel needs at least one training section to be chosen on.")
    return sorted(set.intersection(*(set(section.var_names) for section in sections)))


def _highly_variable(section: anndata.AnnData) -> set[str]:
    """One section's highly variable genes, on library-size-normalised log counts."""
    import scanpy

    table = section.copy()
    scanpy.pp.filter_cells(table, min_genes=1)
    scanpy.pp.filter_genes(table, min_cells=1)
    scanpy.pp.normalize_total(table)
    scanpy.pp.log1p(table)
    scanpy.pp.highly_variable_genes(table, n_top_genes=min(_HVG_PER_SECTION, table.n_vars))
    return set(table.var_names[table.var["highly_variable"]])


def _often_seen(section: anndata.AnnData) -> anndata.AnnData:
    """Leave out the genes that few spots of a section show."""
    seen = np.asarray((section.X > 0).sum(axis=0)).ravel()
    return section[:, seen >= np.ceil(_MIN_SPOT_FRACTION * section.n_obs)]


def _pooled(sections: Sequence[anndata.AnnData], genes: list[str]) -> csr_matrix:
    """Raw counts of all spots together: (spots, genes) float32."""
    return csr_matrix(vstack([csr_matrix(section[:, genes].X) for section in sections]))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Place of each value counted from the largest, which is 0."""
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return ranks


def _require_measured(panel: Panel, sections: Sequence[anndata.AnnData]) -> Panel:
    """Pass a panel on if every section measured all of it."""
    absent = sorted(set(panel) - set(_common_genes(sections)))
    if absent:
        raise DatasetError(
            f"{len(absent)} of the panel's {len(panel)} genes are not measured in every training "
            f"section ({', '.join(absent[:5])}{', ...' if len(absent) > 5 else ''}); remove them."
        )
    return panel
