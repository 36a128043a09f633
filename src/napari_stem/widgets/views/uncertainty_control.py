"""Carries out what the uncertainty panel asks for: replaces the map by one that says how sure it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import ensure_colormap
from qtpy.QtCore import QObject

from napari_stem.layers import colour_limits, map_title
from napari_stem.layers.uncertainty import Fading, faded_colours, probability_over
from napari_stem.widgets.genes.gene_samples import SampleReader
from napari_stem.widgets.genes.genes_panel import BESIDE, ONE, VIEWS
from napari_stem.widgets.genes.map_layers import uncertainty_colormap
from napari_stem.widgets.genes.uncertainty_layers import UncertaintyLayers
from napari_stem.widgets.views.uncertainty_panel import FADED, MEAN, PROBABLE, SAMPLE, SD, WIDTH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.genes.gene_samples import GeneSamples
    from napari_stem.widgets.genes.genes_panel import GenesPanel
    from napari_stem.widgets.genes.map_display import MapDisplay, Shown
    from napari_stem.widgets.views.uncertainty_panel import UncertaintyPanel

NOT_KEPT = (
    "The single samples of this prediction were not kept, as they would have been too large: run a smaller "
    "region, fewer samples or a wider spacing to see this."
)
ONE_GENE_ONLY = "This is shown for one gene at a time: choose One gene in Genes."
READING = "Reading the samples …"
NO_DOMAIN = "This model cannot tell which spots are unlike its training tissue; none is outlined."


class UncertaintyControl(QObject):
    """Keeps the active slide's uncertainty views in line with its gene, its map and the panel.

    Parameters
    ----------
    viewer, jobs
        Where layers are shown, and where samples are read.
    panel, genes, maps
        What asks, what is asked for besides, and what draws the plain map.
    """

    def __init__(
        self,
        jobs: Jobs,
        panel: UncertaintyPanel,
        genes: GenesPanel,
        maps: MapDisplay,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._panel, self._genes, self._maps = panel, genes, maps
        self._layers: UncertaintyLayers | None = None
        self._outlined: tuple[Any, ...] | None = None
        self._is_refreshing = False
        self.samples = SampleReader(jobs, parent=self)
        self.samples.ready.connect(self.refresh)
        maps.drawn.connect(self.refresh)
        genes.opacity_chosen.connect(self.refresh)
        panel.changed.connect(self.refresh)
        panel.expression_chosen.connect(lambda: self._show_field("mean"))
        panel.uncertainty_chosen.connect(lambda: self._show_field("sd"))

    def layers(self) -> UncertaintyLayers | None:
        """Return the layers of the active slide, None where there are none yet."""
        return self._layers

    def refresh(self) -> None:
        """Bring the layers in line with what is asked for."""
        if self._is_refreshing:  # choosing a layer can end up here again
            return
        self._is_refreshing = True
        try:
            self._refresh()
        finally:
            self._is_refreshing = False

    def _refresh(self) -> None:
        shown = self._maps.current()
        self._panel.setEnabled(shown is not None)
        if self._layers is not None and (shown is None or self._layers.maps is not shown.maps):
            self._layers.hide()
            self._outlined = None
        if shown is None:
            self._panel.show_message("")
            self._panel.show_legend("")
            return
        mpp = shown.slide.require_mpp()
        if self._layers is None:
            self._layers = UncertaintyLayers(self._maps.turns, shown.maps, mpp)
        elif self._layers.maps is not shown.maps:
            self._layers.serve(shown.maps, mpp)
        self._outline(self._layers, shown)
        self._draw(self._layers, shown)

    def _show_field(self, field: str) -> None:
        """Show the expression or the uncertainty, whichever was just spoken of."""
        fields = [name for name, _ in VIEWS.values()]
        button = self._genes.views.button(fields.index(field))
        if button.isEnabled():
            button.setChecked(True)
        self._genes.wish_changed.emit()  # draws the plain map anew, and then ours

    # the map

    def _draw(self, layers: UncertaintyLayers, shown: Shown) -> None:
        look, wish = self._panel.look(), self._genes.wish()
        kind = {"mean": look.expression, "sd": look.uncertainty}.get(wish.field, MEAN)
        self._panel.show_message("")
        if kind in {MEAN, SD}:
            layers.hide_map()
            return
        if wish.arrangement != ONE:
            layers.hide_map()
            self._panel.show_message(ONE_GENE_ONLY)
            return
        prediction = shown.maps.prediction
        samples = None if kind == FADED else self.samples.get(prediction, shown.gene)
        if kind in {PROBABLE, SAMPLE} and not prediction.n_kept_draws:
            layers.hide_map()
            self._panel.show_message(NOT_KEPT)
            return
        if samples is None and kind != FADED:
            self._panel.show_message(READING)
            return
        shown.maps.show_field("none")
        {FADED: self._fade, PROBABLE: self._mask, SAMPLE: self._one_sample, WIDTH: self._width}[
            kind
        ](layers, shown, samples)
        if layers.map is not None:
            self._maps.turns.select(layers.map.layer)

    def _colours(self, shown: Shown) -> tuple[NDArray[np.float32], tuple[float, float], str]:
        """Means of the gene, and the limits and the name of the colours of its plain map."""
        wish = self._genes.wish()
        values = shown.maps.values.values(shown.gene)
        return values, wish.colours.limits(values, shown.facts.limits_of_all), wish.colormap

    def _opacity(self) -> float:
        return float(self._genes.opacity.value()) / 100

    def _fade(self, layers: UncertaintyLayers, shown: Shown, _: GeneSamples | None) -> None:
        values, limits, colormap = self._colours(shown)
        sd = shown.maps.values.values(shown.gene, "sd")
        fading = Fading.of(sd)
        scaled = np.clip((values - limits[0]) / (limits[1] - limits[0]), 0, 1)
        rgba = ensure_colormap(colormap).map(np.nan_to_num(scaled))
        title = _title(shown, "faint where unsure")
        layers.show_faded(
            faded_colours(rgba, fading.opacity(sd)), title, limits, colormap, self._opacity()
        )
        self._panel.show_message(
            f"Fully shown where the standard deviation is {fading.sure:.2f} or less, nearly clear from "
            f"{fading.unsure:.2f} on ({shown.maps.prediction.unit})."
        )

    def _mask(self, layers: UncertaintyLayers, shown: Shown, samples: GeneSamples | None) -> None:
        if samples is None or samples.draws is None:
            return
        look = self._panel.look()
        values, limits, colormap = self._colours(shown)
        known = samples.draws[np.isfinite(samples.draws).all(axis=1)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        threshold = low + look.share * (high - low)
        probability = probability_over(samples.draws, threshold)
        is_shown = probability > look.probability
        title = _title(shown, f"where P(above {threshold:.2f}) > {look.probability:.0%}")
        layers.show_map(
            np.where(is_shown, values, np.float32(np.nan)), title, limits, colormap, self._opacity()
        )
        n_spots = int(np.isfinite(probability).sum())
        self._panel.show_threshold(threshold, int(is_shown.sum()), n_spots)

    def _one_sample(
        self, layers: UncertaintyLayers, shown: Shown, samples: GeneSamples | None
    ) -> None:
        if samples is None or samples.draws is None:
            return
        n_draws = samples.draws.shape[1]
        self._panel.show_samples(n_draws)
        number = min(self._panel.look().sample, n_draws - 1)
        _, limits, colormap = self._colours(shown)
        text = f"sample {number + 1} of {n_draws}: one possibility"
        values = samples.draws[:, number].astype(np.float32)
        layers.show_map(values, _title(shown, text), limits, colormap, self._opacity())
        self._panel.show_message(f"{text[0].upper()}{text[1:]}, predicted.")

    def _width(self, layers: UncertaintyLayers, shown: Shown, samples: GeneSamples | None) -> None:
        if samples is None:
            return
        width = samples.high - samples.low
        title = _title(shown, "width of 90% interval")
        colormap = uncertainty_colormap(self._genes.wish().colormap)
        layers.show_map(width, title, colour_limits(width), colormap, self._opacity())

    # outlines

    def _outline(self, layers: UncertaintyLayers, shown: Shown) -> None:
        prediction = shown.maps.prediction
        if prediction.provenance.get("domain") == "unknown":
            self._panel.show_legend(NO_DOMAIN)
            return
        wish, is_wanted = self._genes.wish(), self._panel.look().is_outlined
        unlike = prediction.ood & prediction.done
        n_unlike, n_done = int(unlike.sum()), int(prediction.done.sum())
        # side by side every layer of its own would take a view
        is_seen = is_wanted and wish.field != "none" and wish.arrangement != BESIDE
        state = (is_seen, wish.shape, n_unlike)
        if state != self._outlined:
            self._outlined = state
            layers.show_outlines(
                unlike if is_seen else np.zeros_like(unlike), is_square=wish.shape == "square"
            )
        looks = "looks" if n_unlike == 1 else "look"
        told = (
            f"{n_unlike:,} of {n_done:,} spots {looks} unlike the tissue that the model learnt from"
        )
        outlined = ", outlined in red: not to be relied on." if is_seen else "."
        self._panel.show_legend(told + (outlined if n_unlike else "."))


def _title(shown: Shown, what: str) -> str:
    """Name of a map as `map_title` gives it, with what is special about it before the unit."""
    plain, unit = map_title(shown.gene, "mean", ""), shown.maps.prediction.unit
    return f"{plain.rstrip(', ')}, {what}, {unit}"
