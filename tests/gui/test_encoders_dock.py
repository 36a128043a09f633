"""Encoders and models in the dock: what is missing, how it is got, what a model says of itself."""

from __future__ import annotations

import json
import logging
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import fake_hub
import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants, hf_api
from numpy.testing import assert_allclose
from qtpy.QtWidgets import QFileDialog, QLineEdit

from napari_stem.encoders.catalogue import CATALOGUE
from napari_stem.errors import EncoderError, OutputError
from napari_stem.io import only_writer
from napari_stem.model import find_model
from napari_stem.model.sources import pack
from napari_stem.sample_data import sample_path
from napari_stem.settings import Stated
from napari_stem.slide.pixel_size import answers_of, keep_answers
from napari_stem.widgets.common.download_control import CANCELLED
from napari_stem.widgets.common.memory import recall
from napari_stem.widgets.common.parts import in_window_words
from napari_stem.widgets.model import encoder_window, model_panel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.gui

SLIDES = Path(__file__).parents[1] / "data" / "slides"
TOKEN = "hf_aSecretOfAda"  # noqa: S105 - made up
TUMOUR = [(4200, 3400), (5000, 3400), (5000, 4200), (4200, 4200)]
MANY = b"weights of an encoder " * 1_000_000


@pytest.fixture(autouse=True)
def hub(monkeypatch, tmp_path) -> Iterator[fake_hub.FakeHub]:
    """Hugging Face on this computer, with a cache and a store for tokens of the test's own."""
    home = tmp_path / "hf"
    for name in ("NAPARI_STEM_ENCODERS", "HF_HUB_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.setenv(name, "x")  # so that what the dock sets is undone
        monkeypatch.delenv(name)
    with fake_hub.running() as made:
        monkeypatch.setenv("HF_HOME", str(home))
        monkeypatch.setenv("HF_ENDPOINT", made.address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for name, value in {
            "HF_HUB_OFFLINE": False,
            "ENDPOINT": made.address,
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(hf_api.api, "endpoint", made.address)
        yield made


@pytest.fixture
def model_of(tmp_path) -> Callable[..., Path]:
    """The packaged model, said to look through another encoder, or changed otherwise."""

    def make(encoder: str, **changes) -> Path:
        folder = shutil.copytree(find_model("her2st-breast"), tmp_path / f"model-{encoder}")
        path = folder / "config.json"
        config = {**json.loads(path.read_text()), "name": f"of-{encoder}", "encoder": encoder}
        path.write_text(json.dumps({**config, **changes}))
        return folder

    return make


def choose(road, folder: Path) -> None:
    road.wait(lambda: road.panels.model.model_name() != "")
    road.dock.panels.model.models.add_folder(str(folder))
    road.wait(lambda: road.panels.model.model_name() == str(folder))


def box_of(road):
    """The encoder box, once it knows what is on this computer."""
    box = road.panels.model.encoders
    road.wait(lambda: box.line.text() != "" and box.window_of_all.table.rowCount() > 0)
    return box


def state_of(box, name: str) -> str:
    box.window_of_all.choose(name)
    view = box.window_of_all.view
    return view.currentIndex().siblingAtColumn(1).data()


def test_the_bundled_encoder_stays_out_of_the_way(model_road):
    box = box_of(model_road)
    assert box.line.text() == "Encoder: bundled, ready"
    for hidden in (box.download_button, box.token_button, box.folder_button, box.row):
        assert hidden.isHidden()
    assert model_road.panels.model.missing == ""
    assert box.window_of_all.table.rowCount() == 1 + len(CATALOGUE)


def test_states_are_those_of_the_command(model_road, model_of):
    box = box_of(model_road)
    assert state_of(box, "uni") == "gated (1,213 MB)"
    assert state_of(box, "lunit-dino") == "needs download (87 MB)"
    assert state_of(box, "hibou-b") == "not allowed"
    assert "NAPARI_STEM_TRUST_REMOTE_CODE=1" in box.window_of_all.details.text()
    assert box.window_of_all.download_button.isHidden()
    choose(model_road, model_of("uni+lunit-dino"))
    page = '<a href="https://huggingface.co/MahmoodLab/UNI"'
    model_road.wait(lambda: page in box.line.text())
    assert "lunit-dino" in box.line.text()
    assert box.download_button.text() == "Download (1,300 MB)"
    assert not box.token_button.isHidden()
    assert "Accept the terms of encoder “uni”" in model_road.panels.model.missing
    model_road.open(sample_path())
    model_road.draw(TUMOUR)
    model_road.wait(lambda: "Accept the terms" in model_road.panels.run.why_not.text())
    assert not model_road.panels.run.run_button.isEnabled()
    assert "Accept the terms" in model_road.dock.parts["Model"].hint.text()


def test_what_is_not_installed_is_said():
    row = {"name": "phikon", "status": "not installed", "page": None, "why_not": "no <package>"}
    assert "not installed: no &lt;package&gt;" in encoder_window.message(row)
    assert "phikon" in encoder_window.missing([row])
    assert encoder_window.missing([{**row, "status": "ready"}]) == ""
    with pytest.raises(EncoderError, match="no encoder 'unu'"):
        encoder_window.names_of("unu")


def test_a_download_says_how_far_it_is(model_road, model_of, hub):
    hub.files[CATALOGUE["lunit-dino"].hub_id] = {"model.safetensors": MANY}
    hub.gate.clear()
    box = box_of(model_road)
    choose(model_road, model_of("lunit-dino"))
    model_road.wait(lambda: not box.download_button.isHidden())
    box.download_button.click()
    model_road.wait(lambda: re.match(r"lunit-dino: 1\d of 2\d MB", box.row.text.text()) is not None)
    assert box.row.bar.maximum() in (22, 23)
    assert box.download_button.isHidden()  # one is enough
    assert box.window_of_all.row.text.text() == box.row.text.text()
    hub.gate.set()
    model_road.wait(lambda: box.line.text() == "Encoder: lunit-dino, ready")
    assert box.row.isHidden()
    assert model_road.panels.model.missing == ""
    assert state_of(box, "lunit-dino") == "ready"


def test_a_download_that_stands_still_is_cancelled_all_the_same(model_road, hub, tmp_path):
    hub.files[CATALOGUE["lunit-dino"].hub_id] = {"model.safetensors": MANY}
    hub.gate.clear()
    box = box_of(model_road)
    state_of(box, "lunit-dino")
    box.window_of_all.download_button.click()
    model_road.wait(lambda: "of 2" in box.row.text.text())
    assert list(tmp_path.rglob("*.incomplete")) != []
    box.row.cancel_button.click()  # the hub goes on saying nothing
    model_road.wait(lambda: box.row.text.text() == CANCELLED.format("lunit-dino"))
    assert list(tmp_path.rglob("*.incomplete")) == []
    assert state_of(box, "lunit-dino") == "needs download (87 MB)"


@pytest.mark.parametrize(
    ("kind", "words"),
    [("gated", "does not know you (no token"), ("denied", "who accept its terms: do so")],
)
def test_a_refusal_is_told_in_words(model_road, hub, kind, words):
    hub.files[CATALOGUE["uni"].hub_id] = {"pytorch_model.bin": b"weights"}
    getattr(hub, kind).add(CATALOGUE["uni"].hub_id)
    box = box_of(model_road)
    model_road.dock.panels.model.encoders.window_of_all.download(["uni"])
    model_road.wait(lambda: words in box.row.text.text())
    assert CATALOGUE["uni"].page in box.row.text.text()


def test_the_token_goes_to_huggingface_hub_alone(model_road, hub, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    hub.tokens.add(TOKEN)
    hub.files[CATALOGUE["uni"].hub_id] = {"pytorch_model.bin": b"weights"}
    hub.gated.add(CATALOGUE["uni"].hub_id)
    box = box_of(model_road)
    window = box.window_of_all
    assert "No token" in window.token_text.text()
    assert window.token_dialog.field.echoMode() == QLineEdit.EchoMode.Password
    window.token_dialog.field.setText("hf_mistyped")
    window.token_dialog.buttons.accepted.emit()
    model_road.wait(lambda: "does not accept this token" in box.row.text.text())
    assert not (tmp_path / "hf" / "token").exists()
    window.token_dialog.field.setText(f" {TOKEN}\n")
    window.token_dialog.buttons.accepted.emit()
    model_road.wait(lambda: "knows a token" in window.token_text.text())
    assert window.token_dialog.field.text() == ""
    assert (tmp_path / "hf" / "token").read_text() == TOKEN
    model_road.dock.panels.model.encoders.window_of_all.download(["uni"])
    model_road.wait(lambda: state_of(box, "uni") == "ready")
    model_road.dock.shut_down()
    elsewhere = [p for p in tmp_path.rglob("*") if p.is_file() and p.parent != tmp_path / "hf"]
    assert len(elsewhere) > 2
    assert not any(TOKEN.encode() in path.read_bytes() for path in elsewhere)
    assert TOKEN not in caplog.text


def test_a_token_is_forgotten(model_road, hub, tmp_path, monkeypatch):
    hub.tokens.add(TOKEN)
    window = box_of(model_road).window_of_all
    model_road.dock.panels.model.encoders.window_of_all.store_token(TOKEN)
    model_road.wait(window.forget_button.isEnabled)
    window.forget_button.click()
    model_road.wait(lambda: not window.forget_button.isEnabled())
    assert not (tmp_path / "hf" / "token").exists()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    model_road.dock.panels.model.encoders.window_of_all.forget_token()
    model_road.wait(lambda: "unset that" in window.row.text.text())


def test_offline_asks_nobody(model_road, hub):
    hub.files[CATALOGUE["lunit-dino"].hub_id] = {"model.safetensors": MANY}
    box = box_of(model_road)
    box.window_of_all.offline.setChecked(True)
    model_road.dock.panels.model.encoders.window_of_all.download(["lunit-dino"])
    model_road.wait(lambda: "“Work offline” forbids downloads" in box.row.text.text())
    assert hub.asked == []
    model_road.dock.shut_down()
    assert recall().works_offline == 1
    box.window_of_all.offline.setChecked(False)
    assert not huggingface_hub.is_offline_mode()


def test_a_folder_for_computers_without_internet(model_road, model_of, tmp_path):
    choose(model_road, model_of("uni"))
    box = box_of(model_road)
    window = box.window_of_all
    folder = tmp_path / "encoders"
    folder.mkdir()
    model_road.dock.panels.model.encoders.window_of_all.use_folder(str(folder))
    model_road.wait(lambda: "holds no encoder" in window.folder_text.text())
    (folder / "uni").mkdir()
    (folder / "uni" / "pytorch_model.bin").write_bytes(b"weights")
    model_road.dock.panels.model.encoders.window_of_all.use_folder(
        str(folder / "uni")
    )  # one too deep
    model_road.wait(lambda: window.folder_text.text() == f"{folder} holds uni.")
    model_road.wait(lambda: box.line.text() == "Encoder: uni, ready")
    model_road.dock.shut_down()
    assert recall().encoder_folder == str(folder)
    window.no_folder_button.click()


def test_a_model_from_hugging_face_a_zip_and_off_the_list(model_road, hub, tmp_path):
    source = find_model("her2st-breast")
    hub.files["clinic/breast"] = {path.name: path.read_bytes() for path in source.iterdir()}
    models = model_road.panels.model.models
    model_road.wait(lambda: models.name() != "")
    models.ask_for_repository()
    models.hub_field.setText("nobody/nothing")
    models.hub_button.click()
    model_road.wait(lambda: "There is no https" in models.row.text.text())
    models.hub_field.setText("clinic/breast")
    models.hub_button.click()
    model_road.wait(lambda: "models--clinic--breast" in models.name())
    assert models.row.isHidden()
    assert models.hub_line.isHidden()
    packed = pack(source, tmp_path / "packed.zip")
    model_road.dock.panels.model.models.add_folder(str(packed))
    model_road.wait(lambda: models.name() == str(packed))
    assert model_road.dock.panels.model.models.folders().count("\n") == 1
    models.remove_action.trigger()
    assert "packed.zip" not in model_road.dock.panels.model.models.folders()
    assert models.box.count() == 2


def test_steps_are_offered_for_models_that_take_several(model_road, model_of):
    model_road.wait(lambda: model_road.panels.model.model_name() != "")
    steps = model_road.panels.model.form["n_steps"]
    assert not steps.isEnabled()
    assert "one step" in steps.toolTip()
    panel = model_road.panels.model
    panel.show_costs(10_000)
    told = [button.text() for button in panel.pitches.values()]
    steps.setValue(1000)  # as another model was asked
    panel.show_costs(10_000)
    assert [button.text() for button in panel.pitches.values()] == told
    choose(model_road, model_of("bundled", denoiser={"kind": "mlp"}))
    assert steps.isEnabled()
    assert "one step" not in steps.toolTip()


def test_a_model_says_what_speaks_against_it(model_road, model_of, monkeypatch):
    choose(model_road, model_of("bundled", calibrated=False))
    models = model_road.panels.model.models
    assert "NOT calibrated" in models.warning.text()
    assert "cannot tell" not in models.warning.text()
    monkeypatch.setattr("napari_stem.model.head.Head.knows_domain", False)
    model_road.open(sample_path())
    model_road.wait(lambda: "cannot tell whether spots look unlike" in models.warning.text())
    assert "compare places within a slide" in models.card.toolTip()


def test_another_species_is_refused_and_another_tissue_warned_of(model_road):
    panel = model_road.panels.model
    model_road.open(sample_path())
    model_road.draw(TUMOUR)
    model_road.wait(model_road.panels.run.run_button.isEnabled)
    panel.about.tissue.setText("kidney")
    panel.about.tissue.editingFinished.emit()
    assert "trained on breast, and this slide is of kidney" in panel.about.warning.text()
    assert model_road.panels.run.run_button.isEnabled()
    panel.about.species.setCurrentIndex(panel.about.species.findData("mouse"))
    assert not model_road.panels.run.run_button.isEnabled()
    assert (
        "trained on Homo sapiens, and the slide is of mouse" in model_road.panels.run.why_not.text()
    )
    panel.about.species.setCurrentIndex(panel.about.species.findData("human"))
    model_road.wait(model_road.panels.run.run_button.isEnabled)


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory) -> SimpleNamespace:
    """What the bundled encoder sees at 16 spots of the sample, as TRIDENT writes it."""
    import h5py
    import shapely

    from napari_stem.encoders.bundled import BundledEncoder
    from napari_stem.encoders.embed import Embedder
    from napari_stem.geometry import Region
    from napari_stem.slide import open_slide
    from napari_stem.spatial.spot_choice import choose_spots

    slide = open_slide(sample_path())
    square = Region(shapely.box(4400, 3400, 5561, 4561))
    spots = choose_spots(slide, pitch_um=200, regions=[square])
    features = Embedder(slide, BundledEncoder()).embed(spots)
    side_px = 400
    path = tmp_path_factory.mktemp("embeddings") / "C5.h5"
    with h5py.File(path, "w") as file:
        file["features"] = features
        file["coords"] = np.column_stack([spots.x_px, spots.y_px]) - side_px / 2
        file["coords"].attrs["patch_size_level0"] = side_px
    slide.close()
    return SimpleNamespace(path=path, spots=spots)


def test_embeddings_from_a_file_take_the_encoders_place(
    model_road, model_of, embeddings, monkeypatch
):
    """With a model whose encoder is not here: its name alone is another one."""
    monkeypatch.setattr(model_panel, "STEP_S", 0.02)  # that of a slow machine
    panel = model_road.panels.model
    choose(model_road, model_of("uni", encoder_version=None, fields_of_view_um=[150, 300, 600]))
    model_road.open(sample_path())
    model_road.draw(TUMOUR)
    model_road.wait(lambda: "Accept the terms" in model_road.panels.run.why_not.text())
    dialog = panel.about.dialog
    dialog.path.setText(str(embeddings.path))
    dialog.buttons.accepted.emit()
    model_road.wait(lambda: "under “Made by”" in panel.about.embeddings_text.text())
    assert not model_road.panels.run.run_button.isEnabled()
    dialog.encoder.setText("uni")
    dialog.buttons.accepted.emit()
    model_road.wait(model_road.panels.run.run_button.isEnabled)
    assert re.fullmatch(
        r"Run: 4 patches of the file × 32 samples, .+", model_road.panels.run.run_button.text()
    )
    told = model_road.panels.run.run_button.text()
    panel.form["n_draws"].setValue(1000)
    assert model_road.panels.run.run_button.text().split(", ")[1] != told.split(", ")[1]
    assert "16 patches of uni" in panel.about.embeddings_text.text()
    assert "must hold all of them" in panel.about.embeddings_text.text()
    model_road.ask_little()
    model_road.run()
    prediction = model_road.maps.prediction
    assert prediction.done.all()
    assert set(zip(prediction.spots.x_px, prediction.spots.y_px, strict=True)) <= set(
        zip(embeddings.spots.x_px, embeddings.spots.y_px, strict=True)
    )
    assert "C5.h5" not in str(prediction.provenance)  # a file's name may be a patient's
    assert len(prediction.provenance["embeddings_sha256"]) == 64
    panel.about.embeddings.activated.emit(0)
    model_road.wait(lambda: "Accept the terms" in model_road.panels.run.why_not.text())


def test_a_store_of_lazyslide_gives_tissue_and_features(
    model_road, model_of, other_programs, monkeypatch
):
    name = "CMU-1-Small-Region"
    store = other_programs / "lazyslide" / f"{name}.zarr"
    model_road.drop(SLIDES / f"{name}.svs", store)
    regions = model_road.dock.panels.region
    model_road.wait(lambda: [each.region.name for each in regions.drawn()] == ["tissue 1"])
    choose(model_road, model_of("mean-colour", encoder_version=None, fields_of_view_um=None))
    assert "mean-colour is not known here" in model_road.panels.model.encoders.line.text()
    about = model_road.panels.model.about
    monkeypatch.setattr(
        QFileDialog, "getExistingDirectory", lambda *_: str(store / "tables" / "mean-colour_fine")
    )
    about.dialog.folder_button.click()
    about.dialog.buttons.accepted.emit()
    model_road.wait(lambda: "are 12 wide" in about.embeddings_text.text())


def test_embeddings_give_what_the_encoder_gives(model_road, embeddings):
    about = model_road.panels.model.about
    model_road.open(sample_path())
    model_road.draw(TUMOUR)
    model_road.ask_little()
    model_road.run()
    looked = model_road.maps.prediction
    model_road.dock.panels.model.about.use_embeddings(embeddings.path, Stated(encoder="bundled"))
    model_road.wait(lambda: "16 patches" in about.embeddings_text.text())
    model_road.wait(model_road.panels.run.run_button.isEnabled)
    model_road.run()
    read = model_road.maps.prediction
    assert read.path != looked.path
    places = {
        place: row
        for row, place in enumerate(zip(looked.spots.x_px, looked.spots.y_px, strict=True))
    }
    rows = [places[place] for place in zip(read.spots.x_px, read.spots.y_px, strict=True)]
    assert len(rows) > 3
    assert_allclose(read.values("SCD"), looked.values("SCD")[rows], atol=1e-3)


def test_a_run_of_a_files_patches_teaches_nothing_of_looking(model_road, embeddings, monkeypatch):
    monkeypatch.setattr(model_panel, "LEAST_SPOTS", 16)
    model_road.open(sample_path())
    model_road.draw([(x, y) for x, y in ((4300, 3300), (5700, 3300), (5700, 4700), (4300, 4700))])
    model_road.dock.panels.model.about.use_embeddings(embeddings.path, Stated(encoder="bundled"))
    model_road.ask_little()
    model_road.wait(
        lambda: model_road.panels.run.run_button.text().startswith("Run: 16 patches of the file")
    )
    assert "a laptop's" in model_road.panels.run.run_button.toolTip()
    model_road.run()
    pace, effort = model_road.panels.model.pace, model_road.panels.model.effort()
    assert pace.is_measured(effort)
    assert not pace.is_measured(replace(effort, looks=True))
    assert "your last runs" in model_road.panels.run.run_button.toolTip()
    layer = model_road.dock.panels.region.layers.find(model_road.dock.coordinator.slide)
    layer.data = [shape + 2000 / layer.scale for shape in layer.data]  # beside the patches
    model_road.dock.panels.region.count()
    assert "No patch of the file lies in the regions" in model_road.panels.run.why_not.text()
    assert not model_road.panels.run.run_button.isEnabled()
    model_road.dock.coordinator.run()  # as a click on the slide asks for
    assert not model_road.panels.run.is_running


def test_offline_by_the_environment_is_no_choice_of_the_users(monkeypatch, qtbot):
    from napari.components import ViewerModel

    from napari_stem.widgets.dock import StemDock

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    dock = StemDock(ViewerModel())
    qtbot.addWidget(dock)
    window = dock.panels.model.encoders.window_of_all
    qtbot.waitUntil(window.offline.isChecked, timeout=20_000)
    assert huggingface_hub.is_offline_mode()
    assert "HF_HUB_OFFLINE says so this time" in window.offline.toolTip()
    dock.shut_down()
    assert recall().works_offline == 0
    window.offline.setChecked(False)
    window.offline.setChecked(True)  # now it is
    assert window.is_offline_chosen
    assert "HF_HUB_OFFLINE" not in window.offline.toolTip()


def test_answers_are_remembered_for_a_slide_with_its_pixel_size(model_road, crop, tmp_path):
    about = model_road.panels.model.about
    model_road.open(crop)
    fingerprint = model_road.dock.coordinator.slide.fingerprint
    about.species.setCurrentIndex(about.species.findData("mouse"))
    about.tissue.setText("kidney")
    about.tissue.editingFinished.emit()
    model_road.dock.panels.slide.set_pixel_size(0.5)
    told = {"species": "mouse", "tissue": "kidney", "mpp_um": [0.5, 0.5]}
    model_road.wait(lambda: answers_of(fingerprint) == told)
    model_road.viewer.layers.clear()
    about.answers.clear()  # another session
    copy = tmp_path / "renamed.png"
    shutil.copy(crop, copy)
    model_road.open(copy)
    assert about.species.currentData() == "mouse"
    assert about.tissue.text() == "kidney"
    about.species.setCurrentIndex(about.species.findData(""))
    model_road.wait(lambda: "species" not in answers_of(fingerprint))
    keep_answers(fingerprint, species=3, tissue=["x"])  # edited by hand
    about.answers.clear()
    model_road.dock.panels.slide.announce()
    assert about.species.currentData() == ""


def test_answers_belong_to_their_slide(model_road, crop):
    about = model_road.panels.model.about
    model_road.open(sample_path())
    about.species.setCurrentIndex(about.species.findData("mouse"))
    model_road.open(crop)
    assert about.species.currentData() == ""
    assert model_road.panels.model.missing == ""


def test_a_second_window_is_told_what_it_can_do(tmp_path):
    def write(path: Path) -> str:
        with pytest.raises(OutputError) as told, only_writer(path):
            pass
        return in_window_words(str(told.value))

    path = tmp_path / "C5.zarr"
    with only_writer(path), ThreadPoolExecutor(1) as other:
        said = other.submit(write, path).result()
    assert said == f"{path} is being written by another run of Stem; wait for it, then try again."


def test_words_of_the_command_line_are_those_of_the_window():
    told = "Log in with `hf auth login`, or give a folder of $NAPARI_STEM_ENCODERS."
    assert in_window_words(told) == (
        "Log in with “Enter token…”, or give a folder inside that of “Use a folder…”."
    )
    assert in_window_words("It is damaged; run 'predict' again.") == "It is damaged; predict again."
