"""Measured counts beside a prediction: what belongs together, and what is refused."""

from __future__ import annotations

import shutil

import anndata
import numpy as np
import pytest

from napari_stem.errors import DatasetError, PredictionError
from napari_stem.evaluation.measured_match import match_measured, read_measured
from napari_stem.geometry import Mpp, SizePx
from napari_stem.metrics import coverage_of, pcc, pit
from napari_stem.progress import Stopped
from napari_stem.results import Prediction
from napari_stem.sample_data import sample_path
from napari_stem.slide import open_slide
from napari_stem.spatial.normalise import normalised

C5_COUNTS = sample_path().parents[1] / "st" / "C5.h5ad"


@pytest.fixture(scope="module")
def slide():
    opened = open_slide(sample_path())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def counts(slide):
    return read_measured(C5_COUNTS, slide.size)


@pytest.fixture
def prediction(c5_prediction):
    return Prediction.open(c5_prediction)


@pytest.fixture
def renamed(tmp_path, c5_prediction, counts):
    """The prediction, with its spots called and placed like the first measured ones, in reverse."""
    import zarr

    path = tmp_path / "renamed.zarr"
    shutil.copytree(c5_prediction, path)
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    n = group["X"].shape[0]
    group["obs"]["_index"][:] = np.array(counts.obs_names[:n][::-1], dtype=object)
    group["obsm"]["spatial"][:] = counts.obsm["spatial"][:n][::-1]
    return Prediction.open(path)


def test_spots_of_the_same_name_and_place_are_paired(renamed, counts, slide):
    found = match_measured(renamed, counts, slide.mpp)
    n = len(renamed.spots)
    assert (found.matched_by, found.apart_um, found.n_predicted) == ("name", 0, n)
    assert found.rows.tolist() == list(range(n))
    assert found.measured_rows.tolist() == list(range(n))[::-1]
    truth = normalised(counts, [found.genes[3]])[:n][::-1, 0]
    np.testing.assert_array_equal(found.matched(found.genes[3]), truth)
    assert found.n_genes_left_out == len(set(renamed.genes) - set(counts.var_names)) < 10
    assert len(found.spots) == counts.n_obs == len(found.measured(found.genes[0]))


def test_figures_are_those_of_the_values(renamed, counts, slide):
    found = match_measured(renamed, counts, slide.mpp)
    gene, table = found.genes[0], found.agreement
    mean = renamed.values(gene, "mean")
    truth = found.matched(gene)
    assert table.loc[gene, "pcc"] == pytest.approx(
        pcc(truth[:, None].astype(float), mean[:, None])[0]
    )
    draws = renamed.draws(found.rows, [gene])
    assert table.loc[gene, "coverage_90"] == coverage_of(pit(truth[:, None], draws), 0.9)
    assert table.loc[gene, "mean_difference"] == pytest.approx((mean - truth).mean(), abs=1e-6)
    np.testing.assert_allclose(found.error(gene, mean), mean - truth, rtol=1e-6)
    assert list(table.columns) == ["pcc", "coverage_90", "mean_difference"]


def test_two_spots_have_no_correlation(renamed, counts, slide):
    for n_spots in (2, 3):
        found = match_measured(renamed, counts[:n_spots].copy(), slide.mpp)
        assert len(found.rows) == n_spots
        assert found.agreement["pcc"].isna().all() == (n_spots == 2)
        assert np.isfinite(found.agreement["mean_difference"]).all()


def test_lattices_that_do_not_coincide_are_paired_one_to_one(prediction, counts, slide):
    found = match_measured(prediction, counts, slide.mpp)
    n_predicted = len(prediction.spots)
    assert found.matched_by == "position"
    assert n_predicted / 2 < len(found.rows) <= n_predicted  # some have no partner left
    assert len(set(found.measured_rows)) == len(found.rows)
    assert 0 < found.apart_um <= 200 / np.sqrt(2)
    error = found.error(found.genes[0], prediction.values(found.genes[0]))
    assert np.isfinite(error).sum() == len(found.rows)


def test_positions_may_be_missing_where_names_agree(renamed, counts, slide):
    nameless = counts.copy()
    del nameless.obsm["spatial"]
    found = match_measured(renamed, nameless, slide.mpp)
    assert found.matched_by == "name"
    assert found.spots.names == renamed.spots.names
    np.testing.assert_array_equal(found.measured(found.genes[0]), found.matched(found.genes[0]))


def test_a_gene_that_was_not_measured_is_left_out(renamed, counts, slide):
    gene = renamed.genes[5]
    fewer = counts[:, counts.var_names != gene].copy()
    found = match_measured(renamed, fewer, slide.mpp)
    assert found.n_genes_left_out == len(set(renamed.genes) - set(fewer.var_names))
    with pytest.raises(DatasetError, match=f"'{gene}' was not measured"):
        found.matched(gene)


def test_no_common_gene_is_refused(prediction, counts, slide):
    foreign = counts[:, :50].copy()
    foreign.var_names = [f"mouse-{gene}" for gene in foreign.var_names]
    with pytest.raises(PredictionError, match=r"None of the \d+ predicted genes was measured"):
        match_measured(prediction, foreign, slide.mpp)


def test_names_of_another_slide_far_away_are_refused(prediction, counts, slide):
    far = counts.copy()
    far.obsm["spatial"] = far.obsm["spatial"] * 0.01
    with pytest.raises(PredictionError, match="check that both belong to the same slide"):
        match_measured(prediction, far, slide.mpp)


def test_an_empty_prediction_is_refused(prediction, counts, slide, tmp_path):
    import zarr

    path = tmp_path / "empty.zarr"
    shutil.copytree(prediction.path, path)
    zarr.open_group(path, mode="r+", use_consolidated=False)["obs"]["done"][:] = False
    with pytest.raises(PredictionError, match="no finished spot"):
        match_measured(Prediction.open(path), counts, slide.mpp)


def test_it_stops_when_asked(prediction, counts, slide, stopped):
    with pytest.raises(Stopped):
        match_measured(prediction, counts, slide.mpp, stopped)


def test_positions_off_the_slide_are_refused(tmp_path):
    path = tmp_path / "C5.h5ad"
    shutil.copy(C5_COUNTS, path)
    with pytest.raises(DatasetError, match=r"\d+ of 181 measured spots of C5.h5ad lie outside"):
        read_measured(path, SizePx(3000, 3000))


def test_counts_of_another_section_are_refused_or_told_of(her2st_dataset, tmp_path, caplog):
    shutil.copytree(her2st_dataset, tmp_path / "ds")
    (tmp_path / "ds" / "metadata" / "C2.json").unlink()  # nothing says another size
    c2 = tmp_path / "ds" / "st" / "C2.h5ad"
    with open_slide(her2st_dataset / "wsis" / "C3.jpg") as other:
        with pytest.raises(DatasetError, match=r"on section C2, and C3\.jpg was predicted"):
            read_measured(c2, other.size, other)
        large = SizePx(other.size.height_px + 500, other.size.width_px + 500)
        read_measured(shutil.copy(c2, tmp_path / "counts.h5ad"), large, other)
    assert "measured on section C2, and the predicted slide is called C3.jpg" in caplog.text


def test_the_data_set_says_another_size(slide):
    with pytest.raises(
        DatasetError, match=r"image of 9272 x 9901 px, but this slide has 9272 x 9900"
    ):
        read_measured(C5_COUNTS, SizePx(slide.size.height_px - 1, slide.size.width_px))


def test_values_that_are_no_counts_are_refused(tmp_path, counts, slide):
    logged = counts[:, :20].copy()
    logged.X = np.log1p(logged.X.toarray())
    logged.write_h5ad(tmp_path / "log.h5ad")
    with pytest.raises(DatasetError, match="raw counts"):
        read_measured(tmp_path / "log.h5ad", slide.size)


def test_positions_that_are_none_are_refused(tmp_path, counts, slide):
    odd = counts[:, :5].copy()
    odd.obsm["spatial"] = np.full((odd.n_obs, 2), np.nan)
    odd.write_h5ad(tmp_path / "odd.h5ad")
    with pytest.raises(DatasetError, match="position"):
        read_measured(tmp_path / "odd.h5ad", slide.size)


def test_symbols_replace_ids(tmp_path, counts, slide):
    table = counts[:, :4].copy()
    table.var["gene_name"] = list(table.var_names)
    table.var_names = [f"ENSG{i:011d}" for i in range(4)]
    table.write_h5ad(tmp_path / "ids.h5ad")
    read = read_measured(tmp_path / "ids.h5ad", slide.size)
    assert list(read.var_names) == list(counts.var_names[:4])


@pytest.fixture(scope="module")
def visium(tmp_path_factory, her2st_dataset):
    """A folder as Space Ranger writes it, of a real section."""
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[1] / "spatial"))
    try:
        from space_ranger_folders import visium_run
    finally:
        sys.path.pop(0)
    folder = tmp_path_factory.mktemp("visium") / "C2" / "outs"
    table = anndata.read_h5ad(her2st_dataset / "st" / "C2.h5ad")
    image = next((her2st_dataset / "wsis").glob("C2.*"))
    return visium_run(folder, image, table)


def test_a_visium_folder_is_read_as_it_is(visium):
    from PIL import Image

    with Image.open(visium.image) as image:
        size = SizePx(image.height, image.width)
    table = read_measured(visium.folder, size)
    assert sorted(table.obs_names) == sorted(visium.barcodes)
    order = table.obs_names.get_indexer(visium.barcodes)
    np.testing.assert_array_equal(table.obsm["spatial"][order], visium.xy_px)
    np.testing.assert_array_equal(
        table[visium.barcodes, visium.genes[:50]].X.toarray(), visium.counts[:, :50]
    )


def test_a_slide_that_looks_unlike_space_ranger_s_is_told_of(visium, tmp_path, caplog):
    from PIL import Image

    turned = tmp_path / "turned.png"
    with Image.open(visium.image) as image:
        image.transpose(Image.Transpose.ROTATE_180).save(turned)
    for path, is_told in ((visium.image, False), (turned, True)):
        with open_slide(path) as slide:
            read_measured(visium.folder, slide.size, slide)
        told = "an image that looks unlike tissue_hires_image.png of Space Ranger"
        assert (told in caplog.text) == is_told
    assert str(turned) in caplog.text


def test_a_visium_folder_of_another_image_is_refused(visium):
    with pytest.raises(DatasetError, match=r"image of about .* but this slide has 4000 x 3000 px"):
        read_measured(visium.folder, SizePx(3000, 4000))


def test_a_folder_that_is_no_visium_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="holds no Space Ranger output"):
        read_measured(tmp_path, SizePx(10, 10))


def test_the_measured_spots_keep_their_size(prediction, counts, slide):
    found = match_measured(prediction, counts, Mpp.square(slide.mpp.x_um))
    assert found.spots.diameter_um == pytest.approx(100, rel=0.01)
    assert found.spots.pitch_um == pytest.approx(200, rel=0.1)  # real spots stray
