"""Uncertainty: how sure the model is, seen in the map instead of beside it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QLabel, QToolButton, QWidget

from napari_stem.layers.values import Fading, map_title, probability_over
from napari_stem.texts import count
from napari_stem.widgets.common.form import slider
from napari_stem.widgets.common.hints import ONE_GENE_ONLY, TOO_LARGE
from napari_stem.widgets.common.keys import NEXT_SAMPLE, PREVIOUS_SAMPLE, shortcut
from napari_stem.widgets.common.parts import Note, choice, labelled, row_widget, stack
from napari_stem.widgets.genes.layer_queue import OUTLINES_RANK, SPECIAL_RANK
from napari_stem.widgets.genes.map_layers import SpotMap, SpotOutlines
from napari_stem.widgets.state import (
    BESIDE,
    FADED,
    MEAN,
    NOTHING,
    OF_SPECIAL_MAPS,
    ONE,
    PROBABLE,
    SAMPLE,
    SD,
    WIDTH,
    uncertainty_colormap,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_stem.widgets.genes.active_prediction import ActivePrediction, GeneSamples
    from napari_stem.widgets.genes.map_display import MapDisplay

    Made = tuple[SpotMap, str]

SD_INSTEAD = " The standard deviation is shown instead."
NO_DOMAIN = "This model cannot tell which spots are unlike its training tissue; none is outlined."
STEPS = 100
OUTLINE_COLOUR = "#ff3b00"  # seen on stained tissue, glass, and every colour of the usual maps
LEGEND = (20, 180), 8  # the titles say more than those of plain maps
UNTOLD = OF_SPECIAL_MAPS | {"is_outlined"}  # after these `MapDisplay.map_updated` is not emitted


class Kind(NamedTuple):
    """A kind of map that can stand for expression or for uncertainty."""

    title: str
    tip: str
    # gives the map and a sentence about it; None: the plain map is it
    make: Callable[[UncertaintyPanel, ActivePrediction, Any], Made] | None = None
    # of `GeneSamples`, its last argument: the interval, which there always is, or draws
    needs: Literal["", "interval", "draws"] = ""


def _map(panel: UncertaintyPanel, active: ActivePrediction, what: str) -> SpotMap:
    """Map of the expression, with what is special about another in its title, before the unit."""
    title = f"{map_title(active.gene, 'mean')}, {what}, {active.prediction.unit}"
    return replace(active.gene_map(active.gene, "mean", panel.settings), title=title)


def _faded(panel: UncertaintyPanel, active: ActivePrediction, _: None) -> Made:
    sd = active.values(active.gene, "sd")
    fading = Fading.of(sd)
    shown = _map(panel, active, "faint where unsure")
    return replace(shown, opacity=fading.opacity(sd)), (
        f"Fully shown where the standard deviation is {fading.sure:.2f} or less, nearly clear from "
        f"{fading.unsure:.2f} on ({active.prediction.unit})."
    )


def _probable(panel: UncertaintyPanel, active: ActivePrediction, samples: GeneSamples) -> Made:
    settings, draws = panel.settings, samples.draws
    known = draws[np.isfinite(draws).all(axis=1)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    threshold = low + settings.share * (high - low)
    probability = probability_over(draws, threshold)
    is_shown = probability > settings.probability
    panel.threshold_label.setText(f"{threshold:.2f}")
    what = f"where P(above {threshold:.2f}) > {settings.probability:.0%}"
    shown = _map(panel, active, what)
    values = np.where(is_shown, shown.values, np.float32(np.nan))
    return replace(shown, values=values, probability=probability), (
        f"{int(is_shown.sum()):,} of {count(int(np.isfinite(probability).sum()), 'spot')}: above "
        f"{threshold:.2f} with a probability over {settings.probability:.0%}."
    )


def _sample(panel: UncertaintyPanel, active: ActivePrediction, samples: GeneSamples) -> Made:
    n_draws = samples.draws.shape[1]
    number = min(panel.settings.sample, n_draws - 1)
    text = f"sample {number + 1} of {n_draws}: one possibility"
    values = samples.draws[:, number].astype(np.float32)
    shown = replace(_map(panel, active, text), values=values)
    return shown, f"{text[0].upper()}{text[1:]}, predicted."


def _width(panel: UncertaintyPanel, active: ActivePrediction, samples: GeneSamples) -> Made:
    width = samples.high - samples.low
    limits = panel.settings.range_of(WIDTH).limits(width)
    shown = _map(panel, active, "width of 90% interval")
    colours = uncertainty_colormap(panel.settings.colormap)
    return replace(shown, values=width, limits=limits, colormap=colours), ""


EXPRESSION = {
    MEAN: Kind("Mean", "The map as it is"),
    FADED: Kind(
        "Mean, faint where unsure",
        "Opacity follows confidence: spots are fully shown where the standard deviation of the gene's "
        "samples is among the smallest 5% on this slide, and nearly clear where it is among the largest "
        "5%; in between opacity falls in proportion.",
        _faded,
    ),
    PROBABLE: Kind(
        "Mean, only where probably high",
        "Shows the spots in which enough of the samples lie above an expression that you set. "
        "The probability is the share of samples above it.",
        _probable,
        needs="draws",
    ),
    SAMPLE: Kind(
        "Single samples",
        "Flip through the samples: each is one map that the model considers possible. What stays is "
        "sure, what flickers is not.",
        _sample,
        needs="draws",
    ),
}
UNCERTAINTY = {
    SD: Kind("Standard deviation", "Of a spot's samples"),
    WIDTH: Kind(
        "Width of 90% interval",
        "From the 5% to the 95% quantile of a spot's samples",
        _width,
        needs="interval",
    ),
}
KINDS = EXPRESSION | UNCERTAINTY


class UncertaintyPanel(QWidget):
    """Asks how uncertainty is shown, and shows it in line with the active prediction."""

    def __init__(self, maps: MapDisplay) -> None:
        super().__init__()
        self._maps = maps
        self.settings = settings = maps.settings
        self._outlined: tuple[object, ...] | None = None
        self.map = maps.new_layer("uncertainty", SPECIAL_RANK, LEGEND)
        name = "Spots unlike the training tissue"
        self.outlines = SpotOutlines(
            maps.layer_queue, "unlike", name, (OUTLINE_COLOUR,), OUTLINES_RANK
        )
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
                "Expression as": self.expression_choice,
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
        settings.changed.connect(lambda names: self.refresh() if names <= UNTOLD else None)
        maps.map_updated.connect(self.refresh)
        maps.samples_read.connect(self._on_samples)
        maps.offer(self.special_map, self.map)
        self.refresh()

    def choose_expression(self, kind: str) -> None:
        """Choose how expression is shown, and have it on the map, as a click does."""
        self.settings.apply(expression=kind, view=MEAN)

    def choose_uncertainty(self, kind: str) -> None:
        """Choose how uncertainty is shown, and have it on the map where it can be, as a click does."""
        has_map = self.settings.arrangement in {ONE, BESIDE}
        self.settings.apply(uncertainty=kind, view=SD if has_map else MEAN)

    def _on_samples(self) -> None:
        if self.settings.kind in KINDS and KINDS[self.settings.kind].needs:
            self._maps.draw_special()

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
        """Bring what is said here, and the outlines, in line with what is asked for."""
        active = self._maps.current()
        self._show_choices(0 if active is None else active.prediction.n_kept_draws)
        self.setEnabled(active is not None)
        if active is None:
            self.message.say("")
            self.legend.say("")
            self._outlined = None
            self.outlines.hide()
            return
        self._outline(active)

    def special_map(self, active: ActivePrediction) -> SpotMap | None:
        """Return the map that is asked for in place of the plain one, and say what is special about it.

        None where the plain one is asked for, or no other can be shown; then why not is said.
        """
        kind = self.settings.kind
        asked, samples, shown, text = KINDS.get(kind), None, None, ""
        if asked is None or asked.make is None:
            pass  # the plain map is asked for, or what another panel offers
        elif self.settings.shown_arrangement != ONE:
            text = ONE_GENE_ONLY + (SD_INSTEAD if kind in UNCERTAINTY else "")
        elif asked.needs == "draws" and not active.prediction.n_kept_draws:
            text = f"{TOO_LARGE} to see this."
        elif asked.needs and (samples := self._maps.samples()) is None:
            shown, text = self._maps.kept_map(active, kind), "Reading the samples …"
        else:
            made, text = asked.make(self, active, samples)
            shown = replace(made, kind=kind)
        self.message.say(text)
        return shown

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
        state = (is_seen, settings.spot_shape, n_unlike, prediction.path)
        if state != self._outlined:  # else one that the user took away stays away
            self._outlined = state
            if is_seen:
                self.outlines.show(prediction, active.mpp, unlike, settings.spot_shape)
            else:
                self.outlines.hide()
        n_done, look = int(prediction.done.sum()), "looks" if n_unlike == 1 else "look"
        of_all = f"{n_unlike:,} of {count(n_done, 'spot')}"
        text = f"{of_all} {look} unlike the tissue that the model learnt from"
        outlined = ", outlined in red: not to be relied on." if is_seen else "."
        self.legend.say(text + (outlined if n_unlike else "."))


def _choice(kinds: dict[str, Kind], act: Callable[[str], None]) -> QComboBox:
    told = {name: (kind.title, kind.tip) for name, kind in kinds.items()}
    tips = "\n\n".join(f"{title}: {tip}" for title, tip in told.values())
    return choice(told, tips, act)
