"""The genes of a prediction as a table, which finds and sorts tens of thousands as one types."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.model.genes import BY_CHANCE, MARK, in_words, offered, reliability
from napari_stem.spatial.gene_sets import as_measured, synonyms
from napari_stem.texts import clean_name
from napari_stem.widgets.common.table import IS_GREY, Column, Table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray


NO_MATCH = 9


class GeneSearch:
    """Searches the genes of one model, in its order; ``not_measured`` lack in its training data."""

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
        """Tell how well every gene matches part of a name, in any case; empty matches all.

        Gives (genes,) int8: 0 begins with it, 1 another name of the gene does, 2 it is found within the name,
        `NO_MATCH`; and, for those of rank 1, that other name by the gene's place.
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

        Gives the model's names in the order of the list, each once, and those of the list that it lacks.
        """
        found = {name: self._find_one(name) for name in names}
        genes = dict.fromkeys(gene for gene in found.values() if gene is not None)
        return tuple(genes), tuple(name for name in found if found[name] is None)

    def why_not(self, text: str) -> str:
        """Say that nothing matches what was typed, and what to try instead."""
        wanted = text.strip()
        if len(names_in(text)) > 1:
            return "To list several genes, choose “Paste a list …” above (Listed)."
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


STAR, GENE, MEAN_COLUMN, SPREAD, CLUSTERING, RELIABILITY = range(6)
UNRELIABLE_BELOW = 0.2  # PCC of counts, where that of shares is not known
NUMBER = "-0.00"
COLUMNS = (
    Column(
        "star",
        "★",
        "Favourites. Click, or press F, to add or remove a gene.",
        widest="★",
        is_text=True,
    ),
    Column(
        "gene",
        "Gene",
        "Type above to find a gene. Page Down: next gene. Page Up: previous gene.",
        is_text=True,
    ),
    Column("mean", "Mean", "Mean of the predicted expression over the slide", ".2f", widest=NUMBER),
    Column(
        "spread",
        "Varies",
        "How much the predicted expression varies over the slide: standard deviation",
        ".2f",
        widest=NUMBER,
    ),
    Column(
        "clustering",
        "Clusters",
        "How much neighbouring spots resemble each other (Moran's I of the prediction):\n"
        "1: smooth patches. 0: scattered at random. –: not computed; click the title to ask for it.",
        ".2f",
        widest=NUMBER,
    ),
    Column(
        "reliability",
        "Reliable",
        "How well predictions of this gene followed measurements on tissue that the model never saw: PCC of "
        "shares of counts (CP10k), where sequencing depth helps no gene; of counts where that is not known.\n"
        f"1 is perfect, 0 is no better than chance. It may be lower on your slide. {MARK}: {BY_CHANCE}.",
        ".2f",
        widest=NUMBER,
    ),
)
OF_VALUES = ("mean", "spread")  # in the unit of the predicted values
COMPUTED = (*OF_VALUES, "clustering")  # of a prediction: these come later


class GeneTable(Table):
    """One row per gene that is listed at the moment."""

    def __init__(self) -> None:
        super().__init__(COLUMNS)
        self.search = GeneSearch(())
        self.favourites: frozenset[str] = frozenset()
        self._allowed: frozenset[str] | None = None
        self._aliases: dict[int, str] = {}  # other names by which genes were found

    def set_genes(
        self, accuracy: pd.DataFrame, unit: str = "", not_measured: Iterable[str] = ()
    ) -> None:
        """List other genes, in the order of their ``accuracy`` (as `Prediction.gene_accuracy`).

        ``unit`` is that of the predicted values; ``not_measured`` lack in the model's training data.
        """
        self.search = GeneSearch(accuracy.index, not_measured)
        self.columns = tuple(
            replace(one, tip=f"{one.tip}, {unit}") if unit and one.key in OF_VALUES else one
            for one in COLUMNS
        )
        known, by_chance = reliability(accuracy), accuracy["by_chance"]
        is_weak = accuracy["share_pcc"].isna() & (known < UNRELIABLE_BELOW)
        frame = accuracy.assign(gene=accuracy.index, star=accuracy.index.isin(self.favourites))
        frame[list(COMPUTED)] = np.nan
        frame["reliability"] = known.mask(by_chance)  # so that they come last
        frame[IS_GREY] = by_chance | known.isna() | is_weak
        self.fill(frame)

    def fill_columns(self, columns: Mapping[str, ArrayLike]) -> None:
        """Show what has been computed of `COMPUTED`: (genes,) float each, in the model's order."""
        self.fill(self.frame.assign(**columns))

    def set_favourites(self, favourites: Collection[str]) -> None:
        """Mark genes with a star."""
        self.favourites = frozenset(favourites)
        self.fill(self.frame.assign(star=self.frame.index.isin(self.favourites)))

    def show_only(self, genes: Iterable[str] | None) -> None:
        """List these genes only; None lists all."""
        self._allowed = None if genes is None else frozenset(genes)
        self.arrange()

    def doubt(self, gene: str) -> str:
        """Why not to rely on a gene; empty where nothing speaks against it."""
        known = self.frame.loc[gene]
        if not known[IS_GREY]:
            return ""
        if known["by_chance"]:
            why = f"its prediction {BY_CHANCE}"
        elif np.isnan(known["reliability"]):
            why = "how well it is predicted has not been measured"
        else:
            why = (
                "its predictions hardly followed measurements on tissue that the model had not seen"
            )
        return f"Do not rely on {gene}: {why}."

    def text(self, place: int, column: Column) -> str:
        """Return what a cell shows; of a gene found by another name also that name."""
        gene = self.search.genes[place]
        if column.key == "star":
            return "★" if gene in self.favourites else "☆"
        if column.key == "gene":
            return f"{gene} ({self._aliases[place]})" if place in self._aliases else gene
        if column.key == "reliability" and self._values["by_chance"][place]:
            return MARK
        return super().text(place, column)

    def tip(self, place: int, column: Column) -> str:
        """Return why not to rely on a gene, how well it is predicted, and what the column means."""
        if column.key == "star":
            return column.tip
        gene = self.search.genes[place]
        known = "\n".join([self.doubt(gene) or gene, *in_words(self.frame.iloc[place])])
        return f"{known}\n\n{column.tip}"

    def ordered(self) -> NDArray[np.int64]:
        """Rank what matches best first: names that begin so, other names of genes, then parts of names."""
        ranks, self._aliases = self.search.ranks(self._text)
        if self._allowed is not None:
            is_allowed = self.frame.index.isin(self._allowed)
            ranks = np.where(is_allowed, ranks, NO_MATCH).astype(np.int8)
        places = np.flatnonzero(ranks < NO_MATCH)
        return places[np.lexsort((self.sort_keys()[places], ranks[places]))]
