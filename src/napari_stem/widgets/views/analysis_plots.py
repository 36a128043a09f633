"""Plots of measured data beside predictions, and of domains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.widgets.common.plots import BAR_COLOUR, DOT_SIZE, FONT_POINTS, Plot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget

    from napari_stem.evaluation.measured_match import MeasuredMatch
    from napari_stem.spatial_analysis.domains import Domains

HEIGHT_PX = 220
MARK_GAP, MARK_SIZE = 0.25, 28  # colours of the domains beside the matrix
MOST_NUMBERED = 8  # domains in whose matrix numbers can be read


class ScatterPlot(Plot):
    """Predicted against measured values of one gene, with the line on which both are the same."""

    # of the class, as matplotlib makes Qt ask for a plot before the object is whole
    _shown: tuple[MeasuredMatch, str, NDArray[np.float32]] | None = None

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__((260, HEIGHT_PX), parent)
        self.setFixedHeight(HEIGHT_PX)

    def show_gene(self, found: MeasuredMatch, gene: str, predicted: NDArray[np.float32]) -> None:
        """Plot.

        Parameters
        ----------
        found
            What was measured.
        gene
            One of ``found.genes``.
        predicted
            (n,) at ``found.rows``.
        """
        self._shown = found, gene, predicted
        self.plot()

    def plot(self) -> None:
        """Draw the spots."""
        if self._shown is None or not self.isVisible():
            return
        found, gene, predicted = self._shown
        axes, measured, column = self._begin(), found.matched(gene), found.column(gene)
        both = np.concatenate([measured, predicted])
        ends = [float(both.min()), float(both.max())]
        axes.plot(ends, ends, color=self._ink(), lw=0.8, ls="--", label="same")
        axes.scatter(measured, predicted, s=DOT_SIZE, color=BAR_COLOUR, alpha=0.7, lw=0)
        pcc = found.pcc[column]
        value = "undefined" if np.isnan(pcc) else f"{pcc:.2f}"
        coverage = found.coverage[column]
        held = "" if np.isnan(coverage) else f"; 90% interval holds {coverage:.0%}"
        axes.set_title(f"PCC {value}{held}", color=self._ink(), fontsize=FONT_POINTS)
        self._label(f"{gene} measured, {found.unit}", "predicted")
        self.draw_idle()


class DomainsPlot(Plot):
    """How domains lie to each other: who neighbours whom, or what surrounds one of them."""

    _domains: Domains | None = None
    _colours: Sequence[str] = ()
    _around: int | None = None

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__((260, HEIGHT_PX), parent)
        self.setFixedHeight(HEIGHT_PX)

    def show_domains(
        self, domains: Domains, colours: Sequence[str], around: int | None = None
    ) -> None:
        """Plot.

        Parameters
        ----------
        domains
            With their relations.
        colours
            Of the domains, as on the map.
        around
            Which domain's surroundings to plot; None: who neighbours whom.
        """
        self._domains, self._colours, self._around = domains, colours, around
        self.plot()

    def plot(self) -> None:
        """Draw what is asked for."""
        if self._domains is None or not self.isVisible():
            return
        for old in self._figure.axes[1:]:  # an earlier colour bar
            old.remove()
        axes = self._begin()
        axes.set_aspect("auto")
        if self._domains.relations is None:
            axes.set_axis_off()
        elif self._around is None:
            self._plot_enrichment(self._domains)
        else:
            self._plot_surroundings(self._domains, self._around)
        self.draw_idle()

    def _plot_enrichment(self, domains: Domains) -> None:
        relations, axes = domains.relations, self.axes
        if relations is None:
            return
        z = relations.enrichment
        most = float(np.nanmax(np.abs(z))) if np.isfinite(z).any() else 1.0
        image = axes.imshow(z, cmap="RdBu_r", vmin=-most, vmax=most)
        ticks = np.arange(len(domains.names))
        axes.set_xticks(ticks, [str(i + 1) for i in ticks])
        axes.set_yticks(ticks, domains.names)
        rim = np.full(len(ticks), -0.5 - MARK_GAP)
        for x, y in ((rim, ticks), (ticks, len(ticks) - 1 - rim)):
            axes.scatter(x, y, c=list(self._colours), marker="s", s=MARK_SIZE, clip_on=False)
        axes.set_xlim(-0.5, len(ticks) - 0.5)
        axes.set_ylim(len(ticks) - 0.5, -0.5)
        axes.tick_params(length=0, pad=12)
        if len(z) <= MOST_NUMBERED:
            for (row, col), value in np.ndenumerate(z):
                if np.isfinite(value):
                    ink = "white" if abs(value) > 0.6 * most else "black"
                    text = f"{value:.0f}".replace("-0", "0") if abs(value) < 1 else f"{value:.0f}"
                    axes.text(col, row, text, ha="center", va="center", color=ink, fontsize=7)
        bar = self._figure.colorbar(image, ax=axes, shrink=0.8)
        bar.ax.tick_params(colors=self._ink(), labelsize=FONT_POINTS - 1)
        bar.set_label(
            "rarer  <  side by side  >  oftener (z)", color=self._ink(), fontsize=FONT_POINTS - 1
        )

    def _plot_surroundings(self, domains: Domains, around: int) -> None:
        relations, axes = domains.relations, self.axes
        if relations is None:
            return
        for other, name in enumerate(domains.names):
            is_self = other == around
            axes.plot(
                relations.radii_um,
                relations.co_occurrence[other, around],
                color=self._colours[other],
                lw=2.5 if is_self else 1.5,
                label=name,
            )
        axes.axhline(1, color=self._ink(), lw=0.6, ls="--")
        axes.set_ylim(bottom=0)
        axes.legend(
            fontsize=FONT_POINTS - 1, frameon=False, labelcolor=self._ink(), handlelength=1, ncols=2
        )
        self._label(f"within this distance of {domains.names[around]}, µm", "times as likely")
