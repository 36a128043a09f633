"""Named gene sets and gene aliases: small public lists that come with the package."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from napari_stem.errors import DatasetError
from napari_stem.spatial.checks import ENSEMBL_ID, Finding, as_finding
from napari_stem.texts import clean_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import anndata


# Where Space Ranger, scanpy, CELLxGENE, HEST and GEO uploads keep symbols, in order of preference.
SYMBOL_COLUMNS = (
    "gene_name", "gene_names", "gene_symbol", "gene_symbols", "feature_name", "gene_short_name",
    "symbol", "Symbol", "SYMBOL",
)  # fmt: skip
ID_COLUMN = "gene_ids"
_LATIN = {"human": "Homo sapiens", "mouse": "Mus musculus", "rat": "Rattus norvegicus"}
_DONE = "nothing has to be done"


def with_unique_symbols(table: anndata.AnnData) -> tuple[anndata.AnnData, list[Finding]]:
    """Name genes by symbol, each once; the table itself where nothing had to be done, and what was done.

    Ensembl ids are replaced where the table itself carries symbols (the ids move to ``var["gene_ids"]``);
    counts of genes with one symbol are added up.
    """
    clean = [clean_name(name) for name in table.var_names]
    if clean != list(table.var_names):
        table = table.copy()
        table.var_names = clean
    named, done = _renamed(table)
    repeats = named.var_names[named.var_names.duplicated()].unique()
    if not len(repeats):
        return named, done
    merged = _added_up(named)
    what = "gene symbols that stand for several genes each, now added up"
    return merged, [*done, as_finding("duplicate-genes", what, repeats, _DONE, "warns")]


def latin_name(species: str) -> str:
    """Scientific name of a species as HEST-1k writes it; of ``human``, ``mouse``, ``rat`` too, in any case."""
    words = " ".join(species.lower().split())
    return _LATIN.get(words, words.capitalize())


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
        symbols = table.var[column].astype("string").map(clean_name, na_action="ignore")
        usable = symbols.notna() & (symbols != "")
        if not usable.any() or is_ensembl(list(symbols[usable])):
            continue
        named = table.copy()
        ids = named.var_names.astype(str)
        named.var[ID_COLUMN] = ids
        named.var_names = pd.Index(np.where(usable, symbols.fillna(""), ids).astype(str))
        what = f"Ensembl ids, now replaced by the symbols in var['{column}']"
        return named, [as_finding("ensembl-ids", what, ids[usable], _DONE, "warns")]
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


_FOLDER = "data/gene_sets"


@dataclass(frozen=True, kw_only=True)
class GeneSet:
    """Genes that somebody published as belonging together."""

    name: str  # what a panel calls it: ``set:NAME``
    title: str  # what it tells, in a line
    genes: tuple[str, ...]  # human symbols of today (HGNC), in the order of the source
    source: str  # publication
    doi: str  # of the publication
    licence: str  # of the list
    note: str  # what to know before using it


@cache
def gene_sets() -> dict[str, GeneSet]:
    """Return the packaged gene sets by name, in alphabetical order."""
    folder = files("napari_stem").joinpath(_FOLDER)
    texts = [f.read_text(encoding="utf-8") for f in folder.iterdir() if f.name.endswith(".json")]
    contents = sorted((json.loads(text) for text in texts), key=lambda content: content["name"])
    return {c["name"]: GeneSet(**{**c, "genes": tuple(c["genes"])}) for c in contents}


def gene_set(name: str) -> GeneSet:
    """Return one packaged gene set; DatasetError where there is none of that name."""
    known = gene_sets()
    if name not in known:
        raise DatasetError(
            f"There is no gene set '{name}'; there are {', '.join(known)} ('napari-stem genes')."
        )
    return known[name]


@cache
def synonyms() -> dict[str, tuple[str, ...]]:
    """Return every name of the packaged table with all names of its gene, today's first.

    The table (``data/gene_sets/aliases.tsv``) is an extract of HGNC's previous and alias symbols.
    """
    return {name: names for names in _rows("aliases.tsv") for name in names}


def as_measured(gene: str, measured: Collection[str]) -> str | None:
    """Return the name under which a data set holds a gene: as written, else a synonym, else None."""
    if gene in measured:
        return gene
    return next((name for name in synonyms().get(gene, ()) if name in measured), None)


def is_symbol(name: str) -> bool:
    """Whether a human gene is or was called so."""
    return name in _ensembl() or name in synonyms()


def ensembl_ids(genes: Sequence[str]) -> list[str]:
    """Ensembl id of every human gene, by today's symbol or an earlier one; empty where none is known."""
    known = _ensembl()

    def found(gene: str) -> str:
        if gene.startswith("ENSG"):
            return gene
        return next(
            (known[name] for name in (gene, *synonyms().get(gene, ())) if name in known), ""
        )

    return [found(gene) for gene in genes]


@cache
def _ensembl() -> dict[str, str]:
    return {row[0]: row[1] for row in _rows("ensembl.tsv.gz")}


def _rows(name: str) -> Iterator[tuple[str, ...]]:
    """Words of each line of a packaged table; comments are passed over."""
    stored = files("napari_stem").joinpath(f"{_FOLDER}/{name}").read_bytes()
    text = (gzip.decompress(stored) if name.endswith(".gz") else stored).decode()
    return (tuple(line.split()) for line in text.splitlines() if line and line[0] != "#")
