"""Which of the genes that a user asks for a model predicts."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from napari_stem.errors import UnknownGeneError
from napari_stem.spatial.gene_sets import as_measured

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN = 5


def require_known(genes: Sequence[str], panel: Sequence[str], model_name: str) -> None:
    """Check that a model's panel holds all genes.

    Raises
    ------
    UnknownGeneError
        It lacks some: each is named, with the name under which the panel holds it, or names that are alike.
    """
    lacking = [gene for gene in genes if gene not in panel]
    if not lacking:
        return
    names = ", ".join(f"'{gene}'" for gene in lacking[:_SHOWN])
    more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    offers = {gene: alike for gene in lacking[:_SHOWN] if (alike := offered(gene, panel))}
    hint = "; ".join(
        " or ".join(alike) + (f" for {gene}" if len(lacking) > 1 else "")
        for gene, alike in offers.items()
    )
    raise UnknownGeneError(
        f"Model '{model_name}' does not predict {names}{more}; it knows {len(panel)} genes "
        f"(napari-stem models --genes {model_name})." + (f" Did you mean {hint}?" if hint else "")
    )


def missing_of(genes: Sequence[str], panel: Sequence[str], model_name: str) -> tuple[str, ...]:
    """Genes that a model does not predict, where that is allowed: their values will be NaN.

    Raises
    ------
    UnknownGeneError
        One is in the panel under another name: NaN would be untrue, and a name of the user's is not changed in
        silence.
    """
    lacking = tuple(gene for gene in genes if gene not in panel)
    renamed = {gene: name for gene in lacking if (name := _synonym(gene, panel)) is not None}
    if renamed:
        pairs = ", ".join(f"'{gene}' as '{name}'" for gene, name in renamed.items())
        raise UnknownGeneError(f"Model '{model_name}' predicts {pairs}: ask for the latter.")
    return lacking


def offered(gene: str, panel: Sequence[str]) -> tuple[str, ...]:
    """Names of a panel that a gene which it lacks may have been meant for.

    The one under which it holds the same gene (HGNC's previous and alias symbols), else up to three that are
    written alike.
    """
    synonym = _synonym(gene, panel)
    if synonym is not None:
        return (synonym,)
    by_upper = {known.upper(): known for known in panel}
    return tuple(by_upper[name] for name in difflib.get_close_matches(gene.upper(), by_upper, n=3))


def _synonym(gene: str, panel: Sequence[str]) -> str | None:
    return as_measured(gene, panel) or as_measured(gene.upper(), panel)
