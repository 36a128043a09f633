"""The Export part of the dock: choose, save in the background, cancel, find the file again."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pytest
from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog

from napari_stem.exporting.kinds import KINDS
from napari_stem.exporting.selection import NOTICES
from napari_stem.sample_data import sample_path
from napari_stem.widgets.views import export

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.gui, pytest.mark.slow]

CORNERS = [(4600, 3600), (5400, 3600), (5400, 4600), (4600, 4600)]


@pytest.fixture
def predicted(model_road):
    model_road.open(sample_path())
    model_road.draw(CORNERS)
    model_road.ask_little()
    model_road.run()
    return model_road


def choose(box, data: str) -> None:
    box.setCurrentIndex(box.findData(data))


def save(road, monkeypatch, kind: str, path: Path, genes: str | None = None) -> str:
    """Save as a person does; returns what the panel says at the end."""
    panel = road.panels.export
    choose(panel.kinds, kind)
    if genes is not None:
        choose(panel.genes, genes)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    panel.save_button.click()
    road.wait(lambda: not panel.save_button.isHidden())
    return panel.message.text()


def test_every_kind_is_saved_and_shown(predicted, tmp_path, monkeypatch, notifications):
    panel = predicted.panels.export
    opened: list[QUrl] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
    assert [panel.kinds.itemData(row) for row in range(panel.kinds.count())] == list(KINDS)
    for kind, about in KINDS.items():
        name = f"t{about.suffixes[0]}"
        said = save(predicted, monkeypatch, kind, tmp_path / kind / name)
        assert said == f"Saved {tmp_path / kind / name}."
        assert (tmp_path / kind / name).exists()
        assert not panel.show_button.isHidden()
        panel.show_button.click()
        assert opened.pop() == QUrl.fromLocalFile(str(tmp_path / kind))
        assert notifications[-1] == f"Saved {tmp_path / kind / name}"
    gene = predicted.panels.genes.settings.gene
    page = (tmp_path / "report" / "t.html").read_text(encoding="utf-8")
    assert gene in page
    assert "region 1" in page  # what was drawn is in it


def test_genes_as_chosen(predicted, tmp_path, monkeypatch):
    gene = predicted.panels.genes.settings.gene
    for choice, n_genes in (
        ("shown", 1),
        ("usual", 20),
        ("all", len(predicted.maps.prediction.genes)),
    ):
        path = tmp_path / f"{choice}.h5ad"
        save(predicted, monkeypatch, "h5ad", path, choice)
        table = anndata.read_h5ad(path)
        assert table.n_vars == n_genes
        assert gene in table.var_names


def test_a_figure_is_what_is_seen(predicted, tmp_path, monkeypatch):
    asked: dict[str, Any] = {}

    def note(selection, path, options):
        asked.update(vars(options), selection=selection)
        path.write_bytes(b"")

    monkeypatch.setitem(KINDS, "figure", replace(KINDS["figure"], write=note))
    maps, settings = predicted.dock.panels.maps, predicted.panels.genes.settings
    gene = predicted.maps.prediction.genes[7]
    settings.update(gene=gene, colormap="inferno", opacity_percent=40)
    settings.update(range_kind="percentile", range_low=5.0, range_high=90.0)
    maps.layer("mean").gamma = 0.7
    for field in ("mean", "sd"):
        settings.update(view=field)
        layer = maps.layer(field)
        save(predicted, monkeypatch, "figure", tmp_path / f"{field}.png")
        look, selection = asked["look"], asked["selection"]
        assert selection.genes == (gene,)
        limits = {"mean": look.limits, "sd": look.sd_limits}[field].of(
            selection.values(gene, field)
        )
        assert limits == pytest.approx(tuple(layer.contrast_limits))
        assert {"mean": look.colours, "sd": look.sd_colours}[field] == layer.colormap.name
        assert (look.gamma, look.opacity) == (0.7, layer.opacity)
    layer.gamma, layer.colormap = 0.6, "turbo"  # as napari's own controls do
    save(predicted, monkeypatch, "figure", tmp_path / "by-hand.png")
    assert asked["look"].sd_gamma == 0.6
    np.testing.assert_allclose(asked["look"].sd_colours[[0, -1]], layer.colormap.map([0.0, 1.0]))
    assert asked.get("seen") is None  # drawn anew, sharper than the screen
    settings.update(spot_shape="smooth")
    save(predicted, monkeypatch, "figure", tmp_path / "smooth.png")
    assert asked["seen"].pixels.shape[:2] == layer.data.shape
    settings.update(spot_shape="square")
    settings.update(view="mean", arrangement="mix", picked=predicted.maps.prediction.genes[:2])
    save(predicted, monkeypatch, "figure", tmp_path / "mix.png")
    assert len(asked["seen"].legends) == 2
    assert asked["selection"].genes == predicted.maps.prediction.genes[:2]
    settings.update(arrangement="beside")
    maps.beside.maps[1].layer.contrast_limits = (0.125, 0.5)
    save(predicted, monkeypatch, "figure", tmp_path / "beside.png")
    assert asked["look"].own_limits == {("mean", settings.picked[1]): [0.125, 0.5]}


def test_a_copied_view_says_what_is_seen(predicted, monkeypatch):
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(export, "view_picture", lambda _, *words: said.append(words))
    panel, settings, prediction = (
        predicted.panels.export,
        predicted.panels.genes.settings,
        predicted.maps.prediction,
    )
    slide, model = prediction.provenance["slide"], prediction.provenance["model"]
    behind = f"{slide} · model {model}"
    gene, unit = settings.gene, prediction.unit
    panel.copy_view()
    assert said.pop() == (f"{gene} predicted, {unit} · {behind}", NOTICES["predicted"])
    settings.update(expression="faded")
    panel.copy_view()
    faded = predicted.dock.panels.maps.shown_map.title
    assert "faint where unsure" in faded
    assert said.pop() == (f"{faded} · {behind}", NOTICES["predicted"])
    settings.update(expression="mean", arrangement="mix", picked=prediction.genes[:2])
    panel.copy_view()
    both = ", ".join(prediction.genes[:2])
    assert said.pop() == (f"{both}, {unit} · {behind}", NOTICES["predicted"])
    settings.update(arrangement="one")
    predicted.layer("mean").visible = False  # by its eye
    panel.copy_view()
    assert said.pop() == (slide,)
    settings.update(view="none")
    panel.copy_view()
    assert said.pop() == (slide,)


def test_seen_colours_add_up_and_cover_the_slide_once():
    import numpy as np
    from napari.layers import Image

    from napari_stem.widgets.views.export import seen_map

    ground = Image(np.array([[[0, 0, 0, 255], [0, 0, 0, 0]]], np.uint8), rgb=True, opacity=0.5)
    how = {"opacity": 0.5, "blending": "additive", "contrast_limits": (0, 4)}
    values = np.array([[1.0, np.nan]], np.float32)
    lights = [Image(values, colormap=colour, **how) for colour in ("red", "green")]
    lights[0].gamma = 0.5
    seen = seen_map([ground, *lights])
    np.testing.assert_allclose(seen.pixels[0, 0], (0.5, 0.25, 0, 0.5), atol=0.01)
    assert seen.pixels[0, 1, 3] == 0
    assert [legend.gamma for legend in seen.legends] == [1, 0.5]


def test_cancel_leaves_nothing(predicted, tmp_path, monkeypatch):
    from napari_stem.exporting import kinds

    panel, arrived, go_on = predicted.panels.export, threading.Event(), threading.Event()
    original = kinds.write

    def slow(kind, selection, path, options):
        arrived.set()
        go_on.wait(60)
        original(kind, selection, path, options)

    monkeypatch.setattr(kinds, "write", slow)
    choose(panel.kinds, "csv")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "t.csv"), ""))
    panel.save_button.click()
    predicted.wait(arrived.is_set)
    assert panel.save_button.isHidden()
    assert not panel.cancel_button.isHidden()
    panel.cancel_button.click()
    go_on.set()
    predicted.wait(lambda: not panel.save_button.isHidden())
    assert panel.message.text() == "Cancelled; nothing was saved."
    assert panel.show_button.isHidden()
    assert list(tmp_path.glob("t*")) == []


def test_what_cannot_be_written_is_said_and_loses_nothing(
    predicted, tmp_path, monkeypatch, notifications
):
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "C5.h5ad"
    assert save(predicted, monkeypatch, "h5ad", target) == "Not saved."
    assert [str(target) in sentence for sentence in notifications] == [True]
    assert predicted.maps.prediction.done.all()
    assert save(predicted, monkeypatch, "h5ad", tmp_path / "C5.h5ad").startswith("Saved")


def test_a_figure_of_too_many_genes_is_said(predicted, tmp_path, monkeypatch, notifications):
    assert save(predicted, monkeypatch, "figure", tmp_path / "f.png", "all") == "Not saved."
    assert "at most 24" in notifications[-1]


def test_slides_of_one_patient_get_names_of_their_own(model_road, c5_prediction, tmp_path):
    panel, place = model_road.panels.export, tmp_path / "TCGA-AA-3506-01Z-00-DX1.zarr"
    shutil.copytree(c5_prediction, place)
    model_road.open(sample_path())
    model_road.panels.model.predictions.open(place)
    model_road.wait(panel.isEnabled)
    assert panel.suggested_name == "TCGA-AA-3506-01Z-00-DX1_predicted"


def test_the_dialog_suggests_and_remembers(model_road, monkeypatch, tmp_path):
    panel = model_road.panels.export
    panel.setEnabled(True)
    panel.suggested_name = "C5_predicted"
    asked: list[tuple] = []
    suggested: list[str] = []
    monkeypatch.setattr(panel, "save", lambda *order: asked.append(order))

    def answer(path: str) -> None:
        def dialog(_parent, _title, suggestion, _filter):
            suggested.append(suggestion)
            return path, ""

        monkeypatch.setattr(QFileDialog, "getSaveFileName", dialog)

    choose(panel.kinds, "zarr")
    answer(str(tmp_path / "a.b"))  # the ending is added
    panel.save_button.click()
    choose(panel.kinds, "figure")
    answer(str(tmp_path / "a.svg"))
    panel.save_button.click()
    answer("")  # dismissed
    panel.save_button.click()
    assert asked == [
        ("zarr", "all", str(tmp_path / "a.b.zarr")),
        ("figure", "shown", str(tmp_path / "a.svg")),
    ]
    assert suggested[1:] == [str(tmp_path / "C5_predicted.png")] * 2
    assert model_road.panels.choices().export_folder == str(tmp_path)
