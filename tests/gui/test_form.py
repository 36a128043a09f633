"""Forms that are made from settings."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from napari_stem.errors import RegionError
from napari_stem.slide.tissue import TissueSettings
from napari_stem.widgets.common.form import Form, attribute_helps

pytestmark = pytest.mark.gui


@dataclass(frozen=True)
class Baking:
    """How a cake is baked.

    Attributes
    ----------
    eggs, cups_of_flour
        What goes in,
        and how much of it.
    oven
        Where.

    Notes
    -----
    It also needs sugar.
    """

    eggs: int = 3
    cups_of_flour: float = 2.5
    oven: str = "gas"
    is_vegan: bool = False


def test_tooltips_are_what_the_docstring_says():
    assert attribute_helps(Baking) == {
        "eggs": "What goes in, and how much of it.",
        "cups_of_flour": "What goes in, and how much of it.",
        "oven": "Where.",
    }
    assert attribute_helps(int) == {}


def test_a_form_gives_the_settings_that_are_chosen(qtbot):
    ovens = [("Gas", "gas"), ("Electric", "electric")]
    form = Form(Baking, eggs={"max": 9}, cups_of_flour={"suffix": " cups"}, oven={"choices": ovens})
    assert form.settings() == Baking()
    form["eggs"].setValue(12)
    form["oven"].setCurrentIndex(1)
    assert form.settings(is_vegan=True) == Baking(eggs=9, oven="electric", is_vegan=True)
    assert form["eggs"].toolTip() == "What goes in, and how much of it."
    assert form["cups_of_flour"].text().endswith(" cups")


def test_what_the_settings_refuse_is_refused(qtbot):
    form = Form(TissueSettings, sensitivity={"max": 200})
    form["sensitivity"].setValue(150)
    with pytest.raises(RegionError, match="choose one from 0 to 100"):
        form.settings()
