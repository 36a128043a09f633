"""One clicked spot: the tissue as the model saw it, the samples of a gene, the genes that stand out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.hints import NO_SAMPLES
from napari_stem.widgets.common.parts import note
from napari_stem.widgets.common.plots import SamplesPlot
from napari_stem.widgets.common.table import UNKNOWN, Column, Table, TableView, marked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.evaluation.spot_profile import SpotProfile
    from napari_stem.widgets.views.spot_details import Patch, SpotDetails

PATCHES_WIDTH, LARGEST_PATCH, GAP = 288, 140, 6
N_ROWS_SEEN = 9
GENE, Z, RANGE, MEAN = range(4)
COLUMNS = (
    Column("gene", "Gene", "Click to see its map"),
    Column(
        "z",
        "z",
        "How far the spot's predicted mean lies above the mean of all predicted spots of this slide, in "
        "standard deviations between them",
        "+.1f",
        order="z_told",
    ),
    Column(
        "range",
        "90% interval",
        "The spot's 90% interval on the same scale: a gene whose interval holds 0 may be as everywhere else",
        order="z_low",
        widest="+0.0 to +00.0",
    ),
    Column("mean", "Mean", "Predicted mean of the spot", ".2f"),
)


class SpotInspector(QWidget):
    """Shows one spot in depth."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = note("")
        self.saw = note("")
        self.pictures = QWidget()
        self.grid = QGridLayout(self.pictures)
        self.grid.setContentsMargins(0, 0, 0, 0)
        self.grid.setSpacing(GAP)
        self.grid.setAlignment(Qt.AlignmentFlag.AlignLeft)
        self.plot: SamplesPlot | None = None  # made when first needed: matplotlib takes its time
        self.plot_note = note("")
        self.table = Table(COLUMNS)
        self.view = TableView(self.table, sort_by=Z)
        self.view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.view.setMinimumHeight(self.view.fontMetrics().height() * (N_ROWS_SEEN + 2))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.title, self.saw, self.pictures, self.plot_note, self.view):
            layout.addWidget(widget)
        self.setVisible(False)

    def show_spot(
        self, details: SpotDetails, by_chance: pd.Series, name: str, warning: str
    ) -> None:
        """Show a spot.

        Parameters
        ----------
        details
            What was gathered.
        by_chance
            By gene of the prediction, whether it cannot be told from chance: such genes come last.
        name
            Of the spot.
        warning
            Why not to rely on it; empty where there is no reason.
        """
        self.title.setText(f"Spot {name}, as exported tables call it. {warning}".strip())
        self._show_patches(details.patches)
        self.saw.setText(details.why_no_patches or "What the model saw:")
        self.table.fill(_frame(by_chance, details.profile))
        self.view.sortByColumn(Z, Qt.SortOrder.DescendingOrder)
        self.view.scrollToTop()
        self.setVisible(True)

    def show_samples(
        self,
        gene: str,
        draws: NDArray[np.float64] | None,
        mean: float,
        interval: tuple[float, float],
        unit: str,
    ) -> None:
        """Show the samples of a gene at the spot; None: there are none."""
        low, high = interval
        self.view.choose(gene)
        has_samples = draws is not None and bool(np.isfinite(draws).all())
        if self.plot is not None:
            self.plot.setVisible(has_samples)
        self.plot_note.setVisible(not has_samples)
        if draws is not None and has_samples:
            self._plot().show_samples(draws, mean, low, high, f"{gene} predicted, {unit}")
            return
        why_not = f"{NO_SAMPLES}." if draws is None else "The spot is still being predicted."
        known = f"{gene} predicted {mean:.2f} (90% interval {low:.2f} to {high:.2f}). "
        self.plot_note.setText((known if np.isfinite(mean) else "") + why_not)

    def _plot(self) -> SamplesPlot:
        if self.plot is None:
            layout = self.layout()
            self.plot = SamplesPlot()
            layout.insertWidget(layout.indexOf(self.plot_note), self.plot)
        return self.plot

    def _show_patches(self, patches: Sequence[Patch]) -> None:
        while (item := self.grid.takeAt(0)) is not None:
            widget = item.widget()
            widget.setParent(None)
            widget.deleteLater()
        n = max(1, len(patches))
        side = min(LARGEST_PATCH, (PATCHES_WIDTH - (n - 1) * GAP) // n)
        for place, patch in enumerate(patches):
            picture, caption = QLabel(), QLabel(f"{patch.side_um:g} µm")
            picture.setPixmap(_pixmap(patch.pixels, side))
            picture.setToolTip(
                f"The {patch.side_um:g} µm round the spot's centre, as the model saw them"
            )
            caption.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            self.grid.addWidget(picture, 0, place)
            self.grid.addWidget(caption, 1, place)


def _frame(by_chance: pd.Series, profile: SpotProfile) -> pd.DataFrame:
    """Table of one spot: a row for every gene."""
    spans = zip(profile.z, profile.z_low, profile.z_high, strict=True)
    frame = pd.DataFrame(
        {
            "z": profile.z,
            "z_low": profile.z_low,
            "range": [
                f"{low:+.1f} to {high:+.1f}" if np.isfinite(z) else UNKNOWN
                for z, low, high in spans
            ],
            "mean": profile.mean,
        },
        index=by_chance.index,
    )
    frame["z_told"] = frame["z"].mask(by_chance)
    return marked(frame, by_chance.index[by_chance])


def _pixmap(pixels: NDArray[np.uint8], side: int) -> QPixmap:
    height, width = pixels.shape[:2]
    exact = np.ascontiguousarray(pixels)
    image = QImage(exact.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()
    return QPixmap.fromImage(image).scaled(
        side,
        side,
        Qt.AspectRatioMode.KeepAspectRatio,
        Qt.TransformationMode.SmoothTransformation,
    )
