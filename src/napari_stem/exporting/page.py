"""The page of a figure: where each map goes, in mm, so that the scale that is stated is true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import OutputError

if TYPE_CHECKING:
    from napari_stem.exporting.backdrop import WindowUm

PANEL_MM, SMALL_PANEL_MM = 110.0, 70.0  # longer side of a map where the scale is ours to choose
MAX_SIDE_MM = 2000.0
MARGIN_MM, TITLE_MM, FOOT_MM, PANEL_TITLE_MM, LEGEND_MM = 6.0, 9.0, 14.0, 8.0, 26.0
MIN_WIDTH_MM = 150.0


@dataclass(frozen=True)
class Layout:
    """Sizes and places.

    Attributes
    ----------
    um_per_mm
        Scale: um of tissue per mm of page.
    width_mm, height_mm
        Of one map.
    n_rows, n_groups
        Groups of maps, one for each gene (mean and uncertainty), below and beside each other.
    n_maps
        In a group.
    """

    um_per_mm: float
    width_mm: float
    height_mm: float
    n_rows: int
    n_groups: int
    n_maps: int = 2

    @classmethod
    def of(cls, window: WindowUm, n_genes: int, um_per_mm: float | None, n_maps: int = 2) -> Layout:
        """Lay out some genes.

        Raises
        ------
        OutputError
            At this scale the page would be too large.
        """
        n_groups = 1 if n_genes <= 3 else 2
        target_mm = PANEL_MM if n_genes == 1 else SMALL_PANEL_MM
        scale = um_per_mm or round_scale(max(window.width_um, window.height_um) / target_mm)
        layout = cls(
            scale,
            window.width_um / scale,
            window.height_um / scale,
            -(-n_genes // n_groups),
            n_groups,
            n_maps,
        )
        if max(layout.page_mm) > MAX_SIDE_MM:
            raise OutputError(
                f"At {scale:g} um per mm the figure would be {max(layout.page_mm) / 1000:.1f} m wide or "
                f"high; choose more um per mm, fewer genes or a smaller region."
            )
        return layout

    @property
    def cell_mm(self) -> tuple[float, float]:
        """(width, height) of a map with its title and legend."""
        return self.width_mm + LEGEND_MM, self.height_mm + PANEL_TITLE_MM

    @property
    def page_mm(self) -> tuple[float, float]:
        """(width, height) of the page."""
        width, height = self.cell_mm
        return (
            max(2 * MARGIN_MM + self.n_maps * self.n_groups * width, MIN_WIDTH_MM),
            TITLE_MM + FOOT_MM + self.n_rows * height,
        )

    def place(self, gene: int, panel: int) -> tuple[float, float]:
        """(left, bottom) of a map on the page."""
        width, height = self.cell_mm
        row, group = divmod(gene, self.n_groups)
        left = MARGIN_MM + (self.n_maps * group + panel) * width
        return left, self.page_mm[1] - TITLE_MM - (row + 1) * height


def round_scale(value: float) -> float:
    """Next larger scale that is a round magnification: 2.5 um per mm is 400 times, 8 um 125 times."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(
        next(step * power for step in (1, 1.25, 2, 2.5, 4, 5, 8, 10) if step * power >= value)
    )
