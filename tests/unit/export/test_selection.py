"""What is exported, and what it says in a few numbers."""

from __future__ import annotations

import shutil
from dataclasses import fields
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
import zarr

from napari_stem.errors import OutputError, PredictionError, SlideError, UnknownGeneError
from napari_stem.exporting.kinds import KINDS, export, select
from napari_stem.exporting.options import ExportOptions
from napari_stem.exporting.selection import (
    Selection,
    gene_summaries,
    model_card,
    most_reliable_genes,
    region_summaries,
)
from napari_stem.geometry import Region, inside
from napari_stem.results import Prediction
from napari_stem.settings import ExportKind

if TYPE_CHECKING:
    from pathlib import Path


def test_finished_spots_alone_are_chosen(half_done: Prediction) -> None:
    selection = Selection.of(half_done)
    np.testing.assert_array_equal(selection.spot_indices, np.arange(10))
    assert selection.n_missing == len(half_done.spots) - 10
    assert selection.spots.names == half_done.spots.names[:10]
    assert np.isfinite(selection.values("SCD")).all()
    assert not selection.is_whole


def test_all_genes_or_those_named_in_their_order(prediction: Prediction) -> None:
    assert Selection.of(prediction).genes == prediction.genes
    assert Selection.of(prediction).is_whole
    assert Selection.of(prediction, ("SCD", "GNAS")).genes == ("SCD", "GNAS")
    assert Selection.of(prediction, ("SCD", "GNAS", "SCD")).genes == ("SCD", "GNAS")


def test_an_unknown_gene_brings_an_offer(prediction: Prediction) -> None:
    with pytest.raises(UnknownGeneError, match=r"no gene 'gnass'\. Did you mean GNAS"):
        Selection.of(prediction, ("SCD", "gnass"))
    with pytest.raises(UnknownGeneError, match=rf"It has {len(prediction.genes)} genes"):
        Selection.of(prediction, ("?",))


def test_nothing_done_is_nothing_to_export(half_done: Prediction) -> None:
    half_done.done[:] = False
    with pytest.raises(PredictionError, match=r"half\.zarr is predicted yet"):
        Selection.of(half_done)


def test_a_kind_that_there_is_not_names_those_there_are(prediction: Prediction, tmp_path) -> None:
    with pytest.raises(OutputError, match=r"no export 'xlsx'; choose one of .*csv"):
        export(prediction, "xlsx", tmp_path / "p.xlsx")


def test_region_names_of_spots(prediction: Prediction, regions) -> None:
    names = Selection.of(prediction, (), [*regions, regions[0]]).region_names
    held = inside(prediction.spots, regions[:1])
    assert held.sum() > 0
    assert names == [regions[0].name if h else "" for h in held]
    twice = [regions[0], Region(regions[0].polygon, "again")]
    names = Selection.of(prediction, (), twice).region_names
    assert names == [f"{regions[0].name}; again" if h else "" for h in held]


def test_regions_in_numbers(unlike: Prediction, regions) -> None:
    ring, glass = region_summaries(Selection.of(unlike, ("SCD",), regions))
    held = inside(unlike.spots, regions[:1])
    assert ring.area_mm2 == pytest.approx((1161**2 - 50**2) * 0.68905**2 * 1e-6, rel=1e-4)
    assert (ring.n_spots, ring.n_unlike) == (held.sum(), unlike.ood[held].sum())
    assert ring.n_unlike > 0
    estimate = ring.genes["SCD"]
    assert estimate.mean == pytest.approx(unlike.values("SCD")[held].mean(), rel=1e-6)
    means = unlike.draws(np.flatnonzero(held), ["SCD"])[:, 0].astype(float).mean(0)
    expected = np.quantile(means, [0.05, 0.95], method="weibull")
    assert (estimate.low, estimate.high) == pytest.approx(tuple(expected), rel=1e-6)
    shutil.rmtree(unlike.path / "obsm" / "draws")
    bare = region_summaries(Selection.of(Prediction.open(unlike.path), ("SCD",), regions))[0]
    assert bare.genes["SCD"].low == pytest.approx(
        unlike.values("SCD", "q05")[held].mean(), rel=1e-6
    )
    assert (glass.n_spots, glass.genes) == (0, {})


def test_genes_in_numbers(prediction: Prediction) -> None:
    scd = gene_summaries(Selection.of(prediction, ("SCD",))).loc["SCD"]
    mean = prediction.values("SCD")
    assert scd["mean"] == pytest.approx(mean.mean(), rel=1e-6)
    assert list(scd[["pcc", "pcc_low", "pcc_high"]]) == model_card(prediction)["gene_pcc"]["SCD"]
    assert (scd["low"], scd["high"]) == pytest.approx(tuple(np.percentile(mean, (5, 95))))
    width = prediction.values("SCD", "q95") - prediction.values("SCD", "q05")
    assert scd["width"] == pytest.approx(width.mean(), rel=1e-6)


@pytest.fixture
def rated(c5_prediction: Path, tmp_path: Path):
    """The same, its genes rated otherwise; a gene that is not named has no rating."""

    def rate(by_chance: tuple[str, ...] = (), **pcc: float) -> Prediction:
        path = tmp_path / "rated" / "C5.zarr"
        shutil.copytree(c5_prediction, path)
        stored = zarr.open_group(path, use_consolidated=False)["var"]
        names = [str(name) for name in stored["_index"][:]]
        for key in ("pcc", "share_pcc"):
            stored[key][:] = np.array([pcc.get(name, np.nan) for name in names])
        stored["by_chance"][:] = np.array([name in by_chance for name in names])
        return Prediction.open(path)

    return rate


def test_the_most_reliable_genes_come_first(rated) -> None:
    prediction = rated(("AES",), AES=0.95, MUC6=0.7, GNAS=0.9, SCD=0.8)
    assert most_reliable_genes(prediction, 3) == ("GNAS", "SCD", "MUC6")
    found = gene_summaries(Selection.of(prediction, ("CD24", "AES")))
    assert list(found.index) == ["CD24", "AES"]
    assert np.isnan(found["pcc"]["CD24"])
    assert (found["pcc"]["AES"], found["by_chance"]["AES"]) == (0.95, True)


def test_else_those_that_stand_out_from_their_uncertainty(rated) -> None:
    prediction = rated()
    first = most_reliable_genes(prediction, 1)[0]

    def contrast(gene: str) -> float:
        spread = prediction.values(gene, "sd").astype(float)
        return float(prediction.values(gene).astype(float).var() / (spread**2).mean())

    varying = [g for g in prediction.genes if prediction.values(g, "sd").any()]
    assert contrast(first) == pytest.approx(max(contrast(g) for g in varying), rel=1e-3)


def test_the_card_is_that_of_the_very_model(prediction: Prediction, altered) -> None:
    assert model_card(prediction)["tissue"] == "breast"
    assert model_card(altered(model_weights_sha256="0" * 64)) == {}


def test_the_card_of_a_model_that_is_gone(altered) -> None:
    assert model_card(altered(model="nowhere")) == {}


def test_the_command_line_offers_every_kind_and_every_kind_has_options_that_there_are() -> None:
    assert get_args(ExportKind) == tuple(KINDS)
    known = {field.name for field in fields(ExportOptions)}
    assert all(known.issuperset(about.options) for about in KINDS.values())


def test_a_wrong_ending_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"p\.png should end in \.csv"):
        export(tmp_path / "nowhere.zarr", "csv", tmp_path / "p.png")


def test_a_slide_is_opened_only_where_it_is_used(prediction: Prediction, tmp_path: Path) -> None:
    nowhere, how = tmp_path / "nowhere.svs", {"genes": ["SCD"], "progress": False}
    for kind, about in KINDS.items():
        out = tmp_path / f"{kind}{about.suffixes[0]}"
        if "slide" in about.options:
            with pytest.raises(SlideError):
                export(prediction, kind, out, slide=nowhere, **how)
        else:
            export(prediction, kind, out, slide=nowhere, **how)
        assert out.exists() == ("slide" not in about.options)


def test_every_kind_takes_what_suits_it(prediction: Prediction) -> None:
    n_genes = {kind: len(select(kind, prediction).genes) for kind in KINDS}
    few = {"report": 6, "figure": 1, "geojson": 20}
    assert n_genes == dict.fromkeys(KINDS, len(prediction.genes)) | few
    assert select("figure", prediction).genes == tuple(prediction.reliability)[:1]
    assert select("report", prediction, ("all",)).genes == prediction.genes
