"""Exports in the background: started, watched, broken off and reported."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_stem.widgets.common.worker import Reporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_stem.exporting.selection import Selection
    from napari_stem.geometry import Region
    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.views.export_panel import ExportPanel

FEW_GENES = 20  # "most reliable genes" of data that would otherwise hold all


@dataclass(frozen=True)
class Exportable:
    """What is on screen when Save is clicked; what is saved, whatever is shown later.

    Attributes
    ----------
    prediction, slide
        The prediction shown, and the slide it belongs to.
    regions
        Drawn on that slide.
    gene
        On the map.
    """

    prediction: Prediction
    slide: Slide
    regions: tuple[Region, ...]
    gene: str


@dataclass(frozen=True)
class _Request:
    shown: Exportable
    kind: str
    genes: str  # a key of `GENE_CHOICES`
    path: Path
    overwrite: bool


class _Stopped(Exception):
    """The user broke the export off."""


class ExportControl(QObject):
    """Carries out what the export panel asks for, one export at a time."""

    told = Signal(str)  # good news for the user

    def __init__(
        self,
        jobs: Jobs,
        panel: ExportPanel,
        what: Callable[[], Exportable | None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._jobs, self._panel, self._what = jobs, panel, what
        self._stop: threading.Event | None = None
        panel.export_requested.connect(self._start)
        panel.cancel_requested.connect(self.cancel)

    def cancel(self) -> None:
        """Break the export off; nothing of it stays."""
        if self._stop is not None:
            self._stop.set()
            self._panel.show_message("Stopping …")

    def _start(self, kind: str, genes: str, path: str, overwrite: bool) -> None:
        shown = self._what()
        if shown is None or self._stop is not None:
            return
        self._stop = threading.Event()
        report = Reporter(self)
        report.reported.connect(self._show_progress)
        self._panel.show_busy(is_busy=True)
        self._panel.show_message(f"Saving {Path(path).name} …")
        self._jobs.start(
            _export,
            _Request(shown, kind, genes, Path(path), overwrite),
            self._stop,
            report,
            done=self._finished,
            failed=self._failed,
        )

    def _show_progress(self, text: str, done: int, total: int) -> None:
        if self._stop is not None and not self._stop.is_set():
            self._panel.show_progress(text, done, total)

    def _finished(self, result: tuple[Path, int] | None) -> None:
        self._end()
        if result is None:
            self._panel.show_message("Cancelled; nothing was saved.")
            return
        path, n_missing = result
        self._panel.show_saved(path, n_missing)
        self.told.emit(f"Saved {path}")

    def _failed(self) -> None:
        self._end()
        self._panel.show_message("Not saved.")

    def _end(self) -> None:
        self._stop = None
        self._panel.show_busy(is_busy=False)


def _export(
    request: _Request, stop: threading.Event, report: Callable[[str, int, int], None]
) -> tuple[Path, int] | None:
    """Export; returns where to, and how many spots are missing, or None where it was broken off."""
    from napari_stem.exporting.kinds import ExportOptions, write

    def progress(text: str, done: int, total: int) -> None:
        if stop.is_set():
            raise _Stopped
        report(text, done, total)

    shown = request.shown
    options = ExportOptions(slide=shown.slide, overwrite=request.overwrite, progress=progress)
    try:
        selection = _selection(request)
        write(request.kind, selection, request.path, options)
    except _Stopped:
        return None
    return request.path, selection.n_missing


def _selection(request: _Request) -> Selection:
    from napari_stem.exporting.kinds import KINDS
    from napari_stem.exporting.selection import Selection
    from napari_stem.exporting.summary import telling_genes

    shown = request.shown
    if request.genes == "shown":
        genes: tuple[str, ...] = (shown.gene,)
    elif request.genes == "all":
        genes = shown.prediction.genes
    else:
        n_genes = KINDS[request.kind].n_genes or FEW_GENES
        genes = telling_genes(shown.prediction, n_genes)
    return Selection.of(shown.prediction, genes, shown.regions)
