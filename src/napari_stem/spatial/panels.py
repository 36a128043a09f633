"""Gene panels: which genes a model predicts, chosen on training sections, named, or in a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from napari_stem.errors import DatasetError
from napari_stem.spatial.gene_sets import gene_set, gene_sets
from napari_stem.spatial.panel_choice import (
    PanelChoice,
    PanelRule,
    all_measured,
    common_genes,
    pooled_counts,
    those_measured,
)
from napari_stem.spatial.panel_files import read_panel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import anndata

    from napari_stem.spatial.panel_choice import Panel

__all__ = ["hmhvg", "parse_panel", "read_panel", "top_hvg"]

_HVG_PER_SECTION = 2000
_UNWANTED_PREFIXES = ("MT", "mt", "RP", "rp")  # mitochondrial and ribosomal, as published
_CONTROL_WORDS = ("BLANK", "Control")
_MIN_SPOT_FRACTION = 0.10
_RECIPE = re.compile(r"(hmhvg|hvg):(\d+)")
_SET, _MEASURED = "set:", "measured:"


def parse_panel(spec: str) -> PanelRule:
    """Turn what a user wrote into a choice of genes, to be made on the training sections.

    Parameters
    ----------
    spec
        One part, or several joined by ``+``. Chosen on the sections: ``hmhvg:200`` (published Stem),
        ``hvg:50`` (HEST-bench). Named: ``set:pam50``, ``set:pam50+mmr`` (`gene_sets`). In a file
        (`read_panel`): ``genes.txt``, ``var_50genes.json``, ``sets.gmt#NAME``.

        All genes of a file must be measured in every section; ``measured:genes.txt`` takes those
        that are. Of a named set, too, those are taken that are measured and have a count.

    Returns
    -------
    A function of the training sections' raw counts.

    Raises
    ------
    DatasetError
        The words fit no form, or a file cannot be used.
    """
    whole = _is_file(spec.removeprefix(_MEASURED))  # a file's own name may hold a plus
    words, parts, named = [spec] if whole else spec.split("+"), [], False
    for word in words:
        named = word.startswith(_SET) or (named and word in gene_sets())
        parts.append(_parse_set(word) if named else _parse_part(word, spec))
    return PanelRule(tuple(parts))


def _parse_set(word: str) -> Callable[[Sequence[anndata.AnnData]], PanelChoice]:
    found = gene_set(word.removeprefix(_SET))
    return lambda sections: those_measured(found.genes, sections, f"Gene set '{found.name}'")


def _parse_part(word: str, spec: str) -> Callable[[Sequence[anndata.AnnData]], PanelChoice]:
    """Understand a recipe or a file."""
    match = _RECIPE.fullmatch(word)
    if match:
        recipe, n = {"hmhvg": hmhvg, "hvg": top_hvg}[match[1]], int(match[2])
        return lambda sections: PanelChoice(genes=recipe(sections, n))
    name, _, set_name = word.removeprefix(_MEASURED).partition("#")
    if not _is_file(name):
        where = "" if word == spec else f" in '{spec}'"
        raise DatasetError(
            f"'{word}'{where} is no gene panel: write hmhvg:200, hvg:50, set:NAME, the path of a "
            f"file with one gene a line, or several of them joined by +."
        )
    genes = read_panel(Path(name), set_name or None)
    if word.startswith(_MEASURED):
        return lambda sections: those_measured(genes, sections, f"Panel '{word}'")
    return lambda sections: all_measured(genes, sections)


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # a list of genes, too long for a path
        return False


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
        No sections, no gene that all of them measured, or fewer than n genes qualify.
    """
    from scipy.stats import rankdata

    common = common_genes(sections)
    if not common:
        raise DatasetError(
            f"The {len(sections)} training sections have no gene in common; see that all name genes alike "
            f"(symbols or Ensembl ids) and are of one species."
        )
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
    counts = pooled_counts(sections, candidates).toarray().astype(np.float64)
    by_mean, by_spread = (
        rankdata(-figure, method="ordinal") for figure in (counts.mean(axis=0), counts.std(axis=0))
    )
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
        gene for gene in detected(sections) if not any(word in gene for word in _CONTROL_WORDS)
    ]
    if not 0 < n <= len(candidates):
        raise DatasetError(
            f"A panel of {n} highly variable genes was asked for; these sections have "
            f"{len(candidates)} that at least {_MIN_SPOT_FRACTION:.0%} of the spots show."
        )
    pooled = anndata.AnnData(
        pooled_counts(sections, candidates), var=pd.DataFrame(index=candidates)
    )
    pooled.obs_names_make_unique()
    if not _varies(pooled):
        raise DatasetError(
            "No highly variable genes can be chosen: no two genes differ between the spots of these sections; "
            "see that they hold counts."
        )
    scanpy.pp.log1p(pooled)
    scanpy.pp.highly_variable_genes(pooled, n_top_genes=n)
    return tuple(pooled.var_names[pooled.var["highly_variable"]][:n])


def _highly_variable(section: anndata.AnnData) -> set[str]:
    """One section's highly variable genes, on library-size-normalised log counts; none where nothing varies."""
    import scanpy

    table = section.copy()
    if not _varies(table):
        return set()
    scanpy.pp.filter_cells(table, min_genes=1)
    scanpy.pp.filter_genes(table, min_cells=1)
    scanpy.pp.normalize_total(table)
    scanpy.pp.log1p(table)
    scanpy.pp.highly_variable_genes(table, n_top_genes=min(_HVG_PER_SECTION, table.n_vars))
    return set(table.var_names[table.var["highly_variable"]])


def _varies(table: anndata.AnnData) -> bool:
    """Whether two genes or more differ between spots; scanpy fails where there is nothing to rank."""
    counts = csr_matrix(table.X)
    if 0 in counts.shape:
        return False
    spread = counts.max(axis=0) - counts.min(axis=0)
    return bool((spread > 0).sum() > 1)


def detected(sections: Sequence[anndata.AnnData]) -> Panel:
    """Genes seen in at least a tenth of the spots of every section, in alphabetical order."""
    return tuple(common_genes([_often_seen(section) for section in sections]))


def _often_seen(section: anndata.AnnData) -> anndata.AnnData:
    """Leave out the genes that few spots of a section show."""
    seen = np.asarray((section.X > 0).sum(axis=0)).ravel()
    return section[:, seen >= np.ceil(_MIN_SPOT_FRACTION * section.n_obs)]
