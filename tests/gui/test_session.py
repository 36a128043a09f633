"""Sessions and drops: what is open comes back, and what is dropped is told apart."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import anndata
import pytest
from napari.components import ViewerModel
from PIL import Image

from napari_stem.errors import StemError
from napari_stem.exporting.selection import Selection
from napari_stem.exporting.table import write_anndata
from napari_stem.geometry import Mpp
from napari_stem.model import find_model
from napari_stem.results import Prediction
from napari_stem.sample_data import sample_path
from napari_stem.slide import open_slide
from napari_stem.slide.pixel_size import remember, remembered
from napari_stem.spatial_analysis.autocorrelation import predicted_means
from napari_stem.spatial_analysis.domains import find_domains
from napari_stem.spatial_analysis.store import sidecar_path, write_domains
from napari_stem.widgets.common.dropping import kind_of_drop
from napari_stem.widgets.session import Session, SlideEntry, read_session, write_session

pytestmark = pytest.mark.gui

TUMOUR = [(4200, 3400), (5000, 3400), (5000, 4200), (4200, 4200)]
COUNTS = sample_path().parents[1] / "st" / "C5.h5ad"
LOOK = {
    "mix_colours": "rgb",
    "range_kind": "fixed",
    "range_low": 0.5,
    "range_high": 2.5,
    "colormap": "cividis",
    "spot_shape": "circle",
    "opacity_percent": 40,
}
REGION = {
    "type": "Polygon",
    "coordinates": [[[4400, 3400], [5400, 3400], [5400, 4400], [4400, 3400]]],
}


@pytest.fixture
def copy(c5_prediction, tmp_path):
    """A prediction of this test's own: domains lie beside it."""
    return shutil.copytree(c5_prediction, tmp_path / "own" / "C5.zarr")


@pytest.fixture
def visium(tmp_path):
    """A folder named and laid out as Space Ranger's ``outs``."""
    folder = tmp_path / "run" / "outs"
    (folder / "spatial").mkdir(parents=True)
    (folder / "spatial" / "scalefactors_json.json").write_text("{}")
    (folder / "filtered_feature_bc_matrix.h5").touch()
    return folder


def another_dock(qtbot):
    """Start again, as the next day."""
    from napari.components import ViewerModel

    from napari_stem.widgets.dock import StemDock

    dock = StemDock(ViewerModel())
    qtbot.addWidget(dock)
    return dock


# the file


def entry_of(tmp_path) -> SlideEntry:
    for name in ("slide.png", "counts.h5ad"):
        (tmp_path / name).touch()
    (tmp_path / "p.zarr").mkdir()
    return SlideEntry(
        path=str(tmp_path / "slide.png"),
        fingerprint="f",
        name="n",
        mpp_um=(0.5, 0.25),
        regions={"type": "FeatureCollection", "features": []},
        clicked=("click 1",),
        predictions=(str(tmp_path / "p.zarr"), "elsewhere.zarr"),
        gene="FASN",
        measured=str(tmp_path / "counts.h5ad"),
    )


def test_a_session_file_comes_back_as_it_was(tmp_path):
    session = Session((entry_of(tmp_path),), "f", {"camera": {"center": [1.0, 2.0], "zoom": 0.5}})
    write_session(session, tmp_path / "s.json")
    assert read_session(tmp_path / "s.json") == session


def test_what_moved_with_its_session_is_found_beside_it(tmp_path):
    before = tmp_path / "before"
    before.mkdir()
    write_session(Session((entry_of(before),)), before / "s.json")
    moved = before.rename(tmp_path / "moved")
    (found,) = read_session(moved / "s.json").slides
    assert found.path == str((moved / "slide.png").resolve())
    assert found.measured == str((moved / "counts.h5ad").resolve())
    assert found.predictions == (str((moved / "p.zarr").resolve()), "elsewhere.zarr")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "napari-stem session", "version": 1}', '{"format": "x"}']
)
def test_what_is_no_session_is_refused_in_one_sentence(tmp_path, text):
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(StemError, match=r"s\.json"):
        read_session(path)


# restoring


def put_domains(path):
    """Lay domains beside a prediction, as an earlier session would have."""
    prediction = Prediction.open(path)
    domains = find_domains(
        predicted_means(prediction), prediction.spots.names, prediction.genes, resolution=1.5
    )
    write_domains(domains, sidecar_path(prediction))
    return domains


@pytest.mark.slow
def test_a_session_brings_everything_back(qtbot, model_road, tmp_path, crop, copy, notifications):
    domains = put_domains(copy)
    model_road.open(sample_path())
    sample = model_road.dock.coordinator.slide
    model_road.draw(TUMOUR)
    model_road.drop(copy, COUNTS)
    coordinator, panels = model_road.dock.coordinator, model_road.panels
    model_road.wait(lambda: model_road.panels.measured.match() is not None)
    gene = model_road.maps.prediction.genes[7]
    assert panels.genes.choose(gene)
    panels.genes.settings.restore(LOOK)
    panels.uncertainty.choose_expression("sample")
    model_road.wait(lambda: panels.uncertainty.sample.maximum() == 6)
    panels.uncertainty.sample.setValue(4)
    model_road.open(crop)
    panels.slide.pixel_size.value.setValue(1.25)
    panels.slide.pixel_size.use_button.click()
    coordinator.panels.slide.activate(sample)
    model_road.wait(lambda: model_road.panels.analysis.domains is not None)
    panels.analysis.visible_box.click()

    path = tmp_path / "session.json"
    model_road.dock.coordinator.sessions.save(str(path))
    model_road.wait(path.exists)
    expected = coordinator.sessions.session()
    (region,) = coordinator.panels.region.drawn()
    fingerprint = next(e.fingerprint for e in expected.slides if e.mpp_um)
    model_road.wait(lambda: remembered(fingerprint) is not None)
    remember(fingerprint, None)  # the session itself has to know it

    dock = another_dock(qtbot)
    with qtbot.waitSignal(dock.coordinator.sessions.restored, timeout=120_000):
        dock.coordinator.dropped.open([path])
    qtbot.waitUntil(dock.panels.analysis.is_shown, timeout=60_000)
    qtbot.waitUntil(lambda: dock.panels.measured.match() is not None, timeout=60_000)
    found = dock.coordinator.sessions.session()
    assert found == expected
    assert found.view["view"] == "domains"
    assert found.view["sample"] == 3
    assert dock.panels.maps.current().prediction.path == copy
    assert dock.panels.genes.settings.look() == LOOK
    assert dock.panels.genes.settings.gene == gene
    assert dock.panels.analysis.on_slide.layer.visible
    assert dock.panels.analysis.domains.names == domains.names
    (again,) = dock.panels.region.drawn()
    assert again.region.name == region.region.name
    assert again.region.polygon.symmetric_difference(region.region.polygon).area < 10
    assert all(told.startswith("Saved") for told in notifications)
    dock.shut_down()


def test_a_pixel_size_that_was_stated_on_an_earlier_day_goes_into_a_session(model_road, crop):
    """On another computer nobody has stated it."""
    with open_slide(crop) as slide:
        remember(slide.fingerprint, Mpp.square(1.25))
    model_road.open(crop)
    remember(slide.fingerprint, None)
    (entry,) = model_road.dock.coordinator.sessions.session().slides
    assert entry.mpp_um == (1.25, 1.25)


@pytest.mark.slow
def test_clicked_places_are_predicted_together_after_a_session_too(model_road, tmp_path):
    region, sessions = model_road.panels.region, model_road.dock.coordinator.sessions
    region.neighbourhood_clicked.disconnect()  # nothing is predicted here
    slide_layer = model_road.open(sample_path())
    model_road.draw(TUMOUR)
    region.click_at(slide_layer.data_to_world((4500, 4500)))
    path = tmp_path / "session.json"
    sessions.save(str(path))
    model_road.wait(path.exists)
    model_road.viewer.layers.clear()
    with model_road.qtbot.waitSignal(sessions.restored, timeout=60_000):
        sessions.load(path)
    region.click_at(model_road.panels.slide.layer.data_to_world((6500, 4500)))
    assert [each.is_clicked for each in region.drawn()] == [False, True, True]


def test_regions_that_were_cleared_come_back_with_their_session(model_road):
    model_road.open(sample_path())
    model_road.draw(TUMOUR)
    region, sessions = model_road.panels.region, model_road.dock.coordinator.sessions
    saved = sessions.session()
    region.clear_button.click()
    assert region.drawn() == []
    with model_road.qtbot.waitSignal(sessions.restored, timeout=60_000):
        sessions.restore(saved)
    assert len(region.drawn()) == 1
    with model_road.qtbot.waitSignal(sessions.restored, timeout=60_000):
        sessions.restore(saved)
    assert len(region.drawn()) == 1  # what is there stays as it is


def test_a_session_without_word_of_clicks_is_read(tmp_path):
    write_session(Session((entry_of(tmp_path),)), tmp_path / "s.json")
    saved = json.loads((tmp_path / "s.json").read_text())
    del saved["slides"][0]["clicked"]
    (tmp_path / "s.json").write_text(json.dumps(saved))
    assert read_session(tmp_path / "s.json").slides[0].clicked == ()


def test_genes_side_by_side_and_measured_values_come_back(qtbot, model_road, tmp_path, copy):
    model_road.open(sample_path())
    model_road.drop(COUNTS, copy)  # in whatever order
    coordinator, panels = model_road.dock.coordinator, model_road.panels
    model_road.wait(lambda: model_road.panels.measured.match() is not None)
    panels.measured.choose_view("measured")
    before = coordinator.sessions.session()
    dock = another_dock(qtbot)
    with qtbot.waitSignal(dock.coordinator.sessions.restored, timeout=60_000):
        dock.coordinator.sessions.restore(before)
    qtbot.waitUntil(lambda: dock.panels.measured.shown() == "measured", timeout=60_000)
    qtbot.waitUntil(lambda: dock.panels.measured.map.layer.visible, timeout=60_000)
    assert dock.coordinator.sessions.session() == before

    panels.measured.choose_view("mean")
    picked = coordinator.panels.maps.current().prediction.genes[3:5]
    panels.genes.settings.picked = picked
    panels.genes.choose_arrangement("mix")
    view = dict(coordinator.sessions.session().view)
    view["picked"] = [*picked, "NO-SUCH-GENE"]
    dock.coordinator.sessions.restore_view(view)
    assert dock.panels.genes.settings.picked == picked
    assert len(dock.panels.maps.mixed.maps) == 2
    dock.shut_down()


@pytest.mark.slow
def test_a_score_comes_back_with_its_list(qtbot, model_road, tmp_path, copy):
    model_road.open(sample_path())
    model_road.drop(copy)
    coordinator, genes = model_road.dock.coordinator, model_road.panels.genes
    model_road.wait(lambda: coordinator.panels.maps.current() is not None)
    chosen = coordinator.panels.maps.current().prediction.genes[2:6]
    genes.sets.add_list("my markers", (*chosen, "NOSUCHGENE"))
    genes.choose_arrangement("score")
    title = "Score of my markers, 4 of 5 genes, predicted, mean z-score"
    model_road.wait(lambda: coordinator.panels.maps.layer("mean").name == title)
    before = coordinator.sessions.session()
    write_session(before, tmp_path / "s.json")
    dock = another_dock(qtbot)
    with qtbot.waitSignal(dock.coordinator.sessions.restored, timeout=60_000):
        dock.coordinator.dropped.open([tmp_path / "s.json"])
    maps = dock.panels.maps
    qtbot.waitUntil(lambda: maps.layer("mean").name == title, timeout=60_000)
    assert dock.panels.genes.settings.arrangement == "score"
    assert dock.coordinator.sessions.session() == before
    shown, again = (m.layer("mean").data for m in (coordinator.panels.maps, maps))
    assert again == pytest.approx(shown, nan_ok=True)
    dock.shut_down()


@pytest.mark.slow
def test_genes_that_are_not_listed_at_the_moment_come_back_too(model_road, copy, notifications):
    model_road.open(sample_path())
    model_road.drop(copy)
    coordinator, genes = model_road.dock.coordinator, model_road.panels.genes
    model_road.wait(lambda: coordinator.panels.maps.current() is not None)
    predicted = coordinator.panels.maps.current().prediction.genes
    genes.choose(predicted[7])
    genes.sets.add_list("others", predicted[:3])
    assert genes.table.row_of(predicted[7]) is None
    genes.choose_arrangement("beside")
    genes.settings.picked = predicted[5:8]
    before = coordinator.sessions.session()
    genes.choose(predicted[1])
    with model_road.qtbot.waitSignal(coordinator.sessions.restored, timeout=60_000):
        coordinator.sessions.restore(before)
    assert genes.settings.gene == predicted[7]
    assert genes.settings.picked == predicted[5:8]
    assert coordinator.sessions.session() == before
    assert notifications == []


@pytest.mark.slow
def test_a_run_goes_on_after_a_session_as_it_was_asked_for(qtbot, model_road, tmp_path):
    def has_loaded(panels):
        return panels.model.loaded()[0] is not None

    panels = model_road.panels
    model_road.ask_little()
    model_road.open(sample_path())
    model_road.wait(lambda: has_loaded(panels))
    model_road.draw(TUMOUR)
    panels.model.pitch.setValue(120)
    panels.model.ask_depth(3000)
    model_road.wait(lambda: "spots" in panels.run.run_button.text())
    model_road.run()
    path = tmp_path / "session.json"
    model_road.dock.coordinator.sessions.save(str(path))
    model_road.wait(path.exists)

    dock = another_dock(qtbot)
    with qtbot.waitSignal(dock.coordinator.sessions.restored, timeout=60_000):
        dock.coordinator.sessions.load(path)
    qtbot.waitUntil(lambda: has_loaded(dock.panels), timeout=60_000)
    dock.panels.model.form.restore({"n_draws": 2, "n_steps": 2, "device": "cpu"})
    with qtbot.waitSignal(dock.panels.run.begun, timeout=60_000) as begun:
        dock.panels.run.run_button.click()
    assert begun.args[1].path == model_road.maps.prediction.path
    qtbot.waitUntil(lambda: not dock.panels.run.is_running, timeout=60_000)
    dock.shut_down()


@pytest.mark.parametrize("pitch_um", [None, "100", -1, float("nan"), float("inf"), [100]])
def test_a_spacing_edited_by_hand_does_no_harm(model_road, pitch_um):
    model = model_road.panels.model
    before = model.pitch.value(), model.settings()
    model.restore_run({"pitch_um": pitch_um, "depth": pitch_um})
    assert (model.pitch.value(), model.settings()) == before


def test_what_is_missing_is_said_and_the_rest_is_opened(model_road, tmp_path, notifications, copy):
    sample = model_road.open(sample_path())
    slide = model_road.dock.coordinator.slide
    model_road.viewer.layers.remove(sample)
    gone = SlideEntry(path=str(tmp_path / "gone.svs"), fingerprint="x")
    there = SlideEntry(
        path=str(sample_path()),
        fingerprint=slide.fingerprint,
        predictions=(str(tmp_path / "gone.zarr"), str(copy)),
        measured=str(tmp_path / "gone.h5ad"),
        gene="NO-SUCH-GENE",
    )
    coordinator = model_road.dock.coordinator
    session = Session((gone, there), slide.fingerprint, {"view": "domains"})
    with model_road.qtbot.waitSignal(coordinator.sessions.restored, timeout=60_000):
        coordinator.sessions.restore(session)
    assert len(coordinator.panels.slide.slides()) == 1
    assert model_road.maps.prediction.path == copy
    for words in ("gone.svs", "gone.zarr", "gone.h5ad", "NO-SUCH-GENE", "find them again"):
        model_road.wait(lambda words=words: any(words in told for told in notifications))


def test_a_slide_that_is_away_stays_in_the_session_with_its_regions(model_road, crop, tmp_path):
    elsewhere, whole = crop.with_name("unplugged.png"), {"type": "FeatureCollection"}
    named = {"type": "Feature", "properties": {"name": "tumour"}, "geometry": REGION}
    other = SlideEntry(
        path=str(crop),
        fingerprint=open_slide(crop).fingerprint,
        mpp_um=(0.5, 0.5),
        regions=whole | {"features": [named]},
    )
    there = SlideEntry(path=str(sample_path()), fingerprint=open_slide(sample_path()).fingerprint)
    control = model_road.dock.coordinator.sessions

    def restore(session: Session) -> None:
        with model_road.qtbot.waitSignal(control.restored, timeout=60_000):
            control.restore(session)

    crop.rename(elsewhere)
    restore(Session((other, there), there.fingerprint))
    write_session(control.session(), tmp_path / "s.json")
    saved = read_session(tmp_path / "s.json")
    assert saved.active == there.fingerprint
    assert [each for each in saved.slides if each.fingerprint == other.fingerprint] == [other]
    elsewhere.rename(crop)
    restore(saved)
    assert len(control.session().slides) == 2
    slide = model_road.panels.slide.find_open(other.fingerprint)
    assert model_road.panels.region.layers.find(slide).features["name"].tolist() == ["tumour"]


@pytest.fixture
def away(crop):
    """A slide of a session that is not where it was, with a region."""
    named = {"type": "Feature", "properties": {"name": "tumour"}, "geometry": REGION}
    return SlideEntry(
        path=str(crop.with_name("unplugged.png")),
        fingerprint=open_slide(crop).fingerprint,
        mpp_um=(0.5, 0.5),
        regions={"type": "FeatureCollection", "features": [named]},
    )


def restore(road, *entries: SlideEntry) -> None:
    control = road.dock.coordinator.sessions
    with road.qtbot.waitSignal(control.restored, timeout=60_000):
        control.restore(Session(entries))


@pytest.mark.parametrize("is_other_open", [True, False])
def test_a_slide_that_is_away_stays_when_the_dock_is_closed_and_opened_again(
    dock_on, away, is_other_open
):
    first = dock_on(ViewerModel())
    if is_other_open:
        first.open(sample_path())
    restore(first, away)
    first.close()
    again = dock_on(first.viewer)
    assert away in again.dock.coordinator.sessions.session().slides
    again.close()


def test_a_slide_that_was_away_and_has_come_is_saved_as_it_is_now(model_road, crop, away):
    restore(model_road, away)
    restore(model_road, replace(away, path=str(crop)))  # as found beside the session
    model_road.panels.region.clear_button.click()
    (entry,) = model_road.dock.coordinator.sessions.session().slides
    assert not entry.regions["features"]


def test_of_a_slide_that_was_away_and_is_open_what_is_seen_now_is_saved(model_road, copy):
    genes = Prediction.open(copy).genes
    away = SlideEntry(
        path=str(copy.with_name("unplugged.svs")),
        fingerprint=open_slide(sample_path()).fingerprint,
        predictions=(str(copy.with_name("older.zarr")),),
        gene=genes[3],
    )
    restore(model_road, away)
    model_road.open(sample_path())
    model_road.drop(copy)
    model_road.wait(lambda: model_road.maps is not None)
    model_road.panels.genes.choose(genes[7])
    (entry,) = model_road.dock.coordinator.sessions.session().slides
    assert (entry.gene, entry.predictions) == (genes[7], (*away.predictions, str(copy)))


@pytest.mark.parametrize("mpp_um", [(0.5, 0.5), None])
def test_a_session_goes_on_past_a_slide_that_is_open_without_a_pixel_size(
    model_road, crop, away, copy, mpp_um
):
    model_road.open(crop)
    entry = replace(away, path=str(crop), mpp_um=mpp_um, predictions=(str(copy),))
    there = SlideEntry(path=str(sample_path()), fingerprint=open_slide(sample_path()).fingerprint)
    restore(model_road, entry, there)
    slides, layers = model_road.panels.slide, model_road.panels.region.layers
    slide = slides.find_open(entry.fingerprint)
    assert len(slides.slides()) == 2
    assert slide.mpp == (None if mpp_um is None else Mpp.square(0.5))
    assert (layers.find(slide) is None) == (mpp_um is None)
    remember(slide.fingerprint, None)


def test_a_slide_that_changed_is_opened_without_what_lay_on_it(model_road, notifications):
    there = SlideEntry(path=str(sample_path()), fingerprint="another")
    coordinator = model_road.dock.coordinator
    with model_road.qtbot.waitSignal(coordinator.sessions.restored, timeout=60_000):
        coordinator.sessions.restore(Session((there,)))
    assert len(coordinator.panels.slide.slides()) == 1
    assert any("has changed" in sentence for sentence in notifications)


@pytest.mark.parametrize(
    "view",
    [
        {"camera_center": 3, "colormap": [], "share": "x", "sample": True, "picked": 1},
        {"camera_center": [0], "camera_zoom": -1, "colormap": "pink", "range_low": float("inf")},
        {"view": 7, "arrangement": "score", "expression": "x", "unknown": 1},
        {"listed": "set:gone", "own_list": 3, "arrangement": "score"},
        {"listed": "paste"},
        {"listed": "list:gone", "own_list": []},
    ],
)
def test_a_view_edited_by_hand_does_no_harm(model_road, view):
    before = model_road.dock.coordinator.sessions.session().view
    model_road.dock.coordinator.sessions.restore_view(view)
    assert model_road.dock.coordinator.sessions.session().view == before


# drops


def test_what_is_dropped_is_told_apart(tmp_path, c5_prediction, visium):
    session = tmp_path / "s.json"
    write_session(Session(), session)
    regions = tmp_path / "r.json"
    regions.write_text('{"type": "FeatureCollection", "features": []}')
    (tmp_path / "r.geojson").touch()
    (tmp_path / "x.zarr").mkdir()
    exported = tmp_path / "exported.h5ad"
    write_anndata(Selection.of(Prediction.open(c5_prediction)), exported)
    assert kind_of_drop(session) == "session"
    assert kind_of_drop(regions) == "regions"
    assert kind_of_drop(tmp_path / "r.geojson") == "regions"
    assert kind_of_drop(c5_prediction) == "prediction"
    assert kind_of_drop(exported) == "exported"
    assert kind_of_drop(COUNTS) == "measured"
    assert kind_of_drop(visium) == "measured"
    assert kind_of_drop(visium.parent) == "measured"
    assert kind_of_drop(find_model("her2st-breast")) == "model"
    assert kind_of_drop(tmp_path / "x.zarr") == "slide"
    assert kind_of_drop(sample_path()) == "slide"
    broken = tmp_path / "broken.h5ad"
    shutil.copy(sample_path(), broken)
    for path in (broken, tmp_path / "gone.svs"):
        with pytest.raises(StemError, match=path.name):
            kind_of_drop(path)


def test_all_that_belongs_together_can_be_dropped_at_once(model_road, tmp_path, c5_prediction):
    coordinator = model_road.dock.coordinator
    regions = tmp_path / "r.geojson"
    regions.write_text(json.dumps(REGION))
    model_road.drop(COUNTS, c5_prediction, regions, sample_path())
    model_road.wait(lambda: model_road.panels.measured.match() is not None)
    assert model_road.maps.prediction.path == c5_prediction
    assert len(coordinator.panels.region.drawn()) == 1
    model = shutil.copytree(find_model("her2st-breast"), tmp_path / "mine")
    model_road.wait(lambda: model_road.panels.model.model_name() != "")
    model_road.drop(model)
    model_road.wait(lambda: model_road.panels.model.model_name() == str(model))
    assert coordinator.panels.model.models.folders() == str(model)


def test_measured_counts_wait_for_a_slide_and_a_prediction(model_road, c5_prediction):
    model_road.drop(COUNTS)
    model_road.wait(lambda: "measured" in "".join(la.name for la in model_road.viewer.layers))
    model_road.open(sample_path())
    control = model_road.panels.measured
    model_road.wait(lambda: control.path_of(model_road.dock.coordinator.slide) == COUNTS)
    assert "once there is one" in model_road.panels.measured.message.text()
    model_road.drop(c5_prediction)
    model_road.wait(lambda: control.match() is not None)
    assert model_road.dock.parts["Measured data"].hint.text() == COUNTS.name


def test_an_exported_prediction_opens_too(model_road, tmp_path, c5_prediction):
    original = Prediction.open(c5_prediction)
    exported = tmp_path / "exported.h5ad"
    write_anndata(Selection.of(original), exported)
    model_road.open(sample_path())
    model_road.drop(exported)
    model_road.wait(lambda: model_road.maps is not None)
    found = model_road.maps.prediction
    assert found.genes == original.genes
    gene = original.genes[5]
    assert found.values(gene) == pytest.approx(original.values(gene))
    first = found.path
    model_road.drop(exported)  # unpacked once
    model_road.qtbot.wait(200)
    assert model_road.maps.prediction.path == first
    assert len(list(first.parent.glob("exported-*"))) == 1


def test_of_several_tables_one_is_read_at_a_time_and_the_last_counts(
    model_road, tmp_path, c5_prediction, monkeypatch
):
    from napari_stem.widgets.views import measured

    reads = []
    read = measured.read_measured

    def noted(path, *slide):
        reads.append(path.name)
        return read(path, *slide)

    monkeypatch.setattr(measured, "read_measured", noted)
    model_road.open(sample_path())
    control, slide = model_road.panels.measured, model_road.dock.coordinator.slide
    table = anndata.read_h5ad(COUNTS)
    for name in ("first.h5ad", "second.h5ad", "third.h5ad"):
        table.write_h5ad(tmp_path / name)
    for name in ("first.h5ad", "second.h5ad", "third.h5ad"):
        control.load(str(tmp_path / name))
    model_road.wait(lambda: control.path_of(slide) == tmp_path / "third.h5ad")
    assert reads == ["first.h5ad", "third.h5ad"]


def test_a_dock_that_is_closed_while_its_session_comes_back_hands_it_on(
    model_road, dock_on, qtbot, c5_prediction
):
    model_road.open(sample_path())
    with qtbot.waitSignal(model_road.panels.model.predictions.shown, timeout=60_000):
        model_road.panels.model.predictions.open(c5_prediction)
    model_road.close()
    at_once = dock_on(model_road.viewer)
    qtbot.addWidget(at_once.dock)
    at_once.close()
    last = dock_on(model_road.viewer)
    qtbot.addWidget(last.dock)
    last.wait(lambda: last.maps is not None)
    assert last.maps.prediction.path == c5_prediction
    last.close()


def test_two_sessions_that_come_back_at_once_both_do_and_one_saved_meanwhile_holds_them(
    model_road, crop, c5_prediction, tmp_path
):
    sample, other = (open_slide(path) for path in (sample_path(), crop))
    entries = [
        SlideEntry(path=str(sample.path), fingerprint=sample.fingerprint, gene="FASN"),
        SlideEntry(path=str(other.path), fingerprint=other.fingerprint, name="the other"),
    ]
    entries[0] = replace(entries[0], predictions=(str(c5_prediction),))
    write_session(Session((*entries,), sample.fingerprint), tmp_path / "first.json")
    third = crop.with_name("third.png")
    Image.open(crop).rotate(90).save(third)
    last = SlideEntry(path=str(third), fingerprint=open_slide(third).fingerprint)
    control, slides = model_road.dock.coordinator.sessions, model_road.panels.slide
    ended, opened, slides_open = [], [], slides.open

    def counted(path, *args, **kwargs):
        opened.append(str(path))
        slides_open(path, *args, **kwargs)

    slides.open = counted
    control.restored.connect(lambda: ended.append(slides.slide.fingerprint))
    control.restore(read_session(tmp_path / "first.json"))
    control.restore(Session((last,), last.fingerprint))
    saved = control.session()
    assert [each.fingerprint for each in saved.slides] == [
        each.fingerprint for each in (*entries, last)
    ]
    assert saved.slides[0].predictions == (str(c5_prediction),)
    assert saved.active == last.fingerprint
    model_road.wait(lambda: ended != [])
    assert opened == [str(each.path) for each in (*entries, last)]
    assert [layer.name for layer in slides.layers.all()][1] == "the other"
    model_road.close()
    assert ended == [last.fingerprint]
