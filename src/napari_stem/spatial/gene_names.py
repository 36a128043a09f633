"""Gene symbols where a table has ids, and one column per symbol."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from napari_stem.spatial.checks import ENSEMBL_ID, N_EXAMPLES, Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    import anndata

# Where Space Ranger, scanpy, CELLxGENE, HEST and GEO uploads keep symbols, in order of preference.
SYMBOL_COLUMNS = (
    "gene_name", "gene_names", "gene_symbol", "gene_symbols", "feature_name", "gene_short_name",
    "symbol", "Symbol", "SYMBOL",
)  # fmt: skip
ID_COLUMN = "gene_ids"


def with_symbols(table: anndata.AnnData) -> tuple[anndata.AnnData, list[Finding]]:
    """Name genes by symbol, each once.

    Ensembl ids are replaced where the table itself carries symbols (the ids move to
    ``var["gene_ids"]``); counts of genes with one symbol are added up.

    Returns
    -------
    The table, itself where nothing had to be done, and what was done.
    """
    named, done = _renamed(table)
    repeats = named.var_names[named.var_names.duplicated()].unique()
    if not len(repeats):
        return named, done
    merged = _added_up(named)
    what = "gene symbols that stand for several genes each, now added up"
    examples = tuple(str(gene) for gene in repeats[:N_EXAMPLES])
    done.append(
        Finding("duplicate-genes", "warns", what, len(repeats), examples, "nothing has to be done")
    )
    return merged, done


def is_ensembl(names: Sequence[str]) -> bool:
    """Whether most names are Ensembl ids."""
    return 2 * sum(bool(ENSEMBL_ID.fullmatch(str(name))) for name in names) > len(names)


def _renamed(table: anndata.AnnData) -> tuple[anndata.AnnData, list[Finding]]:
    """Replace ids by the table's own symbols; a gene without one keeps its id."""
    import pandas as pd

    if not is_ensembl(table.var_names):
        return table, []
    for column in SYMBOL_COLUMNS:
        if column not in table.var.columns:
            continue
        symbols = table.var[column].astype("string").str.strip()
        usable = symbols.notna() & (symbols != "")
        if not usable.any() or is_ensembl(list(symbols[usable])):
            continue
        named = table.copy()
        ids = named.var_names.astype(str)
        named.var[ID_COLUMN] = ids
        named.var_names = pd.Index(np.where(usable, symbols.fillna(""), ids).astype(str))
        n = int(usable.sum())
        what = f"Ensembl ids, now replaced by the symbols in var['{column}']"
        examples = tuple(str(one) for one in ids[:N_EXAMPLES])
        told = Finding("ensembl-ids", "warns", what, n, examples, "nothing has to be done")
        return named, [told]
    return table, []


def _added_up(table: anndata.AnnData) -> anndata.AnnData:
    """One column per name, in the order of first appearance."""
    import anndata

    names = table.var_names
    first = ~names.duplicated()
    kept = names[first]
    target = kept.get_indexer(names)
    ones = np.ones(len(names), np.float32)
    add_up = csr_matrix((ones, (np.arange(len(names)), target)), shape=(len(names), len(kept)))
    return anndata.AnnData(
        X=csr_matrix(csr_matrix(table.X, dtype=np.float32) @ add_up),
        obs=table.obs.copy(),
        var=table.var[first].copy(),
        obsm=dict(table.obsm),
        uns=dict(table.uns),
    )
