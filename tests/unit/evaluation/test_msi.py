"""MSI from predictions: a planted signal is found, and none is found where there is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import pytest

from napari_stem.errors import DatasetError
from napari_stem.evaluation import msi
from napari_stem.results.empty import FORMAT, PROVENANCE_KEY, stored_provenance

if TYPE_CHECKING:
    from pathlib import Path

N_SLIDES, N_SPOTS, N_GENES, N_PLANTED, SHIFT = 24, 25, 200, 5, 0.6


@pytest.fixture(scope="session")
def predicted_spots(small_dataset: Path) -> anndata.AnnData:
    """What the packaged model predicts at real spots of C2 and C3: a table to make slides of."""
    from napari_stem.encoders.registry import load_encoder
    from napari_stem.model import load_model
    from napari_stem.settings import SamplingSettings
    from napari_stem.spatial.dataset import Dataset
    from napari_stem.training.sections import load_sections

    model, dataset = load_model(), Dataset(small_dataset)
    encoder = load_encoder("bundled")
    sections = load_sections(dataset, dataset.sections, ["SCD"], "log2_counts", encoder)
    settings = SamplingSettings(n_draws=2, n_steps=2, device="cpu")
    means = np.concatenate(
        [model.sample(s.embedding, s.spots, settings).mean(-1) for s in sections]
    )
    return anndata.AnnData(means[:, :N_GENES], var=pd.DataFrame(index=list(model.genes[:N_GENES])))


@pytest.fixture(scope="session")
def cohort_folder(predicted_spots: anndata.AnnData, tmp_path_factory) -> Path:
    """Slides of randomly chosen real predictions; half of them with a shift in five genes."""
    folder, rng = tmp_path_factory.mktemp("msi"), np.random.default_rng(0)
    rows = ["slide,patient,msi"]
    for i in range(N_SLIDES):
        chosen = rng.integers(predicted_spots.n_obs, size=N_SPOTS)
        slide = anndata.AnnData(predicted_spots.X[chosen], var=predicted_spots.var)
        slide.X[:, :N_PLANTED] += SHIFT * (i % 2)
        slide.obs["done"] = True
        made = {
            "format": FORMAT,
            "unit": "log2(count + 1)",
            "normalisation": "log2_counts",
            "mpp": [0.5, 0.5],
            "pitch_um": 200.0,
            "spot_diameter_um": 100.0,
        }
        slide.layers.update(dict.fromkeys(("sd", "q05", "q95"), slide.X))
        slide.uns[PROVENANCE_KEY] = stored_provenance(made)
        slide.write_h5ad(folder / f"slide{i:02d}.h5ad")
        rows.append(f"slide{i:02d},patient{i // 4}{'ms'[i % 2]},{i % 2}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def cohort(cohort_folder: Path) -> anndata.AnnData:
    return msi.read_cohort(cohort_folder, cohort_folder / "labels.csv", lambda *_: None)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msi, "N_TREES", 20)


def test_pseudo_bulk_is_the_mean_over_spots(cohort: anndata.AnnData, cohort_folder: Path) -> None:
    slide = anndata.read_h5ad(cohort_folder / "slide03.h5ad")
    column = slide.var_names.get_indexer(cohort.var_names)
    np.testing.assert_allclose(cohort.X[3], np.asarray(slide.X).mean(0)[column], rtol=1e-5)
    assert cohort.shape == (N_SLIDES, slide.n_vars)
    assert cohort.uns["unit"] == "log2(count + 1)"


def test_a_planted_shift_is_found(cohort: anndata.AnnData) -> None:
    found = msi.auroc(cohort)
    assert found["auroc"] > 0.95
    assert (found["n_slides"], found["n_unstable"], found["n_patients"]) == (24, 12, 12)
    assert len(found["folds"]) == 5
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_shuffled_labels_find_nothing(cohort: anndata.AnnData) -> None:
    """Status shuffled among patients, ten times: the mean lies within three of its standard errors of 0.5.

    Its standard error is taken from the ten themselves, which know how few the independent patients are.
    """
    rng, names = np.random.default_rng(1), sorted(set(cohort.obs["patient"]))
    areas = []
    for _ in range(10):
        unstable = dict(zip(names, rng.permutation(np.arange(len(names)) % 2 == 0), strict=True))
        shuffled = cohort.copy()
        shuffled.obs["unstable"] = [unstable[p] for p in cohort.obs["patient"]]
        areas.append(msi.auroc(shuffled)["auroc"])
    error = np.std(areas, ddof=1) / np.sqrt(len(areas))
    assert abs(np.mean(areas) - 0.5) < 3 * error
    assert np.mean(areas) < 0.75


def test_no_patient_is_on_both_sides(cohort: anndata.AnnData) -> None:
    """A patient's own signature must not give away the status of that patient's other slides."""
    areas = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        patients = cohort.obs["patient"]
        own = {p: 50 * rng.normal(size=3) for p in dict.fromkeys(patients)}
        marked = anndata.AnnData(
            np.array([own[p] for p in patients]), obs=cohort.obs.copy(), uns=cohort.uns
        )
        marked.obs["unstable"] = [p.endswith("s") for p in patients]
        areas.append(msi.auroc(marked, seeds=(0, 1, 2))["auroc"])
    assert np.mean(areas) < 0.75  # 1 if slides were divided freely


def test_standard_error_is_hanley_and_mcneils() -> None:
    """Their formula for an uninformative score: close to sqrt((m + n + 1) / (12 m n))."""
    assert msi.standard_error(0.5, 20, 30) == pytest.approx(np.sqrt(51 / (12 * 20 * 30)), rel=1e-6)
    assert msi.standard_error(1.0, 20, 30) == 0


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("slide,patient\nslide00,p\n", "no column 'msi'"),
        ("slide,patient,msi\nslide00,p,maybe\n", "status 'maybe'"),
        ("slide,patient,msi\nslide00,p,1\nslide00,p,1\n", "more than once"),
        ("slide,patient,msi\nslide99,p,1\n", "have no prediction"),
        ("slide,patient,msi\nslide00,p,1\nslide01,q,0\n", "two patients"),
        ("", "cannot be read"),
        ("slide,patient,msi\n", "names no slide; write one a line"),
    ],
)
def test_labels_that_cannot_be_used(content, word, cohort_folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(content)
    with pytest.raises(DatasetError, match=word):
        msi.auroc(msi.read_cohort(cohort_folder, labels, lambda *_: None))


def test_labels_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"There is no table of labels .*; check the path"):
        msi.read_labels(tmp_path / "none.csv")
    with pytest.raises(DatasetError, match="it needs columns slide, patient and msi"):
        msi.read_labels(tmp_path)


def test_labels_are_read_as_manifests_are(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("slide;patient;msi\na;7;MSI-H\n", encoding="utf-8-sig")
    assert msi.read_labels(labels) == {"a": ("7", True)}
    labels.write_text('slide, "patient", msi\na, 007, 1\nb, , 0\n')
    assert msi.read_labels(labels) == {"a": ("007", True), "b": ("b", False)}


def test_a_file_of_a_slide_stands_for_its_name(cohort_folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "slide,patient,msi\nslide00.svs,a,1\nslides/slide01.ome.tif,b,0\nslide02,c,0\n"
    )
    cohort = msi.read_cohort(cohort_folder, labels, lambda *_: None)
    assert list(cohort.obs_names) == ["slide00", "slide01", "slide02"]
    labels.write_text("slide,patient,msi\nslide00.svs,a,1\nslide00,b,0\n")
    with pytest.raises(DatasetError, match="names slide slide00 more than once"):
        msi.read_cohort(cohort_folder, labels, lambda *_: None)


def test_units_are_not_mixed(cohort_folder: Path, tmp_path: Path) -> None:
    for i in range(2):
        slide = anndata.read_h5ad(cohort_folder / f"slide0{i}.h5ad")
        slide.uns["napari_stem"]["unit"] = f"unit {i}"
        slide.write_h5ad(tmp_path / f"slide0{i}.h5ad")
    labels = tmp_path / "labels.csv"
    labels.write_text("slide,patient,msi\nslide00,p,MSI-H\nslide01,q,mss\n")
    with pytest.raises(DatasetError, match="unit 0"):
        msi.read_cohort(tmp_path, labels, lambda *_: None)
