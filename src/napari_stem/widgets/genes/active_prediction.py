"""One slide's prediction as it is shown: where its spots lie, and what the maps of its genes look like."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_stem.layers import GeneValues, SpotGrid, colour_limits, map_title
from napari_stem.layers.gene_values import SPOTS_PER_READ, fits_in_memory, read_by_gene
from napari_stem.spatial_analysis.autocorrelation import FEWEST_SPOTS, morans_of, neighbour_graph
from napari_stem.widgets.common.worker import LatestJob
from napari_stem.widgets.genes.gene_table import CLUSTERING, MEAN, SPREAD
from napari_stem.widgets.genes.map_layers import SpotMap
from napari_stem.widgets.state import uncertainty_colormap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.geometry import Spots
    from napari_stem.layers import ColourRange, Field, GeneScore, GeneValues, SpotShape
    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.state import DisplaySettings

MOST_FOR_LIMITS = 20_000_000  # values of which the limits of all genes are taken
MOST_VALUES_UNASKED = 50_000_000  # spots times genes; about a minute of one core


@dataclass(frozen=True)
class Measured:
    """What one reading of a prediction yields.

    Attributes
    ----------
    mean, spread
        (genes,) float64 over the predicted spots, in the prediction's unit; NaN where nothing is predicted.
    by_gene, limits
        (genes, spots) float32 of the mean, and colour limits of all genes; None where they would not fit
        in memory.
    """

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    by_gene: NDArray[np.float32] | None = None
    limits: tuple[float, float] | None = None


class GeneFacts:
    """Columns of the list, limits of all genes, and values by gene.

    Parameters
    ----------
    prediction
        Of which.
    values
        Is given the values by gene, for swift maps.
    ready
        Called when there are further columns or limits.
    """

    def __init__(
        self,
        jobs: Jobs,
        prediction: Prediction,
        values: GeneValues,
        ready: Callable[[], None],
    ) -> None:
        self._jobs, self._prediction, self._values, self._ready = jobs, prediction, values, ready
        self._stop = jobs.new_stop()
        self._by_gene: NDArray[np.float32] | None = None
        self._is_clustering = False
        self.columns: dict[int, NDArray[np.float64]] = {}
        self.limits_of_all: tuple[float, float] | None = None

    def start(self) -> None:
        """Read the prediction, which no longer grows."""
        self.forget()
        self._stop = self._jobs.new_stop()
        self._compute(self._take, measure, self._prediction)

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
        which = self._prediction.spots, self._prediction.done.copy()
        self._compute(self._take_clustering, spatial_autocorrelation, self._by_gene, *which)

    def _take(self, measured: Measured) -> None:
        self.limits_of_all = measured.limits
        self.columns[MEAN], self.columns[SPREAD] = measured.mean, measured.spread
        if measured.by_gene is not None:
            self._by_gene = measured.by_gene
            self._values.hold("mean", measured.by_gene)
        self._ready()
        if fits_in_memory(self._prediction):
            self._compute(partial(self._values.hold, "sd"), read_by_gene, self._prediction, "sd")
        if is_quick(self._prediction):
            self.want_clustering()

    def _take_clustering(self, morans: NDArray[np.float64]) -> None:
        self.columns[CLUSTERING] = morans
        self._ready()

    def _compute(
        self, take: Callable[[Any], None], function: Callable[..., Any], *args: Any
    ) -> None:
        """Call a function in a thread, with what tells it to stop as last argument; then nothing is taken."""
        stop = self._stop

        def taken(found: Any) -> None:
            if found is not None and not stop.is_set():
                take(found)

        self._jobs.start(function, *args, stop.is_set, done=taken)


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


def measure(prediction: Prediction, is_stopped: Callable[[], bool]) -> Measured | None:
    """Read the predicted means once, for the columns of the list, swift maps and the limits of all genes.

    Returns
    -------
    None where it was stopped.

    Raises
    ------
    PredictionError
        The prediction is gone, or damaged.
    """
    if not fits_in_memory(prediction):
        return _measured_on_disk(prediction, is_stopped)
    by_gene = read_by_gene(prediction, "mean", is_stopped)
    if by_gene is None:
        return None
    limits = colour_limits(by_gene.ravel()[:: -(-by_gene.size // MOST_FOR_LIMITS)])
    done = prediction.done
    if not done.any():
        nothing = np.full(len(by_gene), np.nan)
        return Measured(nothing, nothing, by_gene, limits)
    known = by_gene if done.all() else by_gene[:, done]
    mean, spread = known.mean(axis=1, dtype=np.float64), known.std(axis=1, dtype=np.float64)
    return Measured(mean, spread, by_gene, limits)


def is_quick(prediction: Prediction) -> bool:
    """Whether spatial autocorrelation of all genes may be computed without being asked for."""
    return len(prediction.spots) * len(prediction.genes) <= MOST_VALUES_UNASKED


def spatial_autocorrelation(
    by_gene: NDArray[np.float32],
    spots: Spots,
    done: NDArray[np.bool_],
    is_stopped: Callable[[], bool],
) -> NDArray[np.float64] | None:
    """Moran's I of every gene over the predicted spots.

    Parameters
    ----------
    by_gene
        (genes, spots) float32.
    spots
        Where they lie.
    done
        (spots,) which of them are predicted.
    is_stopped
        Asked every few hundred genes.

    Returns
    -------
    (genes,) float64, NaN for genes that are the same everywhere and where spots are too few; None where
    it was stopped.
    """
    if int(done.sum()) < FEWEST_SPOTS:
        return np.full(len(by_gene), np.nan)
    graph = neighbour_graph(spots.take(np.flatnonzero(done)))
    return morans_of(by_gene[:, done].T, graph, is_stopped)


def _measured_on_disk(prediction: Prediction, is_stopped: Callable[[], bool]) -> Measured | None:
    """Add up block by block what does not fit in memory."""
    n, total, squares = 0, *np.zeros((2, len(prediction.genes)))
    for start in range(0, len(prediction.spots), SPOTS_PER_READ):
        if is_stopped():
            return None
        block = prediction.rows(slice(start, start + SPOTS_PER_READ)).astype(np.float64)
        block = block[np.isfinite(block).all(axis=1)]
        n += len(block)
        total += block.sum(axis=0)
        squares += np.square(block).sum(axis=0)
    with np.errstate(invalid="ignore"):  # nothing is known of no spots
        mean = total / np.float64(n)
        return Measured(mean, np.sqrt(np.maximum(squares / np.float64(n) - mean**2, 0)))


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


@dataclass(eq=False)
class ActivePrediction:
    """A prediction that is shown while its slide is the active one.

    Attributes
    ----------
    slide, prediction
        Where and what.
    values, facts
        Its values by gene, and what is computed of them in the background.
    gene
        The chosen one.
    score
        Title and values of the score that was shown last, and of what it is.
    sd_limits
        Of the uncertainty as the user set them in napari, and which range of colours was chosen then.
    is_seen
        Whether its map has been on screen.
    is_away
        Whether its slide's pixel size was changed, so that it no longer lies where it should.
    """

    slide: Slide
    prediction: Prediction
    values: GeneValues
    facts: GeneFacts
    gene: str
    score: tuple[object, str, GeneScore] | None = None
    sd_limits: tuple[ColourRange, tuple[float, float]] | None = None
    is_seen: bool = False
    is_away: bool = False
    _grids: dict[str, SpotGrid] = field(default_factory=dict)

    def grid(self, shape: SpotShape = "square") -> SpotGrid:
        """Grid of the spots in this shape."""
        if shape not in self._grids:
            mpp = self.slide.require_mpp()
            self._grids[shape] = SpotGrid.of(self.prediction.spots, mpp, shape)
        return self._grids[shape]

    def spot_at(self, position: Any, shape: SpotShape = "square") -> int | None:
        """Index of the finished spot at a world position in um, or None."""
        grid = self.grid(shape)
        row, col = (
            (at - start) / step
            for at, start, step in zip(
                position[-2:], grid.placement.translate_um, grid.placement.scale_um, strict=True
            )
        )
        spot = grid.spot_under(row, col)
        return spot if spot is not None and self.prediction.done[spot] else None

    def state(self) -> tuple[str, int]:
        """Return which prediction it is, and how far it has grown."""
        return state_of(self.prediction)

    def gene_map(self, gene: str, field: Field, settings: DisplaySettings) -> SpotMap:
        """Map of the expression of a gene, or of its uncertainty, as the settings would have it."""
        values = self.values.values(gene, field)
        colours, colormap = settings.colours, settings.colormap
        if field != "mean":
            colours, colormap = colours.for_another_unit(), uncertainty_colormap(colormap)
        return SpotMap(
            self.grid(settings.shape),
            values,
            map_title(gene, field, self.prediction.unit),
            colours.limits(values, self.facts.limits_of_all),
            colormap,
            {
                "prediction": str(self.prediction.path),
                "gene": gene,
                "shared_tissue": str(self.prediction.provenance.get("shared_tissue", "")),
            },
        )


def state_of(prediction: Prediction) -> tuple[str, int]:
    """Return which prediction it is, and how far it has grown."""
    return str(prediction.path), int(prediction.done.sum())
