"""Uncertainty: how sure the model is, seen in the map instead of beside it."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.keys import NEXT_SAMPLE, PREVIOUS_SAMPLE
from napari_stem.widgets.common.parts import note

MEAN, FADED, PROBABLE, SAMPLE = "mean", "faded", "probable", "sample"
SD, WIDTH = "sd", "width"
EXPRESSION = {
    "Mean of all samples": (MEAN, "The map as it is"),
    "Mean, faint where unsure": (
        FADED,
        "Opacity follows confidence: spots are fully shown where the standard deviation of the gene's "
        "samples is among the smallest 5% on this slide, and nearly clear where it is among the largest "
        "5%; in between opacity falls in proportion.",
    ),
    "Mean, only where probably high": (
        PROBABLE,
        "Shows the spots in which enough of the samples lie above an expression that you set. "
        "The probability is the share of samples above it.",
    ),
    "Single samples": (
        SAMPLE,
        "Flip through the samples: each is one map that the model considers possible. What stays is "
        "sure, what flickers is not.",
    ),
}
UNCERTAINTY = {
    "Standard deviation": (SD, "Of a spot's samples"),
    "Width of the 90% interval": (WIDTH, "From the 5% to the 95% quantile of a spot's samples"),
}
STEPS = 100
SHORTEST_CHOICE = 12
LEAST_PERCENT, USUAL_PERCENT, MOST_PERCENT = 5, 80, 97


@dataclass(frozen=True)
class UncertaintyLook:
    """What the panel asks for.

    Attributes
    ----------
    expression
        ``mean``, ``faded``, ``probable`` or ``sample``.
    uncertainty
        ``sd`` or ``width``.
    share
        Threshold of expression as a share of the gene's range, 0 to 1.
    probability
        That must be exceeded, 0 to 1.
    sample
        Number of the sample, from 0.
    is_outlined
        Whether spots unlike the training data are outlined.
    """

    expression: str
    uncertainty: str
    share: float
    probability: float
    sample: int
    is_outlined: bool


class UncertaintyPanel(QWidget):
    """Asks how uncertainty is shown."""

    changed = Signal()
    expression_chosen = Signal()  # the expression is wanted on the map
    uncertainty_chosen = Signal()  # the uncertainty is

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.expression_choice = _choice(EXPRESSION)
        self.uncertainty_choice = _choice(UNCERTAINTY)
        self.threshold = _slider(0, STEPS, STEPS // 2, "Expression that the samples must exceed")
        self.probability = _slider(
            LEAST_PERCENT, MOST_PERCENT, USUAL_PERCENT, "Share of samples that must exceed it"
        )
        self.sample = _slider(1, 1, 1, "Samples of this prediction")
        self.threshold_label, self.probability_label = QLabel(), QLabel()
        self.previous_button, self.next_button = QToolButton(), QToolButton()
        self.outline_box = QCheckBox("Outline spots unlike the training tissue")
        self.outline_box.setChecked(True)
        self.legend = note("")
        self.message = note("")
        self._lay_out()
        self._connect()
        self._show_rows()
        self.setEnabled(False)

    def look(self) -> UncertaintyLook:
        """Return what is asked for now."""
        return UncertaintyLook(
            expression=str(self.expression_choice.currentData()),
            uncertainty=str(self.uncertainty_choice.currentData()),
            share=self.threshold.value() / STEPS,
            probability=self.probability.value() / 100,
            sample=self.sample.value() - 1,
            is_outlined=bool(self.outline_box.isChecked()),
        )

    def show_look(self, look: UncertaintyLook) -> None:
        """Show another choice, without asking for it."""
        for choice, data in (
            (self.expression_choice, look.expression),
            (self.uncertainty_choice, look.uncertainty),
        ):
            choice.setCurrentIndex(max(0, choice.findData(data)))
        with QSignalBlocker(self.sample):
            self.sample.setMaximum(max(self.sample.maximum(), look.sample + 1))
        for widget, value in (
            (self.threshold, round(look.share * STEPS)),
            (self.probability, round(look.probability * 100)),
            (self.sample, look.sample + 1),
        ):
            with QSignalBlocker(widget):
                widget.setValue(value)
        with QSignalBlocker(self.outline_box):
            self.outline_box.setChecked(look.is_outlined)
        self._show_rows()

    def choose_expression(self, kind: str) -> None:
        """Choose how expression is shown, as a click would."""
        self.expression_choice.setCurrentIndex(self.expression_choice.findData(kind))
        self._on_expression()

    def choose_uncertainty(self, kind: str) -> None:
        """Choose how uncertainty is shown, as a click would."""
        self.uncertainty_choice.setCurrentIndex(self.uncertainty_choice.findData(kind))
        self.uncertainty_chosen.emit()

    def show_threshold(self, value: float, n_shown: int, n_spots: int) -> None:
        """Say which expression the first slider stands at, and how many spots exceed it."""
        self.threshold_label.setText(f"{value:.2f}")
        self.show_message(
            f"{n_shown:,} of {n_spots:,} spots: above {value:.2f} with a probability over "
            f"{self.probability.value()}%."
        )

    def show_samples(self, n_samples: int) -> None:
        """Offer so many samples."""
        with QSignalBlocker(self.sample):
            self.sample.setRange(1, max(1, n_samples))

    def show_message(self, text: str) -> None:
        """Say what is to be seen; no text: nothing special is."""
        self.message.setText(text)
        self.message.setVisible(bool(text))

    def show_legend(self, text: str) -> None:
        """Say what the outlines mean; no text: there are none."""
        self.legend.setText(text)
        self.legend.setVisible(bool(text))

    def step(self, samples: int) -> None:
        """Go to another sample; after the last comes the first."""
        n_samples = self.sample.maximum()
        self.sample.setValue((self.sample.value() - 1 + samples) % n_samples + 1)

    def _lay_out(self) -> None:
        self._form = QFormLayout()
        self._form.addRow("Expression as", self.expression_choice)
        self._threshold_row = _row(self.threshold, self.threshold_label)
        self._probability_row = _row(self.probability, self.probability_label)
        for button, arrow, tip in (
            (
                self.previous_button,
                Qt.ArrowType.LeftArrow,
                f"Previous sample (key {PREVIOUS_SAMPLE.sequence})",
            ),
            (
                self.next_button,
                Qt.ArrowType.RightArrow,
                f"Next sample (key {NEXT_SAMPLE.sequence})",
            ),
        ):
            button.setArrowType(arrow)
            button.setToolTip(tip)
        self._sample_row = _row(self.previous_button, self.sample, self.next_button)
        self._form.addRow("Above", self._threshold_row)
        self._form.addRow("Probability", self._probability_row)
        self._form.addRow("Sample", self._sample_row)
        self._form.addRow("Uncertainty as", self.uncertainty_choice)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._form)
        layout.addWidget(self.message)
        layout.addWidget(self.outline_box)
        layout.addWidget(self.legend)
        self.show_message("")
        self.show_legend("")

    def _connect(self) -> None:
        self.expression_choice.activated.connect(self._on_expression)
        self.uncertainty_choice.activated.connect(self.uncertainty_chosen)
        for slider in (self.threshold, self.probability, self.sample):
            slider.valueChanged.connect(self._on_slider)
        self.outline_box.toggled.connect(self.changed)
        self.previous_button.clicked.connect(lambda: self.step(-1))
        self.next_button.clicked.connect(lambda: self.step(1))
        self._shortcuts = []
        for key, samples in ((NEXT_SAMPLE, 1), (PREVIOUS_SAMPLE, -1)):
            shortcut = QShortcut(QKeySequence(key.sequence), self)
            shortcut.activated.connect(lambda samples=samples: self.step(samples))
            self._shortcuts.append(shortcut)

    def _show_rows(self) -> None:
        kind = self.expression_choice.currentData()
        for row in (self._threshold_row, self._probability_row):
            self._form.setRowVisible(row, kind == PROBABLE)
        self._form.setRowVisible(self._sample_row, kind == SAMPLE)
        self.probability_label.setText(f"over {self.probability.value()}%")
        for shortcut in self._shortcuts:
            shortcut.setEnabled(kind == SAMPLE)

    def _on_expression(self) -> None:
        self._show_rows()
        self.expression_chosen.emit()

    def _on_slider(self) -> None:
        self._show_rows()
        self.changed.emit()


def _choice(options: dict[str, tuple[str, str]]) -> QComboBox:
    box = QComboBox()
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(SHORTEST_CHOICE)  # a long one must not widen the dock
    for number, (title, (name, tip)) in enumerate(options.items()):
        box.addItem(title, name)
        box.setItemData(number, tip, Qt.ItemDataRole.ToolTipRole)
    box.setToolTip("\n\n".join(f"{title}: {tip}" for title, (_, tip) in options.items()))
    return box


def _slider(lowest: int, highest: int, value: int, tip: str) -> QSlider:
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setRange(lowest, highest)
    slider.setValue(value)
    slider.setToolTip(tip)
    return slider


def _row(*widgets: QWidget) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget, 1 if isinstance(widget, QSlider) else 0)
    return row
