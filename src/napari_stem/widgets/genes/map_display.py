"""Predictions on screen: which genes of which slide, in which colours; the readout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_stem.layers import mean_z_score, score_title
from napari_stem.model.card import most_reliable
from napari_stem.widgets.genes.gene_facts import GeneFacts
from napari_stem.widgets.genes.genes_panel import BESIDE, MIX, ONE, SCORE
from napari_stem.widgets.genes.map_layers import MapLayers
from napari_stem.widgets.genes.map_turns import LayerTurns
from napari_stem.widgets.genes.together import Together

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.viewer import Viewer

    from napari_stem.layers import GeneScore, GeneValues
    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.genes.genes_panel import GenesPanel, Wish
    from napari_stem.widgets.views.export_panel import ExportPanel
    from napari_stem.widgets.views.inspect_panel import InspectPanel

REFRESH_MS = 300  # the map is drawn anew at most this often while it fills


@dataclass
class Shown:
    """One slide's prediction on screen."""

    slide: Slide
    maps: MapLayers
    facts: GeneFacts
    reliability: Mapping[str, float | None]
    gene: str
    score: tuple[str, GeneScore] | None = field(default=None)  # title and values of the one on show
    is_away: bool = False  # its slide's pixel size was changed: it no longer lies where it should


class MapDisplay(QObject):
    """Keeps the maps of every slide, and connects the gene, inspect and export panels with them."""

    drawn = (
        Signal()
    )  # the plain maps of the active slide are as the panel asks for, or there are none

    def __init__(
        self,
        viewer: Viewer,
        jobs: Jobs,
        genes: GenesPanel,
        inspect: InspectPanel,
        export: ExportPanel,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._jobs = viewer, jobs
        self._genes, self._inspect, self._export = genes, inspect, export
        self._shown: dict[str, Shown] = {}  # by the slide's fingerprint
        self._active: str | None = None
        self._is_stale = False
        self._is_scoring = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self._refresh)
        self.turns = LayerTurns(viewer, parent=self)
        self.together = Together(self.turns, parent=self)
        self.together.left.connect(self._leave_soon)
        genes.gene_chosen.connect(self._note_gene)
        genes.wish_changed.connect(self._on_wish)
        genes.opacity_chosen.connect(self._set_opacity)
        genes.clustering_wanted.connect(self._want_clustering)
        viewer.canvas.overlay_tiling.top_right = "vertical"  # title above its colour bar
        viewer.mouse_move_callbacks.append(self._read_out)

    def begin(
        self, slide: Slide, prediction: Prediction, reliability: Mapping[str, float | None]
    ) -> None:
        """Show a prediction, in place of an older one of the same slide."""
        older = self._shown.pop(slide.fingerprint, None)
        if older is not None:
            self.together.end()
            older.facts.stop()
        older_maps = older.maps if older is not None else None
        mpp = slide.require_mpp()
        maps = MapLayers(self.turns, prediction, mpp, self._opacity(), older_maps)
        facts = GeneFacts(self._jobs, prediction, maps.values)
        gene = (
            older.gene if older and older.gene in prediction.genes else most_reliable(reliability)
        )
        gene = gene if gene in prediction.genes else prediction.genes[0]
        shown = Shown(slide, maps, facts, reliability, gene)
        self._shown[slide.fingerprint] = shown
        maps.limits_edited.connect(self._keep_limits)
        facts.column_ready.connect(lambda column: self._fill_column(shown, column))
        facts.limits_ready.connect(self._draw)
        if self._active == slide.fingerprint:  # else the user went to another slide meanwhile
            self._fill_panels()
            maps.select()
        if prediction.done.any():  # from an earlier run; one that goes on lets go of it again
            facts.start()

    def grow(self, slide: Slide) -> None:
        """More spots are done: draw the map anew, soon."""
        shown = self._shown.get(slide.fingerprint)
        if shown is not None:
            shown.facts.forget()
        if slide.fingerprint == self._active:
            self._is_stale = True
            if not self._timer.isActive():
                self._timer.start()

    def finish(self, slide: Slide) -> None:
        """No more spots come: draw the map as it stays, and compute what the list is sorted by."""
        shown = self._shown.get(slide.fingerprint)
        if shown is None:
            return
        shown.facts.start()
        if slide.fingerprint == self._active:
            self._is_stale = False
            self._draw()

    def put_away(self, slide: Slide) -> None:
        """Show no map of a slide any more, until a prediction is chosen or made."""
        shown = self._shown.get(slide.fingerprint)
        if shown is None or shown.is_away:
            return
        self.together.end()
        shown.facts.stop()
        shown.is_away = True
        shown.maps.hide()
        if slide.fingerprint == self._active:
            self._fill_panels()

    def activate(self, slide: Slide | None) -> None:
        """Let the panels speak of another slide, and hide the maps of the others."""
        wanted = slide.fingerprint if slide else None
        if wanted == self._active:
            return
        self.together.end()
        self._active = wanted
        for fingerprint, shown in self._shown.items():
            if fingerprint != wanted:
                shown.maps.hide()
        self._fill_panels()

    def close(self) -> None:
        """Let go of the viewer."""
        self._timer.stop()
        for shown in self._shown.values():
            shown.facts.stop()
        self.together.close()
        self.turns.close()
        if self._read_out in self._viewer.mouse_move_callbacks:
            self._viewer.mouse_move_callbacks.remove(self._read_out)

    def maps(self) -> MapLayers | None:
        """Return the maps of the active slide."""
        shown = self.current()
        return shown.maps if shown else None

    def current(self) -> Shown | None:
        """Return what is shown of the active slide."""
        shown = self._shown.get(self._active) if self._active else None
        return None if shown is None or shown.is_away else shown

    def _opacity(self) -> float:
        return float(self._genes.opacity.value()) / 100

    def _fill_panels(self) -> None:
        shown = self.current()
        self._export.setEnabled(shown is not None)
        self._inspect.show_nothing()
        if shown is None:
            self._genes.show_genes((), {})
            self.drawn.emit()
            return
        gene, prediction = shown.gene, shown.maps.prediction
        self._export.suggested_name = f"{prediction.path.stem.rsplit('-', 1)[0]}_predicted"
        self._genes.show_genes(prediction.genes, shown.reliability, prediction.unit)
        for column in shown.facts.columns:
            self._fill_column(shown, column)
        self._genes.choose(gene)
        self._draw()

    def _fill_column(self, shown: Shown, column: int) -> None:
        if shown is self.current():
            self._genes.table.fill_column(column, shown.facts.columns[column])

    def _want_clustering(self) -> None:
        shown = self.current()
        if shown is not None:
            shown.facts.want_clustering()

    def _refresh(self) -> None:
        if self._is_stale:
            self._is_stale = False
            self._draw()

    def _draw(self) -> None:
        """Bring the active slide's maps in line with what the panel asks for."""
        shown = self.current()
        if shown is not None:
            self._arrange(shown)
            self.drawn.emit()

    def _arrange(self, shown: Shown) -> None:
        wish, maps = self._genes.wish(), shown.maps
        of_all = shown.facts.limits_of_all
        maps.set_shape(wish.shape)
        maps.set_colormap(wish.colormap)
        if wish.arrangement == MIX:
            maps.show_field("none")  # frees the name of its gene for the mixture
        if wish.arrangement != BESIDE:  # hides these layers itself, and brings them back
            self.together.show(shown.slide, maps, wish, of_all, self._opacity())
        if wish.arrangement == SCORE:
            if shown.score is not None:
                maps.show_field(wish.field)
            self._score(shown, wish)
            return
        maps.show_gene(shown.gene, wish.colours, of_all)
        maps.show_field(wish.field if wish.arrangement == ONE else "none")
        if wish.arrangement == BESIDE:
            self.together.show(shown.slide, maps, wish, of_all, self._opacity())

    def _score(self, shown: Shown, wish: Wish) -> None:
        """Compute a score off the GUI thread, and show it if it is still asked for."""
        if self._is_scoring:
            self._is_stale = True
            return

        def found(score: GeneScore) -> None:
            self._is_scoring = False
            title = score_title(wish.set_name, score.n_used, wish.n_named)
            shown.score = (title, score)
            if shown is self.current() and self._genes.wish().arrangement == SCORE:
                limits = wish.colours.for_another_unit().limits(score.values)
                shown.maps.show_score(score.values, title, limits)
                shown.maps.show_field(wish.field)
                shown.maps.select()
            self._refresh()

        self._is_scoring = True
        self._jobs.start(
            _score_of, shown.maps.values, wish.genes, done=found, failed=self._not_scored
        )

    def _not_scored(self) -> None:
        self._is_scoring = False

    def _note_gene(self, gene: str) -> None:
        shown = self.current()
        if shown is not None:
            shown.gene = gene

    def _on_wish(self) -> None:
        shown = self.current()
        if shown is None:
            return
        self._draw()
        if not self.together.arrangement():  # which choose a layer by themselves
            shown.maps.select()
        if self._genes.wish().arrangement == ONE:
            low, high = shown.maps.layer("mean").contrast_limits
            self._genes.look.suggest_fixed(low, high)

    def _keep_limits(self, low: float, high: float) -> None:
        """Take limits set in napari as the fixed ones; those of a score are no values of expression."""
        if self._genes.wish().arrangement == ONE:
            self._genes.look.show_fixed(low, high)

    def _leave_soon(self) -> None:
        """End the views side by side, once the layer list has finished what it is doing."""
        QTimer.singleShot(0, self._leave)

    def _leave(self) -> None:
        if self.together.arrangement() == BESIDE:
            self._genes.choose_arrangement(ONE)

    def _set_opacity(self, opacity: float) -> None:
        for shown in self._shown.values():
            shown.maps.set_opacity(opacity)
        self.together.set_opacity(opacity)

    def _read_out(self, viewer: Viewer, event: Any) -> None:
        shown = self.current()
        spot = shown.maps.spot_at(event.position) if shown else None
        if shown is None or spot is None:
            self._inspect.show_nothing()
            return
        wish, prediction = self._genes.wish(), shown.maps.prediction
        is_unlike = bool(prediction.ood[spot])
        if wish.arrangement == SCORE and shown.score is not None:
            title, score = shown.score
            self._inspect.show_score(title, float(score.values[spot]), is_unlike=is_unlike)
            return
        genes = wish.genes if wish.arrangement in {MIX, BESIDE} else (shown.gene,)
        readings = [shown.maps.values.reading(gene, spot) for gene in genes]
        self._inspect.show_spot(readings, prediction.unit, is_unlike=is_unlike)


def _score_of(values: GeneValues, genes: tuple[str, ...]) -> GeneScore:
    return mean_z_score(values.values(gene) for gene in genes)
