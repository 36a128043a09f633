"""Region: where to predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.parts import count, note
from napari_stem.widgets.common.region_table import RegionTable, RegionView
from napari_stem.widgets.slide.tissue_box import TissueBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.slide.tissue import TissueSettings
    from napari_stem.widgets.common.region_table import RegionRow

CLICK = "click"
# tool: (title, tooltip, what to do with it)
TOOLS = {
    "add_rectangle": (
        "Rectangle",
        "Draw a rectangle on the slide",
        "Press at one corner, drag to the opposite one.",
    ),
    "add_polygon": (
        "Polygon",
        "Outline a region corner by corner",
        "Click to set corners on the slide; double-click to close the outline.",
    ),
    "add_polygon_lasso": (
        "Lasso",
        "Outline a region freehand",
        "Press, draw round the region, release to close it.",
    ),
    "add_ellipse": (
        "Ellipse",
        "Draw an ellipse on the slide",
        "Press at one corner of its frame, drag to the opposite one.",
    ),
    CLICK: (
        "One click",
        "Predict the neighbourhood of every place that you click",
        "Click on the slide: the neighbourhood is predicted at once.",
    ),
    "direct": (
        "Edit",
        "Move the corners of regions",
        "Click a region, then drag its corners; the Delete key removes it.",
    ),
}
GEOJSON = "Regions (*.geojson *.json);;All files (*)"


class RegionPanel(QWidget):
    """Asks for regions; shows how much they hold."""

    tool_chosen = Signal(str)  # a key of `TOOLS`; empty: none
    clear_requested = Signal()
    undo_requested = Signal()
    import_requested = Signal(str)  # path
    export_requested = Signal(str)  # path

    def __init__(
        self,
        folder: str = "",
        n_click_spots: int = 5,
        tissue: TissueSettings | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.folder = folder
        self.tools: dict[str, QPushButton] = {}
        self.tissue = TissueBox(tissue)
        self.tissue_button = self.tissue.button
        self.import_button = QPushButton("Load…")
        self.import_button.setToolTip(
            "Load regions from a GeoJSON file, as QuPath and TRIDENT write them. The .zarr folder of a "
            "LazySlide store can be dropped here: it gives the tissue"
        )
        self.export_button = QPushButton("Save…")
        self.export_button.setToolTip("Save the regions as GeoJSON, which QuPath opens")
        self.undo_button = QPushButton("Undo")
        self.undo_button.setToolTip("Take the last change of a region back (Ctrl+Z)")
        self.clear_button = QPushButton("Clear")
        self.clear_button.setToolTip("Remove all regions of this slide; Undo brings them back")
        self.click_size = QSpinBox()
        self.table = RegionTable()
        self.view = RegionView(self.table)
        self.summary = note("")
        self._tool = ""
        self._lay_out(n_click_spots)
        self.undo_button.clicked.connect(self.undo_requested)
        self.clear_button.clicked.connect(self.clear_requested)
        self.import_button.clicked.connect(self._ask_for_file)
        self.export_button.clicked.connect(self._ask_where)
        self.show_tool("")
        self.show_regions((), 0.0, 0, can_undo=False)

    def show_tool(self, tool: str) -> None:
        """Show which tool is in hand, and how it is used."""
        self._tool = tool
        for name, button in self.tools.items():
            button.blockSignals(True)
            button.setChecked(name == tool)
            button.blockSignals(False)
        self.click_row.setVisible(tool == CLICK)
        if tool:
            self._say(TOOLS[tool][2])

    def show_regions(
        self, rows: Sequence[RegionRow], area_mm2: float, n_spots: int, *, can_undo: bool
    ) -> None:
        """List the regions and say how much they hold together."""
        self.table.set_rows(rows)
        self.undo_button.setEnabled(can_undo)
        for button in (self.clear_button, self.export_button):
            button.setEnabled(bool(rows))
        if not rows:
            self._say(TOOLS[self._tool][2] if self._tool else "")
            return
        held = f"{count(len(rows), 'region')}, {area_mm2:.2f} mm², {count(n_spots, 'spot')}"
        if n_spots == 0:
            held += ". No spot fits in: draw a larger region, or set the spots closer together."
        self._say(held)

    def _say(self, text: str) -> None:
        self.summary.setText(text)
        self.summary.setVisible(bool(text))

    def _lay_out(self, n_click_spots: int) -> None:
        grid = QGridLayout()
        grid.setSpacing(4)
        for place, (tool, (title, tip, _)) in enumerate(TOOLS.items()):
            button = QPushButton(title)
            button.setCheckable(True)
            button.setToolTip(tip)
            button.toggled.connect(lambda on, tool=tool: self.tool_chosen.emit(tool if on else ""))
            self.tools[tool] = button
            grid.addWidget(button, place // 3, place % 3)
        more = QHBoxLayout()
        more.setSpacing(4)
        for button in (self.import_button, self.export_button, self.undo_button, self.clear_button):
            more.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.tissue)
        layout.addLayout(grid)
        self.click_row = self._click_row(n_click_spots)
        layout.addWidget(self.click_row)
        layout.addLayout(more)
        layout.addWidget(self.view)
        layout.addWidget(self.summary)

    def _click_row(self, n_click_spots: int) -> QWidget:
        self.click_size.setRange(1, 50)
        self.click_size.setValue(n_click_spots)
        self.click_size.setSuffix(" spots wide")
        self.click_size.setToolTip("How large a neighbourhood one click predicts")
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QLabel("Neighbourhood"))
        layout.addWidget(self.click_size, 1)
        return row

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load regions", self.folder, GEOJSON)
        if path:
            self.folder = str(Path(path).parent)
            self.import_requested.emit(path)

    def _ask_where(self) -> None:
        suggested = str(Path(self.folder) / "regions.geojson")
        path, _ = QFileDialog.getSaveFileName(self, "Save regions", suggested, GEOJSON)
        if path:
            file = Path(path) if Path(path).suffix else Path(path).with_suffix(".geojson")
            self.folder = str(file.parent)
            self.export_requested.emit(str(file))
