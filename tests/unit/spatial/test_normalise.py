"""Units of expression, by hand and on a real section."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix

from napari_stem.errors import DatasetError
from napari_stem.spatial.dataset import Dataset
from napari_stem.spatial.normalise import NORMALISATIONS, normalisation, normalised, possible

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def counts() -> anndata.AnnData:
    """Three spots, the last without any count; three genes."""
    return anndata.AnnData(
        csr_matrix(np.array([[3, 0, 7], [1, 1, 0], [0, 0, 0]], dtype=np.float32)),
        obs=pd.DataFrame(index=["a", "b", "c"]),
        var=pd.DataFrame(index=["ERBB2", "CD3D", "FASN"]),
    )


def test_log2_counts_by_hand(counts: anndata.AnnData) -> None:
    values = normalised(counts, ["FASN", "ERBB2"])
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, [[3, 2], [0, 1], [0, 0]])


def test_log1p_cp10k_counts_the_genes_that_were_not_asked_for(counts: anndata.AnnData) -> None:
    values = normalised(counts, ["ERBB2"], "log1p_cp10k")
    np.testing.assert_allclose(values[:, 0], [np.log(3001), np.log(5001), 0], rtol=1e-6)


def test_log1p_cp10k_agrees_with_scanpy(her2st_dataset: Path) -> None:
    scanpy = pytest.importorskip("scanpy")
    counts = Dataset(her2st_dataset).section("C2").counts
    counts = counts[counts.X.sum(axis=1) > 0]  # scanpy warns of spots without any count
    reference = counts.copy()
    scanpy.pp.normalize_total(reference, target_sum=1e4)
    scanpy.pp.log1p(reference)
    ours = normalised(counts, list(counts.var_names), "log1p_cp10k")
    np.testing.assert_allclose(ours, reference.X.toarray(), rtol=1e-5)


def test_every_normalisation_has_a_label_for_users() -> None:
    for name in NORMALISATIONS:
        assert normalisation(name).name == name
    assert normalisation("log2_counts").label == "log2(count + 1)"


def test_an_unknown_normalisation_is_told(counts: anndata.AnnData) -> None:
    with pytest.raises(DatasetError, match="log2_counts, log1p_counts, log1p_cp10k"):
        normalised(counts, ["ERBB2"], "zscore")


def test_unmeasured_genes_are_told(counts: anndata.AnnData) -> None:
    with pytest.raises(DatasetError, match=r"1 of 2 genes were not measured here \(MYC\)"):
        normalised(counts, ["ERBB2", "MYC"])


@given(
    arrays(np.float32, (3, 4), elements=st.floats(-3, 12, width=32)),
    st.sampled_from(["log2_counts", "log1p_counts"]),
)
def test_what_counts_could_give_is_the_nearest_whole_count(values, name):
    inverse = {"log2_counts": lambda x: np.exp2(x) - 1, "log1p_counts": np.expm1}[name]
    wanted = np.maximum(inverse(values.astype(np.float64)), 0)
    counts = inverse(possible(values.copy(), name).astype(np.float64))
    np.testing.assert_allclose(counts, np.rint(counts), rtol=1e-5, atol=1e-5)
    assert (np.abs(counts - wanted) <= 0.5 + 1e-4 * (wanted + 1)).all()


def test_counts_per_10k_need_not_be_whole():
    values = np.array([-0.5, 0.3, 2.7], np.float32)
    np.testing.assert_array_equal(
        possible(values, "log1p_cp10k"), np.array([0, 0.3, 2.7], np.float32)
    )
