"""Finding genes by what people type: prefixes, other names, parts of names, lists."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.spatial.gene_sets import as_measured, synonyms
from napari_stem.texts import clean_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NO_MATCH = 9
N_ALTERNATIVES = 2
N_LOOKED_AT = 20  # missing genes for which alternatives are looked for


@dataclass(frozen=True)
class FoundGenes:
    """A list of genes, as far as a model has them.

    Attributes
    ----------
    genes
        The model's names, in the order of the list, each once.
    missing
        Genes that the model lacks, with the model's genes of the most similar names.
    """

    genes: tuple[str, ...]
    missing: dict[str, tuple[str, ...]]

    @property
    def n_named(self) -> int:
        """How many genes the list named."""
        return len(self.genes) + len(self.missing)


class GeneSearch:
    """Searches the genes of one model.

    Parameters
    ----------
    genes
        Names, in the model's order.
    """

    def __init__(self, genes: Sequence[str]) -> None:
        self.genes = tuple(genes)
        self._known = frozenset(self.genes)
        self._upper = [gene.upper() for gene in self.genes]
        self._by_upper = dict(zip(self._upper, self.genes, strict=True))
        table = synonyms()
        self._other_names = {
            row: [name for name in table[gene] if name != gene]
            for row, gene in enumerate(self.genes)
            if gene in table
        }

    def ranks(self, text: str) -> tuple[NDArray[np.int8], dict[int, str]]:
        """Tell how well every gene matches what was typed.

        Parameters
        ----------
        text
            Part of a name, in any case; empty matches all.

        Returns
        -------
        (genes,) int8: 0 begins with it, 1 another name of the gene does, 2 it is found within the
        name, `NO_MATCH`; and, for those of rank 1, that other name by the gene's place.
        """
        wanted = text.strip().upper()
        ranks = np.full(len(self.genes), NO_MATCH, np.int8)
        aliases: dict[int, str] = {}
        for row, name in enumerate(self._upper):
            if name.startswith(wanted):
                ranks[row] = 0
            elif wanted in name:
                ranks[row] = 2
        if not wanted:
            return ranks, aliases
        for row, names in self._other_names.items():
            alias = next((name for name in names if name.upper().startswith(wanted)), None)
            if alias is not None and ranks[row] > 0:
                ranks[row], aliases[row] = 1, alias
        return ranks, aliases

    def find(self, names: Sequence[str]) -> FoundGenes:
        """Look up a list: names as written, in another case, or other names of the same gene."""
        found: dict[str, None] = {}
        missing: dict[str, tuple[str, ...]] = {}
        for name in names:
            gene = self._find_one(name)
            if gene is not None:
                found[gene] = None
            elif name not in missing:
                missing[name] = self._similar(name) if len(missing) < N_LOOKED_AT else ()
        return FoundGenes(tuple(found), missing)

    def why_not(self, text: str) -> str:
        """Say that nothing matches what was typed, and what to try instead."""
        wanted = text.strip()
        today = synonyms().get(wanted.upper(), (wanted,))[0]
        if today.upper() != wanted.upper():
            return f"{wanted} is another name of {today}, which is not listed here."
        similar = self._similar(wanted)
        said = f" Similar names: {', '.join(similar)}." if similar else ""
        return f"No listed gene matches '{wanted}'.{said}"

    def _find_one(self, name: str) -> str | None:
        return (
            as_measured(name, self._known)
            or self._by_upper.get(name.upper())
            or as_measured(name.upper(), self._known)
        )

    def _similar(self, name: str) -> tuple[str, ...]:
        close = get_close_matches(name.upper(), self._upper, n=N_ALTERNATIVES, cutoff=0.7)
        return tuple(self._by_upper[upper] for upper in close)


def names_in(text: str) -> list[str]:
    """Gene names of a pasted text: separated by spaces, commas, semicolons, tabs or lines; each once."""
    words = map(clean_name, re.split(r"[\s,;|]+", text))
    return list(dict.fromkeys(word for word in words if word))
