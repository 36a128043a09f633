"""One clicked spot: the tissue as the model saw it, the samples of a gene, the genes that stand out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QGridLayout,
    QHeaderView,
    QLabel,
    QTreeView,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.gene_rows import GENE, sortable
from napari_stem.widgets.common.parts import note
from napari_stem.widgets.common.spot_table import SpotTable, Z

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.widgets.common.plots import SamplesPlot
    from napari_stem.widgets.views.spot_details import Patch, SpotDetails

PATCHES_WIDTH, LARGEST_PATCH, GAP = 288, 140, 6
N_ROWS_SEEN = 9
COLUMN_GAP_PX = 10
WIDEST = ("", "+0.0", "+0.0 to +00.0", "0.00")  # of what stands in the columns


class SpotInspector(QWidget):
    """Shows one spot in depth."""

    gene_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = note("")
        self.saw = note("")
        self.pictures = QWidget()
        self._grid = QGridLayout(self.pictures)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(GAP)
        self._grid.setAlignment(Qt.AlignmentFlag.AlignLeft)
        self.plot: SamplesPlot | None = None  # made when first needed: matplotlib takes its time
        self.plot_note = note("")
        self.table = SpotTable()
        self.proxy = sortable(self.table)
        self.view = self._gene_view()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.title, self.saw, self.pictures, self.plot_note, self.view):
            layout.addWidget(widget)
        self.setVisible(False)

    def show_spot(
        self, details: SpotDetails, genes: Sequence[str], name: str, warning: str
    ) -> None:
        """Show a spot.

        Parameters
        ----------
        details
            What was gathered.
        genes
            Of the prediction.
        name
            Of the spot.
        warning
            Why not to rely on it; empty where there is no reason.
        """
        self.title.setText(f"Spot {name}, as exported tables call it. {warning}".strip())
        self._show_patches(details.patches)
        self.saw.setText(details.why_no_patches or "What the model saw:")
        self.table.set_profile(genes, details.profile)
        self.view.sortByColumn(Z, Qt.SortOrder.DescendingOrder)
        self.view.scrollToTop()
        self.setVisible(True)

    def show_samples(
        self,
        gene: str,
        draws: NDArray[np.float64] | None,
        mean: float,
        low: float,
        high: float,
        unit: str,
    ) -> None:
        """Show the samples of a gene at the spot; None: they were not kept."""
        has_samples = draws is not None and bool(np.isfinite(draws).all())
        if self.plot is not None:
            self.plot.setVisible(has_samples)
        self.plot_note.setVisible(not has_samples)
        if draws is not None and has_samples:
            self._plot().show_samples(draws, mean, low, high, f"{gene} predicted, {unit}")
            return
        self.plot_note.setText(
            f"{gene} predicted {mean:.2f} (90% interval {low:.2f} to {high:.2f}). The single samples of this "
            f"prediction were not kept."
        )

    def show_nothing(self) -> None:
        """Show no spot."""
        self.setVisible(False)

    def _plot(self) -> SamplesPlot:
        if self.plot is None:
            from napari_stem.widgets.common.plots import SamplesPlot

            layout = self.layout()
            self.plot = SamplesPlot()
            layout.insertWidget(layout.indexOf(self.plot_note), self.plot)
        return self.plot

    def _show_patches(self, patches: Sequence[Patch]) -> None:
        while (item := self._grid.takeAt(0)) is not None:
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
            self._grid.addWidget(picture, 0, place)
            self._grid.addWidget(caption, 1, place)

    def _gene_view(self) -> QTreeView:
        view = QTreeView()
        view.setModel(self.proxy)
        view.setRootIsDecorated(False)
        view.setUniformRowHeights(True)
        view.setSortingEnabled(True)
        view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        view.header().setStretchLastSection(False)
        view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        # Widths known beforehand: measured from cells while the part is folded away, they stay wrong.
        width = view.fontMetrics().horizontalAdvance
        for column, (title, widest) in enumerate(zip(self.table.titles, WIDEST, strict=True)):
            view.setColumnWidth(column, max(width(title), width(widest)) + COLUMN_GAP_PX)
        view.header().setSectionResizeMode(GENE, QHeaderView.ResizeMode.Stretch)
        view.setMinimumHeight(view.fontMetrics().height() * (N_ROWS_SEEN + 2))
        view.clicked.connect(self._tell_gene)
        return view

    def _tell_gene(self, index: QModelIndex) -> None:
        self.gene_chosen.emit(str(index.siblingAtColumn(GENE).data()))


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
