"""Finding genes by what people type: prefixes, other names, parts of names, lists."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.model.genes import offered
from napari_stem.spatial.gene_sets import as_measured, synonyms
from napari_stem.texts import clean_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

NO_MATCH = 9


class GeneSearch:
    """Searches the genes of one model.

    Parameters
    ----------
    genes
        Names, in the model's order.
    not_measured
        Genes known to lack in the training data.
    """

    def __init__(self, genes: Iterable[str], not_measured: Iterable[str] = ()) -> None:
        self.genes, self.not_measured = tuple(genes), frozenset(not_measured)
        self._known = frozenset(self.genes)
        self._by_upper = {gene.upper(): gene for gene in self.genes}
        self._upper = np.array([gene.upper() for gene in self.genes], dtype=str)
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
        if not wanted:
            return np.zeros(len(self.genes), np.int8), {}
        ranks = np.where(np.char.find(self._upper, wanted) >= 0, 2, NO_MATCH).astype(np.int8)
        ranks[np.char.startswith(self._upper, wanted)] = 0
        aliases: dict[int, str] = {}
        for row, names in self._other_names.items():
            alias = next((name for name in names if name.upper().startswith(wanted)), None)
            if alias is not None and ranks[row] > 0:
                ranks[row], aliases[row] = 1, alias
        return ranks, aliases

    def find(self, names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Look up a list: names as written, in another case, or other names of the same gene.

        Returns
        -------
        The model's names in the order of the list, each once, and those of the list that it lacks.
        """
        found = {name: self._find_one(name) for name in names}
        genes = dict.fromkeys(gene for gene in found.values() if gene is not None)
        return tuple(genes), tuple(name for name in found if found[name] is None)

    def why_not(self, text: str) -> str:
        """Say that nothing matches what was typed, and what to try instead."""
        wanted = text.strip()
        today = synonyms().get(wanted.upper(), (wanted,))[0]
        if today.upper() != wanted.upper():
            return f"{wanted} is another name of {today}, which is not listed here."
        if wanted.upper() in self.not_measured:
            said = f"{wanted.upper()} was not measured in the model's training data."
        else:
            said = f"No listed gene matches '{wanted}'."
        similar = offered(wanted, self.genes)
        return f"{said} Similar: {', '.join(similar)}." if similar else said

    def _find_one(self, name: str) -> str | None:
        return (
            as_measured(name, self._known)
            or self._by_upper.get(name.upper())
            or as_measured(name.upper(), self._known)
        )


def names_in(text: str) -> list[str]:
    """Gene names of a pasted text: separated by spaces, commas, semicolons, tabs or lines; each once."""
    words = map(clean_name, re.split(r"[\s,;|]+", text))
    return list(dict.fromkeys(word for word in words if word))
