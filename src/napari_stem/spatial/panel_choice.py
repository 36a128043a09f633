"""A gene panel as a rule, and what becomes of it on given sections."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix, vstack

from napari_stem.errors import DatasetError
from napari_stem.spatial.gene_sets import as_measured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import anndata

Panel = tuple[str, ...]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PanelChoice:
    """A panel as chosen, and what became of the genes asked for.

    Attributes
    ----------
    genes
        The panel: names as the sections hold them, each once.
    left_out
        Per part of the panel, genes that a section did not measure.
    never_seen
        Per part, genes left out because no training section has a count of them.
    renamed
        Genes taken under another name than the one written: written -> as measured.
    """

    genes: Panel
    left_out: Mapping[str, Panel] = field(default_factory=dict)
    never_seen: Mapping[str, Panel] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)

    def warn(self) -> None:
        """Log what was left out or renamed."""
        for note in self.notes():
            _log.warning(note)

    def notes(self) -> list[str]:
        """Return what a user should be told, a sentence each."""
        sentences = [
            f"{part}: {len(genes)} left out, not measured in every training section: "
            f"{', '.join(genes)}."
            for part, genes in self.left_out.items()
        ]
        sentences += [
            f"{part}: {len(genes)} left out, without a count in any training section: "
            f"{', '.join(genes)}."
            for part, genes in self.never_seen.items()
        ]
        if self.renamed:
            pairs = ", ".join(f"{written} is {name}" for written, name in self.renamed.items())
            sentences.append(f"Taken under the data set's names: {pairs}.")
        return sentences


@dataclass(frozen=True)
class PanelRule:
    """How a panel is to be chosen: a union of parts, each asked in turn.

    Attributes
    ----------
    parts
        Functions of the training sections' raw counts.
    """

    parts: tuple[Callable[[Sequence[anndata.AnnData]], PanelChoice], ...]

    def choose(self, sections: Sequence[anndata.AnnData]) -> PanelChoice:
        """Choose the genes on training sections; those of the first part come first.

        Raises
        ------
        DatasetError
            The sections cannot give what is asked.
        """
        chosen = [part(sections) for part in self.parts]
        return PanelChoice(
            genes=tuple(dict.fromkeys(gene for choice in chosen for gene in choice.genes)),
            left_out={k: v for choice in chosen for k, v in choice.left_out.items()},
            never_seen={k: v for choice in chosen for k, v in choice.never_seen.items()},
            renamed={k: v for choice in chosen for k, v in choice.renamed.items()},
        )

    def __call__(self, sections: Sequence[anndata.AnnData]) -> Panel:
        """Choose the genes, and log as warnings what was left out or renamed."""
        choice = self.choose(sections)
        choice.warn()
        return choice.genes


def those_measured(genes: Panel, sections: Sequence[anndata.AnnData], part: str) -> PanelChoice:
    """Take the genes that are measured in every section and seen in one."""
    names = _as_measured(genes, sections)
    measured = tuple(dict.fromkeys(name for name in names.values() if name is not None))
    if not measured:
        raise DatasetError(
            f"None of the {len(genes)} genes of {part} is measured in every training section "
            f"({', '.join(genes[:5])}{', ...' if len(genes) > 5 else ''}); named sets are human, so "
            f"see that the names are of the data set's species."
        )
    totals = np.asarray(pooled_counts(sections, list(measured)).sum(axis=0)).ravel()
    seen = tuple(name for name, total in zip(measured, totals, strict=True) if total > 0)
    absent = tuple(gene for gene, name in names.items() if name is None)
    silent = tuple(name for name in measured if name not in seen)
    if not seen:
        raise DatasetError(f"No training section has a count of any gene of {part}; choose others.")
    return PanelChoice(
        genes=seen,
        left_out={f"{part} of {len(genes)} genes": absent} if absent else {},
        never_seen={f"{part} of {len(genes)} genes": silent} if silent else {},
        renamed={gene: name for gene, name in names.items() if name in seen and name != gene},
    )


def all_measured(genes: Panel, sections: Sequence[anndata.AnnData]) -> PanelChoice:
    """Take all genes, or refuse."""
    names = _as_measured(genes, sections)
    absent = [gene for gene, name in names.items() if name is None]
    if absent:
        raise DatasetError(
            f"{len(absent)} of the panel's {len(genes)} genes are not measured in every training "
            f"section ({', '.join(absent[:5])}{', ...' if len(absent) > 5 else ''}); remove them, "
            f"or write measured:FILE to leave such genes out."
        )
    return PanelChoice(
        genes=tuple(dict.fromkeys(name for name in names.values() if name is not None)),
        renamed={gene: name for gene, name in names.items() if name and name != gene},
    )


def _as_measured(genes: Panel, sections: Sequence[anndata.AnnData]) -> dict[str, str | None]:
    """Each gene with the name under which every section measured it, None where one did not."""
    common = set(common_genes(sections))
    return {gene: as_measured(gene, common) for gene in genes}


def common_genes(sections: Sequence[anndata.AnnData]) -> list[str]:
    """Genes measured in every section, in alphabetical order."""
    if not sections:
        raise DatasetError("A gene panel needs at least one training section to be chosen on.")
    return sorted(set.intersection(*(set(section.var_names) for section in sections)))


def pooled_counts(sections: Sequence[anndata.AnnData], genes: list[str]) -> csr_matrix:
    """Raw counts of all spots together: (spots, genes) float32."""
    return csr_matrix(vstack([csr_matrix(section[:, genes].X) for section in sections]))
