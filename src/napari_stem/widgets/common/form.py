"""Fields for numbers and words, and what the docstrings of frozen settings say each is for."""

from __future__ import annotations

import inspect
import re

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDoubleSpinBox, QLineEdit, QSlider


def attribute_helps(kind: type) -> dict[str, str]:
    """Say what each attribute of a class is for, as its numpydoc ``Attributes`` do, in one line each."""
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes\n----------\n")
    found: dict[str, str] = {}
    for names, text in re.findall(r"^(\w[\w, ]*)\n((?:[ ]+.*\n?)+)", section, re.MULTILINE):
        for name in names.split(", "):
            found[name] = " ".join(text.split())
    return found


def number(
    limits: tuple[float, float],
    value: float,
    tip: str = "",
    *,
    decimals: int = 0,
    suffix: str = "",
    step: float = 1.0,
    empty: str = "",
) -> QDoubleSpinBox:
    """Make a field for a number; ``empty`` is what its lowest stands for, where that is no number."""
    box = QDoubleSpinBox()
    box.setDecimals(decimals)
    box.setRange(*limits)
    box.setSingleStep(step)
    box.setSuffix(suffix)
    box.setSpecialValueText(empty)
    box.setValue(value)
    box.setToolTip(tip)
    return box


def slider(limits: tuple[int, int], value: int, tip: str) -> QSlider:
    """Make a slider from left to right."""
    made = QSlider(Qt.Orientation.Horizontal)
    made.setRange(*limits)
    made.setValue(value)
    made.setToolTip(tip)
    return made


def line(placeholder: str, tip: str = "", *, is_search: bool = False) -> QLineEdit:
    """Make a field for a word; one to search with can be cleared by a click."""
    field = QLineEdit()
    field.setPlaceholderText(placeholder)
    field.setClearButtonEnabled(is_search)
    field.setToolTip(tip)
    return field
