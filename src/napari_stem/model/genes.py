"""What a model knows of its genes: which it predicts, how well, and what else a user may have meant."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import UnknownGeneError
from napari_stem.spatial.gene_sets import as_measured, is_symbol
from napari_stem.texts import count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

_SHOWN = 5
_OFFERED = 3
NUMBERS = (
    *("pcc", "pcc_low", "pcc_high", "share_pcc", "share_pcc_low", "share_pcc_high"),
    "ceiling",
)
BY_CHANCE = "cannot be told from chance in every left-out section once depth is taken out"
MARK = "n.s."  # beside such a gene, wherever genes are listed
# Symbols that number what nobody has named yet, or what is alike in a motif alone: no families.
_NO_FAMILY = re.compile(r"CCDC|FAM|KIAA|LINC|LOC|MIR|TMEM|ZNF|C\d+ORF")
_LEAST_ROOT = 3  # letters: CD4 and CD68 are no family
_LETTERS = string.ascii_uppercase + string.digits + "-."


def gene_accuracy(card: Mapping[str, Any], genes: Sequence[str]) -> pd.DataFrame:
    """How well each gene is predicted on left-out training sections, as a model's card has it.

    Returns
    -------
    By gene, NaN where unknown: ``pcc``, ``pcc_low``, ``pcc_high`` (PCC with measured log2(count + 1), mean
    over sections and 95% interval), ``share_pcc`` and its interval (the same for shares of counts, CP10k, where
    sequencing depth is gone), ``ceiling`` (the highest PCC that counts this sparse allow), and ``by_chance``
    (bool: `BY_CHANCE`).
    """
    import pandas as pd

    def known(key: str, n: int) -> np.ndarray:
        stored = card.get(key) or {}
        rows = [stored.get(gene) for gene in genes]
        unknown = np.nan if n == 1 else [np.nan] * n
        return np.array([unknown if row is None else row for row in rows], float).reshape(-1, n)

    columns = np.hstack(
        [known("gene_pcc", 3), known("gene_share_pcc", 3), known("gene_ceiling", 1)]
    )
    frame = pd.DataFrame(columns, index=list(genes), columns=list(NUMBERS))
    frame["by_chance"] = frame.index.isin(card.get("genes_by_chance") or ())
    return frame


def reliability(accuracy: pd.DataFrame) -> pd.Series:
    """PCC by which genes are ranked: of shares where known, as depth flatters every gene, else of counts."""
    return accuracy["share_pcc"].fillna(accuracy["pcc"])


def best_first(accuracy: pd.DataFrame) -> dict[str, float]:
    """Reliability by gene, the best first; without genes of which nothing is known or that are by chance."""
    ranked = reliability(accuracy)[~accuracy["by_chance"]].dropna()
    found: dict[str, float] = ranked.sort_values(ascending=False, kind="stable").to_dict()
    return found


def in_words(accuracy: pd.Series) -> list[str]:
    """Say what is known of one gene, a line each."""

    def said(key: str) -> str:
        mean, low, high = (accuracy[name] for name in (key, f"{key}_low", f"{key}_high"))
        return f"{mean:.2f} (95% interval {low:.2f} to {high:.2f})"

    names = {"pcc": "PCC of log2(count + 1)", "share_pcc": "PCC of shares of counts (CP10k)"}
    lines = [f"{name}: {said(key)}" for key, name in names.items() if np.isfinite(accuracy[key])]
    if np.isfinite(accuracy["ceiling"]):
        lines.append(f"Noise ceiling: {accuracy['ceiling']:.2f}, the highest PCC such counts allow")
    return lines


def require_known(genes: Sequence[str], panel: Sequence[str], model_name: str) -> None:
    """Check that a model's panel holds all genes.

    UnknownGeneError: it lacks some: each is named, with those of the panel that may have been meant.
    """
    known = frozenset(panel)
    lacking = [gene for gene in genes if gene not in known]
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
        f"Model '{model_name}' does not predict {names}{more}; it knows {count(len(panel), 'gene')} "
        f"(napari-stem models --genes {model_name})." + (f" Did you mean {hint}?" if hint else "")
    )


def missing_of(genes: Sequence[str], panel: Sequence[str], model_name: str) -> tuple[str, ...]:
    """Genes that a model does not predict, where that is allowed: their values will be NaN.

    UnknownGeneError: one is in the panel under another name: NaN would be untrue, and a name of the user's is
    not changed in silence.
    """
    known = frozenset(panel)
    lacking = tuple(gene for gene in genes if gene not in known)
    renamed = {gene: name for gene in lacking if (name := _synonym(gene, panel)) is not None}
    if renamed:
        pairs = ", ".join(f"'{gene}' as '{name}'" for gene, name in renamed.items())
        raise UnknownGeneError(f"Model '{model_name}' predicts {pairs}: ask for the latter.")
    return lacking


def offered(gene: str, panel: Sequence[str]) -> tuple[str, ...]:
    """Names of a panel that a gene which it lacks may have been meant for.

    The one under which it holds the same gene (HGNC's previous and alias symbols); else, of a gene that there
    is, up to three of its family (KRT7 for KRT5, CD8B for CD8A, never CD68); else what is one slip of the pen
    away.
    """
    synonym = _synonym(gene, panel)
    if synonym is not None:
        return (synonym,)
    upper = gene.upper()
    if not is_symbol(upper):
        by_upper = {known.upper(): known for known in panel}
        found = [by_upper[name] for name in _one_slip_away(upper) if name in by_upper]
    else:
        root = _root(upper)
        found = [
            g for g in panel if root and g.upper().startswith(root) and _root(g.upper()) == root
        ]
    return tuple(dict.fromkeys(found))[:_OFFERED]


def _root(gene: str) -> str:
    """Name without what tells the members of a family apart: KRT of KRT5, CD8 of CD8A; empty for none."""
    root = re.sub(r"(?<=\d)[A-Z]$|\d+$", "", gene)
    is_family = root != gene and len(root) >= _LEAST_ROOT and not _NO_FAMILY.match(gene)
    return root if is_family else ""


def _one_slip_away(name: str) -> list[str]:
    """All names with one letter changed, left out, added, or swapped with the next one."""
    cuts = [(name[:i], name[i:]) for i in range(len(name) + 1)]
    return [
        *(a + b[1:] for a, b in cuts if b),
        *(a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1),
        *(a + letter + b[1:] for a, b in cuts if b for letter in _LETTERS),
        *(a + letter + b for a, b in cuts for letter in _LETTERS),
    ]


def _synonym(gene: str, panel: Sequence[str]) -> str | None:
    return as_measured(gene, panel) or as_measured(gene.upper(), panel)
