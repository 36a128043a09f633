"""One slide's prediction as it is shown: where its spots lie, and what the maps of its genes look like."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from napari_stem.errors import PredictionError
from napari_stem.evaluation.differences import Background, background
from napari_stem.layers.placement import SpotGrid, SpotShape
from napari_stem.layers.values import MapField, colour_limits, map_title, read_by_gene
from napari_stem.progress import poll_of
from napari_stem.spatial_analysis.autocorrelation import FEWEST_SPOTS, morans_of, neighbour_graph
from napari_stem.widgets.genes.map_layers import SpotMap, spot_under
from napari_stem.widgets.state import DisplaySettings, uncertainty_colormap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_stem.geometry import Spots
    from napari_stem.progress import Poll
    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs

    Summary = tuple[Background, NDArray[np.float32] | None, tuple[float, float] | None]

LARGEST_BYTES = 1_500_000_000  # of one field; what is larger is read from disk gene by gene
MOST_FOR_LIMITS = 20_000_000  # values of which the limits of all genes are taken
MOST_VALUES_UNASKED = 50_000_000  # spots times genes; about a minute of one core


class ActivePrediction:
    """A prediction that is shown while its slide is the active one, and what is computed of it meanwhile.

    ``ready`` is called with this when there are further columns or limits.
    """

    def __init__(
        self,
        jobs: Jobs,
        slide: Slide,
        prediction: Prediction,
        gene: str,
        ready: Callable[[ActivePrediction], None],
    ) -> None:
        self._jobs, self._ready = jobs, ready
        # of the slide, which its layer alone holds: it goes with that
        self.fingerprint, self.mpp = slide.fingerprint, slide.require_mpp()
        self.slide = ref(slide, self._let_go)
        self.prediction, self.gene = prediction, gene
        self.columns: dict[str, NDArray[np.float64]] = {}  # of `gene_table.COMPUTED`
        self.background: Background | None = None  # once it is known
        # of the colours of all genes; None while not known, and where values do not fit in memory
        self.limits_of_all: tuple[float, float] | None = None
        # of the score that was shown last: of what it is, its title and values
        self.score: tuple[object, str, NDArray[np.float32]] | None = None
        self.is_seen = False  # its map has been on screen
        # its slide's pixel size was changed: it no longer lies where it should
        self.is_away = False
        self.is_growing = False  # a run fills it
        self._stop = jobs.new_stop()
        # (genes, spots) of fields that were read. On disk a gene lies in one file per thousand spots or so:
        # quick for a region, seconds for a whole slide.
        self._by_gene: dict[MapField, NDArray[np.float32]] = {}
        self._is_clustering = False
        self._grids: dict[str, SpotGrid] = {}
        self._told: set[str] = set()  # why something of it could not be read

    def summarise(self) -> None:
        """Read the prediction, which no longer grows."""
        self.forget()
        self.is_growing = False
        self._stop = self._jobs.new_stop()
        self._compute(self._take, summary_of, self.prediction)

    def stop(self) -> None:
        """Give up what is being computed."""
        self._stop.set()

    def _let_go(self, _: object) -> None:
        """Keep nothing that was read, or is being read, of a slide that has gone: it may be gigabytes."""
        self.stop()
        self._by_gene.clear()

    def forget(self) -> None:
        """Give up what is being computed, and what was: the prediction grows again."""
        self.stop()
        self.is_growing = True
        self.background = self.limits_of_all = None
        self._by_gene.clear()
        self.columns.clear()
        self._is_clustering = False

    def want_clustering(self) -> None:
        """Compute spatial autocorrelation, however long it takes."""
        if "mean" in self._by_gene and not self._is_clustering:
            self._is_clustering = True
            which = self._by_gene["mean"], self.prediction.spots, self.prediction.done.copy()
            self._compute(partial(self._fill, "clustering"), spatial_autocorrelation, *which)

    def values(self, gene: str, field: MapField = "mean") -> NDArray[np.float32]:
        """(n_spots,) float32 of one gene, NaN where nothing is predicted; not to be changed.

        From memory where it has been read, else from disk; UnknownGeneError where there is no such gene,
        PredictionError where the prediction is gone, or damaged.
        """
        if field not in self._by_gene:
            return self.prediction.values(gene, field)
        values: NDArray[np.float32] = self._by_gene[field][self.prediction.columns([gene])[0]]
        return values

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Leave off where something of it cannot be read, and `tell` why."""
        try:
            yield
        except PredictionError as error:
            self.tell(error)

    def tell(self, error: PredictionError) -> None:
        """Show why something of it cannot be read; the same reason once, whatever asks for it."""
        if str(error) not in self._told:
            self._told.add(str(error))
            self._jobs.fail(str(error))

    def grid(self, shape: SpotShape = "square") -> SpotGrid:
        """Grid of the spots in this shape."""
        if shape not in self._grids:
            self._grids[shape] = SpotGrid.of(self.prediction.spots, self.mpp, shape)
        return self._grids[shape]

    def spot_at(self, position: Any, shape: SpotShape = "square") -> int | None:
        """Index of the finished spot at a position in um on the slide, or None."""
        spot = spot_under(self.grid(shape), position)
        return spot if spot is not None and self.prediction.done[spot] else None

    def state(self) -> tuple[str, int]:
        """Return which prediction it is, and how far it has grown."""
        return state_of(self.prediction)

    def gene_map(self, gene: str, field: MapField, settings: DisplaySettings) -> SpotMap:
        """Map of the expression of a gene, or of its uncertainty, as the settings would have it."""
        values, colormap = self.values(gene, field), settings.colormap
        return SpotMap(
            field,
            self.grid(settings.spot_shape),
            values,
            map_title(gene, field, self.prediction.unit),
            settings.range_of(field, gene).limits(values, self.limits_of_all),
            colormap if field == "mean" else uncertainty_colormap(colormap),
            {
                "prediction": str(self.prediction.path),
                "gene": gene,
                "shared_tissue": str(self.prediction.provenance.get("shared_tissue", "")),
            },
        )

    def _take(self, summary: Summary) -> None:
        self.background, by_gene, self.limits_of_all = summary
        if by_gene is not None:
            self._by_gene["mean"] = by_gene
        self.columns["mean"] = self.background.mean
        self._fill("spread", self.background.sd)
        if by_gene is not None:
            self._compute(self._take_sd, read_by_gene, self.prediction, "sd")
            if by_gene.size <= MOST_VALUES_UNASKED:
                self.want_clustering()

    def _take_sd(self, by_gene: NDArray[np.float32]) -> None:
        self._by_gene["sd"] = by_gene

    def _fill(self, column: str, values: NDArray[np.float64]) -> None:
        self.columns[column] = values
        self._ready(self)

    def _compute(
        self, take: Callable[[Any], None], function: Callable[..., Any], *args: Any
    ) -> None:
        """Call a function in a thread, with ``poll`` as last argument; one that is stopped gives nothing."""
        stop = self._stop

        def taken(found: Any) -> None:
            if isinstance(found, PredictionError):
                self.tell(found)
            elif found is not None and not stop.is_set():
                take(found)

        self._jobs.start(read_or_error, function, *args, poll_of(stop), done=taken)


def read_or_error(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function that reads a prediction; a PredictionError is given back, for `ActivePrediction.tell`."""
    try:
        return function(*args)
    except PredictionError as error:
        return error


def state_of(prediction: Prediction) -> tuple[str, int]:
    """Return which prediction it is, and how far it has grown."""
    return str(prediction.path), int(prediction.done.sum())


def summary_of(prediction: Prediction, poll: Poll) -> Summary | None:
    """Read the predicted means once, for the columns of the list, swift maps and the limits of all genes.

    Gives mean and standard deviation of the genes, and, where they fit in memory, (genes, spots) float32 of the
    mean and the colour limits of all; None where nothing is predicted. PredictionError where
    the prediction is gone, or damaged.
    """
    done = prediction.done
    if not done.any():
        return None
    if len(prediction.spots) * len(prediction.genes) * 4 > LARGEST_BYTES:
        return background(prediction, poll), None, None
    by_gene = read_by_gene(prediction, "mean", poll)
    known = by_gene if done.all() else by_gene[:, done]
    mean, sd = known.mean(axis=1, dtype=np.float64), known.std(axis=1, dtype=np.float64)
    limits = colour_limits(by_gene.ravel()[:: -(-by_gene.size // MOST_FOR_LIMITS)])
    return Background(known.shape[1], mean, sd), by_gene, limits


def spatial_autocorrelation(
    by_gene: NDArray[np.float32],
    spots: Spots,
    done: NDArray[np.bool_],
    poll: Poll,
) -> NDArray[np.float64]:
    """Moran's I of every gene over the predicted spots: (genes,) float64.

    ``by_gene`` is (genes, spots) float32, ``done`` (spots,) which of them are predicted; ``poll`` is
    called every few hundred genes. NaN for genes that are the same everywhere, and where too few spots are
    predicted or lie side by side.
    """
    if int(done.sum()) < FEWEST_SPOTS:
        return np.full(len(by_gene), np.nan)
    graph = neighbour_graph(spots.take(np.flatnonzero(done)))
    # of two alone it is -1, whatever the gene
    if np.count_nonzero(graph.getnnz(axis=1)) < FEWEST_SPOTS:
        return np.full(len(by_gene), np.nan)
    return morans_of(by_gene[:, done].T, graph, poll)


@dataclass(frozen=True)
class GeneSamples:
    """All that is stored of one gene beside its mean and standard deviation."""

    # (n_spots,) float32: bounds of the 90% interval, NaN where nothing is predicted
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    # (n_spots, draws) float16, NaN where nothing is predicted; no draws where they were not kept
    draws: NDArray[np.float16]

    @classmethod
    def of(cls, prediction: Prediction, gene: str) -> GeneSamples:
        """Read one gene; PredictionError where the prediction is damaged."""
        draws = np.empty((len(prediction.spots), 0), np.float16)
        if prediction.n_kept_draws:
            draws = prediction.draws(slice(None), [gene])[:, 0]
        low, high = (prediction.values(gene, field).copy() for field in ("q05", "q95"))
        return cls(low, high, draws)
