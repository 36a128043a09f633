"""The prediction on the map: one of each slide, shown while its slide is active, as the settings ask."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from qtpy.QtCore import QObject, Signal
from superqt.utils import qthrottled

from napari_stem.errors import PredictionError
from napari_stem.exporting.drawing import Limits, Look
from napari_stem.layers.values import ColourRange, MapField, mean_z_score, score_title
from napari_stem.model.genes import gene_accuracy
from napari_stem.widgets.common.parts import one_shot
from napari_stem.widgets.common.worker import Jobs, LatestJob
from napari_stem.widgets.genes.active_prediction import ActivePrediction, GeneSamples, read_or_error
from napari_stem.widgets.genes.gene_table import CLUSTERING
from napari_stem.widgets.genes.layer_queue import FADED_RANK, MEAN_RANK, SD_RANK, LayerQueue
from napari_stem.widgets.genes.map_layers import USUAL_LEGEND, ColourMap, Legend, ScalarMap, SpotMap
from napari_stem.widgets.genes.together import MixedLayers, SideBySide
from napari_stem.widgets.state import (
    BESIDE,
    DIFFERENCE,
    FADED,
    MEAN,
    MEASURED,
    MIX,
    NOTHING,
    OF_SPECIAL_MAPS,
    ONE,
    SCORE,
    SD,
    DisplaySettings,
    uncertainty_colormap,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from napari.layers import Image, Layer
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.genes.genes_panel import GenesPanel

REFRESH_MS = 300  # the map is drawn anew at most this often while it fills


class MapDisplay(QObject):
    """Keeps the predictions of all slides, and has the layers follow the settings of the panel of genes."""

    map_updated = Signal()  # the plain maps of the active slide are as asked for, or there are none
    samples_read = Signal()  # those of the chosen gene, which were asked for

    def __init__(
        self, viewer: Viewer, jobs: Jobs, genes: GenesPanel, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._jobs, self._genes = jobs, genes
        self.settings = genes.settings
        self._shown: dict[str, ActivePrediction] = {}  # by the slide's fingerprint
        self.slide: Slide | None = None  # that is looked at
        self._is_handled = False  # what changes now is on the map already, or drawn at the end
        self._scoring, self._reading = LatestJob(jobs), LatestJob(jobs)
        self._samples: tuple[object, GeneSamples | None] = None, None  # of what, None: being read
        self._draw_anew = qthrottled(self.draw, timeout=REFRESH_MS, parent=self)
        self.layer_queue = LayerQueue(viewer, self.settings.opacity_percent / 100, parent=self)
        # maps in place of the plain ones, and the layers that show them
        self._offers: list[tuple[Callable[[ActivePrediction], SpotMap | None], ScalarMap]] = []
        # None too where several genes are shown
        self.shown_map: SpotMap | None = None
        self._shown_layer: ScalarMap | None = None
        self._plain = {MEAN: self.new_layer(MEAN, MEAN_RANK), SD: self.new_layer(SD, SD_RANK)}
        self.faded = ColourMap(self.layer_queue, FADED, "Predicted, faint where unsure", FADED_RANK)
        self.mixed = MixedLayers(self.layer_queue, self._keep_limits)
        # left once the layer list has finished what it is doing
        self._leaving = one_shot(self, 0, self._leave)
        self.beside = SideBySide(self.layer_queue, self._keep_limits, left=self._leaving.start)
        self.settings.changed.connect(self._on_changed)
        genes.view.header().sectionClicked.connect(self._on_header)
        viewer.canvas.overlay_tiling.top_right = "vertical"  # title above its colour bar

    def begin(self, slide: Slide, prediction: Prediction, *, is_growing: bool = False) -> None:
        """Show a prediction, in place of an older one of the same slide; ``is_growing``: a run fills it."""
        if (older := self._shown.get(slide.fingerprint)) is not None:
            older.stop()
        if (gene := self.gene_of(slide)) not in prediction.genes:
            gene = next(iter(prediction.reliability), prediction.genes[0])
        shown = ActivePrediction(self._jobs, slide, prediction, gene, self._on_summary)
        shown.is_growing = is_growing
        self._shown[slide.fingerprint] = shown
        if self.current() is shown:  # else the user went to another slide meanwhile
            self._fill_panel()
            self._select()
        if prediction.done.any() and not is_growing:
            shown.summarise()

    def grow(self, prediction: Prediction) -> None:
        """More spots are done of a run's prediction: where it is shown, draw the map anew, now or soon."""
        if (shown := self._showing(prediction)) is not None:
            shown.forget()
            if shown is self.current():
                self._draw_anew()

    def finish(self, prediction: Prediction) -> None:
        """No more spots come: draw the map as it stays, and compute what the list is sorted by."""
        if (shown := self._showing(prediction)) is not None:
            shown.summarise()
            if shown is self.current():
                self._draw_anew.cancel()
                self.draw()

    def put_away(self, slide: Slide) -> None:
        """Show no map of a slide any more, until a prediction is chosen or made."""
        shown, seen = self._shown[slide.fingerprint], self.current()
        shown.stop()
        shown.is_away = True
        if shown is seen:
            self._fill_panel()

    def shown_on(self, slide: Slide) -> ActivePrediction | None:
        """Return what is shown of a slide, which need not be the active one."""
        shown = self._shown.get(slide.fingerprint)
        return None if shown is None or shown.is_away else shown

    def activate(self, slide: Slide | None) -> None:
        """Show the prediction of another slide."""
        before, self.slide = self.slide, slide
        if (before and before.fingerprint) == (slide and slide.fingerprint):
            return
        if slide is not None:
            self.beside.leave_slide()
            shown = self.shown_on(slide)
            # opened again: read it again, once its pixel size is known
            if shown is not None and shown.slide() is not slide and slide.mpp is not None:
                self.begin(slide, shown.prediction, is_growing=shown.is_growing)
        else:  # no slide is there for which others would have to go out of sight
            self.beside.hide()
        self._fill_panel()
        self.layer_queue.conceal()  # maps of the other slide

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Show what a session says, side by side too where a layer has just come that would end it."""
        was_leaving = self._leaving.isActive()
        self._leaving.stop()
        if was_leaving:
            self.beside.make_anew()
        self.settings.restore(saved)
        if was_leaving:
            self.draw()

    def close(self) -> None:
        """Let go of the viewer."""
        self._draw_anew.cancel()
        self.beside.close()
        self.layer_queue.close()

    def current(self) -> ActivePrediction | None:
        """Return what is shown of the active slide."""
        return None if self.slide is None else self.shown_on(self.slide)

    def _showing(self, prediction: Prediction) -> ActivePrediction | None:
        """Return what shows this very object; None where another of its slide, or nothing, is shown."""
        return next((one for one in self._shown.values() if one.prediction is prediction), None)

    def gene_of(self, slide: Slide) -> str:
        """Return the gene that is chosen on a slide, empty where none is."""
        shown = self._shown.get(slide.fingerprint)
        return shown.gene if shown is not None else ""

    def choose_gene(self, slide: Slide, gene: str) -> bool:
        """Choose a gene on a slide, which need not be the active one; False where it is not predicted."""
        shown = self._shown.get(slide.fingerprint)
        if shown is None or gene not in shown.prediction.genes:
            return False
        shown.gene = gene
        if shown is self.current():
            self.settings.update(gene=gene)
        return True

    def shown_genes(self) -> tuple[str, ...]:
        """Return the genes that lie on the map; of a score the chosen one."""
        active, settings = self.current(), self.settings
        if active is None:
            return ()
        return settings.genes if settings.shown_arrangement in (MIX, BESIDE) else (active.gene,)

    def samples(self) -> GeneSamples | None:
        """Return the samples of the chosen gene if they are there; else read them, and tell by a signal."""
        active = self.current()
        if active is None:
            return None
        asked = (*active.state(), active.gene)
        if self._samples[0] == asked:
            return self._samples[1]
        self._samples = asked, None

        def found(samples: GeneSamples | PredictionError) -> None:
            if isinstance(samples, PredictionError):
                active.tell(samples)
            elif self._samples[0] == asked:
                self._samples = asked, samples
                self.samples_read.emit()

        read = GeneSamples.of, active.prediction, active.gene
        self._reading.start(read_or_error, *read, done=found)
        return None

    def figure_look(self) -> Look:
        """Return how the maps look, for a figure of them."""
        settings, active, seen = self.settings, self.current(), self.layer_queue.maps()
        return Look(
            _limits(settings.range_of(MEAN), active),
            _limits(settings.range_of(SD)),
            _colours(self.layer(MEAN), seen, settings.colormap),
            _colours(self.layer(SD), seen, uncertainty_colormap(settings.colormap)),
            self.layer(MEAN).gamma,
            self.layer(SD).gamma,
            float(seen[-1].opacity) if seen else settings.opacity_percent / 100,
            {(settings.field, gene): own for gene, own in settings.by_hand(settings.field).items()},
        )

    def special_maps(self) -> list[Layer]:
        """Return the maps that are seen, where these are no plain maps of genes, spot by spot."""
        shown, settings = self.shown_map, self.settings
        is_plain = (
            shown is not None and shown.kind in {MEAN, SD} and settings.spot_shape != "smooth"
        )
        are_plain = is_plain or settings.shown_arrangement == BESIDE
        return [] if are_plain else self.layer_queue.maps()

    def layer(self, field: str) -> Image:
        """Return the layer of the expression (``mean``) or of its uncertainty (``sd``)."""
        return self._plain[field].layer

    def new_layer(self, field: str, rank: int, legend: Legend = USUAL_LEGEND) -> ScalarMap:
        """Make a layer, as `ScalarMap`, whose limits are kept when the user sets them."""
        return ScalarMap(self.layer_queue, self._keep_limits, field, rank, legend)

    def offer(self, special: Callable[[ActivePrediction], SpotMap | None], on: ScalarMap) -> None:
        """Have a function asked for a map in place of the plain one, shown on a layer; None: it has none."""
        self._offers.append((special, on))
        events = on.layer.events
        for event in (events.colormap, events.gamma, events.opacity):
            event.connect(self._colour_faded)

    def draw(self) -> None:
        """Bring the maps in line with the settings, and tell that they are."""
        self._draw_map()
        self.map_updated.emit()

    def draw_special(self) -> None:
        """Draw a map that takes the place of the plain one, where nothing else has changed."""
        self._draw_map()
        self._select()

    def kept_map(self, active: ActivePrediction, *kinds: str) -> SpotMap | None:
        """Return the map on show, if it is of this prediction and of these kinds, if any are named."""
        shown, path = self.shown_map, str(active.prediction.path)
        if shown is None or shown.about["prediction"] != path:
            return None
        return shown if not kinds or shown.kind in kinds else None

    def _draw_map(self) -> None:
        active, settings = self.current(), self.settings
        wanted = None if active is None else self._wanted_map(active)
        self.shown_map, self._shown_layer = shown, layer = wanted or (None, None)
        for one in (*self._plain.values(), *(special for _, special in self._offers)):
            if one is not layer:
                one.hide()
        if shown is None or shown.opacity is None:
            self.faded.hide()
        is_seen = active is not None and settings.field != NOTHING and bool(settings.genes)
        arrangement = settings.shown_arrangement if is_seen else ONE
        if arrangement != MIX:
            self.mixed.hide()
        if arrangement != BESIDE:
            self.beside.hide()
        if active is None or self.slide is None:
            return
        if arrangement == MIX:
            self.mixed.show(active, settings)
        elif arrangement == BESIDE:
            self.beside.show(self.slide, active, settings)
        if shown is not None and layer is not None:
            # drawing letters would delay the first values
            layer.show(shown, with_legend=bool(active.prediction.done.any()))
            self._colour_faded()

    def _colour_faded(self) -> None:
        """Give spots that are not equally strong the colours and the opacity of their legend's layer."""
        shown, layer = self.shown_map, self._shown_layer
        if self._jobs.is_closed:  # the map has stayed, and is the user's own now
            return
        if shown is not None and layer is not None and shown.opacity is not None:
            self.faded.show(shown.grid, shown.colours(layer.layer), shown.about["prediction"])
            self.faded.layer.opacity = layer.layer.opacity

    def _wanted_map(self, active: ActivePrediction) -> tuple[SpotMap, ScalarMap] | None:
        """Return the one map that is to be seen, special or plain, and its layer; None: none, or several.

        Where its values cannot be read, it is told why, and the map on show stays if it is of this prediction.
        """
        try:
            return self._asked_map(active)
        except PredictionError as error:
            active.tell(error)
        shown, layer = self.kept_map(active), self._shown_layer
        return None if shown is None or layer is None else (shown, layer)

    def _asked_map(self, active: ActivePrediction) -> tuple[SpotMap, ScalarMap] | None:
        settings, arrangement = self.settings, self.settings.shown_arrangement
        for special, layer in self._offers:
            if (offered := special(active)) is not None:
                return offered, layer
        if settings.field == NOTHING or arrangement not in {ONE, SCORE}:
            return None
        if arrangement == SCORE:
            score = self._score(active, settings)
            return None if score is None else (score, self._plain[MEAN])
        plain = active.gene_map(active.gene, cast("MapField", settings.field), settings)
        if plain.kind == MEAN:
            self._genes.look.suggest_fixed(*plain.limits)
        return plain, self._plain[plain.kind]

    def _score(self, active: ActivePrediction, settings: DisplaySettings) -> SpotMap | None:
        """Return a score, which is computed off the GUI thread; the map before it stays meanwhile."""
        genes, key = settings.gene_set, (settings.gene_set, active.state())
        shown = self.kept_map(active, MEAN, SCORE)
        if active.score is not None:
            _, title, values = active.score
            limits = settings.range_of(SCORE).limits(values)
            about = {"prediction": str(active.prediction.path)}
            grid, colormap = active.grid(settings.spot_shape), settings.colormap
            shown = SpotMap(SCORE, grid, values, title, limits, colormap, about)
        is_too_early = active.is_growing and active.state()[1] < 2
        is_known = active.score is not None and active.score[0] == key
        if genes is None or is_known or is_too_early:
            return shown

        def found(score: tuple[NDArray[np.float32], int] | PredictionError) -> None:
            if isinstance(score, PredictionError):
                active.tell(score)
                return
            values, n_used = score
            active.score = key, score_title(genes.name, n_used, genes.n_named), values
            if active is self.current() and self.settings.shown_arrangement == SCORE:
                self.draw()
                self._select()

        def read() -> tuple[NDArray[np.float32], int]:
            return mean_z_score(map(active.values, genes.genes))

        self._scoring.start(read_or_error, read, done=found)
        return shown

    def _select(self) -> None:
        """Make the map on show the selected layer, so that napari's controls are about it."""
        if self._shown_layer is not None:
            self.layer_queue.select(self._shown_layer.layer)

    def _fill_panel(self) -> None:
        """Have the panel list the genes of the active prediction, then draw."""
        with self._undrawn():
            self._list_genes(self.current())
        self.draw()

    @contextmanager
    def _undrawn(self) -> Iterator[None]:
        """Let settings change without drawing."""
        self._is_handled = True
        try:
            yield
        finally:
            self._is_handled = False

    def _list_genes(self, active: ActivePrediction | None) -> None:
        if active is None:
            self._genes.show_genes(gene_accuracy({}, ()))
            return
        prediction = active.prediction
        absent = prediction.provenance.get("genes_not_measured", ())
        self._genes.show_genes(prediction.gene_accuracy, prediction.unit, absent)
        self._genes.table.fill_columns(active.columns)
        self.settings.update(gene=active.gene)
        if not active.is_seen:  # it is to be seen, whatever was looked at before
            settings = self.settings
            # measured counts are the slide's, whichever of its predictions they are compared with
            is_beside = settings.view in {MEASURED, DIFFERENCE} and not active.is_growing
            if settings.field == NOTHING and not is_beside:
                settings.update(view=MEAN)
            if not settings.genes:
                settings.update(arrangement=ONE)
        active.is_seen = True

    def _on_summary(self, active: ActivePrediction) -> None:
        if active is self.current():
            self._genes.table.fill_columns(active.columns)
            self.draw()  # the limits of all genes may be new

    def _on_header(self, column: int) -> None:
        """Compute how genes cluster where it is asked for."""
        active = self.current()
        if active is not None and column == CLUSTERING:
            active.want_clustering()

    def _on_changed(self, names: frozenset[str]) -> None:
        if "opacity_percent" in names:
            self.layer_queue.set_opacity(self.settings.opacity_percent / 100)
        if names & {"colormap", "mix_colours"}:
            plain, special = self._plain.values(), [on for _, on in self._offers]
            for one in (*plain, *special, *self.mixed.maps, *self.beside.maps):
                one.let_go_of_colormap()
        active = self.current()
        if active is None or self._is_handled or names <= {"opacity_percent", "is_outlined"}:
            return
        if names <= OF_SPECIAL_MAPS:
            self.draw_special()
            return
        if "gene" in names and self.settings.gene in active.prediction.genes:
            active.gene = self.settings.gene
        self.draw()
        self._select()

    def _keep_limits(self, shown: SpotMap, low: float, high: float) -> None:
        """Keep limits that the user sets in napari on a map, which has them by now."""
        if self._jobs.is_closed:
            return
        with self._undrawn():
            self.settings.set_limits(shown.kind, low, high, shown.about.get("gene", ""))
        self._colour_faded()

    def _leave(self) -> None:
        if self.beside.maps:
            self.settings.update(arrangement=ONE)


def _colours(layer: Image, seen: list[Layer], usual: str) -> str | NDArray[np.float64]:
    """Colours of a map, as figures take them: the usual ones, or those that napari's own controls gave it."""
    if layer not in seen or layer.colormap.name == usual:
        return usual
    return np.asarray(layer.colormap.map(np.linspace(0, 1, 256)), float)


def _limits(colours: ColourRange, active: ActivePrediction | None = None) -> Limits:
    if colours.kind == "all" and active is not None and active.limits_of_all is not None:
        return Limits(*active.limits_of_all, are_percentiles=False)
    is_free = colours.kind in {"gene", "all"}
    return Limits() if is_free else Limits(colours.low, colours.high, colours.kind == "percentile")
