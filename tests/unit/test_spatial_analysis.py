"""Moran's I, domains, their relations and stability; in the same process and in one of its own."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace

import anndata
import numpy as np
import pytest
import scipy.stats
import squidpy

from napari_stem.errors import OutputError, PredictionError, StemError, UnknownGeneError
from napari_stem.geometry import Mpp, SizePx, Spots, lattice
from napari_stem.progress import Stopped, go_on, poll_of
from napari_stem.results import Prediction
from napari_stem.spatial_analysis import autocorrelation, morans_i, neighbour_graph
from napari_stem.spatial_analysis.autocorrelation import morans_of, predicted_means
from napari_stem.spatial_analysis.domains import (
    Stability,
    find_domains,
    leiden,
    relate,
    stability_over,
)
from napari_stem.spatial_analysis.store import (
    annotate,
    export_domains,
    independent_draws,
    read_domains,
    run_in_subprocess,
    sidecar_path,
    write_domains,
)

MPP = Mpp.square(0.5)


@pytest.fixture
def prediction(c5_prediction, tmp_path):
    """A copy, beside which may be written."""
    path = tmp_path / "C5.zarr"
    shutil.copytree(c5_prediction, path)
    return Prediction.open(path)


@pytest.fixture(scope="module")
def square() -> Spots:
    return lattice(SizePx(4000, 4800), MPP, 200.0)  # 10 rows, 12 columns


def halves(spots: Spots, noise: float, n_genes: int = 40) -> np.ndarray:
    """Two kinds of spots, left and right, that differ in half of the genes."""
    rng = np.random.default_rng(3)
    values = rng.normal(0, noise, (len(spots), n_genes))
    values[spots.array_col >= 6, : n_genes // 2] += 3
    return values.astype(np.float32)


# neighbours


def test_squidpy_says_nothing_on_stdout(square, capsys):
    morans_of(halves(square, 1.0, 4), neighbour_graph(square))
    relate(square, np.repeat([0, 1], len(square) // 2))
    assert capsys.readouterr().out == ""


def test_square_lattices_have_four_neighbours(square):
    graph = neighbour_graph(square).toarray()
    assert (graph == graph.T).all()
    n_neighbours = graph.sum(axis=1).reshape(10, 12)
    assert (n_neighbours[1:-1, 1:-1] == 4).all()
    assert n_neighbours[0, 0] == 2
    assert graph[0, 1] == graph[0, 12] == 1


def test_pieces_far_apart_are_no_neighbours(square):
    pieces = square.take((square.array_col < 3) | (square.array_col > 7))
    graph = neighbour_graph(pieces).toarray()
    left = pieces.array_col < 3
    assert graph[left][:, ~left].sum() == 0


def hexagonal() -> Spots:
    row, col = np.mgrid[0:8, 0:16]
    is_node = (row + col) % 2 == 0
    row, col = row[is_node], col[is_node]
    names = tuple(f"{r}x{c}" for r, c in zip(row, col, strict=True))
    return Spots(col * 50.0, row * 50.0 * np.sqrt(3), row, col, 100.0, 55.0, names)


def test_hexagonal_lattices_have_six():
    """At most: those at the rim, and beside a gap, had others from further away."""
    spots = hexagonal().take(np.r_[0:40, 42:64])
    graph = neighbour_graph(spots).toarray()
    near = np.hypot(spots.x_px[:, None] - spots.x_px, spots.y_px[:, None] - spots.y_px) < 101
    np.testing.assert_array_equal(graph > 0, near & ~np.eye(len(spots), dtype=bool))


def test_spots_off_their_lattice_have_the_six_nearest(square):
    """Where several share a row and column, or lie elsewhere: they had up to 19 neighbours."""
    shared = replace(square, array_row=square.array_row // 2, array_col=square.array_col // 2)
    off = np.random.default_rng(0).permuted(np.stack([square.x_px, square.y_px]), axis=1)
    for spots in (shared, replace(square, x_px=off[0], y_px=off[1])):
        assert (neighbour_graph(spots).sum(axis=1) == 6).all()


def test_thinned_out_spots_have_the_six_nearest():
    """Every second of Visium's rows and columns: none lies beside another on the whole lattice."""
    spots = hexagonal()
    thinned = spots.take((spots.array_row % 2 == 0) & (spots.array_col % 4 == 0))
    assert (neighbour_graph(replace(thinned, pitch_um=200.0)).sum(axis=1) == 6).all()


def test_pixels_that_are_not_square_change_no_neighbours(square):
    tall = replace(square, y_px=square.y_px / 2, mpp=Mpp(y_um=1.0, x_um=0.5))
    assert (neighbour_graph(tall) != neighbour_graph(square)).nnz == 0


# Moran's I


def test_morans_i_is_that_of_the_definition(prediction):
    varies = (np.ptp(prediction.draws(slice(None), None), axis=0) > 0).all(axis=-1)
    genes = tuple(np.array(prediction.genes)[varies][:7])
    assert len(genes) == 7
    table = morans_i(prediction, genes)
    weights = neighbour_graph(prediction.spots).toarray()
    weights = weights / weights.sum(axis=1, keepdims=True)

    def by_hand(values: np.ndarray) -> float:
        z = values.astype(float) - values.mean(dtype=float)
        return len(z) / weights.sum() * (z @ weights @ z) / (z @ z)

    samples = prediction.draws(slice(None), genes)
    variance = squidpy.gr.spatial_autocorr(  # as its authors write Cliff and Ord's
        anndata.AnnData(
            prediction.rows(np.arange(len(prediction.spots)), genes=genes),
            obsp={"spatial_connectivities": neighbour_graph(prediction.spots)},
        ),
        mode="moran",
        copy=True,
        show_progress_bar=False,
    )["var_norm"]
    for place, gene in enumerate(genes):
        of_samples = [by_hand(each) for each in samples[:, place].T]
        row = table.loc[gene]
        assert row["I"] == pytest.approx(np.mean(of_samples), abs=1e-4)
        assert (row["I_q05"], row["I_q95"]) == pytest.approx((min(of_samples), max(of_samples)))
        assert row["I_of_mean"] == pytest.approx(by_hand(prediction.values(gene)), abs=1e-4)
        z = (np.median(of_samples) + 1 / (len(weights) - 1)) / np.sqrt(variance.iloc[0])
        assert row["p"] == pytest.approx(scipy.stats.norm.sf(z), rel=1e-3)
    assert list(table.index) == list(genes)
    assert (table["n_samples"] == samples.shape[2]).all()
    assert (table["fdr"] >= table["p"]).all()


def test_without_samples_it_is_that_of_the_mean_and_has_no_interval(prediction):
    shutil.rmtree(prediction.path / "obsm" / "draws")
    table = morans_i(Prediction.open(prediction.path), prediction.genes[:7])
    np.testing.assert_array_equal(table["I"], table["I_of_mean"])
    assert table[["I_q05", "I_q95"]].isna().all(axis=None)
    assert (table["n_samples"] == 0).all()


def test_all_genes_are_ranked(prediction):
    table = morans_i(prediction)
    assert tuple(table.index) == prediction.genes
    varies = np.ptp(prediction.to_anndata().X, axis=0) > 0
    np.testing.assert_array_equal(table["I_of_mean"].notna(), varies)
    assert (
        table["I"][varies].abs().max() < 1.5
    )  # its bounds depend on the neighbours, and are near 1


def test_a_gene_that_does_not_vary_has_no_morans_i(prediction):
    import zarr

    group = zarr.open_group(prediction.path, mode="r+", use_consolidated=False)
    group["X"][:, 2] = group["obsm/draws"][:, 2] = 1.5
    table = morans_i(Prediction.open(prediction.path), prediction.genes[:4])
    is_unknown = table.drop(columns="n_samples").isna()
    assert is_unknown.all(axis=1).tolist() == is_unknown.any(axis=1).tolist()
    assert is_unknown["I"].tolist() == [False, False, True, False]


def test_too_few_spots_are_refused(prediction):
    import zarr

    group = zarr.open_group(prediction.path, mode="r+", use_consolidated=False)
    group["obs"]["done"][5:] = False
    few = Prediction.open(prediction.path)
    with pytest.raises(PredictionError, match="needs 10 predicted spots; there are 5"):
        morans_i(few)
    with pytest.raises(PredictionError, match="10 predicted spots"):
        find_domains(predicted_means(few), few.spots.names[:5], few.genes, 1.0)
    group["obs"]["done"][:] = False
    with pytest.raises(PredictionError, match="no finished spot yet"):
        morans_i(Prediction.open(prediction.path))


def test_spots_far_apart_have_no_morans_i(prediction, square, monkeypatch):
    """As a run that was cancelled early leaves them."""
    import zarr

    apart = np.flatnonzero((square.array_row % 2 == 0) & (square.array_col % 2 == 0))
    graph = neighbour_graph(square.take(apart))
    assert graph.nnz == 0
    assert np.isnan(morans_of(halves(square, 1.0)[apart], graph)).all()
    assert relate(square.take(apart), np.arange(len(apart)) % 2) is not None
    spots = prediction.spots
    done = (spots.array_row % 2 == 0) & (spots.array_col % 2 == 0)
    monkeypatch.setattr(autocorrelation, "FEWEST_SPOTS", 4)
    zarr.open_group(prediction.path, mode="r+", use_consolidated=False)["obs"]["done"][:] = done
    with pytest.raises(PredictionError, match="side by side"):
        morans_i(Prediction.open(prediction.path))


def test_of_few_spots_side_by_side_there_is_no_morans_i(prediction, monkeypatch):
    """Among lone ones, as a run that was cancelled early leaves them: it was -1 of every gene."""
    import zarr

    spots = prediction.spots
    done = (spots.array_row % 2 == 0) & (spots.array_col % 2 == 0)
    monkeypatch.setattr(autocorrelation, "FEWEST_SPOTS", 4)
    done[np.flatnonzero(~done & (spots.array_row == spots.array_row[done][0]))[0]] = True
    assert done.sum() > autocorrelation.FEWEST_SPOTS
    zarr.open_group(prediction.path, mode="r+", use_consolidated=False)["obs"]["done"][:] = done
    with pytest.raises(PredictionError, match=r"4 predicted spots side by side; there are [23]"):
        morans_i(Prediction.open(prediction.path))


def test_spots_without_neighbours_do_not_count(square):
    """As a run leaves them that was cancelled while its coarse map was made: Moran's I was above 1."""
    lone = (square.array_row % 2 == 0) & (square.array_col % 2 == 0)
    block = (square.array_row < 3) & (square.array_col < 3)
    values = halves(square, 1.0)
    values += square.array_row[:, np.newaxis]
    among, alone = (
        morans_of(values[kept], neighbour_graph(square.take(np.flatnonzero(kept))))
        for kept in (lone | block, block)
    )
    np.testing.assert_array_equal(among, alone)
    assert (among <= 1).all()


def test_morans_i_stops_when_asked_and_knows_its_genes(prediction, square, stopped):
    with pytest.raises(Stopped):
        morans_of(halves(square, 1.0), neighbour_graph(square), stopped)
    with pytest.raises(UnknownGeneError, match="no gene 'NOPE'"):
        morans_i(prediction, ["NOPE"])


# reading


def test_only_finished_spots_are_read(prediction):
    import zarr

    zarr.open_group(prediction.path, mode="r+", use_consolidated=False)["obs"]["done"][::3] = False
    partly = Prediction.open(prediction.path)
    whole = prediction.to_anndata()
    np.testing.assert_array_equal(predicted_means(partly), whole.X[partly.done])
    picked = [partly.genes[4], partly.genes[1]]
    np.testing.assert_array_equal(predicted_means(partly, picked), whole.X[partly.done][:, [4, 1]])


def test_draws_that_mirror_others_are_left_out(prediction):
    assert prediction.n_kept_draws == 6
    draws = independent_draws(prediction, 8)
    np.testing.assert_array_equal(draws, prediction.to_anndata().obsm["draws"][:, :, ::2])
    assert independent_draws(prediction, 2).shape[2] == 2


# domains


def test_two_halves_are_two_domains(square):
    values = halves(square, noise=0.3)
    found = find_domains(values, square.names, [f"g{i}" for i in range(40)], 0.1)
    assert found.names == ("Domain 1", "Domain 2")
    is_right = square.array_col >= 6
    assert len(set(found.labels[is_right])) == len(set(found.labels[~is_right])) == 1
    assert found.shares.tolist() == [0.5, 0.5]
    right = found.labels[is_right][0]
    assert set(found.markers[right]) <= {f"g{i}" for i in range(20)}
    may_mark = np.arange(40) >= 10
    told = find_domains(values, square.names, [f"g{i}" for i in range(40)], 0.1, may_mark)
    assert set(told.markers[right]) <= {f"g{i}" for i in range(10, 20)}


def test_finer_means_more_and_the_same_gives_the_same(prediction):
    means = predicted_means(prediction)
    coarse, fine = leiden(means, 0.1), leiden(means, 2.0)
    assert coarse.max() < fine.max()
    np.testing.assert_array_equal(fine, leiden(means, 2.0))
    sizes = np.bincount(fine)
    assert (np.diff(sizes) <= 0).all()


def test_stability_tells_sure_domains_from_noise(square):
    rng = np.random.default_rng(0)
    sure = np.stack([halves(square, 0.0) + rng.normal(0, 0.3, (120, 40)) for _ in range(3)], axis=2)
    unsure = rng.normal(0, 1, (120, 40, 3))
    labels = leiden(halves(square, 0.3), 0.1)
    told: list[tuple[int, int]] = []
    stable = stability_over(sure.astype(np.float16), labels, 0.1, lambda *at: told.append(at))
    assert told == [(0, 3), (1, 3), (2, 3)]
    assert stable.between == pytest.approx((1, 1, 1))
    assert stable.with_mean == pytest.approx((1, 1, 1))
    assert stable.support == pytest.approx((1,) * 120)
    noise = stability_over(unsure.astype(np.float16), labels, 1.0)
    assert np.mean(noise.between) < 0.2
    np.testing.assert_allclose(noise.of_domains(labels), noise.by_chance, atol=0.1)
    assert max(stable.by_chance) < 0.65
    sure[:5, :20, 1] = 3 - sure[:5, :20, 1]  # one sample has five spots of the left on the right
    moved = stability_over(sure.astype(np.float16), labels, 0.1).support
    assert moved[:5] == pytest.approx((2 / 3,) * 5)
    assert moved[5:] == pytest.approx((1,) * 115)


def test_halves_avoid_each_other(square):
    labels = (square.array_col >= 6).astype(np.int64)
    relations = relate(square, labels)
    assert relations.enrichment[0, 0] > 3
    assert relations.enrichment[0, 1] < -3
    same, other = relations.co_occurrence[0, 0], relations.co_occurrence[0, 1]
    assert same[0] > 1 > other[0]
    assert other[-1] > other[0]  # further out the other half comes in
    assert relations.radii_um[0] > 200
    assert len(relations.radii_um) == relations.co_occurrence.shape[2]


def test_a_single_domain_has_no_relations(square):
    assert relate(square, np.zeros(len(square), dtype=np.int64)) is None


# on disk


@pytest.fixture
def domains(prediction):
    means = predicted_means(prediction)
    found = find_domains(means, prediction.spots.names, prediction.genes, 1.5)
    shares = tuple(np.linspace(0, 1, len(found.spots)).tolist())
    stability = Stability((0.5,), (0.75, 0.25), shares, (0.2,) * len(found.names))
    relations = relate(prediction.spots, found.labels)
    return replace(found, stability=stability, relations=relations)


def test_domains_are_found_again_beside_their_prediction(prediction, domains):
    assert read_domains(prediction) is None
    named = replace(domains, names=("Tumour",) * len(domains.names))  # a user may repeat names
    write_domains(named, sidecar_path(prediction))
    read = read_domains(prediction)
    np.testing.assert_array_equal(read.labels, domains.labels)
    assert (read.names, read.markers) == (named.names, domains.markers)
    assert (read.stability, read.resolution) == (domains.stability, 1.5)
    np.testing.assert_array_equal(read.relations.enrichment, domains.relations.enrichment)
    assert [path.name for path in prediction.path.parent.iterdir()].count("C5.domains.h5ad") == 1


def test_domains_that_a_user_calls_alike_stay_apart_in_tables(prediction, domains, tmp_path):
    assert len(domains.names) >= 2
    names = ("A", "A (2)", *("A" for _ in domains.names[2:]))
    named = replace(domains, names=names)
    export_domains(named, prediction, tmp_path / "d.h5ad")
    told = anndata.read_h5ad(tmp_path / "d.h5ad").obs["domain"]
    alike = replace(domains, names=("A",) * len(domains.names))
    export_domains(alike, prediction, tmp_path / "e.h5ad")
    numbered = anndata.read_h5ad(tmp_path / "e.h5ad").obs["domain"]
    for column in (told, numbered):
        groups = [column[domains.labels == label].unique() for label in np.unique(domains.labels)]
        assert len({name for (name,) in groups}) == len(groups)


def test_domains_of_fewer_spots_do_not_count(prediction, domains):
    fewer = replace(domains, spots=domains.spots[:-1], labels=domains.labels[:-1], stability=None)
    write_domains(fewer, sidecar_path(prediction))
    assert read_domains(prediction) is None


def test_damaged_domains_are_told(prediction):
    sidecar_path(prediction).write_bytes(b"not HDF5")
    with pytest.raises(PredictionError, match="damaged or holds no domains"):
        read_domains(prediction)


def test_domains_go_with_exported_tables(prediction, domains, tmp_path):
    export_domains(domains, prediction, tmp_path / "d.h5ad")
    table = anndata.read_h5ad(tmp_path / "d.h5ad")
    assert table.shape == (len(prediction.spots), len(prediction.genes))
    assert list(table.obs["domain"]) == [domains.names[label] for label in domains.labels]
    assert "predicted expression" in table.uns["napari_stem_domains"]
    np.testing.assert_allclose(table.obs["domain_support"], domains.stability.support)
    export_domains(domains, prediction, tmp_path / "d.csv")
    header, first, *rest = (tmp_path / "d.csv").read_text().splitlines()
    assert header == "spot,x_px,y_px,domain,domain_support"
    assert first.startswith(f"{prediction.spots.names[0]},")
    assert len(rest) == len(prediction.spots) - 1
    with pytest.raises(OutputError, match="cannot be written"):
        export_domains(domains, prediction, tmp_path / "d.csv" / "in-a-file.csv")


def test_spots_without_a_domain_are_missing(prediction, domains):
    table = prediction.to_anndata()
    fewer = replace(domains, spots=domains.spots[1:], labels=domains.labels[1:], stability=None)
    annotate(table, fewer)
    assert table.obs["domain"].isna().sum() == 1


# in a process of its own


@pytest.mark.slow
def test_a_process_tells_its_progress_and_stores_what_it_finds(prediction):
    told: list[tuple[str, int, int]] = []
    arguments = ["domains", str(prediction.path), "1.0"]
    run_in_subprocess(arguments, go_on, lambda *at: told.append(at))
    found = read_domains(prediction)
    np.testing.assert_array_equal(found.labels, leiden(predicted_means(prediction), 1.0))
    assert found.relations is not None
    assert len(found.stability.with_mean) == 3
    texts = [text for text, _, _ in told]
    assert texts[:3] == ["Reading the prediction", "Looking for domains", "Domains found"]
    assert texts[-1] == "Domains of sample 3 of 3"
    assert all(done <= total for _, done, total in told)


def test_a_process_can_be_ended(prediction):
    stop = threading.Event()
    with pytest.raises(Stopped):
        run_in_subprocess(
            ["domains", str(prediction.path), "1.0"], poll_of(stop), lambda *_: stop.set()
        )
    assert not sidecar_path(prediction).exists()


def test_what_a_process_refuses_is_told_in_its_words(tmp_path):
    with pytest.raises(StemError, match="There is no prediction"):
        run_in_subprocess(["morans", str(tmp_path / "none.zarr"), "x.csv"], go_on, lambda *_: None)


def test_a_process_that_breaks_is_told(tmp_path, caplog):
    with pytest.raises(StemError, match="broke down"):
        run_in_subprocess(["nonsense"], go_on, lambda *_: None)
    assert "AttributeError" in caplog.text
