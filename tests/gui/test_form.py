"""Fields, what they say, and files that are asked for."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from qtpy.QtCore import QLocale, Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox, QStyleOptionComboBox, QWidget

from napari_stem.errors import RegionError
from napari_stem.settings import TissueSettings, attribute_helps
from napari_stem.widgets.common.form import Form, number
from napari_stem.widgets.common.parts import ask_where_to_save, choice

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
        Where, such as ``gas``.

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
        "oven": "Where, such as gas.",
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


def test_a_form_shows_what_is_restored_and_lays_out_every_field_once(qtbot):
    ovens = [("Gas", "gas"), ("Electric", "electric")]
    form = Form(Baking, eggs={"max": 9}, cups_of_flour={"label": "Flour"}, oven={"choices": ovens})
    told = []
    form.when_changed(lambda: told.append(form.settings()))
    form.restore({"eggs": 10**12, "cups_of_flour": 1.5, "oven": "electric", "sugar": 3})
    form.restore({"oven": "solar"})
    wanted = Baking(eggs=9, cups_of_flour=1.5, oven="electric")
    assert form.settings() == wanted
    assert told[-1] == wanted
    first, rest = form.rows("cups_of_flour"), form.rows()
    assert (first.rowCount(), rest.rowCount()) == (1, 2)
    assert first.labelForField(form["cups_of_flour"]).text() == "Flour"


def test_a_form_has_boxes_to_tick(qtbot):
    form, told = Form(Baking, is_vegan={"label": "Vegan"}), []
    form.when_changed(lambda: told.append(form.settings().is_vegan))
    form.restore({"is_vegan": True})
    form["is_vegan"].setChecked(False)
    assert told == [True, False]
    rows = form.rows()
    assert rows.labelForField(form["is_vegan"]).text() == "Vegan"
    assert form["is_vegan"].text() == ""


@pytest.mark.parametrize("language", ["de_DE", "en_US"])
def test_a_comma_is_a_decimal_point_as_a_point_is_in_every_language(qtbot, language):
    before = QLocale()
    QLocale.setDefault(QLocale(language))
    try:
        box = number((0, 100), 0, decimals=4, suffix=" µm", empty="not known")
    finally:
        QLocale.setDefault(before)
    qtbot.addWidget(box)
    for typed in ("0.69", "0,69"):
        box.setValue(0)
        box.selectAll()
        qtbot.keyClicks(box, typed)
        assert (box.value(), box.text()) == (0.69, f"{typed} µm".replace(",", "."))
    box.selectAll()
    QApplication.clipboard().setText("0,25")
    box.lineEdit().paste()
    qtbot.keyClick(box, Qt.Key.Key_Return)
    assert (box.value(), box.text()) == (0.25, "0.2500 µm")


def test_of_a_long_title_the_middle_is_left_out(qtbot):
    titles = {"long": f"{'Invasive carcinoma, ' * 9}block A", "short": "Stroma"}
    box, option = choice(titles, is_narrow=True), QStyleOptionComboBox()
    qtbot.addWidget(box)
    box.resize(200, box.sizeHint().height())
    box.initStyleOption(option)
    assert option.currentText.startswith("Inv")
    assert option.currentText.endswith("block A")
    assert box.fontMetrics().horizontalAdvance(option.currentText) < 200
    box.setCurrentIndex(1)
    box.initStyleOption(option)
    assert option.currentText == "Stroma"


def test_what_the_settings_refuse_is_refused(qtbot):
    form = Form(TissueSettings, sensitivity={"max": 200})
    form["sensitivity"].setValue(150)
    with pytest.raises(
        RegionError, match="sensitivity must be a whole number from 0 to 100, not 150"
    ):
        form.settings()


def test_the_settings_refuse_nothing_that_can_be_chosen(model_road):
    tissue, model = model_road.panels.region.tissue, model_road.panels.model
    tissue.sensitivity.setValue(150)
    assert tissue.settings() == TissueSettings(sensitivity=100)
    model.form["n_draws"].setValue(1)
    model.form["quantity"].setCurrentText("Share of all counts (per 10,000)")
    model.form["patient"].setCurrentText("As in training")
    asked = model.settings()
    assert (asked.n_draws, asked.quantity, asked.patient) == (2, "share", "same")
    assert model.form["n_draws"].toolTip().startswith("Samples per spot. More samples: st")


def test_a_file_is_replaced_only_where_the_user_was_asked_about_its_name(
    qtbot, tmp_path, monkeypatch
):
    asking, asked, yes = QWidget(), [], QMessageBox.StandardButton.Yes
    qtbot.addWidget(asking)
    asking.folder, answers = "", [QMessageBox.StandardButton.No, yes]
    typed = str(tmp_path / "areas"), "Regions (*.geojson)"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: typed)

    def question(_parent, _title, sentence):
        asked.append(sentence)
        return answers.pop(0)

    monkeypatch.setattr(QMessageBox, "question", question)
    whole = tmp_path / "areas.geojson"

    def ask(filters: str = "") -> str:
        return ask_where_to_save(asking, "Save regions", "regions.geojson", filters)

    assert ask() == str(whole)
    assert asked == []
    whole.touch()
    assert ask() == ""
    assert ask() == str(whole)
    assert asked == ["areas.geojson is there already. Replace it?"] * 2
    typed = str(tmp_path / "areas.v2"), "Regions (*.geojson *.json)"
    assert ask(typed[1]) == str(tmp_path / "areas.v2.geojson")
    assert ask(f"{typed[1]};;All files (*)") == typed[0]
    typed = str(tmp_path / "areas.JSON"), typed[1]
    assert ask(typed[1]) == typed[0]
    assert len(asked) == 2
