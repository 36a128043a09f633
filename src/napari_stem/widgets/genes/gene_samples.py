"""The samples of one gene after the other, read from disk off the GUI thread and kept while it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_stem.widgets.common.single_jobs import LatestJob

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.results import Prediction
    from napari_stem.widgets.common.worker import Jobs


@dataclass(frozen=True)
class GeneSamples:
    """All that is stored of one gene beside its mean and standard deviation.

    Attributes
    ----------
    gene
        Name.
    low, high
        (n_spots,) float32: bounds of the 90% interval, NaN where nothing is predicted.
    draws
        (n_spots, draws) float16, NaN where nothing is predicted; None where draws were not kept.
    """

    gene: str
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    draws: NDArray[np.float16] | None


class SampleReader(QObject):
    """Reads the samples of the gene asked for last."""

    ready = Signal()

    def __init__(self, jobs: Jobs, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._reading = LatestJob(jobs)
        self._asked: tuple[Path, str, int] | None = None
        self._held: tuple[tuple[Path, str, int], GeneSamples] | None = None

    def get(self, prediction: Prediction, gene: str) -> GeneSamples | None:
        """Return the samples if they are there; else read them and tell by ``ready``."""
        key = prediction.path, gene, int(prediction.done.sum())
        if self._held is not None and self._held[0] == key:
            return self._held[1]
        if self._reading.is_running and self._asked == key:
            return None
        self._asked = key

        def found(samples: GeneSamples) -> None:
            self._held = key, samples
            self.ready.emit()

        self._reading.start(read_samples, prediction, gene, done=found)
        return None


def read_samples(prediction: Prediction, gene: str) -> GeneSamples:
    """Read one gene.

    Raises
    ------
    PredictionError
        The prediction is damaged.
    """
    draws = prediction.draws(slice(None), [gene])[:, 0] if prediction.n_kept_draws else None
    low, high = (prediction.values(gene, field).copy() for field in ("q05", "q95"))
    return GeneSamples(gene, low, high, draws)
