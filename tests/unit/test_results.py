"""A prediction on disk: valid at every moment, resumable by its own run alone, readable by others."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pytest
from numcodecs import Zstd

from napari_stem.errors import OutputError, PredictionError, UnknownGeneError
from napari_stem.geometry import Mpp, SizePx, lattice
from napari_stem.io import only_writer
from napari_stem.model.bundle import load_folder
from napari_stem.prediction_job import PredictionJob
from napari_stem.results import FIELDS, PROVENANCE_KEY, Prediction, empty, stored
from napari_stem.results.empty import LIKE, UNLIKE, chunk_shape
from napari_stem.settings import SamplingSettings
from napari_stem.slide import open_slide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_stem.geometry import Spots
    from napari_stem.model.bundle import Model
    from napari_stem.slide import Slide

THUMBNAIL = Path(__file__).parents[1] / "data" / "slides" / "C5-thumbnail.jpg"
GENES = ("ERBB2", "GNAS", "FASN", "MUC1")
N_DRAWS = 3
MPP = Mpp.square(5.5)


@pytest.fixture(scope="module")
def spots() -> Spots:
    from PIL import Image

    with Image.open(THUMBNAIL) as image:
        size = SizePx(image.height, image.width)
    return lattice(size, MPP, 600)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    from PIL import Image

    with Image.open(THUMBNAIL) as opened:
        return np.asarray(opened.convert("RGB"))


def begin(path: Path, spots: Spots, image: np.ndarray, n_kept_draws: int = 0) -> Prediction:
    provenance: dict[str, Any] = {
        "predicted": True,
        "unit": "log2(count + 1)",
        "mpp": [MPP.y_um, MPP.x_um],
        "pitch_um": spots.pitch_um,
        "spot_diameter_um": spots.diameter_um,
    }
    return Prediction.create(
        path,
        spots,
        GENES,
        provenance,
        image=image,
        image_scale=1.0,
        spot_diameter_px=spots.diameter_um / MPP.x_um,
        n_kept_draws=n_kept_draws,
    )


def block_of(index: np.ndarray) -> dict[str, np.ndarray]:
    """Values that tell which spot and gene they belong to."""
    mean = (index[:, None] + np.arange(len(GENES)) / 10).astype(np.float32)
    draws = np.repeat(mean[..., None], N_DRAWS, -1).astype(np.float16)
    return {
        "mean": mean,
        "sd": mean + 1000,
        "q05": mean - 1,
        "q95": mean + 1,
        "ood_distance": np.where(index % 3 == 0, 1.5, 0.5).astype(np.float32),
        "draws": draws,
    }


@pytest.fixture
def prediction(tmp_path: Path, spots: Spots, image: np.ndarray) -> Prediction:
    return begin(tmp_path / "p.zarr", spots, image, N_DRAWS)


@pytest.fixture
def half_done(prediction: Prediction) -> Prediction:
    index = np.arange(len(prediction.spots) // 2)
    prediction.write_block(index, **block_of(index))
    return prediction


def test_an_empty_prediction_is_a_table_of_nothing(prediction: Prediction, spots: Spots) -> None:
    table = anndata.read_zarr(prediction.path)
    assert table.shape == (len(spots), len(GENES))
    assert tuple(table.var_names) == GENES
    assert tuple(table.obs_names) == spots.names
    assert np.isnan(table.X).all()
    assert set(table.layers) == {"sd", "q05", "q95"}
    assert all(np.isnan(values).all() for values in table.layers.values())
    assert not table.obs["done"].any()
    assert table.obs["ood"].isna().all()
    assert list(table.obs["ood"].cat.categories) == [LIKE, UNLIKE]
    np.testing.assert_array_equal(table.obsm["spatial"], np.c_[spots.x_px, spots.y_px])
    assert table.obsm["draws"].shape == (len(spots), len(GENES), N_DRAWS)
    assert table.obsm["draws"].dtype == np.float16
    assert table.uns[PROVENANCE_KEY]["predicted"]
    assert json.loads(table.uns[PROVENANCE_KEY]["json"]) == prediction.provenance


def test_it_is_a_valid_table_after_every_block(prediction: Prediction) -> None:
    n_spots = len(prediction.spots)
    blocks = [b for b in np.array_split(np.arange(n_spots), 5) if len(b)]
    for finished, index in enumerate(blocks, start=1):
        prediction.write_block(index, **block_of(index))
        done = np.isin(np.arange(n_spots), np.concatenate(blocks[:finished]))
        table = anndata.read_zarr(prediction.path)
        np.testing.assert_array_equal(table.obs["done"], done)
        np.testing.assert_array_equal(np.isfinite(table.X).all(1), done)
        np.testing.assert_array_equal(np.isfinite(table.X).any(1), done)
        np.testing.assert_array_equal(np.isfinite(table.layers["sd"]).any(1), done)
        np.testing.assert_array_equal(np.isfinite(table.obsm["draws"]).any((1, 2)), done)
        np.testing.assert_array_equal(table.obs["ood"].notna(), done)
        np.testing.assert_array_equal(prediction.done, done)
    expected = block_of(np.arange(n_spots))
    np.testing.assert_array_equal(table.X, expected["mean"])
    for layer in ("sd", "q05", "q95"):
        np.testing.assert_array_equal(table.layers[layer], expected[layer])
    unlike = expected["ood_distance"] > 1
    np.testing.assert_array_equal(table.obs["ood"], np.where(unlike, UNLIKE, LIKE))


def test_values_are_live_and_survive_reopening(prediction: Prediction) -> None:
    before = {field: prediction.values("FASN", field) for field in FIELDS}
    assert all(np.isnan(values).all() for values in before.values())
    index = np.arange(2, 6)
    prediction.write_block(index, **block_of(index))
    reopened = Prediction.open(prediction.path)
    for field in FIELDS:
        expected = np.full(len(prediction.spots), np.nan, np.float32)
        expected[index] = block_of(index)[field][:, GENES.index("FASN")]
        np.testing.assert_array_equal(before[field], expected)
        np.testing.assert_array_equal(reopened.values("FASN", field), expected)
    np.testing.assert_array_equal(reopened.done, prediction.done)
    np.testing.assert_array_equal(reopened.ood, prediction.ood)
    assert reopened.spots.names == prediction.spots.names
    assert reopened.genes == GENES
    assert reopened.unit == "log2(count + 1)"


def test_spots_come_back_as_they_were(prediction: Prediction, spots: Spots) -> None:
    found = Prediction.open(prediction.path).spots
    for column in ("x_px", "y_px", "array_row", "array_col"):
        np.testing.assert_array_equal(getattr(found, column), getattr(spots, column))
    assert (found.pitch_um, found.diameter_um) == (spots.pitch_um, spots.diameter_um)


def test_an_array_in_use_stays_live_however_many_others_were_read(
    prediction: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "READ_AHEAD_BYTES", 1)  # one gene at a time
    monkeypatch.setattr(stored, "KEPT_BYTES", 1)  # the latest only
    held = prediction.values("ERBB2")
    for gene in GENES[1:]:
        prediction.values(gene)
    assert len(prediction._recent) == 1
    assert len(prediction._live) == 2  # the latest, and the one that is in use
    assert prediction.values("ERBB2") is not None
    index = np.arange(5)
    prediction.write_block(index, **block_of(index))
    np.testing.assert_array_equal(held[:5], block_of(index)["mean"][:, 0])
    np.testing.assert_array_equal(prediction.values("MUC1")[:5], block_of(index)["mean"][:, 3])
    del held
    for gene in GENES[1:]:
        prediction.values(gene)
    assert len(prediction._live) == 1


@pytest.mark.parametrize("read_ahead", [10**9, 400, 1])
def test_genes_are_told_apart_in_every_share_of_a_chunk(
    tmp_path: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch, read_ahead: int
) -> None:
    """75 genes in chunks of 32: the last one is narrower, and shares of a chunk need not be even."""
    monkeypatch.setattr(stored, "READ_AHEAD_BYTES", read_ahead)
    genes = [f"G{i}" for i in range(75)]
    spots = lattice(SizePx(40, 90), Mpp.square(1.0), 10.0)
    many = Prediction.create(
        tmp_path / "many.zarr",
        spots,
        genes,
        {"unit": "counts", "mpp": [1.0, 1.0], "pitch_um": 10.0, "spot_diameter_um": 10.0},
        image=image,
        image_scale=1.0,
        spot_diameter_px=10.0,
        n_kept_draws=2,
    )
    everywhere = np.arange(len(spots))
    mean = (everywhere[:, None] * 100 + np.arange(75)).astype(np.float32)
    rest = {"sd": mean + 0.25, "q05": mean - 1, "q95": mean + 1}
    draws = np.stack([mean, mean + 1], -1).astype(np.float16)
    nothing = np.zeros(len(spots), np.float32)
    many.write_block(everywhere, mean=mean, **rest, ood_distance=nothing, draws=draws)
    for column, gene in enumerate(genes):
        np.testing.assert_array_equal(many.values(gene), mean[:, column])
        np.testing.assert_array_equal(many.values(gene, "sd"), rest["sd"][:, column])
    np.testing.assert_array_equal(many.rows(np.array([3, 7])), mean[[3, 7]])
    np.testing.assert_array_equal(many.draws(slice(2, 5), ["G40", "G3"]), draws[2:5][:, [40, 3]])


@pytest.mark.parametrize("n_genes", [1, 20, 200, 1000, 20_000])
def test_chunks_serve_blocks_and_genes(n_genes: int) -> None:
    spots, genes = chunk_shape((100_000, n_genes))
    assert -(-n_genes // genes) <= 8  # so many files are rewritten by a block, per field
    assert spots >= 256  # so that a gene lies in few
    assert spots * genes <= max(32_768, 256 * n_genes / 8)
    assert chunk_shape((100_000, n_genes, 32))[2] == 32


def test_nothing_takes_no_room_however_many_spots(tmp_path: Path, image: np.ndarray) -> None:
    spots = lattice(SizePx(300, 300), Mpp.square(1.0), 2.0)
    begin(tmp_path / "p.zarr", spots, image, N_DRAWS)
    assert not any((tmp_path / "p.zarr" / "X").rglob("c/*"))
    assert np.isnan(anndata.read_zarr(tmp_path / "p.zarr").X).all()


def test_unknown_gene(prediction: Prediction) -> None:
    with pytest.raises(UnknownGeneError, match="no gene 'BRCA9'"):
        prediction.values("BRCA9")


def test_unknown_field(prediction: Prediction) -> None:
    for ask in (
        lambda: prediction.values(prediction.genes[0], "q50"),
        lambda: prediction.rows(slice(None), "q50"),
    ):
        with pytest.raises(PredictionError, match="no 'q50'; ask for one of mean, sd, q05, q95"):
            ask()


@pytest.mark.parametrize(
    "options", [{}, {"shape": "square", "layer": "sd"}], ids=["plain", "square"]
)
def test_squidpy_draws_it_unaided(half_done: Prediction, tmp_path: Path, options) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import squidpy

    squidpy.pl.spatial_scatter(anndata.read_zarr(half_done.path), color="ERBB2", **options)
    figure = plt.gcf()
    axes = figure.axes[0]
    (drawn,) = axes.collections
    xy_px = half_done.spots
    assert len(axes.images) == 1  # the slide beneath
    if not options:
        centres = np.array([path.vertices.mean(0) for path in drawn.get_paths()])
        assert centres[:, 0].max() == pytest.approx(xy_px.x_px.max(), rel=0.05)
        assert centres[:, 1].max() == pytest.approx(xy_px.y_px.max(), rel=0.05)
    values = half_done.values("ERBB2", "sd" if options else "mean")[half_done.done]
    shown = np.ma.compressed(np.ma.masked_invalid(drawn.get_array()))
    np.testing.assert_allclose(np.sort(shown), np.sort(values), rtol=1e-6)
    figure.savefig(tmp_path / "map.png")
    plt.close(figure)
    assert (tmp_path / "map.png").stat().st_size > 10_000


def test_a_taken_or_unwritable_place_is_refused(prediction, spots, image, tmp_path) -> None:
    with pytest.raises(OutputError, match=r"p\.zarr exists already"):
        begin(prediction.path, spots, image)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        begin(tmp_path / "file" / "p.zarr", spots, image)


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_predictions_begun_at_once_do_not_undo_each_others_settings(
    tmp_path, spots, image, monkeypatch
) -> None:
    """anndata's settings are those of the process: one thread's end must not be another's middle."""
    files_of, found, lengths = empty._files_but_spots, [], iter((1, 12, 6, 1, 12, 6))

    def slowly(table):
        for _ in range(next(lengths)):
            settings = anndata.settings
            found.append((settings.zarr_write_format, settings.auto_shard_zarr_v3))
            time.sleep(0.02)
        return files_of(table)

    monkeypatch.setattr(empty, "_files_but_spots", slowly)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda i: begin(tmp_path / f"{i}.zarr", spots, image), range(6)))
    assert found == [(3, False)] * 38


def test_leftovers_of_a_killed_start_are_no_hindrance(tmp_path, spots, image) -> None:
    with only_writer(tmp_path / "p.zarr"):
        (lock,) = tmp_path.iterdir()
        (lock.with_name(f"{lock.stem}-01234567") / "X").mkdir(parents=True)
    assert not begin(tmp_path / "p.zarr", spots, image).done.any()
    assert [path.name for path in tmp_path.iterdir()] == ["p.zarr"]


def test_a_block_that_cannot_be_written_keeps_what_was_finished(half_done: Prediction) -> None:
    shutil.rmtree(half_done.path / "layers" / "q95" / "c")
    (half_done.path / "layers" / "q95" / "c").write_text("a disk that went away")
    done = half_done.done.copy()
    index = np.arange(len(done) - 2, len(done))
    with pytest.raises(OutputError, match="what was finished is kept"):
        half_done.write_block(index, **block_of(index))
    np.testing.assert_array_equal(half_done.done, done)


def test_what_was_removed_is_neither_read_nor_written(
    half_done: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "READ_AHEAD_BYTES", 1)  # one gene at a time
    fasn = half_done.values("FASN").copy()
    assert np.isfinite(fasn).any()
    shutil.rmtree(half_done.path)
    for read in (half_done.rows, half_done.draws):
        with pytest.raises(PredictionError, match="There is no prediction"):
            read(np.arange(2))
    for read in (
        lambda: half_done.values("MUC1"),
        lambda: half_done.gene_accuracy,
        lambda: half_done.region_names,
        half_done.overview,
        half_done.to_anndata,
    ):
        with pytest.raises(PredictionError, match="There is no prediction"):
            read()
    np.testing.assert_array_equal(half_done.values("FASN"), fasn)
    index = np.arange(len(half_done.done) - 2, len(half_done.done))
    with pytest.raises(OutputError, match="removed or moved"):
        half_done.write_block(index, **block_of(index))
    assert not half_done.done.any()
    assert not half_done.path.exists()


def _file(*names: str, content: bytes = b"{"):
    def spoil(path: Path) -> None:
        assert path.joinpath(*names).is_file()
        path.joinpath(*names).write_bytes(content)

    return spoil


def _gone(*names: str):
    def spoil(path: Path) -> None:
        target = path.joinpath(*names)
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return spoil


def _chunks(*names: str):
    def spoil(path: Path) -> None:
        files = [f for f in path.joinpath(*names, "c").rglob("*") if f.is_file()]
        assert files
        for file in files:
            file.write_bytes(b"no chunk at all, whatever the codec")

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        _file("zarr.json"),
        _gone("zarr.json"),
        _gone("obs", "zarr.json"),
        _gone("obsm"),
        _gone("uns"),
        _gone("obs", "_index", "c"),
        _chunks("obs", "_index"),
        _chunks("obsm", "spatial"),
        _chunks("var", "_index"),
    ],
)
def test_a_damaged_folder_is_told_in_one_sentence(half_done: Prediction, spoil) -> None:
    spoil(half_done.path)
    with pytest.raises(PredictionError) as error:
        Prediction.open(half_done.path)
    assert str(half_done.path) in str(error.value)
    assert "\n" not in str(error.value)


def test_damaged_values_are_told_when_they_are_read(half_done: Prediction) -> None:
    _chunks("X")(half_done.path)
    opened = Prediction.open(half_done.path)
    for read in (opened.to_anndata, lambda: opened.values("FASN")):
        with pytest.raises(PredictionError, match="is damaged"):
            read()


def test_a_chunk_that_claims_more_than_memory_holds_is_told(half_done: Prediction) -> None:
    four_billion_texts = Zstd().encode(b"\xff" * 4)
    _file("uns", PROVENANCE_KEY, "unit", "c", content=four_billion_texts)(half_done.path)
    with pytest.raises(PredictionError, match="is damaged"):
        Prediction.open(half_done.path).to_anndata()


def test_a_place_that_cannot_be_looked_at_has_no_prediction(tmp_path: Path) -> None:
    path = tmp_path / ("p" * 300)  # longer than names may be; as where a share is away
    for read in (lambda: Prediction.open(path), lambda: stored.read_exported(path)):
        with pytest.raises(PredictionError, match="There is no prediction"):
            read()
    with pytest.raises(PredictionError, match="There is no prediction"), stored.reading(path):
        raise PermissionError


def test_another_folder_is_no_prediction(tmp_path: Path, half_done: Prediction) -> None:
    with pytest.raises(PredictionError, match="no prediction"):
        Prediction.open(tmp_path / "none.zarr")
    (tmp_path / "table.csv").write_text("name,x_px,y_px\n")
    with pytest.raises(PredictionError, match=r"table\.csv is no prediction \(\.zarr or \.h5ad\)"):
        Prediction.open(tmp_path / "table.csv")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(PredictionError, match=r"empty\.zarr"):
        Prediction.open(tmp_path / "empty.zarr")


# resuming


@pytest.fixture(scope="module")
def slide(small_dataset: Path) -> Iterator[Slide]:
    opened = open_slide(small_dataset / "wsis" / "C3.jpg")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def model(small_model: Path) -> Model:
    return load_folder(small_model)


SETTINGS = SamplingSettings(n_draws=2, n_steps=2, device="cpu")


def test_resume_opens_what_the_same_run_left(slide, model, tmp_path) -> None:
    spots = lattice(slide.size, slide.require_mpp(), 1500)
    job = PredictionJob(slide=slide, spots=spots, model=model, settings=SETTINGS)
    path = tmp_path / "p.zarr"
    first = job.create_or_resume(path, resume=True)  # nothing to resume: begins
    first._group["obs"]["done"][1:3] = True
    other_block = replace(SETTINGS, spots_per_block=1, device="auto")  # change no value
    again = replace(job, settings=other_block).create_or_resume(path, resume=True)
    np.testing.assert_array_equal(np.flatnonzero(again.done), [1, 2])
    assert again.provenance["slide"] == "C3.jpg"
    assert again.provenance["model_weights_sha256"] == model.weights_hash
    assert again.provenance["mpp_source"] == "metadata of the data set"
    with contextlib.closing(open_slide(slide.path, slide.require_mpp())) as stated:
        assert stated.mpp_sources[0].source == "stated by you"  # the same size: the same values
        replace(job, slide=stated).create_or_resume(path, resume=True)
    with pytest.raises(OutputError, match="exists already"):
        job.create_or_resume(path, resume=False)


@pytest.mark.parametrize("change", [{"n_steps": 3}, {"sampler": "ancestral"}])
def test_resume_goes_on_where_a_setting_changes_no_value(slide, model, tmp_path, change) -> None:
    assert model.network is None
    spots = lattice(slide.size, slide.require_mpp(), 1500)
    job = PredictionJob(slide=slide, spots=spots, model=model, settings=SETTINGS)
    other = replace(job, settings=replace(SETTINGS, **change))
    job.create_or_resume(tmp_path / "p.zarr", resume=False)
    other.create_or_resume(tmp_path / "p.zarr", resume=True)
    assert other.cache_path() == job.cache_path()


@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("seed", {"settings": replace(SETTINGS, seed=1)}),
        ("steps", {"settings": replace(SETTINGS, n_steps=3)}),
        ("draws", {"settings": replace(SETTINGS, n_draws=4)}),
        ("sampler", {"settings": replace(SETTINGS, sampler="ancestral")}),
        ("draws kept", {"keep_draws": True}),
        ("spots", {"spots": "fewer spots"}),
        ("pitch,", {"spots": "denser spots"}),
        ("model weights", {"model": "another model"}),
        ("slide fingerprint", {"slide": "another slide"}),
    ],
)
def test_resume_refuses_another_run(
    slide, model, with_correction, small_dataset, tmp_path, word, change
) -> None:
    spots, model = lattice(slide.size, slide.require_mpp(), 1500), with_correction(model)
    job = PredictionJob(slide=slide, spots=spots, model=model, settings=SETTINGS)
    job.create_or_resume(tmp_path / "p.zarr", resume=False)
    other_slide = open_slide(small_dataset / "wsis" / "C2.jpg")
    other_model = copy.copy(model)
    other_model.weights_hash = "0" * 64
    others = {
        "another slide": other_slide,
        "another model": other_model,
        "fewer spots": spots.take(slice(1, None)),
        "denser spots": lattice(slide.size, slide.require_mpp(), 1200),
    }
    change = {k: others.get(v, v) if isinstance(v, str) else v for k, v in change.items()}
    with pytest.raises(PredictionError, match=rf"p\.zarr was begun with something else: .*{word}"):
        replace(job, **change).create_or_resume(tmp_path / "p.zarr", resume=True)
    other_slide.close()
