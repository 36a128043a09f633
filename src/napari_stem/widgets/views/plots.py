"""Plots in the dock: matplotlib on a Qt canvas, in the colours of napari's theme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from qtpy.QtCore import QEvent, QSize, Signal
from qtpy.QtGui import QPalette

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from napari_stem.evaluation.measured_match import MeasuredMatch
    from napari_stem.spatial_analysis.domains import Relations

FONT_POINTS = 8
MEAN_COLOUR, BAR_COLOUR = "#e69f00", "#56b4e9"  # Okabe and Ito's orange and sky blue
UP_COLOUR, DOWN_COLOUR, OTHER_COLOUR = "#e69f00", "#56b4e9", "#8a8a8a"
CHOSEN_SIZE, DOT_SIZE = 70, 16
N_NAMED = 5  # genes named in the volcano plot, on either side
NAME_PLACES = ((3, 3), (-3, 3), (3, -3), (-3, -3))  # beside its dot, in points, the best first
NAME_GAP = 5  # between a name and other names and dots, in points: else it could be theirs
PICK_PIXELS = 12
MOST_BINS = 16
HEIGHT_PX, SAMPLES_HEIGHT_PX = 220, 150
MARK_GAP, MARK_SIZE = 0.25, 28  # colours of the domains beside the matrix
MOST_NUMBERED = 8  # domains in whose matrix numbers can be read


class Plot(FigureCanvasQTAgg):
    """A figure with one set of axes, drawn anew when the theme changes.

    Parameters
    ----------
    size
        Smallest (width, height) in screen pixels.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._figure = Figure(layout="constrained")
        super().__init__(self._figure)
        self.setMinimumSize(QSize(*size))
        self._figure.patch.set_alpha(0)
        self.setStyleSheet("background: transparent;")
        self.axes: Any = self._figure.add_subplot()
        self.axes.set_axis_off()

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        is_new_look = event.type() in {QEvent.Type.PaletteChange, QEvent.Type.StyleChange}
        if is_new_look and self.isVisible():  # Qt sends these before a plot is complete, too
            self.plot()

    def showEvent(self, event: QEvent) -> None:
        """Take the colours that the style has given meanwhile."""
        super().showEvent(event)
        self.plot()

    def plot(self) -> None:
        """Draw what is to be seen."""
        self.draw_idle()

    def _ink(self) -> str:
        around = self.parentWidget() or self  # the canvas has a white palette of its own
        return str(around.palette().color(QPalette.ColorRole.WindowText).name())

    def _begin(self) -> Any:
        """Return the axes, cleared, in the theme's colours."""
        axes, ink = self.axes, self._ink()
        axes.clear()
        axes.set_axis_on()
        axes.set_facecolor("none")
        axes.tick_params(colors=ink, labelsize=FONT_POINTS)
        for name, spine in axes.spines.items():
            spine.set_visible(name in {"left", "bottom"})
            spine.set_color(ink)
        return axes

    def _label(self, x: str, y: str) -> None:
        self.axes.set_xlabel(x, color=self._ink(), fontsize=FONT_POINTS)
        self.axes.set_ylabel(y, color=self._ink(), fontsize=FONT_POINTS)


class SamplesPlot(Plot):
    """Histogram of a spot's samples of one gene, with their mean and 90% interval."""

    shown: tuple[NDArray[np.float64], float, float, float, str] | None = None

    def __init__(self) -> None:
        super().__init__((200, SAMPLES_HEIGHT_PX))
        self.setMaximumHeight(SAMPLES_HEIGHT_PX)  # a canvas would take all there is

    def show_samples(
        self, draws: NDArray[np.float64], mean: float, low: float, high: float, title: str
    ) -> None:
        """Plot.

        Parameters
        ----------
        draws
            (n,) samples in the prediction's unit.
        mean, low, high
            Mean and 90% interval as predicted.
        title
            Under the axis: what the values are.
        """
        self.shown = draws, mean, low, high, title
        self.plot()

    def plot(self) -> None:
        """Draw the samples."""
        if self.shown is None:
            return
        draws, mean, low, high, title = self.shown
        axes = self._begin()
        n_bins = int(min(MOST_BINS, max(4, np.sqrt(len(draws)) * 1.6)))
        axes.hist(draws, bins=n_bins, color=BAR_COLOUR, edgecolor="none")
        axes.axvspan(low, high, color=MEAN_COLOUR, alpha=0.15, lw=0, zorder=0)
        for place, bound in enumerate((low, high)):
            name = "90% interval" if place == 0 else "_"
            axes.axvline(bound, color=MEAN_COLOUR, lw=1, ls="--", label=name)
        axes.axvline(mean, color=MEAN_COLOUR, lw=2, label="mean")
        axes.set_ylim(top=axes.get_ylim()[1] * 1.3)  # room for the legend
        axes.legend(
            loc="upper right",
            fontsize=FONT_POINTS - 1,
            frameon=False,
            labelcolor=self._ink(),
            handlelength=1,
        )
        axes.yaxis.get_major_locator().set_params(integer=True, nbins=4)
        self._label(title.replace(", ", ",\n", 1), f"of {len(draws)} samples")
        self.draw_idle()


class VolcanoPlot(Plot):
    """Every gene by how much and how surely two groups differ; a click on a dot chooses the gene."""

    gene_clicked = Signal(str)

    found: pd.DataFrame | None = None

    def __init__(self) -> None:
        super().__init__((320, 280))
        self._limit = 0.05
        self._chosen = ""
        self._names: list[Any] = []  # matplotlib's annotations, from the outermost gene
        self._called = np.zeros((0, 2))  # (n, 2) places of the genes that count as different
        self.mpl_connect("button_press_event", self.on_press)
        self.mpl_connect("resize_event", self._place_names)

    def show_differences(self, found: pd.DataFrame, limit: float) -> None:
        """Plot.

        Parameters
        ----------
        found
            Differences of all genes, as `compare_groups` gives them.
        limit
            Largest q-value that counts as different.
        """
        self.found, self._limit = found, limit
        self.plot()

    def mark(self, gene: str) -> None:
        """Ring one gene."""
        self._chosen = gene
        self.plot()

    def heights(self) -> NDArray[np.float64]:
        """(genes,) minus log10 of the local false sign rate: how sure the direction is."""
        if self.found is None:
            return np.zeros(0)
        above = self.found["probability"]
        return np.asarray(-np.log10(np.minimum(above, 1 - above)))

    def plot(self) -> None:
        """Draw the genes."""
        found = self.found
        if found is None:
            return
        axes, height = self._begin(), self.heights()
        difference = found["difference"].to_numpy()
        is_called = found["q_value"].to_numpy() <= self._limit
        colours = np.where(difference > 0, UP_COLOUR, DOWN_COLOUR)
        colours = np.where(is_called, colours, OTHER_COLOUR)
        axes.scatter(difference, height, s=DOT_SIZE, c=colours, lw=0)
        axes.axvline(0, color=self._ink(), lw=0.5)
        self._called = np.column_stack([difference, height])[is_called]
        self._names = [
            axes.annotate(
                found.index[place],
                (difference[place], height[place]),
                xytext=NAME_PLACES[0],
                textcoords="offset points",
                fontsize=FONT_POINTS - 1,
                color=self._ink(),
                in_layout=False,
            )
            for place in _standing_out(np.where(is_called, difference, 0.0))
        ]
        if self._chosen in found.index:
            place = found.index.get_loc(self._chosen)
            axes.scatter(
                difference[place],
                height[place],
                s=CHOSEN_SIZE,
                facecolor="none",
                edgecolor=self._ink(),
            )
        axes.margins(0.2, 0.1)  # for names
        self._label(
            f"difference A - B,\n{found['unit'].iloc[0]}\n← higher in B          higher in A →",
            "surer ↑   -log10 P(other direction)",
        )
        self._place_names()
        self.draw_idle()

    def _place_names(self, _event: object = None) -> None:
        """Move names to where they can be no other gene's; those that have no such place are hidden."""
        layout = self._figure.get_layout_engine()
        if not self._names or layout is None:
            return
        layout.execute(self._figure)  # gives the axes their place
        taken: list[Any] = []
        gap_px, room = NAME_GAP * self._figure.dpi / 72, self.axes.bbox
        for name in self._names:
            is_other = (self._called != name.xy).any(axis=1)
            others = self.axes.transData.transform(self._called[is_other])
            name.set_visible(True)  # else it has no size
            for x, y in NAME_PLACES:
                name.set_position((x, y))
                name.set(ha="left" if x > 0 else "right", va="bottom" if y > 0 else "top")
                box = name.get_window_extent()
                around = box.padded(gap_px)
                is_clear = not (around.count_overlaps(taken) or around.count_contains(others))
                if is_clear and room.contains(*box.min) and room.contains(*box.max):
                    taken.append(box)
                    break
            else:
                name.set_visible(False)

    def on_press(self, event: Any) -> None:
        """Choose the gene whose dot was clicked; a callback of matplotlib's."""
        if self.found is None or event.inaxes is not self.axes:
            return
        data = np.column_stack([self.found["difference"], self.heights()])
        away = np.hypot(*(self.axes.transData.transform(data) - (event.x, event.y)).T)
        nearest = int(np.argmin(away))
        if away[nearest] <= PICK_PIXELS * self.device_pixel_ratio:
            self.gene_clicked.emit(self.found.index[nearest])


def _standing_out(size: NDArray[np.float64]) -> list[int]:
    """Places of the genes that stand out most, on either side."""
    ranked = np.argsort(size)
    ends = [*ranked[:N_NAMED], *ranked[::-1][:N_NAMED]]
    return [int(i) for i in dict.fromkeys(ends) if size[i] != 0]


class ScatterPlot(Plot):
    """Predicted against measured values of one gene, with the line on which both are the same."""

    # of the class, as matplotlib makes Qt ask for a plot before the object is whole
    shown: tuple[MeasuredMatch, str, NDArray[np.float32]] | None = None

    def __init__(self) -> None:
        super().__init__((260, HEIGHT_PX))
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
        self.shown = found, gene, predicted
        self.plot()

    def plot(self) -> None:
        """Draw the spots."""
        if self.shown is None or not self.isVisible():
            return
        found, gene, predicted = self.shown
        axes, measured = self._begin(), found.matched(gene)
        both = np.concatenate([measured, predicted])
        ends = [float(both.min()), float(both.max())]
        axes.plot(ends, ends, color=self._ink(), lw=0.8, ls="--", label="same")
        axes.scatter(measured, predicted, s=DOT_SIZE, color=BAR_COLOUR, alpha=0.7, lw=0)
        pcc, coverage = found.agreement.loc[gene, ["pcc", "coverage_90"]]
        value = "undefined" if np.isnan(pcc) else f"{pcc:.2f}"
        held = "" if np.isnan(coverage) else f"; 90% interval holds {coverage:.0%}"
        axes.set_title(f"PCC {value}{held}", color=self._ink(), fontsize=FONT_POINTS)
        self._label(f"{gene} measured, {found.unit}", "predicted")
        self.draw_idle()


class DomainsPlot(Plot):
    """How domains lie to each other: who neighbours whom, or what surrounds one of them."""

    _domains: tuple[Sequence[str], Relations] | None = None
    _colours: Sequence[str] = ()
    _around: int | None = None

    def __init__(self) -> None:
        super().__init__((260, HEIGHT_PX))
        self.setFixedHeight(HEIGHT_PX)

    def show_domains(
        self,
        names: Sequence[str],
        relations: Relations,
        colours: Sequence[str],
        around: int | None = None,
    ) -> None:
        """Plot.

        Parameters
        ----------
        names, relations
            Of the domains.
        colours
            Of the domains, as on the map.
        around
            Which domain's surroundings to plot; None: who neighbours whom.
        """
        self._domains, self._colours, self._around = (names, relations), colours, around
        self.plot()

    def plot(self) -> None:
        """Draw what is asked for."""
        if self._domains is None or not self.isVisible():
            return
        for old in self._figure.axes[1:]:  # an earlier colour bar
            old.remove()
        axes = self._begin()
        axes.set_aspect("auto")
        names, relations = self._domains
        if self._around is None:
            self._plot_enrichment(axes, names, relations)
        else:
            self._plot_surroundings(axes, names, relations, self._around)
        self.draw_idle()

    def _plot_enrichment(self, axes: Any, names: Sequence[str], relations: Relations) -> None:
        z = relations.enrichment
        most = float(np.nanmax(np.abs(z))) if np.isfinite(z).any() else 1.0
        image = axes.imshow(z, cmap="RdBu_r", vmin=-most, vmax=most)
        ticks = np.arange(len(names))
        axes.set_xticks(ticks, [str(i + 1) for i in ticks])
        axes.set_yticks(ticks, names)
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

    def _plot_surroundings(
        self, axes: Any, names: Sequence[str], relations: Relations, around: int
    ) -> None:
        for other, name in enumerate(names):
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
        self._label(f"within this distance of {names[around]}, µm", "times as likely")
