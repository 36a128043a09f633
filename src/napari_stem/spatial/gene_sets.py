"""Named gene sets and gene aliases: small public lists that come with the package."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from napari_stem.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

_FOLDER = "data/gene_sets"


@dataclass(frozen=True, kw_only=True)
class GeneSet:
    """Genes that somebody published as belonging together.

    Attributes
    ----------
    name
        What a panel calls it: ``set:NAME``.
    title
        What it tells, in a line.
    genes
        Human symbols of today (HGNC), in the order of the source.
    source
        Publication.
    doi
        Of the publication.
    licence
        Of the list.
    note
        What to know before using it.
    """

    name: str
    title: str
    genes: tuple[str, ...]
    source: str
    doi: str
    licence: str
    note: str


@cache
def gene_sets() -> dict[str, GeneSet]:
    """Return the packaged gene sets by name, in alphabetical order."""
    folder = files("napari_stem").joinpath(_FOLDER)
    texts = [f.read_text(encoding="utf-8") for f in folder.iterdir() if f.name.endswith(".json")]
    contents = sorted((json.loads(text) for text in texts), key=lambda content: content["name"])
    return {c["name"]: GeneSet(**{**c, "genes": tuple(c["genes"])}) for c in contents}


def gene_set(name: str) -> GeneSet:
    """Return one packaged gene set.

    Raises
    ------
    DatasetError
        There is none of that name.
    """
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
