"""What ``import napari_stem`` offers: names that resolve, real types, a prediction that is a path."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import shapely
import zarr

import napari_stem
from napari_stem import (
    ExportOptions,
    Mpp,
    Prediction,
    Region,
    SamplingSettings,
    choose_spots,
    compare,
    evaluate,
    export,
    open_slide,
    plot,
    predict_slide,
    read_regions,
)
from napari_stem.errors import (
    DatasetError,
    OutputError,
    PredictionError,
    RegionError,
    SettingsError,
    SpotError,
)
from napari_stem.exporting.selection import Selection
from napari_stem.exporting.table import write_anndata
from napari_stem.model import load_model
from napari_stem.progress import shown
from napari_stem.results.empty import PROVENANCE_KEY, gene_table
from napari_stem.sample_data import sample_path

SOURCE = Path(napari_stem.__file__).parents[1]
LEFT, RIGHT = shapely.box(4400, 3400, 4980, 4561), shapely.box(4980, 3400, 5561, 4561)
REGIONS = [Region(LEFT, "left"), Region(RIGHT, "right")]


@pytest.fixture(scope="module")
def prediction(c5_prediction: Path) -> Prediction:
    return Prediction.open(str(c5_prediction))


@pytest.fixture
def named(c5_prediction: Path, tmp_path: Path) -> Prediction:
    """The same, as if it had been asked for in two regions."""
    path = tmp_path / "named" / "C5.zarr"
    shutil.copytree(c5_prediction, path)
    found = Prediction.open(path)
    found._name_regions(REGIONS)
    return Prediction.open(path)


# names and types


def test_every_name_is_there_and_export_is_no_module() -> None:
    wanted = "open_slide predict_slide Prediction load_model train evaluate compare export plot"
    assert set(wanted.split()) <= set(napari_stem.__all__)
    for name in napari_stem.__all__:
        value = getattr(napari_stem, name)
        assert not isinstance(value, types.ModuleType), name
        assert value.__doc__, name
    assert dir(napari_stem) == napari_stem.__all__
    with pytest.raises(AttributeError, match="forecast"):
        napari_stem.forecast  # noqa: B018


def test_mypy_sees_real_types(tmp_path: Path) -> None:
    user = tmp_path / "user.py"
    user.write_text(
        "import napari_stem\n"
        "from napari_stem import Prediction, evaluate, predict_slide\n"
        "prediction: Prediction = predict_slide('a.svs', 'a.zarr', regions='r.geojson')\n"
        "genes: tuple[str, ...] = prediction.genes\n"
        "figures: dict[str, object] = evaluate(prediction, 't.h5ad')\n"
        "x: int = napari_stem.open_slide('a')\n"
        "napari_stem.export(prediction, 'pdf', 'a.pdf')\n"
    )
    command = [sys.executable, "-m", "mypy", "--no-site-packages", "--ignore-missing-imports"]
    command += ["--follow-imports", "silent", "--cache-dir", str(tmp_path / "cache"), str(user)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env={"MYPYPATH": SOURCE}
    )
    told = done.stdout.splitlines()
    assert len(told) == 3, done.stdout + done.stderr
    assert (
        'user.py:6: error: Incompatible types in assignment (expression has type "Slide"' in told[0]
    )
    assert "user.py:7: error: Argument 2" in told[1]


# a prediction is a path


def test_it_says_what_it_is(prediction: Prediction) -> None:
    told, some = repr(prediction), ", ".join(prediction.genes[:3])
    for word in (
        "C5.jpg",
        "her2st-breast",
        "predicted, not measured; for research use only",
        "16 of 16 spots done",
        f"{len(prediction.genes)} genes ({some}, …) in log2(count + 1) at the training depth",
        "6 samples kept",
        str(prediction.path),
    ):
        assert word in told


def test_it_pickles_as_its_path(named: Prediction, monkeypatch) -> None:
    monkeypatch.chdir(named.path.parent)
    here = Prediction.open(named.path.name)
    stored = pickle.dumps(here)
    assert len(stored) < 500
    monkeypatch.chdir("/")
    again = pickle.loads(stored)  # noqa: S301 - our own
    assert again.path == named.path
    np.testing.assert_array_equal(again.values("SCD"), named.values("SCD"))


def test_an_exported_file_opens_like_the_folder(named: Prediction, tmp_path: Path) -> None:
    write_anndata(Selection.of(named), tmp_path / "C5.h5ad")
    again = Prediction.open(tmp_path / "C5.h5ad")
    assert again.path == Prediction.open(tmp_path / "C5.h5ad").path  # unpacked once
    assert again.provenance == named.provenance
    assert again.region_names == named.region_names
    assert again.reliability == named.reliability
    np.testing.assert_array_equal(again.draws(slice(None)), named.draws(slice(None)))


def test_what_is_no_prediction_is_said(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match=r"no prediction .*none\.h5ad"):
        Prediction.open(tmp_path / "none.h5ad")
    anndata.AnnData(np.ones((2, 2))).write_h5ad(tmp_path / "counts.h5ad")
    with pytest.raises(PredictionError, match=r"counts\.h5ad is not a prediction"):
        Prediction.open(tmp_path / "counts.h5ad")
    with pytest.raises(PredictionError, match="not a prediction"):
        evaluate(anndata.AnnData(np.ones((2, 2))), anndata.AnnData(np.ones((2, 2))))


def test_one_of_another_format_is_refused(named: Prediction, tmp_path: Path) -> None:
    write_anndata(Selection.of(named), tmp_path / "new.h5ad")
    stored = zarr.open_group(named.path, use_consolidated=False)["uns"][PROVENANCE_KEY]["json"]
    told = json.loads(str(stored[()]))
    del told["format"]  # as before there were formats
    stored[()] = json.dumps(told)
    with pytest.raises(PredictionError, match=r"C5\.zarr is a prediction of format 1, .*again"):
        Prediction.open(named.path)
    table = anndata.read_h5ad(tmp_path / "new.h5ad")
    table.uns[PROVENANCE_KEY]["json"] = json.dumps(told)
    table.write_h5ad(tmp_path / "old.h5ad")
    with pytest.raises(PredictionError, match=r"old\.h5ad is a prediction of format 1"):
        Prediction.open(tmp_path / "old.h5ad")


# what AnnData's users find


def test_genes_bring_their_ids_unit_and_reliability(prediction: Prediction) -> None:
    var, card = prediction.to_anndata().var, load_model().card
    assert var.loc["SCD", "gene_ids"] == "ENSG00000099194"
    assert var.loc["AES", "gene_ids"] == "ENSG00000104964"  # by the name of today, TLE5
    assert var.loc["AP000769.1", "gene_ids"] == ""  # a clone's name, not told
    assert (var["gene_ids"] == "").mean() < 0.05
    assert set(var["unit"]) == {prediction.unit}
    assert list(prediction.reliability.values()) == sorted(prediction.reliability.values())[::-1]
    for gene in prediction.genes[:20]:
        told = var.loc[gene, ["pcc", "pcc_low", "pcc_high"]]
        assert list(told) == card["gene_pcc"][gene] == list(prediction.gene_accuracy.loc[gene])[:3]
        assert told["pcc_low"] < told["pcc"] < told["pcc_high"]
    assert set(var.index[var["by_chance"]]) == set(card.get("genes_by_chance", ()))
    assert not set(var.index[var["by_chance"]]) & set(prediction.reliability)


def test_another_species_and_a_model_that_says_nothing_have_no_guesses() -> None:
    model = load_model()
    model.card = {"species": "Mus musculus"}
    table = gene_table(model, "counts")
    assert set(table["gene_ids"]) == {""}
    assert table[["pcc", "pcc_low", "share_pcc_high", "ceiling"]].isna().all(axis=None)
    assert not table["by_chance"].any()
    model.card = {"species": "human"}  # as a user may call it
    assert set(gene_table(model, "counts")["gene_ids"]) != {""}


def test_scanpy_is_told_what_x_is(prediction: Prediction) -> None:
    import scanpy

    table = prediction.to_anndata()
    assert table.uns["log1p"]["base"] == 2
    assert table.uns[PROVENANCE_KEY]["X"].startswith("predicted mean, log2(count + 1)")
    assert table.raw is None
    table.obs["half"] = ["a"] * 8 + ["b"] * 8
    scanpy.tl.rank_genes_groups(table, "half", method="t-test")
    a, b = (2 ** table.X[table.obs["half"] == half].mean(axis=0).astype(float) - 1 for half in "ab")
    found = scanpy.get.rank_genes_groups_df(table, "a").set_index("names")["logfoldchanges"]
    expected = np.log2((a + 1e-9) / (b + 1e-9))
    np.testing.assert_allclose(found.loc[list(table.var_names)], expected, atol=1e-3)
    scanpy.pp.pca(table, n_comps=5)
    assert table.obsm["X_pca"].shape == (16, 5)


@pytest.mark.parametrize("how", ["folder", "half done", "h5ad"])
def test_squidpy_draws_categories_unaided(named: Prediction, tmp_path: Path, how: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import squidpy

    if how == "half done":
        stored = zarr.open_group(named.path, use_consolidated=False)["obs"]
        stored["ood"]["codes"][8:] = -1
    if how == "h5ad":
        write_anndata(Selection.of(named), tmp_path / "C5.h5ad")
        table = anndata.read_h5ad(tmp_path / "C5.h5ad")
    else:
        table = anndata.read_zarr(named.path)
    squidpy.pl.spatial_scatter(table, color=["ood", "region"])
    unlike, region = plt.gcf().axes[:2]
    assert "like training" in [text.get_text() for text in unlike.get_legend().get_texts()]
    assert [t.get_text() for t in region.get_legend().get_texts()] == ["left", "right"]
    colours = [tuple(colour) for colour in region.collections[0].get_facecolors()]
    plt.close("all")
    assert len(set(colours)) == 2
    squidpy.gr.spatial_neighbors_grid(table, n_neighs=4)
    assert table.obsp["spatial_connectivities"].sum(1).max() == 4


@pytest.mark.parametrize("spots", [np.array([99]), np.array([0.5]), ["r1c1"], np.ones(3, bool)])
def test_a_spot_that_is_not_there_is_no_damage(prediction: Prediction, spots) -> None:
    for read in (prediction.rows, prediction.draws):
        with pytest.raises(IndexError):
            read(spots)


def test_no_spots_are_no_damage(prediction: Prediction) -> None:
    n_genes = len(prediction.genes)
    assert prediction.rows([]).shape == (0, n_genes)
    assert prediction.draws([]).shape == (0, n_genes, 6)
    np.testing.assert_array_equal(
        prediction.rows([-1, 3]), prediction.rows(slice(None))[[len(prediction.spots) - 1, 3]]
    )


def test_values_that_are_shared_cannot_be_changed(prediction: Prediction) -> None:
    values = prediction.values("SCD")
    with pytest.raises(ValueError, match="read-only"):
        values -= values.mean()


def test_slides_and_spots_say_in_a_line_what_they_are(prediction: Prediction) -> None:
    with open_slide(sample_path()) as slide:
        assert repr(slide) == "Slide(C5.jpg: 9272 x 9901 px, 0.689 um/px, raster)"
    assert repr(prediction.spots) == "Spots(16 of 200 um, 200 um apart)"


# what a slide and its prediction are asked for


def test_numbers_of_numpy_are_taken_as_pythons() -> None:
    with open_slide(sample_path(), mpp=np.float32(0.5)) as slide:
        assert slide.mpp == Mpp(0.5, 0.5)
    settings = SamplingSettings(n_draws=np.int64(4), seed=np.uint8(3), depth=np.float32(5000))
    kept = {**vars(settings), **vars(Mpp(np.float32(0.5), np.float64(0.5)))}
    assert {type(value) for value in kept.values()} <= {str, int, float}
    assert settings == SamplingSettings(n_draws=4, seed=3, depth=5000)
    with pytest.raises(SettingsError, match=r"n_draws must be a whole number .*, not 4\.5"):
        SamplingSettings(n_draws=4.5)


def test_spots_may_be_made_with_numbers_of_numpy(prediction: Prediction, tmp_path: Path) -> None:
    spots = replace(
        prediction.spots.take(slice(1)), pitch_um=np.int64(200), diameter_um=np.float32(100)
    )
    found = predict_slide(sample_path(), tmp_path / "P.zarr", spots=spots, progress=False)
    assert (found.spots.pitch_um, found.spots.diameter_um) == (200, 100)


def test_a_pixel_size_beside_an_open_slide_is_refused(tmp_path: Path) -> None:
    with (
        open_slide(sample_path()) as slide,
        pytest.raises(SettingsError, match="give mpp to open_slide"),
    ):
        predict_slide(slide, tmp_path / "P.zarr", regions=REGIONS, mpp=0.25, progress=False)


def test_no_spots_to_predict_are_said(prediction: Prediction) -> None:
    none = prediction.spots.take(slice(0))
    with open_slide(sample_path()) as slide, pytest.raises(SpotError, match="empty"):
        choose_spots(slide, pitch_um=200, spots=none)


# regions


def test_regions_are_read_from_a_path_in_words(named: Prediction, tmp_path: Path) -> None:
    out = export(named, "geojson", tmp_path / "R.geojson", regions=REGIONS, progress=False)
    assert [region.name for region in read_regions(str(out))] == ["left", "right"]


def test_regions_are_named_for_every_reader(named: Prediction) -> None:
    table = anndata.read_zarr(named.path)  # by the consolidated metadata
    assert list(table.obs["region"]) == named.region_names
    assert set(named.region_names) == {"left", "right"}
    both = [Region(shapely.union(LEFT, RIGHT), "tumour, all of it"), Region(LEFT, "left")]
    named._name_regions(both)
    again = anndata.read_zarr(named.path)
    assert set(again.obs["region"]) == {"tumour, all of it", "tumour, all of it; left"}
    assert list(again.obs.columns) == list(table.obs.columns)
    named._name_regions([Region(LEFT, "left")])
    assert anndata.read_zarr(named.path).obs["region"].isna().sum() == 8


def test_regions_compare_by_name_as_by_outline(named: Prediction) -> None:
    by_name = compare(named.path, "left", "right")
    by_outline = compare(str(named.path), *REGIONS)
    assert by_name.equals(by_outline)
    assert set(by_name.index) == set(named.genes)
    assert (by_name["q_value"].diff().dropna() >= 0).all()  # the surest first
    assert (by_name["q05"] <= by_name["difference"]).all()
    assert (by_name["difference"] <= by_name["q95"]).all()
    left = np.array(named.region_names) == "left"
    mean = named.values("SCD")[left].mean()
    assert by_name.loc["SCD", "mean_a"] == pytest.approx(mean)
    rest = compare(named, "left")
    assert set(rest["group_b"]) == {"everything else"}
    np.testing.assert_array_equal(rest["mean_b"].loc[by_name.index], by_name["mean_b"])


def test_what_cannot_be_compared_is_said(named: Prediction) -> None:
    with pytest.raises(RegionError, match=r"no region 'middle' \(it knows left, right\)"):
        compare(named, "middle")
    with pytest.raises(RegionError, match="right outside of both"):
        compare(named, Region(shapely.union(LEFT, RIGHT), "both"), "right")
    shutil.rmtree(named.path / "obsm" / "draws")
    with pytest.raises(PredictionError, match="keep_draws=True"):
        compare(named.path, "left", "right")


# exports, figures, figures of merit


def test_export_takes_paths_and_objects(named: Prediction, tmp_path: Path, capfd) -> None:
    out = export(str(named.path), "csv", str(tmp_path / "C5.csv"), genes=["SCD"], regions=REGIONS)
    assert out == tmp_path / "C5.csv"
    assert "region" in out.read_text(encoding="utf-8").splitlines()[0]
    told = []
    picture = tmp_path / "C5.png"
    export(named, "figure", picture, slide=sample_path(), progress=lambda *news: told.append(news))
    assert ("Drawing", 1, 1) in told
    with pytest.raises(OutputError, match="exists already"):
        export(named, "figure", picture, progress=False)
    with pytest.raises(OutputError, match=r"should end in \.html"):
        export(named, "report", tmp_path / "C5.pdf", progress=False)


def test_a_slide_and_leave_to_replace_are_taken_from_the_options_too(
    named: Prediction, tmp_path: Path
) -> None:
    out, sharp = tmp_path / "C5.png", tmp_path / "sharp.png"
    export(named, "figure", out, genes="SCD", progress=False)
    coarse = out.read_bytes()
    with open_slide(sample_path()) as slide:
        options = ExportOptions(slide=slide, overwrite=True)
        export(named, "figure", out, genes="SCD", options=options, progress=False)
        export(named, "figure", sharp, genes="SCD", slide=slide, progress=False)
    assert coarse != out.read_bytes() == sharp.read_bytes()


@pytest.mark.parametrize("kind", [np.array, pd.Index, pd.Series, iter])
def test_genes_may_be_any_row_of_names(named: Prediction, tmp_path: Path, kind) -> None:
    out = export(
        named, "csv", tmp_path / "C5.csv", genes=kind(["SCD", "CD74"]), progress=False
    ).read_text(encoding="utf-8")
    assert out.splitlines()[0].split(",")[-8::4] == ["SCD_predicted_mean", "CD74_predicted_mean"]
    assert "A2M" not in out


def test_a_figure_takes_the_slide_as_its_path(prediction: Prediction) -> None:
    with open_slide(sample_path()) as slide:
        tissue = plot(prediction, "SCD", slide=slide).axes[0].images[0].get_array()
    by_path = plot(prediction, "SCD", slide=str(sample_path())).axes[0].images[0].get_array()
    np.testing.assert_array_equal(by_path, tissue)


def test_a_gene_is_drawn_between_the_ends_of_its_interval(prediction: Prediction) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    figure = plot(prediction.path, "SCD")
    maps = [axes for axes in figure.axes if axes.collections and axes.get_title(loc="left")]
    assert len(maps) == 3
    for axes, field in zip(maps, ("q05", "mean", "q95"), strict=True):
        np.testing.assert_array_equal(
            axes.collections[0].get_array(), prediction.values("SCD", field)
        )
        assert "predicted" in axes.get_title(loc="left")
    assert len({axes.collections[0].get_clim() for axes in maps}) == 1  # so that they compare
    assert any("not measured" in text.get_text() for text in figure.texts)


def test_evaluate_takes_paths_and_objects(prediction: Prediction, tmp_path: Path) -> None:
    table = prediction.to_anndata()
    counts = np.rint(2 ** np.asarray(table.X) - 1)
    truth = anndata.AnnData(counts, obs=table.obs[[]].copy(), var=table.var[[]].copy())
    truth.obsm["spatial"] = table.obsm["spatial"].copy()
    truth.write_h5ad(tmp_path / "truth.h5ad")
    write_anndata(Selection.of(prediction), tmp_path / "C5.h5ad")
    paths = evaluate(str(prediction.path), str(tmp_path / "truth.h5ad"))
    assert paths == evaluate(prediction, truth) == evaluate(tmp_path / "C5.h5ad", truth)
    assert json.loads(json.dumps(paths))["matched_by"] == "name"
    assert (paths["n_matched"], paths["n_predicted"], paths["n_truth"]) == (16, 16, 16)
    assert paths["pcc_200"] > 0.9
    some = table[:, ["SCD", "CD74"]].copy()
    assert some.obsm["draws"].shape[1] == table.n_vars  # those of the first genes are no others'
    with pytest.raises(PredictionError, match="choose genes of both"):
        evaluate(some, truth)
    some.obsm["draws"] = table.obsm["draws"][:, table.var_names.get_indexer(some.var_names)]
    assert evaluate(some, truth)["crps"] < 1
    truth.X = np.log1p(truth.X)
    with pytest.raises(DatasetError, match="raw counts in X"):
        evaluate(prediction, truth)


def test_progress_is_a_bar_or_nothing_or_the_callers(capfd) -> None:
    for choice in (True, False):
        with shown(choice) as tell:
            tell("Embedding", 1, 4)
            tell("Embedding", 4, 4)
            tell("Sampling", 2, 2)
        told = capfd.readouterr()
        assert told.out == ""
        assert ("Embedding: 100%" in told.err) == ("Sampling: 100%" in told.err) == choice
    heard = []
    with shown(lambda *news: heard.append(news)) as tell:
        tell("Embedding", 1, 4)
    assert heard == [("Embedding", 1, 4)]
