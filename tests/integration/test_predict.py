"""From a slide to a prediction: the same spot gives the same numbers, however it is asked for."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pytest
import shapely

from napari_stem.diffusion.noise import slide_normal
from napari_stem.encoders.registry import load_encoder
from napari_stem.errors import (
    EncoderError,
    MissingMppError,
    ModelError,
    OutputError,
    RegionError,
    SpotError,
)
from napari_stem.geometry import Mpp, Region, Spots
from napari_stem.model.bundle import load_folder
from napari_stem.model.head import evenly
from napari_stem.model.serving import embedder_of
from napari_stem.prediction_blocks import _FIRST_BLOCK, embed_ahead, spots_at_once
from napari_stem.prediction_job import PredictionJob, predict_slide
from napari_stem.progress import Poll, Stopped, go_on
from napari_stem.results import FIELDS, Prediction
from napari_stem.settings import SamplingSettings
from napari_stem.slide import open_slide
from napari_stem.slide.pixel_size import MppSource
from napari_stem.spatial.dataset import Dataset
from napari_stem.spatial.spot_choice import choose_spots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_stem.model.bundle import Model
    from napari_stem.slide import Slide

SETTINGS = SamplingSettings(n_draws=6, n_steps=5, device="cpu", spots_per_block=4)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def slide(small_dataset: Path) -> Iterator[Slide]:
    opened = open_slide(small_dataset / "wsis" / "C3.jpg")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def model(small_model: Path, with_correction) -> Model:
    """With steps to walk."""
    return with_correction(load_folder(small_model))


@pytest.fixture(scope="module")
def spots(small_dataset: Path) -> Spots:
    """Measured spots of section C3, which the model has not seen; their embeddings are cached."""
    return Dataset(small_dataset).section("C3").spots().take(slice(0, 11))


class Run:
    """Begins predictions of one slide by one model."""

    def __init__(self, slide: Slide, model: Model, folder: Path) -> None:
        self.slide, self.model, self.folder = slide, model, folder

    def begin(self, spots: Spots, settings: SamplingSettings = SETTINGS, **options) -> Prediction:
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"{len(list(self.folder.iterdir()))}.zarr"
        return self.job(spots, settings, **options).create_or_resume(path, resume=False)

    def job(self, spots: Spots, settings: SamplingSettings = SETTINGS, **options) -> PredictionJob:
        run = {"slide": self.slide, "model": self.model, "settings": settings, "spots": spots}
        return PredictionJob(**run, **options)

    def steps(
        self,
        prediction: Prediction,
        settings: SamplingSettings = SETTINGS,
        poll=go_on,
        **options,
    ):
        """Every block is written as soon as it is finished."""
        told = {name: options.pop(name) for name in ("watch", "write_every_s") if name in options}
        job = self.job(
            prediction.spots, settings, keep_draws=prediction.n_kept_draws > 0, **options
        )
        return job.steps(prediction, poll, **{"write_every_s": 0, **told})

    def __call__(self, spots: Spots, settings: SamplingSettings = SETTINGS, **options):
        prediction = self.begin(spots, settings, **options)
        for _ in self.steps(prediction, settings):
            pass
        return prediction.to_anndata()


@pytest.fixture
def run(slide: Slide, model: Model, tmp_path: Path) -> Run:
    return Run(slide, model, tmp_path / "predictions")


@pytest.fixture(scope="module")
def whole(slide, model, spots, tmp_path_factory) -> anndata.AnnData:
    """All spots in one run: what every other run is held against."""
    return Run(slide, model, tmp_path_factory.mktemp("whole"))(spots)


def assert_same(table: anndata.AnnData, reference: anndata.AnnData) -> None:
    shared = reference[table.obs_names]
    assert table.n_obs > 0
    np.testing.assert_allclose(table.X, shared.X, **CLOSE)
    for field in ("sd", "q05", "q95"):
        np.testing.assert_allclose(table.layers[field], shared.layers[field], **CLOSE)
    np.testing.assert_allclose(table.obs["ood_distance"], shared.obs["ood_distance"], **CLOSE)
    np.testing.assert_array_equal(table.obs["ood"], shared.obs["ood"])


def test_what_a_run_leaves(run: Run, spots: Spots) -> None:
    prediction = run.begin(spots, keep_draws=True)
    n_done = []
    for progress in run.steps(prediction):
        table = anndata.read_zarr(prediction.path)
        n_done.append(progress.n_done)
        assert progress.n_spots == len(spots)
        assert table.obs["done"].sum() == progress.n_done
        np.testing.assert_array_equal(np.isfinite(table.X).all(1), table.obs["done"])
        assert np.isnan(table.X[~table.obs["done"]]).all()
    assert n_done == [0, 4, 8, 11]
    draws = table.obsm["draws"].astype(np.float32)
    assert draws.shape == (11, 20, SETTINGS.n_draws)
    np.testing.assert_allclose(draws.mean(-1), table.X, rtol=2e-3, atol=2e-3)
    assert (table.layers["q05"] <= table.X + 1e-5).all()
    assert (table.layers["q95"] + 1e-5 >= table.X).all()
    assert table.layers["sd"].min() >= 0
    assert table.X.std(0).min() > 0  # spots differ
    for field in FIELDS:
        assert np.isfinite(prediction.values(table.var_names[3], field)).all()


def test_progress_begins_by_looking_and_tells_the_time_left(run: Run, spots: Spots) -> None:
    told = list(run.steps(run.begin(spots)))
    assert [p.stage for p in told] == ["embedding", *["sampling"] * 3]
    assert [p.seconds_left for p in told[:2]] == [
        None,
        None,
    ]  # the first block takes what beginning takes
    assert told[2].seconds_left > 0
    assert told[-1].seconds_left == 0


def test_each_denoising_step_is_told(run: Run, spots: Spots) -> None:
    """With a thousand steps a block may take an hour: progress cannot wait for its end."""
    prediction, seen = run.begin(spots), []
    for _ in run.steps(prediction, watch=seen.append):
        pass
    assert [p.n_done for p in seen] == [0] * 5 + [4] * 5 + [8] * 5
    work = [p.work_done for p in seen]
    assert work[:5] == pytest.approx([0.8, 1.6, 2.4, 3.2, 4.0])
    assert work[-1] == len(spots)
    assert [p.seconds_left is None for p in seen] == [True] * 10 + [False] * 5


@pytest.mark.parametrize("block", [1, 16])
def test_block_size_changes_nothing(run, spots, whole, block) -> None:
    assert_same(run(spots, replace(SETTINGS, spots_per_block=block)), whole)


def test_what_lies_near_a_place_comes_first_and_changes_nothing(
    run, spots, whole, monkeypatch
) -> None:
    monkeypatch.setattr("napari_stem.model.head.N_CHECKED", 1)
    prediction, near = run.begin(spots), tuple(spots.xy_um[-1])
    steps = run.steps(prediction, begin_at_um=near)
    done = [prediction.done.copy() for _ in steps]
    distance = np.hypot(*(spots.xy_um - near).T)
    nearest = [distance[later & ~now].min() for now, later in pairwise(done)]
    assert nearest[0] == 0
    assert nearest == sorted(nearest)
    assert_same(prediction.to_anndata(), whole)


def test_spots_that_were_looked_at_come_before_others(run, spots, monkeypatch) -> None:
    monkeypatch.setattr("napari_stem.model.head.N_CHECKED", 3)
    settings = replace(SETTINGS, spots_per_block=3)
    prediction, near = run.begin(spots), tuple(spots.xy_um[1])
    steps = run.steps(prediction, settings, begin_at_um=near)
    next(steps)
    next(steps)
    steps.close()
    assert np.flatnonzero(prediction.done).tolist() == evenly(len(spots)).tolist()
    assert not prediction.done[1]


def test_nothing_is_embedded_between_looking_and_the_first_colour(run, spots, monkeypatch) -> None:
    monkeypatch.setattr("napari_stem.model.head.ENOUGH_OF_FEW", 5)
    looked_at = evenly(len(spots))
    assert _FIRST_BLOCK < len(looked_at) < len(spots)
    prediction, near = run.begin(spots), tuple(spots.xy_um[1])
    steps = run.steps(prediction, begin_at_um=near)
    next(steps)
    next(steps)
    steps.close()
    first = set(np.flatnonzero(prediction.done).tolist())
    assert len(first) == _FIRST_BLOCK
    assert first < set(looked_at.tolist())


def test_a_coarse_map_of_many_spots_comes_first_and_changes_nothing(
    run, spots, whole, monkeypatch
) -> None:
    monkeypatch.setattr("napari_stem.prediction_blocks.LEAST_COARSE", len(spots))
    monkeypatch.setattr("napari_stem.prediction_blocks.COARSE", 2)
    monkeypatch.setattr("napari_stem.model.head.N_CHECKED", 1)
    is_coarse = (spots.array_row % 2 == 0) & (spots.array_col % 2 == 0)
    assert 0 < is_coarse.sum() < len(spots)
    prediction, near = run.begin(spots), tuple(spots.xy_um[-1])
    steps = run.steps(prediction, replace(SETTINGS, spots_per_block=1), begin_at_um=near)
    done = [prediction.done.copy() for _ in steps]
    coarse, rest = done[is_coarse.sum()], done[is_coarse.sum() + 1 :]
    assert coarse.tolist() == is_coarse.tolist()
    away = np.hypot(*(spots.xy_um - near).T)
    later = [away[after & ~before].item() for before, after in pairwise([coarse, *rest])]
    assert later == sorted(later)
    assert_same(prediction.to_anndata(), whole)


def test_a_coarse_map_that_was_stopped_goes_on(run, spots, whole, monkeypatch) -> None:
    monkeypatch.setattr("napari_stem.prediction_blocks.LEAST_COARSE", len(spots))
    monkeypatch.setattr("napari_stem.prediction_blocks.COARSE", 2)
    monkeypatch.setattr("napari_stem.model.head.N_CHECKED", 1)
    prediction, near = run.begin(spots), tuple(spots.xy_um[0])
    steps = run.steps(prediction, begin_at_um=near)
    next(steps)
    next(steps)
    steps.close()
    reopened = Prediction.open(prediction.path)
    assert 0 < reopened.done.sum() < len(spots)
    list(run.steps(reopened, begin_at_um=near))
    assert_same(reopened.to_anndata(), whole)


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_spots_are_looked_at_while_others_are_drawn_but_not_on_mps(
    spots, monkeypatch, device
) -> None:
    """Apple's MPS ends the process where two threads compute on it at once.

    Nothing is looked at beside the drawing of the first spots, which are waited for.
    """
    monkeypatch.setattr("napari_stem.prediction_blocks.torch_device", lambda name: name)
    looked = Queue()

    class Embedder:
        def embed(self, part, step=None):
            looked.put((len(part), threading.current_thread() is threading.main_thread()))
            return np.zeros((len(part), 1), np.float32)

    parts = [spots.take(slice(0, n)) for n in (1, 2, 3)]
    embeddings = embed_ahead(Embedder(), parts, device)
    assert len(next(embeddings)) == 1
    assert looked.get_nowait() == (1, device == "mps")
    assert looked.empty()
    assert len(next(embeddings)) == 2
    if device == "cpu":
        assert [looked.get(timeout=60) for _ in range(2)] == [(2, False), (3, False)]
    else:
        assert looked.get_nowait() == (2, True)
        assert looked.empty()
    assert [len(each) for each in embeddings] == [3]


def test_fewer_spots_in_another_order_change_nothing(run, spots, whole) -> None:
    assert_same(run(spots.take(np.array([9, 2, 5]))), whole)


def test_a_spot_alone_looked_at_anew_changes_nothing(
    small_dataset, model, spots, whole, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("NAPARI_STEM_CACHE", str(tmp_path / "empty cache"))
    slide = open_slide(small_dataset / "wsis" / "C3.jpg")
    assert_same(Run(slide, model, tmp_path / "alone")(spots.take(np.array([7]))), whole)
    slide.close()


def test_another_seed_changes_the_draws_and_little_of_the_mean(run, spots, whole) -> None:
    other = run(spots, replace(SETTINGS, seed=1))
    assert np.abs(other.layers["sd"] - whole.layers["sd"]).mean() > 0.05
    assert not np.allclose(other.X, whole.X, **CLOSE)


def test_ancestral_draws_depend_on_the_spot_alone_too(run, spots, whole) -> None:
    settings = replace(SETTINGS, sampler="ancestral")
    table = run(spots.take(slice(0, 6)), settings)
    assert_same(run(spots.take(np.array([4, 1])), replace(settings, spots_per_block=1)), table)
    assert np.abs(table.layers["sd"] - whole[table.obs_names].layers["sd"]).mean() > 0.02


def test_shares_and_depths_are_said_wherever_values_are(run, spots) -> None:
    """Thinned to a tenth, counts are a tenth; shares stay what they are."""
    some = spots.take(np.arange(4))
    same = replace(SETTINGS, patient="same", n_draws=40)
    deep = run(some, same)
    shallow = run(some, replace(same, depth=run.model.config.depth / 10))
    of_counts = [np.exp2(table.X) - 1 for table in (deep, shallow)]
    assert of_counts[1].sum() == pytest.approx(of_counts[0].sum() / 10, rel=0.3)
    share = run(some, replace(same, quantity="share"))
    assert set(share.var["unit"]) == {"ln(counts per 10,000 + 1)"}
    assert share.uns["log1p"]["base"] == pytest.approx(np.e)
    assert "at the training depth" in deep.var["unit"].iloc[0]
    assert shallow.uns["napari_stem"]["depth"] == pytest.approx(run.model.config.depth / 10)
    assert shallow.uns["napari_stem"]["patient"] == "same"
    wider = run(some, replace(same, patient="new"))
    assert wider.layers["sd"].mean() > 1.1 * deep.layers["sd"].mean()


def box(slide: Slide, left: float, top: float, right: float, bottom: float) -> Region:
    """A rectangle with corners as shares of the slide's sides."""
    w, h = slide.size.width_px, slide.size.height_px
    return Region(shapely.box(left * w, top * h, right * w, bottom * h), "box")


def test_a_larger_region_predicts_what_it_shares_the_same(run, slide) -> None:
    small_box, large_box = box(slide, 0.48, 0.48, 0.56, 0.56), box(slide, 0.45, 0.46, 0.57, 0.57)
    small = choose_spots(slide, pitch_um=300, regions=[small_box])
    large = choose_spots(slide, pitch_um=300, regions=[large_box])
    assert 0 < len(small) < len(large) < 12
    assert set(small.names) < set(large.names)
    table = run(small)
    assert_same(table, run(large, replace(SETTINGS, spots_per_block=2)))


def until(is_stopped: Callable[[], bool]) -> Poll:
    """Poll of work that is to stop once a condition holds."""

    def poll(*_: object) -> None:
        if is_stopped():
            raise Stopped

    return poll


def test_a_stopped_run_keeps_what_is_done_and_resumes_to_the_same(run, spots, whole) -> None:
    prediction = run.begin(spots)
    steps = run.steps(prediction, poll=until(lambda: prediction.done.sum() >= 4))
    assert [p.n_done for p in steps] == [0, 4]
    np.testing.assert_array_equal(np.flatnonzero(prediction.done), [0, 1, 2, 3])
    before = prediction.to_anndata()
    assert_same(before[before.obs["done"]], whole)
    settings = replace(SETTINGS, spots_per_block=3)
    resumed = run.job(spots, settings).create_or_resume(prediction.path, resume=True)
    assert [p.n_done for p in run.steps(resumed, settings)] == [4, 6, 9, 11]
    assert_same(resumed.to_anndata(), whole)
    np.testing.assert_array_equal(resumed.to_anndata()[:4].X, before[:4].X)


def test_blocks_that_follow_soon_are_written_together(run, spots, whole) -> None:
    corner_um = tuple(spots.xy_um[-1])
    prediction, told = run.begin(spots), []
    steps = run.steps(prediction, watch=told.append, write_every_s=3600, begin_at_um=corner_um)
    assert [p.n_done for p in steps] == [0, 4, 11]  # the first is to be seen at once
    assert [p.work_done for p in told][-1] == 11
    assert sorted(p.work_done for p in told) == [p.work_done for p in told]
    assert_same(prediction.to_anndata(), whole)


def test_what_is_not_written_yet_is_kept_when_a_run_is_stopped(run, spots, whole) -> None:
    prediction, asked = run.begin(spots), []

    def stop() -> bool:
        """Within the third block."""
        asked.append(None)
        return len(asked) > 2 * (1 + SETTINGS.n_steps) + 2

    assert [p.n_done for p in run.steps(prediction, poll=until(stop), write_every_s=3600)] == [0, 4]
    table = prediction.to_anndata()
    assert table.obs["done"].sum() == 8
    assert_same(table[table.obs["done"]], whole)


@pytest.mark.parametrize("polls", [0, 3, 6])
def test_stop_ends_within_a_block(run, spots, polls) -> None:
    """Polled before a block and after each of its 5 steps; the first block (5 + 1 polls) is kept."""
    asked = []

    def stop() -> bool:
        asked.append(None)
        return len(asked) > polls

    prediction = run.begin(spots)
    told = list(run.steps(prediction, poll=until(stop)))
    n_kept = 4 if polls >= 1 + SETTINGS.n_steps else 0
    assert len(asked) == polls + 1  # asked no more after the answer
    assert [p.n_done for p in told] == [0, 4][: 2 if n_kept else 1]
    assert anndata.read_zarr(prediction.path).obs["done"].sum() == n_kept
    assert np.isfinite(prediction.to_anndata().X).all(1).sum() == n_kept


def test_a_run_abandoned_between_blocks_resumes(run, spots, whole) -> None:
    prediction = run.begin(spots)
    steps = run.steps(prediction)
    next(steps)
    next(steps)
    steps.close()  # as when the process is killed
    reopened = Prediction.open(prediction.path)
    list(run.steps(reopened))
    assert reopened.done.all()
    assert_same(reopened.to_anndata(), whole)


def test_what_is_done_is_not_done_again(run, spots, monkeypatch) -> None:
    prediction = run.begin(spots)
    list(run.steps(prediction))
    monkeypatch.setattr(type(run.model), "sample", lambda *_: pytest.fail("sampled again"))
    assert [p.n_done for p in run.steps(prediction)] == [len(spots)]


def test_another_version_of_the_encoder_is_refused(run, spots) -> None:
    run.model = copy.copy(run.model)
    run.model.config = replace(run.model.config, encoder_version="0")
    with pytest.raises(EncoderError, match=r"version 0 .* train the model again"):
        list(run.steps(run.begin(spots)))


def test_in_one_call(slide, model, tmp_path, whole) -> None:
    regions = [box(slide, 0.48, 0.48, 0.56, 0.56)]
    prediction = predict_slide(
        slide, tmp_path / "p.zarr", model=model, regions=regions, settings=SETTINGS
    )
    assert prediction.done.all()
    expected = choose_spots(slide, pitch_um=model.pitch_um, regions=regions)
    assert prediction.spots.names == expected.names
    table = anndata.read_zarr(tmp_path / "p.zarr")
    assert table.n_obs == len(expected)
    assert set(table.obs["region"]) == {"box"}


def test_in_one_call_from_paths(small_dataset, small_model, slide, tmp_path) -> None:
    """Paths for everything, given spots, and a slide that is closed again."""
    measured = anndata.read_h5ad(small_dataset / "st" / "C3.h5ad")[:3].copy()
    told = []
    prediction = predict_slide(
        str(slide.path),
        str(tmp_path / "p.zarr"),
        model=small_model,
        spots=measured,
        settings=SETTINGS,
        progress=lambda *news: told.append(news),
    )
    assert prediction.spots.names == tuple(measured.obs_names)
    np.testing.assert_array_equal(prediction.to_anndata().obsm["spatial"], measured.obsm["spatial"])
    assert "region" not in prediction.to_anndata().obs
    assert told[-1] == ("Predicting spots", 3, 3)
    again = predict_slide(
        slide,
        tmp_path / "p.zarr",
        model=str(small_model),
        spots=small_dataset / "st" / "C3.h5ad",
        regions=Region(shapely.MultiPoint(measured.obsm["spatial"]).buffer(1), "these"),
        settings=SETTINGS,
        resume=True,
        progress=False,
    )
    assert again.region_names == ["these"] * 3


def test_what_is_broken_off_keeps_what_was_finished(slide, model, tmp_path) -> None:
    class Enough(Exception):
        pass

    def until(n_done: int):
        def progress(_what: str, done: int, _total: int) -> None:
            if done >= n_done:
                raise Enough

        return progress

    run = {"model": model, "regions": [box(slide, 0.45, 0.45, 0.6, 0.6)], "settings": SETTINGS}
    with pytest.raises(Enough):
        predict_slide(slide, tmp_path / "p.zarr", **run, progress=until(0))
    assert not (tmp_path / "p.zarr").exists()
    with pytest.raises(Enough):
        predict_slide(slide, tmp_path / "p.zarr", **run, progress=until(5))
    assert Prediction.open(tmp_path / "p.zarr").done.sum() == 4
    finished = predict_slide(slide, tmp_path / "p.zarr", **run, resume=True, progress=False)
    assert finished.done.all()


def test_what_one_call_warns_of_and_refuses(slide, model, tmp_path) -> None:
    with pytest.raises(OutputError, match=r"p\.h5ad should end in \.zarr"):
        predict_slide(slide, tmp_path / "p.h5ad", model=model)
    uncalibrated = copy.copy(model)
    uncalibrated.config = replace(model.config, calibrated=False)
    regions = box(slide, 0.48, 0.48, 0.56, 0.56)
    with pytest.warns(UserWarning, match="calibrated") as told:
        predict_slide(
            slide,
            tmp_path / "p.zarr",
            model=uncalibrated,
            regions=regions,
            settings=SETTINGS,
            progress=False,
        )
    assert Path(told[0].filename).name == Path(__file__).name  # where the user is


def test_the_same_job_finds_what_it_left(slide, model) -> None:
    def planned(**options) -> PredictionJob:
        run = {"settings": SETTINGS, "regions": [box(slide, 0.48, 0.48, 0.56, 0.56)], **options}
        return PredictionJob.planned(slide, model, **run)

    path = planned(keep_draws=None).cache_path()
    assert planned(keep_draws=None).cache_path() == path
    assert planned(keep_draws=None, settings=replace(SETTINGS, seed=7)).cache_path() != path
    assert planned(keep_draws=None, pitch_um=model.pitch_um / 2).cache_path() != path
    told: list[str] = []
    assert planned(tissue_type="liver", tell=told.append).spots.names
    assert any("this slide is of liver" in sentence for sentence in told)


def test_a_pixel_size_that_the_file_contradicts_is_told_before_the_run(slide, model, spots) -> None:
    odd = copy.copy(slide)
    odd.mpp_sources = (*slide.mpp_sources, MppSource("resolution tag", Mpp.square(0.1)))
    told: list[str] = []
    PredictionJob.planned(odd, model, SETTINGS, spots=spots, tell=told.append)
    assert any("disagree by a factor" in sentence for sentence in told)


def test_a_job_that_does_not_fit_is_refused_before_anything_is_made(slide, model) -> None:
    human = copy.copy(model)
    human.config = replace(model.config, card={**model.config.card, "species": "Homo sapiens"})
    with pytest.raises(ModelError, match="the slide is of mouse"):
        PredictionJob.planned(slide, human, SETTINGS, species="mouse")
    with pytest.raises(ModelError, match="ddim"):
        PredictionJob.planned(slide, model, replace(SETTINGS, sampler="ddim"))


def test_a_slide_unlike_the_training_data_is_doubted_before_the_run(
    slide, model, spots, stopped
) -> None:
    job = PredictionJob.planned(slide, model, SETTINGS, spots=spots)
    looked_at = spots.take(evenly(len(spots)))
    embedding = embedder_of(slide, model, "cpu").embed(looked_at)
    middle = float(np.median(model.head.distance(embedding)))

    def doubt_at(limit: float, poll: Poll = go_on) -> str | None:
        stricter = copy.copy(model)
        scaled = model.head.domain_limit * np.float32(middle / limit)
        stricter.head = replace(model.head, domain_limit=scaled)
        return replace(job, model=stricter).domain_warning(poll)

    assert doubt_at(0.84) is None
    assert "median distance of 9 spots 0.86" in doubt_at(0.86)
    assert doubt_at(np.nan) is None
    with pytest.raises(Stopped):
        doubt_at(0.86, stopped)


def test_what_was_begun_in_doubt_is_not_left_behind(slide, model, spots, tmp_path) -> None:
    job, out = PredictionJob.planned(slide, model, SETTINGS, spots=spots), tmp_path / "p.zarr"
    with job.created_while(out, lambda: "Blurred.") as (begun, doubt):
        assert (begun.path, doubt) == (out, "Blurred.")
    assert not out.exists()
    job.create_or_resume(out, resume=False)
    with job.created_while(out, lambda: "Blurred.") as (_, doubt):
        assert doubt == "Blurred."
    assert Prediction.open(out).spots.names == spots.names  # it was there before


def test_an_encoder_that_breaks_leaves_nothing_behind(slide, model, spots, tmp_path) -> None:
    job, out = PredictionJob.planned(slide, model, SETTINGS, spots=spots), tmp_path / "p.zarr"

    def broken():
        raise EncoderError("The file is damaged.")

    with pytest.raises(EncoderError, match="damaged"), job.created_while(out, broken):
        pass
    assert not out.exists()


def test_what_spots_share_is_made_ahead(slide, model, spots, monkeypatch) -> None:
    made, settings = [], replace(SETTINGS, seed=987)

    def counted(*args, **kwargs):
        made.append(1)
        return slide_normal(*args, **kwargs)

    monkeypatch.setattr("napari_stem.diffusion.noise.slide_normal", counted)
    model.prepare(settings)
    assert len(made) == (settings.n_draws + 1) // 2
    model.sample(embedder_of(slide, model, "cpu").embed(spots), spots, settings)
    assert len(made) == (settings.n_draws + 1) // 2


def test_the_encoder_is_loaded_once_to_doubt_and_to_predict(
    slide, model, spots, tmp_path, monkeypatch
) -> None:
    loaded: list[str] = []

    def load(name: str, *how):
        loaded.append(name)
        return load_encoder(name, *how)

    monkeypatch.setattr("napari_stem.model.serving.load_encoder", load)
    job = PredictionJob.planned(slide, model, SETTINGS, spots=spots)
    job.domain_warning()
    assert job.run(tmp_path / "p.zarr", watch=lambda _: None).done.all()
    assert loaded == ["bundled"]


def test_choosing_spots(slide) -> None:
    everywhere = choose_spots(slide, pitch_um=500, whole_slide=True)
    tissue = choose_spots(slide, pitch_um=500)
    assert 0.1 * len(everywhere) < len(tissue) < 0.9 * len(everywhere)
    assert set(tissue.names) < set(everywhere.names)
    with pytest.raises(RegionError, match="No region is given"):
        choose_spots(slide, pitch_um=500, regions=[])
    with pytest.raises(RegionError, match="No spot lies inside box"):
        choose_spots(slide, pitch_um=500, regions=[box(slide, 2, 2, 3, 3)])
    with pytest.raises(SpotError, match="pitch of 0 um"):
        choose_spots(slide, pitch_um=0, whole_slide=True)


@pytest.mark.parametrize("pitch_um", [0, -3.0, float("nan"), float("inf"), 1e9])
def test_given_spots_too_have_a_possible_pitch(pitch_um: float, slide, tmp_path) -> None:
    path = tmp_path / "spots.csv"
    path.write_text("x_px,y_px\n400,400\n700,400\n")
    with pytest.raises(SpotError, match="is not possible"):
        choose_spots(slide, pitch_um=pitch_um, spots=path)


def test_regions_that_no_spot_lies_in_are_told(slide) -> None:
    mpp, told = slide.require_mpp(), list[str]()
    large = Region(shapely.box(0, 0, 2000 / mpp.x_um, 2000 / mpp.y_um), "large")
    small, off = (Region(shapely.box(x, x, x + 9, x + 9), str(x)) for x in (400, -90))
    chosen = choose_spots(slide, pitch_um=500, regions=[small, large, off], tell=told.append)
    assert chosen.names == choose_spots(slide, pitch_um=500, regions=[large]).names
    assert len(told) == 1
    assert told[0].startswith(
        "2 regions hold no spot, so that nothing is predicted there (400, -90): off the slide, or smaller than "
        "the pitch of 500 um;"
    )
    choose_spots(slide, pitch_um=500, regions=[large], tell=told.append)
    assert len(told) == 1
    one, wide = (
        chosen.take(np.array([0])),
        Region(shapely.box(*[1000 / mpp.x_um] * 2, 2e4, 2e4), "wide"),
    )
    choose_spots(slide, pitch_um=500, spots=one, regions=[large, wide], tell=told.append)
    assert "there (wide): none of the spots that were given lies there;" in told[1]
    with pytest.raises(RegionError, match=r"inside wide: none of the spots .* give other spots\."):
        choose_spots(slide, pitch_um=500, spots=one, regions=[wide])


def test_a_slide_without_pixel_size_is_refused(her2st_source, tmp_path) -> None:
    path = tmp_path / "bare.jpg"
    path.write_bytes((her2st_source / "C3.jpg").read_bytes())
    bare = open_slide(path)
    with pytest.raises(MissingMppError, match="--mpp"):
        choose_spots(bare, pitch_um=500)
    bare.close()


def test_blocks_have_fewer_spots_where_genes_and_samples_would_fill_the_memory() -> None:
    at_once = [
        spots_at_once(SimpleNamespace(genes=range(n_genes)), SamplingSettings(n_draws=n_draws))
        for n_genes, n_draws in ((200, 32), (5_000, 100), (20_000, 100), (20_000, 1_000))
    ]
    assert at_once == [SamplingSettings().spots_per_block, 16, 4, 1]
