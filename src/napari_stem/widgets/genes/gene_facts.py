"""What is computed in the background about the genes of one prediction, once it is finished."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_stem.layers import colour_limits
from napari_stem.layers.gene_values import fits_in_memory, read_by_gene
from napari_stem.widgets.genes.gene_ranking import is_quick, measure, spatial_autocorrelation
from napari_stem.widgets.genes.gene_table import CLUSTERING, MEAN, SPREAD

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy import float32, float64
    from numpy.typing import NDArray

    from napari_stem.layers import GeneValues
    from napari_stem.results import Prediction
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.genes.gene_ranking import Measured

MOST_FOR_LIMITS = 20_000_000  # values of which the limits of all genes are taken


class GeneFacts(QObject):
    """Columns of the list, limits of all genes, and values by gene; each told when it is ready.

    Parameters
    ----------
    jobs
        Where the work is done.
    prediction
        Of which.
    values
        Is given the values by gene, for swift maps.
    """

    column_ready = Signal(int)
    limits_ready = Signal()

    def __init__(self, jobs: Jobs, prediction: Prediction, values: GeneValues) -> None:
        super().__init__()
        self._jobs, self._prediction, self._values = jobs, prediction, values
        self._stop = threading.Event()
        self._by_gene: NDArray[float32] | None = None
        self._is_clustering = False
        self.columns: dict[int, NDArray[float64]] = {}
        self.limits_of_all: tuple[float, float] | None = None

    def start(self) -> None:
        """Read the prediction, which no longer grows."""
        self.forget()
        self._stop = threading.Event()
        self._jobs.start(
            _measure, self._prediction, self._stop.is_set, done=self._unless_stopped(self._take)
        )

    def stop(self) -> None:
        """Give up what is being computed."""
        self._stop.set()

    def forget(self) -> None:
        """Give up what is being computed, and what was: the prediction grows again."""
        self.stop()
        self._values.let_go()
        self._by_gene, self.limits_of_all = None, None
        self.columns.clear()
        self._is_clustering = False

    def want_clustering(self) -> None:
        """Compute spatial autocorrelation, however long it takes."""
        if self._by_gene is None or self._is_clustering or CLUSTERING in self.columns:
            return
        self._is_clustering = True
        self._jobs.start(
            spatial_autocorrelation,
            self._by_gene,
            self._prediction.spots,
            self._prediction.done.copy(),
            self._stop.is_set,
            done=self._unless_stopped(self._take_clustering),
        )

    def _take(self, found: tuple[Measured, tuple[float, float] | None]) -> None:
        measured, self.limits_of_all = found
        self.columns[MEAN], self.columns[SPREAD] = measured.moments.mean, measured.moments.spread
        if measured.by_gene is not None:
            self._by_gene = measured.by_gene
            self._values.hold("mean", measured.by_gene)
        for column in (MEAN, SPREAD):
            self.column_ready.emit(column)
        self.limits_ready.emit()
        if fits_in_memory(self._prediction):
            self._jobs.start(
                read_by_gene,
                self._prediction,
                "sd",
                self._stop.is_set,
                done=self._unless_stopped(self._take_sd),
            )
        if is_quick(self._prediction):
            self.want_clustering()

    def _take_sd(self, by_gene: NDArray[float32]) -> None:
        self._values.hold("sd", by_gene)

    def _take_clustering(self, morans: NDArray[float64]) -> None:
        self.columns[CLUSTERING] = morans
        self.column_ready.emit(CLUSTERING)

    def _unless_stopped(self, take: Callable[[Any], None]) -> Callable[[Any], None]:
        stop = self._stop

        def taken(found: Any) -> None:
            if found is not None and not stop.is_set():
                take(found)

        return taken


def _measure(
    prediction: Prediction, is_stopped: Callable[[], bool]
) -> tuple[Measured, tuple[float, float] | None] | None:
    measured = measure(prediction, is_stopped)
    if measured is None:
        return None
    if measured.by_gene is None:
        return measured, None
    step = -(-measured.by_gene.size // MOST_FOR_LIMITS)
    return measured, colour_limits(measured.by_gene.ravel()[::step])
