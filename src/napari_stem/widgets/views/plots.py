"""Plots in the dock: matplotlib on a Qt canvas, in the colours of napari's theme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from qtpy.QtCore import QEvent, QSize, Signal
from qtpy.QtGui import QPalette

from napari_stem.texts import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
WIDE, LOW, VOLCANO = (260, 220), (200, 150), (320, 280)  # smallest sizes in screen pixels
MARK_GAP, MARK_SIZE = 0.25, 28  # colours of the domains beside the matrix
MOST_NUMBERED = 8  # domains in whose matrix numbers can be read


class Plot(FigureCanvasQTAgg):
    """A figure with one set of axes, drawn anew when the theme changes.

    ``size`` is its smallest (width, height) in screen pixels; one that ``grows`` takes all the height there is.
    """

    # what `plot` was given; of the class, as matplotlib has Qt send events before the object is whole
    shown: tuple[Any, ...] | None = None
    axes: Any  # once something is drawn
    _draw_shown: Callable[..., None]

    def __init__(self, size: tuple[int, int] = WIDE, *, grows: bool = False) -> None:
        self._figure = Figure(layout="constrained")
        super().__init__(self._figure)
        self.setMinimumSize(QSize(*size))
        if not grows:
            self.setFixedHeight(size[1])
        self._figure.patch.set_alpha(0)
        self.setStyleSheet("background: transparent;")

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() in {QEvent.Type.PaletteChange, QEvent.Type.StyleChange}:
            self.redraw()

    def showEvent(self, event: QEvent) -> None:
        """Take the colours that the style has given meanwhile."""
        super().showEvent(event)
        self.redraw()

    def plot(self, draw: Callable[..., None], *shown: Any) -> None:
        """Have a function draw something on the plot, its first argument, now or once it is seen."""
        self._draw_shown, self.shown = draw, shown
        self.redraw()

    def redraw(self) -> None:
        """Draw what is to be seen."""
        if self.shown is None or not self.isVisible():
            return
        ink = self.ink()
        self._figure.clear()
        self.axes = axes = self._figure.add_subplot(facecolor="none")
        axes.tick_params(colors=ink, labelsize=FONT_POINTS)
        axes.spines[:].set_color(ink)
        axes.spines[["top", "right"]].set_visible(False)
        self._draw_shown(self, *self.shown)
        self.draw_idle()

    def ink(self) -> str:
        """Colour of letters and lines."""
        around = self.parentWidget() or self  # the canvas has a white palette of its own
        return str(around.palette().color(QPalette.ColorRole.WindowText).name())

    def label(self, x: str, y: str) -> None:
        """Say what the axes are."""
        self.axes.set_xlabel(x, color=self.ink(), fontsize=FONT_POINTS)
        self.axes.set_ylabel(y, color=self.ink(), fontsize=FONT_POINTS)

    def legend(self, **options: Any) -> None:
        """Name what was drawn with a label."""
        look = {"fontsize": FONT_POINTS - 1, "labelcolor": self.ink()}
        self.axes.legend(frameon=False, handlelength=1, **look, **options)


def draw_samples(
    plot: Plot, draws: NDArray[np.float64], mean: float, low: float, high: float, title: str
) -> None:
    """Draw a histogram of a spot's samples of one gene, with their mean and 90% interval.

    ``draws`` are (n,) in the prediction's unit; ``title``, under the axis, says what the values are.
    """
    axes = plot.axes
    n_bins = int(min(MOST_BINS, max(4, np.sqrt(len(draws)) * 1.6)))
    axes.hist(draws, bins=n_bins, color=BAR_COLOUR, edgecolor="none")
    axes.axvspan(low, high, color=MEAN_COLOUR, alpha=0.15, lw=0, zorder=0)
    for bound, name in ((low, "90% interval"), (high, "_")):
        axes.axvline(bound, color=MEAN_COLOUR, lw=1, ls="--", label=name)
    axes.axvline(mean, color=MEAN_COLOUR, lw=2, label="mean")
    plot.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)  # above all bars
    axes.yaxis.get_major_locator().set_params(integer=True, nbins=4)
    plot.label(title.replace(", ", ",\n", 1), f"of {count(len(draws), 'sample')}")


def draw_gene(plot: Plot, found: MeasuredMatch, gene: str, predicted: NDArray[np.float32]) -> None:
    """Draw (n,) predicted values of one gene at ``found.rows`` against those that were measured.

    On the line both are the same.
    """
    axes, measured = plot.axes, found.matched(gene)
    both = np.concatenate([measured, predicted])
    ends = [float(both.min()), float(both.max())]
    axes.plot(ends, ends, color=plot.ink(), lw=0.8, ls="--", label="same")
    axes.scatter(measured, predicted, s=DOT_SIZE, color=BAR_COLOUR, alpha=0.7, lw=0)
    pcc, coverage = found.agreement.loc[gene, ["pcc", "coverage_90"]]
    value = "undefined" if np.isnan(pcc) else f"{pcc:.2f}"
    held = "" if np.isnan(coverage) else f"; 90% interval holds {coverage:.0%}"
    axes.set_title(f"PCC {value}{held}", color=plot.ink(), fontsize=FONT_POINTS)
    plot.label(f"{gene} measured, {found.unit}", "predicted")


def draw_neighbours(
    plot: Plot, names: Sequence[str], relations: Relations, colours: Sequence[str]
) -> None:
    """Draw which domains lie side by side oftener than by chance; colours as on the map."""
    axes, z = plot.axes, relations.enrichment
    most = float(np.nanmax(np.abs(z))) if np.isfinite(z).any() else 1.0
    image = axes.imshow(z, cmap="RdBu_r", vmin=-most, vmax=most)
    ticks = np.arange(len(names))
    axes.set_xticks(ticks, [str(i + 1) for i in ticks])
    axes.set_yticks(ticks, names)
    rim = np.full(len(ticks), -0.5 - MARK_GAP)
    for x, y in ((rim, ticks), (ticks, len(ticks) - 1 - rim)):
        axes.scatter(x, y, c=list(colours), marker="s", s=MARK_SIZE, clip_on=False)
    axes.set_xlim(-0.5, len(ticks) - 0.5)
    axes.set_ylim(len(ticks) - 0.5, -0.5)
    axes.tick_params(length=0, pad=12)
    if len(z) <= MOST_NUMBERED:
        for (row, col), value in np.ndenumerate(z):
            if np.isfinite(value):
                ink, text = "white" if abs(value) > 0.6 * most else "black", str(round(value))
                axes.text(col, row, text, ha="center", va="center", color=ink, fontsize=7)
    bar, small = axes.figure.colorbar(image, ax=axes, shrink=0.8), FONT_POINTS - 1
    bar.ax.tick_params(colors=plot.ink(), labelsize=small)
    bar.set_label("rarer  <  side by side  >  oftener (z)", color=plot.ink(), fontsize=small)


def draw_surroundings(
    plot: Plot, names: Sequence[str], relations: Relations, colours: Sequence[str], around: int
) -> None:
    """Draw how much more often than by chance domains lie within a distance of one of them."""
    axes = plot.axes
    for other, name in enumerate(names):
        axes.plot(
            relations.radii_um,
            relations.co_occurrence[other, around],
            color=colours[other],
            lw=2.5 if other == around else 1.5,
            label=name,
        )
    axes.axhline(1, color=plot.ink(), lw=0.6, ls="--")
    axes.set_ylim(bottom=0)
    plot.legend(ncols=2)
    plot.label(f"within this distance of {names[around]}, µm", "times as likely")


class VolcanoPlot(Plot):
    """Every gene by how much and how surely two groups differ; a click on a dot chooses the gene."""

    gene_clicked = Signal(str)

    def __init__(self) -> None:
        super().__init__(VOLCANO, grows=True)
        self._chosen = ""
        self._names: list[Any] = []  # matplotlib's annotations, from the outermost gene
        self.dots = np.zeros((0, 2))  # (genes, 2) places: difference, and how sure its direction is
        self._called = self.dots  # of the genes that count as different
        self.mpl_connect("button_press_event", self.on_press)
        self.mpl_connect("resize_event", self._place_names)

    def show_differences(self, found: pd.DataFrame, limit: float) -> None:
        """Plot differences of all genes, as `compare_groups` gives them.

        ``limit`` is the largest q-value that counts as different.
        """
        self.plot(VolcanoPlot._draw_genes, found, limit)

    def mark(self, gene: str) -> None:
        """Ring one gene."""
        self._chosen = gene
        self.redraw()

    def _draw_genes(self, found: pd.DataFrame, limit: float) -> None:
        axes, above = self.axes, found["probability"]
        difference = found["difference"].to_numpy()
        # minus log10 of the local false sign rate
        height = np.asarray(-np.log10(np.minimum(above, 1 - above)))
        is_called = found["q_value"].to_numpy() <= limit
        colours = np.where(difference > 0, UP_COLOUR, DOWN_COLOUR)
        colours = np.where(is_called, colours, OTHER_COLOUR)
        axes.scatter(difference, height, s=DOT_SIZE, c=colours, lw=0)
        axes.axvline(0, color=self.ink(), lw=0.5)
        self.dots = np.column_stack([difference, height])
        self._called = self.dots[is_called]
        self._names = [
            axes.annotate(
                found.index[place],
                self.dots[place],
                xytext=NAME_PLACES[0],
                textcoords="offset points",
                fontsize=FONT_POINTS - 1,
                color=self.ink(),
                in_layout=False,
            )
            for place in _standing_out(np.where(is_called, difference, 0.0))
        ]
        if self._chosen in found.index:
            chosen = self.dots[found.index.get_loc(self._chosen)]
            axes.scatter(*chosen, s=CHOSEN_SIZE, facecolor="none", edgecolor=self.ink())
        axes.margins(0.2, 0.1)  # for names
        self.label(
            f"difference A - B,\n{found['unit'].iloc[0]}\n← higher in B          higher in A →",
            "surer ↑   -log10 P(other direction)",
        )
        self._place_names()

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
        if self.shown is None or event.inaxes is not self.axes:
            return
        away = np.hypot(*(self.axes.transData.transform(self.dots) - (event.x, event.y)).T)
        nearest = int(np.argmin(away))
        if away[nearest] <= PICK_PIXELS * self.device_pixel_ratio:
            self.gene_clicked.emit(self.shown[0].index[nearest])


def _standing_out(size: NDArray[np.float64]) -> list[int]:
    """Places of the genes that stand out most, on either side."""
    ranked = np.argsort(size)
    ends = [*ranked[:N_NAMED], *ranked[::-1][:N_NAMED]]
    return [int(i) for i in dict.fromkeys(ends) if size[i] != 0]
