"""Training from a real data set to a model folder, and what must not leak into it."""

from __future__ import annotations

import json
import math
import shutil
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pytest

from napari_stem.errors import DatasetError, ModelError
from napari_stem.model.bundle import load_folder
from napari_stem.settings import SamplingSettings
from napari_stem.spatial.dataset import Dataset
from napari_stem.training.fit import TrainingOptions, train
from napari_stem.training.sections import load_sections

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_stem.model.bundle import Model

QUICK = {"steps": 2, "genes": "hvg:5"}
METRICS = {"pcc_50", "pcc_mean", "mse", "mae", "rvd_mean", "crps", "coverage", "gsc_mean"}


@pytest.fixture(scope="module")
def dataset(tiny_dataset: Path) -> Dataset:
    return Dataset(tiny_dataset)


@pytest.fixture(scope="module")
def published(dataset: Dataset, tmp_path_factory) -> Model:
    options = TrainingOptions(**QUICK, objective="published", hold_out=("C3",), augment=False)
    return train(dataset, tmp_path_factory.mktemp("published") / "model", options)


@pytest.fixture(scope="module")
def quick(dataset: Dataset, tmp_path_factory) -> Model:
    """The smallest model there is: trained on C2, C3 held out."""
    options = TrainingOptions(**QUICK, hold_out=("C3",))
    return train(dataset, tmp_path_factory.mktemp("quick") / "model", options)


def numbers(value: Any) -> Iterator[float]:
    """Every number in a nest of dicts; what is None (not defined) is left out."""
    if isinstance(value, dict):
        for entry in value.values():
            yield from numbers(entry)
    elif value is not None:
        yield float(value)


def test_a_model_comes_out_with_all_it_must_say(small_model: Path) -> None:
    model = load_folder(small_model)
    card = model.card
    assert len(model.genes) == len(set(model.genes)) == 20
    assert (card["sections"], card["held_out"]) == (["C2"], ["C3"])
    steps = str(card["training_steps"])
    assert steps in card["crps_of_steps"]
    assert card["crps_of_steps"].keys() == card["energy_of_steps"].keys() >= {"0"}
    assert (steps == "0") == (model.network is None) == (model.config.denoiser == {})
    assert len(card["energy_gained"]) == 3
    assert set(card["gene_pcc"]) == set(model.genes)
    assert "CC BY" in card["licence"].upper() or "CC-BY" in card["licence"].upper()


def test_the_held_out_section_is_reported_beside_ridge(small_model: Path) -> None:
    metrics = load_folder(small_model).card["metrics"]
    assert list(metrics) == ["C3"]
    assert set(metrics["C3"]) == {"napari-stem", "ridge"}
    ours = metrics["C3"]["napari-stem"]
    assert set(ours) >= METRICS
    assert all(ours[name] is not None for name in METRICS)
    assert all(math.isfinite(number) for number in numbers(metrics))
    assert 0.5 < ours["coverage"]["90"] <= 1
    assert ours["pcc_mean"] > 0.2  # of real tissue, on a section it has not seen
    assert set(json.loads((small_model / "config.json").read_text())["card"]["metrics"]) == {"C3"}


def test_the_published_objective_trains_and_draws(published: Model, dataset: Dataset) -> None:
    assert published.config.objective == "published"
    assert published.config.denoiser["kind"] == "stem"
    figures = published.card["metrics"]["C3"]
    assert set(figures) == {"napari-stem"}
    assert all(math.isfinite(number) for number in numbers(figures))
    spots = dataset.section("C3").spots().take(slice(0, 3))
    embedding = np.tile(published.head.centre, (3, 1))
    for sampler in ("dpmpp-2m", "ancestral"):
        settings = SamplingSettings(n_draws=2, n_steps=3, sampler=sampler, device="cpu")
        draws = published.sample(embedding, spots, settings)
        assert draws.shape == (3, 5, 2)
        assert np.isfinite(draws).all()


def test_the_same_seed_and_other_held_out_counts_give_the_same_weights(
    quick: Model, dataset: Dataset, tmp_path: Path
) -> None:
    """One run proves both: nothing random is left unseeded, nothing of C3 reaches the weights."""
    folder = shutil.copytree(dataset.folder, tmp_path / "dataset")
    table = anndata.read_h5ad(folder / "st" / "C3.h5ad")
    rng = np.random.default_rng(0)
    table.X = rng.poisson(20, table.shape).astype(np.float32)
    table.write_h5ad(folder / "st" / "C3.h5ad")
    changed = train(Dataset(folder), tmp_path / "m", TrainingOptions(**QUICK, hold_out=("C3",)))
    assert changed.weights_hash == quick.weights_hash
    assert changed.genes == quick.genes
    assert changed.card["metrics"] != quick.card["metrics"]  # the counts did change
    ignored = ("metrics",)
    kept, others = ({k: v for k, v in m.card.items() if k not in ignored} for m in (changed, quick))
    assert kept == others


def test_figures_of_a_held_out_section_are_of_the_genes_that_it_measured(
    quick: Model, dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(dataset.folder, tmp_path / "dataset")
    table, lacking = anndata.read_h5ad(folder / "st" / "C3.h5ad"), quick.genes[:2]
    table[:, ~table.var_names.isin(lacking)].copy().write_h5ad(folder / "st" / "C3.h5ad")
    model = train(folder, tmp_path / "m", TrainingOptions(**QUICK, hold_out=("C3",)), False)
    assert model.genes == quick.genes
    assert model.weights_hash == quick.weights_hash
    n_reported = len(quick.genes) - 2
    for figures in model.card["metrics"]["C3"].values():
        assert figures["n_genes"] == n_reported
    assert model.card["genes_not_reported"] == list(lacking)
    told = f"left out of the figures: 2 genes, {', '.join(lacking)}."
    assert told in caplog.text
    text = (tmp_path / "m" / "README.md").read_text("utf-8")
    assert f"log2(count + 1), {n_reported} genes (as far as measured there)\n" in text


@pytest.mark.parametrize("damage", ["genes", "image"])
def test_a_held_out_section_that_cannot_be_used_is_told_before_the_training(
    dataset: Dataset, tmp_path: Path, damage: str
) -> None:
    folder = shutil.copytree(dataset.folder, tmp_path / "dataset")
    if damage == "genes":
        table = anndata.read_h5ad(folder / "st" / "C3.h5ad")
        table.var_names = [f"of another species {i}" for i in range(table.n_vars)]
        table.write_h5ad(folder / "st" / "C3.h5ad")
    else:
        next((folder / "wsis").glob("C3.*")).unlink()
    told: list[str] = []
    with pytest.raises(DatasetError, match=r"section C3|Section C3"):
        train(
            Dataset(folder),
            tmp_path / "m",
            TrainingOptions(**QUICK, hold_out=("C3",)),
            lambda what, _done, _total: told.append(what),
        )
    assert not [what for what in told if what.startswith("Leaving out")]
    assert damage == "image" or not told  # nothing was embedded
    assert not (tmp_path / "m").exists()


def test_another_seed_or_section_trains_otherwise(quick, dataset, tmp_path) -> None:
    seed = train(dataset, tmp_path / "seed", TrainingOptions(**QUICK, hold_out=("C3",), seed=1))
    before, after = (model.card["energy_of_steps"] for model in (quick, seed))
    assert before["0"] == after["0"]  # untrained, nothing is left to chance
    assert before["2"] != after["2"]
    section = train(dataset, tmp_path / "section", TrainingOptions(**QUICK, hold_out=("C2",)))
    assert section.weights_hash != quick.weights_hash


def test_two_sections_without_a_held_out_one(dataset: Dataset, tmp_path: Path) -> None:
    told = []
    model = train(
        dataset, tmp_path / "both", TrainingOptions(**QUICK), lambda *step: told.append(step)
    )
    assert model.card["sections"] == ["C2", "C3"]
    assert "metrics" not in model.card
    what = {text for text, _, _ in told}
    assert {"Leaving out C2 (1 of 2)", "Leaving out C3 (2 of 2)"} <= what
    assert all(0 <= done <= total for _, done, total in told)


def test_a_time_limit_ends_training(dataset: Dataset, tmp_path: Path) -> None:
    """So short a time that one step uses it up: the limit is looked at after every step."""
    options = TrainingOptions(genes="hvg:5", hold_out=("C3",), minutes=1e-9)
    model = train(dataset, tmp_path / "short", options)
    assert set(model.card["energy_of_steps"]) == {"0", "1"}


def test_normalisation_reaches_the_targets(dataset: Dataset, quick: Model) -> None:
    class NoEncoder:
        """The embeddings are cached."""

        name, version, width = "bundled", quick.config.encoder_version, len(quick.head.centre)
        from napari_stem.encoders.bundled import BundledEncoder

        patch = BundledEncoder.patch
        spots_at_once = 8

        def encode(self, patches):
            pytest.fail("embedded again")

    genes = list(quick.genes)
    (section,) = load_sections(dataset, ["C2"], genes, "log2_counts", NoEncoder())
    counts = dataset.section("C2").counts[:, genes].X.toarray()
    np.testing.assert_allclose(section.values, np.log2(counts + 1), rtol=1e-6)
    assert len(section.spots) == len(section.embedding) == len(counts)


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"hold_out": ("C9",)}, DatasetError, "no section 'C9'"),
        ({"hold_out": ("C2", "C3")}, DatasetError, "All sections"),
        ({"genes": "hvg"}, DatasetError, "no gene panel"),
        ({"objective": "gan"}, ModelError, "no objective 'gan'"),
    ],
)
def test_impossible_requests(dataset, tmp_path, options, error, word) -> None:
    with pytest.raises(error, match=word):
        train(dataset, tmp_path / "model", TrainingOptions(**options))
    assert not (tmp_path / "model").exists()
