"""Many slides in the window: as the command line predicts them, one line of progress, a click opens one."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import pandas as pd
import pytest
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from napari_stem.cohort import orders
from napari_stem.model import serving
from napari_stem.model.bundle import Model
from napari_stem.results import Prediction
from napari_stem.widgets import many_slides

SLIDES = Path(__file__).parents[1] / "data" / "slides"
MANIFEST = f"""slide,mpp,out
{SLIDES / "C5-crop.jpg"},0.6907,crop
missing.svs,,
{SLIDES / "C5-crop.jpg"},0.6907,again
"""


@pytest.fixture
def many(model_road, tmp_path):
    model_road.ask_little()
    window = model_road.dock.show_many_slides()
    (tmp_path / "slides.csv").write_text(MANIFEST)
    window.add([tmp_path / "slides.csv"])
    model_road.wait(lambda: not window.job.is_running)
    return window


def column(window, number: int) -> list[str]:
    table = window.table
    return [table.index(row, number).data() for row in range(table.rowCount())]


def test_a_list_is_predicted_in_turn_and_each_opens_by_a_click(
    many, model_road, tmp_path, monkeypatch
):
    load, loaded = serving.load_encoder, []
    monkeypatch.setattr(serving, "load_encoder", lambda *args: loaded.append(1) or load(*args))
    assert column(many, 0) == ["crop", "missing", "again"]
    told, show = [], many.job.reported
    monkeypatch.setattr(many.job, "reported", lambda *now: told.append(now[:2]) or show(*now))
    many.run_button.click()
    assert not many.remove_button.isEnabled()
    model_road.wait(many.run_button.isVisible)
    assert loaded == [1]  # once for the list, which has two slides that can be read
    assert column(many, 1) == ["done", "failed, see why", "done"]
    assert "2 of 3 slides are done, 1 failed, 2 to be wary of" in many.text.text()
    many.view.clicked.emit(many.table.index(1, 0))
    assert "There is no file" in many.text.text()
    assert [n for _, n in told] == sorted(n for _, n in told)
    assert any("Slide 3 of 3, again" in text and "left" in text for text, _ in told)
    with (tmp_path / "predicted" / "cohort.csv").open() as lines:
        assert [row["status"] for row in csv.DictReader(lines)] == ["done", "failed", "done"]

    many.view.clicked.emit(many.table.index(0, 0))
    model_road.wait(lambda: model_road.maps is not None)
    slide = model_road.dock.coordinator.slide
    assert slide.path.name == "C5-crop.jpg"
    assert slide.require_mpp().x_um == pytest.approx(0.6907)
    assert model_road.maps.prediction.path == tmp_path / "predicted" / "crop.zarr"


def test_what_the_dock_asks_for_meanwhile_is_offered_when_the_window_comes_back(many, model_road):
    panel = model_road.panels.model
    many.run_button.click()
    model_road.wait(many.run_button.isVisible)
    many.outcomes = [each for each in many.outcomes if each.status == "done"]
    many._show()
    assert not many.run_button.isEnabled()
    assert "spots 200 µm apart" in many.how.text()
    before = many.outcomes[0].order.out
    panel.form["n_draws"].setValue(panel.form["n_draws"].value() + 2)
    QApplication.sendEvent(many, QEvent(QEvent.Type.WindowActivate))
    model_road.wait(lambda: not many.job.is_running)
    assert many.run_button.isEnabled()
    assert set(column(many, 1)) == {"waiting"}
    assert many.outcomes[0].order.out.parent == before.parent.with_name("predicted-2")
    many.run_button.click()  # not refused for what lies there from before
    model_road.wait(many.run_button.isVisible)
    assert "done" in column(many, 1)
    assert before.exists()


def test_cancel_keeps_what_is_finished_and_run_goes_on(many, model_road, tmp_path, monkeypatch):
    path, is_stopped, sample = (
        tmp_path / "predicted" / "crop.zarr",
        threading.Event(),
        Model.sample,
    )

    def stop(*_):
        if many.outcomes[0].n_done:
            many.stop()
            is_stopped.set()

    def slowly(*args):
        if many.outcomes[0].n_done:
            is_stopped.wait(60)
        return sample(*args)

    monkeypatch.setattr(Model, "sample", slowly)
    show = many.job.reported
    many.job.reported = lambda *now: show(*now) or stop()
    many.run_button.click()
    model_road.wait(many.run_button.isVisible)
    assert set(column(many, 1)) == {"waiting"}
    n_done = int(Prediction.open(path).done.sum())
    assert 0 < n_done < len(Prediction.open(path).spots)

    summary = tmp_path / "predicted" / "cohort.csv"
    told = pd.read_csv(summary)
    told.assign(seconds=told["seconds"] + 1000).to_csv(summary, index=False)
    many.job.reported = show
    many.run_button.click()
    model_road.wait(many.run_button.isVisible)
    assert column(many, 1) == ["done", "failed, see why", "done"]
    assert Prediction.open(path).done.all()
    seconds = pd.read_csv(summary)["seconds"]
    assert seconds[0] >= told["seconds"][0] + 1000  # of both runs
    assert seconds[2] < 1000  # nothing of it was there before


def test_a_folder_of_slides_or_a_manifest_that_is_dropped_is_listed(model_road, tmp_path):
    model_road.ask_little()
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.svs").symlink_to(SLIDES / "CMU-1-Small-Region.svs")
    (tmp_path / "slides.csv").write_text(MANIFEST)
    model_road.drop(tmp_path / "in")
    model_road.wait(lambda: model_road.dock.many_slides is not None)
    many = model_road.dock.many_slides
    model_road.wait(lambda: column(many, 0) == ["a", "b"])
    model_road.drop(tmp_path / "slides.csv")
    model_road.wait(lambda: column(many, 0) == ["a", "b", "crop", "missing", "again"])


def test_what_cannot_be_used_is_said_and_what_is_not_wanted_taken_off(
    many, model_road, tmp_path, notifications
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "crop.svs").touch()
    for place, why in (("empty", "There is no slide"), ("crop.svs", "2 slides would be written")):
        many.add([tmp_path / place])
        model_road.wait(lambda: not many.job.is_running)
        assert why in notifications[-1]
        assert column(many, 0) == ["crop", "missing", "again"]
    assert not many.remove_button.isEnabled()  # nothing is chosen
    assert many.remove_button.shortcut().toString() == "Del"
    many.view.setCurrentIndex(many.table.index(1, 0))
    many.remove_button.click()
    assert column(many, 0) == ["crop", "again"]
    many.add([tmp_path / "other.svs"])
    model_road.wait(lambda: column(many, 0) == ["crop", "again", "other"])


def test_hundreds_of_slides_are_listed_at_once(many, model_road, tmp_path, monkeypatch):
    listed, list_orders = [], many_slides.orders_of

    def counted(places, *asked):
        listed.extend(places)
        return list_orders(places, *asked)

    monkeypatch.setattr(many_slides, "orders_of", counted)
    added = [tmp_path / f"slide {n}.svs" for n in range(300)]
    many.add(added)
    model_road.wait(lambda: not many.job.is_running)
    names = [path.stem for path in added]
    assert column(many, 0) == ["crop", "missing", "again", *names]
    assert len(listed) < 3 * len(added)
    many.add([*added[:2], tmp_path / "crop.svs", tmp_path / "another.svs"])
    model_road.wait(lambda: not many.job.is_running)
    assert column(many, 0) == ["crop", "missing", "again", *names, "another"]


def test_the_window_lives_while_a_slow_folder_is_looked_through(
    many, model_road, tmp_path, monkeypatch
):
    threads, found = [], threading.Event()

    def slow(place):
        threads.append(threading.current_thread())
        assert found.wait(60)
        return [place / "a.svs"]

    monkeypatch.setattr(orders, "slides_in", slow)
    many.add([tmp_path])
    assert not many.run_button.isEnabled()
    many.add([tmp_path / "b.svs"])  # in its turn
    assert column(many, 0) == ["crop", "missing", "again"]
    found.set()
    model_road.wait(lambda: column(many, 0) == ["crop", "missing", "again", "a", "b"])
    assert threading.main_thread() not in threads
    assert len(threads) == 1
