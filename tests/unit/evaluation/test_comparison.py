"""Whether the spots of a prediction and of a measurement are the same ones, before figures are made."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import pytest

from napari_stem.errors import DatasetError, PredictionError
from napari_stem.evaluation.comparison import evaluate
from napari_stem.results import PROVENANCE_KEY
from napari_stem.slide.opening import open_header
from napari_stem.spatial.table_files import repeats_allowed

if TYPE_CHECKING:
    from pathlib import Path

GENES = ["ERBB2", "CD74", "FASN"]
PITCH_PX, SPOT_PX = 200.0, 100.0


def lattice(n_rows: int, n_columns: int) -> np.ndarray:
    """(n, 2) centres (x, y), row by row."""
    y, x = np.mgrid[:n_rows, :n_columns]
    return PITCH_PX * np.stack([x.ravel(), y.ravel()], axis=1)


def truth_at(xy_px: np.ndarray, name: str = "truth") -> anndata.AnnData:
    counts = np.random.default_rng(0).poisson(5, (len(xy_px), len(GENES))).astype(np.float32)
    names = [f"{name} {n}" for n in range(len(xy_px))]
    return anndata.AnnData(
        counts,
        obs=pd.DataFrame(index=names),
        var=pd.DataFrame(index=GENES),
        obsm={"spatial": xy_px},
    )


def prediction_at(
    xy_px: np.ndarray, name: str = "spot", n_done: int | None = None
) -> anndata.AnnData:
    values = np.random.default_rng(1).normal(2, 1, (len(xy_px), len(GENES))).astype(np.float32)
    names = [f"{name} {n}" for n in range(len(xy_px))]
    done = np.arange(len(xy_px)) < (len(xy_px) if n_done is None else n_done)
    return anndata.AnnData(
        values,
        obs=pd.DataFrame({"done": done}, index=names),
        var=pd.DataFrame(index=GENES),
        obsm={"spatial": xy_px},
        layers={"q05": values - 1, "q95": values + 1},
        uns={
            PROVENANCE_KEY: {"normalisation": "log2_counts"},
            "spatial": {"slide": {"scalefactors": {"spot_diameter_fullres": SPOT_PX}}},
        },
    )


def test_lattices_that_meet_by_chance_are_no_comparison() -> None:
    here = lattice(10, 10)
    there = here * 1.05  # drifts out of reach after a few spots
    with pytest.raises(PredictionError, match=r"Only (\d+) of 100 predicted and 100") as refusal:
        evaluate(prediction_at(here), truth_at(there))
    assert "another lattice, another slide" in str(refusal.value)
    assert "--allow-partial" in str(refusal.value)
    found = evaluate(prediction_at(here), truth_at(there), allow_partial=True)
    assert 0 < found["n_matched"] == found["n_spots"] < 50
    assert (found["n_predicted"], found["n_truth"]) == (100, 100)


def test_lattices_that_never_meet_are_led_to_the_measured_spots() -> None:
    here = lattice(10, 10)
    step_px = here.max() / 9
    with pytest.raises(PredictionError, match=r"No predicted spot .*'predict --spots'"):
        evaluate(prediction_at(here), truth_at(here + step_px / 2))


@pytest.mark.parametrize(
    ("predicted", "measured"),
    [
        pytest.param(lattice(20, 20), lattice(4, 4), id="the whole slide around a core"),
        pytest.param(lattice(4, 4), lattice(20, 20), id="one region of a section"),
        pytest.param(lattice(4, 4), lattice(2, 20), id="half of the smaller one"),
    ],
)
def test_a_part_that_is_whole_in_itself_is_one(predicted: np.ndarray, measured: np.ndarray) -> None:
    found = evaluate(prediction_at(predicted), truth_at(measured))
    assert found["n_matched"] >= min(len(predicted), len(measured)) / 2
    assert (found["n_predicted"], found["n_truth"]) == (len(predicted), len(measured))


def test_only_finished_spots_count() -> None:
    spots = lattice(10, 10)
    found = evaluate(prediction_at(spots, n_done=20), truth_at(spots))
    assert (found["n_matched"], found["n_predicted"], found["n_truth"]) == (20, 20, 100)


def test_few_common_names_without_positions_are_no_comparison() -> None:
    truth = truth_at(lattice(10, 10), "spot")
    truth.obs_names = [f"spot {n}" if n < 4 else f"other {n}" for n in range(100)]
    del truth.obsm["spatial"]
    with pytest.raises(
        PredictionError, match=r"Only 4 of 100 predicted .* match by name; the others"
    ):
        evaluate(prediction_at(lattice(10, 10)), truth)


def test_an_open_table_serves_as_its_file_does(tmp_path: Path) -> None:
    here = lattice(5, 5)
    predicted, plain = prediction_at(here), truth_at(here)
    ids = plain.copy()
    ids.var["symbol"], ids.var_names = (
        GENES,
        ["ENSG00000141736.13", "ENSG00000019582", "ENSG00000169710"],
    )
    with repeats_allowed():  # ERBB2 twice: with all its counts, and with none
        parts = anndata.concat([plain, plain[:, :1]], axis=1)
        parts.X[:, -1] = 0
        parts.obsm["spatial"] = here
    plain.write_h5ad(tmp_path / "truth.h5ad")
    expected = evaluate(predicted, tmp_path / "truth.h5ad")
    for truth in (plain, ids, parts, anndata.read_h5ad(tmp_path / "truth.h5ad", backed="r")):
        assert evaluate(predicted, truth) == expected
    with pytest.raises(DatasetError, match="must hold raw counts in X"):
        evaluate(predicted, anndata.AnnData(obs=plain.obs, var=plain.var))


def test_names_at_other_places_are_told_where_places_match(caplog) -> None:
    here = lattice(4, 10)
    evaluate(prediction_at(here), truth_at(here[:, ::-1], "spot"), allow_partial=True)
    # 40 of one name are all the names of both tables: these count
    assert not caplog.messages
    truth = truth_at(np.vstack([here[:, ::-1], [[9e4, 9e4]]]), "spot")
    found = evaluate(prediction_at(here), truth, allow_partial=True)
    assert found["matched_by"] == "position"
    assert "same name in both tables lie elsewhere" in caplog.text


def test_names_near_their_places_are_another_section_s(caplog) -> None:
    here = lattice(4, 10)
    for off_px, is_told in ((0.7, False), (8, True)):  # rounded; as on another array of this kind
        there = np.vstack([here + off_px, [[9e4, 9e4]]])
        found = evaluate(prediction_at(here), truth_at(there, "spot"))
        assert (found["matched_by"], found["n_matched"]) == ("name", 40)
        assert (
            "40 spots that have the same name in both tables lie 11.3 px" in caplog.text
        ) == is_told


@pytest.fixture
def predicted_c3(her2st_dataset: Path) -> anndata.AnnData:
    """What a prediction of section C3 says of itself, at the spots that were measured."""
    with open_header(her2st_dataset / "wsis" / "C3.jpg") as slide:
        about = {"slide": slide.name, "slide_fingerprint": slide.fingerprint}
    counts = anndata.read_h5ad(her2st_dataset / "st" / "C3.h5ad")
    predicted = prediction_at(counts.obsm["spatial"])
    predicted.obs_names = counts.obs_names
    predicted.var_names = counts.var_names[: len(GENES)]
    predicted.uns[PROVENANCE_KEY] |= about
    return predicted


def test_counts_of_another_section_of_the_data_set_are_refused(
    predicted_c3: anndata.AnnData, her2st_dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = r"st.C2\.h5ad was measured on section C2, and C3\.jpg was predicted.*choose C3\.h5ad"
    with pytest.raises(DatasetError, match=said):
        evaluate(predicted_c3, her2st_dataset / "st" / "C2.h5ad", allow_partial=True)
    evaluate(predicted_c3, her2st_dataset / "st" / "C3.h5ad")
    predicted_c3.uns[PROVENANCE_KEY]["slide"] = "HE stain.jpg"  # the same image, called otherwise
    evaluate(predicted_c3, str(her2st_dataset / "st" / "C3.h5ad"))
    assert not caplog.messages
    evaluate(predicted_c3, her2st_dataset / "st" / "C2.h5ad", allow_partial=True)
    assert "measured on section C2, and the predicted slide is called HE stain.jpg" in caplog.text


@pytest.mark.parametrize(
    ("slide", "is_told"),
    [
        ("C2.jpg", True),
        ("C31.jpg", True),
        ("C3.ome.tif", False),
        ("her2_c3_HE.svs", False),
        ("slide-0123456789ab", False),  # a pseudonym
    ],
)
def test_a_table_that_says_another_section_is_told_of(
    slide: str, is_told: bool, predicted_c3: anndata.AnnData, her2st_dataset: Path, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    table = shutil.copy(her2st_dataset / "st" / "C3.h5ad", tmp_path / "counts.h5ad")
    predicted_c3.uns[PROVENANCE_KEY]["slide"] = slide
    evaluate(predicted_c3, table)
    assert bool(caplog.messages) == is_told
    caplog.clear()
    mine = anndata.read_h5ad(table)  # as scanpy reads Visium, and as says nothing
    parts = dict(mine.uns["spatial"]["C3"])
    for library in (parts | {"images": {"hires": 0}}, parts | {"images": np.zeros(3)}, 7):
        mine.uns["spatial"] = {"Library 7": library}
        evaluate(predicted_c3, mine)
    del mine.uns["spatial"]
    evaluate(predicted_c3, mine)
    assert not caplog.messages


@pytest.mark.parametrize("place", [[np.nan, 3.0], [3.0, np.inf], [3.0], [3.0, 4.0, 5.0]])
def test_spots_without_a_position_are_told(place: list[float]) -> None:
    truth = truth_at(lattice(5, 5))
    truth.obsm["spatial"] = np.vstack([np.zeros((24, len(place))), [place]])
    with pytest.raises(DatasetError, match=r"position .* of every spot.*; leave out"):
        evaluate(prediction_at(lattice(5, 5)), truth)


def test_names_that_repeat_match_nothing_and_places_do() -> None:
    here = lattice(5, 5)
    truth = truth_at(here)
    with repeats_allowed():
        truth.obs_names = ["spot 1"] * truth.n_obs
    assert evaluate(prediction_at(here), truth)["matched_by"] == "position"
