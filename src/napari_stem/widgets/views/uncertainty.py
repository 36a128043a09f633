"""Uncertainty: how sure the model is, seen in the map instead of beside it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.colormaps import ensure_colormap
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QLabel, QToolButton, QWidget

from napari_stem.layers.values import (
    Fading,
    colour_limits,
    faded_colours,
    map_title,
    probability_over,
)
from napari_stem.widgets.common.form import slider
from napari_stem.widgets.common.hints import TOO_LARGE
from napari_stem.widgets.common.keys import NEXT_SAMPLE, PREVIOUS_SAMPLE, shortcut
from napari_stem.widgets.common.parts import Note, choice, labelled, row_widget, stack
from napari_stem.widgets.genes import map_turns
from napari_stem.widgets.genes.map_layers import ColourMap, ScalarMap, SpotMap, SpotOutlines
from napari_stem.widgets.state import (
    BESIDE,
    DOUBT,
    FADED,
    MEAN,
    NOTHING,
    ONE,
    PROBABLE,
    SAMPLE,
    SD,
    WIDTH,
    uncertainty_colormap,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_stem.widgets.genes.active_prediction import ActivePrediction, GeneSamples
    from napari_stem.widgets.genes.map_display import MapDisplay

EXPRESSION = {
    MEAN: ("Mean of all samples", "The map as it is"),
    FADED: (
        "Mean, faint where unsure",
        "Opacity follows confidence: spots are fully shown where the standard deviation of the gene's "
        "samples is among the smallest 5% on this slide, and nearly clear where it is among the largest "
        "5%; in between opacity falls in proportion.",
    ),
    PROBABLE: (
        "Mean, only where probably high",
        "Shows the spots in which enough of the samples lie above an expression that you set. "
        "The probability is the share of samples above it.",
    ),
    SAMPLE: (
        "Single samples",
        "Flip through the samples: each is one map that the model considers possible. What stays is "
        "sure, what flickers is not.",
    ),
}
UNCERTAINTY = {
    SD: ("Standard deviation", "Of a spot's samples"),
    WIDTH: ("Width of the 90% interval", "From the 5% to the 95% quantile of a spot's samples"),
}
ONE_GENE_ONLY = "This is shown for one gene at a time: choose One gene in Genes."
NO_DOMAIN = "This model cannot tell which spots are unlike its training tissue; none is outlined."
STEPS = 100
OUTLINE_COLOUR = "#ff3b00"  # seen on stained tissue, glass, and every colour of the usual maps
LEGEND = (20, 180), 8  # the titles say more than those of plain maps


class UncertaintyPanel(QWidget):
    """Asks how uncertainty is shown, and shows it in line with the active prediction."""

    def __init__(self, maps: MapDisplay) -> None:
        super().__init__()
        self._maps, turns = maps, maps.turns
        self.settings = settings = maps.settings
        self._outlined: tuple[object, ...] | None = None
        self.map = ScalarMap(turns, "uncertainty", map_turns.UNSURE, LEGEND)
        self.faded = ColourMap(turns, "faded", "Predicted, faint where unsure", map_turns.FADED)
        name = "Spots unlike the training tissue"
        self.outlines = SpotOutlines(turns, "unlike", name, (OUTLINE_COLOUR,), map_turns.OUTLINES)
        self.expression_choice = _choice(EXPRESSION, self.choose_expression)
        self.uncertainty_choice = _choice(UNCERTAINTY, self.choose_uncertainty)
        self.threshold = slider((0, STEPS), 50, "Expression that the samples must exceed")
        self.probability = slider((5, 97), 80, "Share of samples that must exceed it")
        self.sample = slider((1, 1), 1, "Samples of this prediction")
        self.threshold_label, self.probability_label = QLabel(), QLabel()
        self.previous_button, self.next_button = QToolButton(), QToolButton()
        self.outline_box = QCheckBox("Outline spots unlike the training tissue")
        self.legend, self.message = Note(), Note()
        self._threshold_row = row_widget(self.threshold, self.threshold_label, stretched=0)
        self._probability_row = row_widget(self.probability, self.probability_label, stretched=0)
        sampled = self.previous_button, self.sample, self.next_button
        self._sample_row = row_widget(*sampled, stretched=1)
        self._form = labelled(
            {
                "Quantity": self.expression_choice,
                "Above": self._threshold_row,
                "Probability": self._probability_row,
                "Sample": self._sample_row,
                "Uncertainty as": self.uncertainty_choice,
            }
        )
        stack(self, self._form, self.message, self.outline_box, self.legend)
        self.threshold.valueChanged.connect(lambda value: settings.update(share=value / STEPS))
        self.probability.valueChanged.connect(
            lambda value: settings.update(probability=value / 100)
        )
        self.sample.valueChanged.connect(lambda value: settings.update(sample=value - 1))
        self.outline_box.toggled.connect(lambda on: settings.update(is_outlined=on))
        self.shortcuts = []
        arrow = Qt.ArrowType
        for button, key, which, pointing, samples in (
            (self.next_button, NEXT_SAMPLE, "Next", arrow.RightArrow, 1),
            (self.previous_button, PREVIOUS_SAMPLE, "Previous", arrow.LeftArrow, -1),
        ):
            button.setArrowType(pointing)
            button.setToolTip(f"{which} sample (key {key.sequence})")
            button.clicked.connect(partial(self.step, samples))
            self.shortcuts.append(shortcut(key, self, partial(self.step, samples)))
        # else the plain map is drawn first
        settings.changed.connect(lambda names: self.refresh() if names <= DOUBT else None)
        self._maps.drawn.connect(self.refresh)
        self._maps.samples_read.connect(self.refresh)
        self.refresh()

    def choose_expression(self, kind: str) -> None:
        """Choose how expression is shown, and have it on the map, as a click does."""
        self.settings.ask(expression=kind, view=MEAN)

    def choose_uncertainty(self, kind: str) -> None:
        """Choose how uncertainty is shown, and have it on the map where it can be, as a click does."""
        has_map = self.settings.arrangement in {ONE, BESIDE}
        self.settings.ask(uncertainty=kind, view=SD if has_map else MEAN)

    def step(self, samples: int, *_: object) -> None:
        """Go to another sample; after the last comes the first."""
        n_samples = self.sample.maximum()
        self.sample.setValue((self.sample.value() - 1 + samples) % n_samples + 1)

    def _show_choices(self, n_samples: int) -> None:
        settings, kind = self.settings, self.settings.expression
        with QSignalBlocker(self.sample):
            self.sample.setRange(1, max(1, n_samples))
        self.expression_choice.setCurrentIndex(list(EXPRESSION).index(kind))
        self.uncertainty_choice.setCurrentIndex(list(UNCERTAINTY).index(settings.uncertainty))
        for shown, value in (
            (self.threshold, round(settings.share * STEPS)),
            (self.probability, round(settings.probability * 100)),
            (self.sample, settings.sample + 1),
        ):
            with QSignalBlocker(shown):
                shown.setValue(value)
        self.outline_box.setChecked(settings.is_outlined)
        for line in (self._threshold_row, self._probability_row):
            self._form.setRowVisible(line, kind == PROBABLE)
        self._form.setRowVisible(self._sample_row, kind == SAMPLE)
        self.probability_label.setText(f"over {self.probability.value()}%")
        for each in self.shortcuts:
            each.setEnabled(kind == SAMPLE)

    def refresh(self) -> None:
        """Bring the layers in line with what is asked for."""
        active = self._maps.current()
        self._show_choices(0 if active is None else active.prediction.n_kept_draws)
        self.setEnabled(active is not None)
        self.message.say("")
        if active is None:
            self.legend.say("")
            self._outlined = None
            self.outlines.hide()
            self._hide_map()
            return
        self._outline(active)
        self._draw(active)

    def _draw(self, active: ActivePrediction) -> None:
        settings = self.settings
        kind = {MEAN: settings.expression, SD: settings.uncertainty}.get(settings.field, MEAN)
        is_plain, why_not = kind in {MEAN, SD}, ""
        if not is_plain and settings.shown_arrangement != ONE:
            why_not = ONE_GENE_ONLY
        elif kind in {PROBABLE, SAMPLE} and not active.prediction.n_kept_draws:
            why_not = f"{TOO_LARGE} to see this."
        if is_plain or why_not:
            self._hide_map()
            self.message.say(why_not)
            return
        if kind == FADED:
            self._fade(active)
        elif (samples := self._maps.samples()) is None:
            self.message.say("Reading the samples …")
            return
        else:
            self.faded.hide()
            if kind == WIDTH or samples.draws is None:
                self._show_width(active, samples)
            elif kind == PROBABLE:
                self._show_probable(active, samples.draws)
            else:
                self._show_sample(active, samples.draws)
        self._maps.hide_plain()
        self._maps.turns.select(self.map.layer)

    def _hide_map(self) -> None:
        self.map.hide()
        self.faded.hide()

    def _titled(self, active: ActivePrediction, what: str) -> SpotMap:
        """Plain map of the expression, with what is special about it in its title before the unit."""
        plain, unit = map_title(active.gene, "mean"), active.prediction.unit
        title = f"{plain}, {what}, {unit}"
        return replace(active.gene_map(active.gene, "mean", self.settings), title=title)

    def _fade(self, active: ActivePrediction) -> None:
        shown = self._titled(active, "faint where unsure")
        sd = active.values(active.gene, "sd")
        fading, (low, high) = Fading.of(sd), shown.limits
        scaled = np.clip((shown.values - low) / (high - low), 0, 1)
        rgba = ensure_colormap(shown.colormap).map(np.nan_to_num(scaled))
        colours = faded_colours(rgba, fading.opacity(sd))
        # an empty map beside the colours keeps the legend
        self.map.show(replace(shown, values=np.full(len(colours), np.nan, np.float32)))
        self.faded.show(shown.grid, colours, shown.about["prediction"])
        self.message.say(
            f"Fully shown where the standard deviation is {fading.sure:.2f} or less, nearly clear from "
            f"{fading.unsure:.2f} on ({active.prediction.unit})."
        )

    def _show_probable(self, active: ActivePrediction, draws: NDArray[np.float16]) -> None:
        settings = self.settings
        known = draws[np.isfinite(draws).all(axis=1)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        threshold = low + settings.share * (high - low)
        probability = probability_over(draws, threshold)
        is_shown = probability > settings.probability
        shown = self._titled(active, f"where P(above {threshold:.2f}) > {settings.probability:.0%}")
        values = np.where(is_shown, shown.values, np.float32(np.nan))
        self.map.show(replace(shown, values=values))
        self.threshold_label.setText(f"{threshold:.2f}")
        self.message.say(
            f"{int(is_shown.sum()):,} of {int(np.isfinite(probability).sum()):,} spots: above "
            f"{threshold:.2f} with a probability over {settings.probability:.0%}."
        )

    def _show_sample(self, active: ActivePrediction, draws: NDArray[np.float16]) -> None:
        n_draws = draws.shape[1]
        number = min(self.settings.sample, n_draws - 1)
        text = f"sample {number + 1} of {n_draws}: one possibility"
        values = draws[:, number].astype(np.float32)
        self.map.show(replace(self._titled(active, text), values=values))
        self.message.say(f"{text[0].upper()}{text[1:]}, predicted.")

    def _show_width(self, active: ActivePrediction, samples: GeneSamples) -> None:
        width, plain = samples.high - samples.low, self._titled(active, "width of 90% interval")
        colours = uncertainty_colormap(self.settings.colormap)
        limits = colour_limits(width)
        self.map.show(replace(plain, values=width, limits=limits, colormap=colours))

    def _outline(self, active: ActivePrediction) -> None:
        prediction, settings = active.prediction, self.settings
        if not prediction.knows_domain:
            self.outlines.hide()
            self.legend.say(NO_DOMAIN)
            return
        unlike = np.flatnonzero(prediction.ood & prediction.done)
        n_unlike = len(unlike)
        # side by side every layer of its own would take a view
        is_seen = (
            settings.is_outlined
            and settings.field != NOTHING
            and settings.shown_arrangement != BESIDE
        )
        state = (is_seen, settings.shape, n_unlike, prediction.path)
        if state != self._outlined:  # else one that the user took away stays away
            self._outlined = state
            if is_seen:
                mpp = active.slide.require_mpp()
                self.outlines.show(prediction, mpp, unlike, settings.shape)
            else:
                self.outlines.hide()
        looks = "looks" if n_unlike == 1 else "look"
        n_done = int(prediction.done.sum())
        text = (
            f"{n_unlike:,} of {n_done:,} spots {looks} unlike the tissue that the model learnt from"
        )
        outlined = ", outlined in red: not to be relied on." if is_seen else "."
        self.legend.say(text + (outlined if n_unlike else "."))


def _choice(options: dict[str, tuple[str, str]], act: Callable[[str], None]) -> QComboBox:
    tips = "\n\n".join(f"{title}: {tip}" for title, tip in options.values())
    return choice(options, tips, act, is_narrow=True)
