"""The genes of one spot against the slide, as a Qt item model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.widgets.common.gene_rows import GENE, GeneRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.evaluation.spot_profile import SpotProfile

Z, RANGE, MEAN = range(1, 4)
TITLES = ("Gene", "SDs above", "90% interval", "Predicted")
TIPS = (
    "Click to see its map",
    "How far the spot's predicted mean lies above the mean of all predicted spots of this slide, in "
    "standard deviations between them",
    "The spot's 90% interval on the same scale: a gene whose interval holds 0 may be as everywhere else",
    "Predicted mean of the spot",
)


class SpotTable(GeneRows):
    """Genes of one spot, with how far each stands out."""

    titles, tips = TITLES, TIPS

    def __init__(self) -> None:
        super().__init__()
        self._genes: tuple[str, ...] = ()
        self._profile: SpotProfile | None = None

    def set_profile(self, genes: Sequence[str], profile: SpotProfile) -> None:
        """Show another spot."""
        self.beginResetModel()
        self._genes, self._profile = tuple(genes), profile
        self.endResetModel()

    def n_rows(self) -> int:
        """Count of genes."""
        return 0 if self._profile is None else len(self._genes)

    def sorted_by(self, row: int, column: int) -> str | float:
        """Return what a cell is sorted by; what is not known comes last."""
        profile = self._profile
        if column == GENE or profile is None:
            return self._genes[row]
        value = (profile.z, profile.z_low, profile.mean)[column - Z][row]
        return float(value) if np.isfinite(value) else -np.inf

    def text(self, row: int, column: int) -> str:
        """Return what a cell shows."""
        profile = self._profile
        if column == GENE or profile is None:
            return self._genes[row]
        if column == MEAN:
            return f"{profile.mean[row]:.2f}"
        if not np.isfinite(profile.z[row]):
            return "–"
        if column == Z:
            return f"{profile.z[row]:+.1f}"
        return f"{profile.z_low[row]:+.1f} to {profile.z_high[row]:+.1f}"
