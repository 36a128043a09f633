"""Regions in numbers, and the comparison of two of them, computed off the GUI thread."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_stem.evaluation.differences import Differences
    from napari_stem.evaluation.groups import GroupSummary
    from napari_stem.geometry import Region
    from napari_stem.results import Prediction
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.genes.genes_panel import GenesPanel
    from napari_stem.widgets.genes.map_display import MapDisplay
    from napari_stem.widgets.views.compare_panel import ComparePanel
    from napari_stem.widgets.views.compare_window import CompareWindow

NOT_KEPT = (
    "Regions cannot be compared: the single samples of this prediction were not kept, as they would have "
    "been too large. Run a smaller region, fewer samples or a wider spacing."
)


@dataclass(frozen=True)
class Compared:
    """A finished comparison.

    Attributes
    ----------
    by_errors
        Differences under either assumption, by its name.
    n_a, n_b
        Spots in the groups.
    unit
        Of the means.
    """

    by_errors: dict[str, Differences]
    n_a: int
    n_b: int
    unit: str


class CompareControl(QObject):
    """Keeps the region table up to date and carries out comparisons, one at a time.

    Parameters
    ----------
    jobs, panel, genes, maps
        Where the work is done, what asks, which gene is chosen, which prediction is on the map.
    regions
        Returns the regions on the active slide.
    """

    told = Signal(str)

    def __init__(
        self,
        jobs: Jobs,
        panel: ComparePanel,
        genes: GenesPanel,
        maps: MapDisplay,
        regions: Callable[[], Sequence[Region]],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._jobs, self._panel, self._genes = jobs, panel, genes
        self._maps, self._regions = maps, regions
        self._groups: list[Region] = []
        self._is_summing = self._is_stale = False
        self._stop: threading.Event | None = None
        self._compared: Compared | None = None
        self.window: CompareWindow | None = None
        maps.drawn.connect(self.refresh)
        panel.opened.connect(self.refresh)
        panel.compare_requested.connect(self._compare)

    def close(self) -> None:
        """Break off what runs, and close the window."""
        if self._stop is not None:
            self._stop.set()
        if self.window is not None:
            self.window.close()

    def refresh(self) -> None:
        """Bring the regions' numbers in line with the gene on the map; while folded away they wait."""
        from napari_stem.evaluation.groups import with_classes

        shown = self._maps.current()
        self._panel.setEnabled(shown is not None)
        if self._panel.isHidden():
            return
        self._groups = with_classes(self._regions()) if shown is not None else []
        self._panel.show_groups([group.name for group in self._groups])
        if shown is None or not self._groups or not shown.maps.prediction.done.any():
            self._panel.show_summaries("", "", ())
            return
        if self._is_summing:
            self._is_stale = True
            return
        self._is_summing = True
        self._jobs.start(
            _summaries,
            shown.maps.prediction,
            shown.gene,
            tuple(self._groups),
            done=partial(self._show_summaries, shown.gene, shown.maps.prediction.unit),
            failed=self._not_summed,
        )

    def _show_summaries(self, gene: str, unit: str, summaries: Sequence[GroupSummary]) -> None:
        self._is_summing = False
        self._panel.show_summaries(gene, unit, summaries)
        if self._is_stale:
            self._is_stale = False
            self.refresh()

    def _not_summed(self) -> None:
        self._is_summing = self._is_stale = False

    # comparison

    def _compare(self, first: int, second: int) -> None:
        shown = self._maps.current()
        if shown is None or self._stop is not None or first >= len(self._groups):
            return
        prediction = shown.maps.prediction
        if not prediction.n_kept_draws:
            self._panel.show_message(NOT_KEPT)
            return
        self._stop = threading.Event()
        self._panel.show_busy(is_busy=True)
        self._panel.show_message("Comparing …")
        other = self._groups[second] if 0 <= second < len(self._groups) else None
        self._jobs.start(
            _compare,
            prediction,
            self._groups[first],
            other,
            self._stop.is_set,
            done=self._show_comparison,
            failed=self._end,
        )

    def _end(self) -> None:
        self._stop = None
        self._panel.show_busy(is_busy=False)
        self._panel.show_message("")

    def _show_comparison(self, compared: Compared | None) -> None:
        self._end()
        if compared is None:
            return
        self._compared = compared
        if self.window is None:
            from napari_stem.widgets.views.compare_window import CompareWindow

            self.window = CompareWindow(self._panel)
            self.window.view.chosen.connect(self._genes.choose)
            self.window.errors_chosen.connect(lambda _: self._show_errors())
            self.window.save_requested.connect(self._save)
        self._show_errors()
        self.window.show()
        self.window.raise_()

    def _show_errors(self) -> None:
        window, compared = self.window, self._compared
        if window is not None and compared is not None:
            found = compared.by_errors[window.errors()]
            window.show_differences(found, compared.n_a, compared.n_b, compared.unit)

    def _save(self, path: str, overwrite: bool) -> None:
        from napari_stem.evaluation.differences_file import write_differences

        window, compared = self.window, self._compared
        if window is None or compared is None:
            return
        window.show_message("Saving …")
        self._jobs.start(
            partial(write_differences, overwrite=overwrite),
            compared.by_errors[window.errors()],
            compared.unit,
            Path(path),
            done=lambda _: self._saved(path),
            failed=lambda: window.show_message("Not saved."),
        )

    def _saved(self, path: str) -> None:
        if self.window is not None:
            self.window.show_message(f"Saved {path}.")
        self.told.emit(f"Saved {path}")


def _summaries(
    prediction: Prediction, gene: str, groups: Sequence[Region]
) -> Sequence[GroupSummary]:
    from napari_stem.evaluation.groups import group_summaries

    return group_summaries(prediction, gene, groups)


def _compare(
    prediction: Prediction, first: Region, second: Region | None, is_stopped: Callable[[], bool]
) -> Compared | None:
    from napari_stem.evaluation.differences import compare_groups
    from napari_stem.evaluation.groups import drawn_groups

    groups = drawn_groups(prediction, first, second, is_stopped)
    if groups is None:
        return None
    a, b = groups
    by_errors: dict[str, Differences] = {
        "alike": compare_groups(a, b, prediction.genes, "alike"),
        "independent": compare_groups(a, b, prediction.genes, "independent"),
    }
    return Compared(by_errors, a.n_spots, b.n_spots, prediction.unit)
