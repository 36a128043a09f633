"""What holds for every kind of export: where it may be written, and what it needs."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapely

from napari_stem.errors import OutputError
from napari_stem.exporting.kinds import KINDS, export, require_place, select, write
from napari_stem.exporting.options import ExportOptions
from napari_stem.exporting.selection import Selection
from napari_stem.geometry import Region
from napari_stem.results import Prediction
from napari_stem.results.empty import COMMON_PROVENANCE
from napari_stem.sample_data import sample_path
from napari_stem.slide import open_slide
from napari_stem.spatial.region_files import write_regions
from napari_stem.texts import NOTICE

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.settings import ExportKind

OVER = ExportOptions(overwrite=True)


@pytest.fixture
def anywhere(monkeypatch) -> None:
    """Every kind takes every ending, so that each can be asked to write over anything."""
    endings = tuple({ending for kind in KINDS.values() for ending in (*kind.suffixes, "")})
    for name, kind in KINDS.items():
        monkeypatch.setitem(KINDS, name, replace(kind, suffixes=endings))


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("genes", [("SCD",), ()])
def test_no_export_replaces_the_prediction(
    c5_prediction: Path, tmp_path: Path, kind: ExportKind, genes: tuple[str, ...]
) -> None:
    place = tmp_path / "study.zarr" / "P.zarr"
    shutil.copytree(c5_prediction, place)
    (tmp_path / "study.zarr" / "zarr.json").write_text("{}")
    (tmp_path / "link.zarr").symlink_to(place)
    opened = Prediction.open(place)
    selection, expected = Selection.of(opened, genes), opened.values("SCD")
    for path in (place, tmp_path / "link.zarr", place.parent / "." / "P.zarr"):
        with pytest.raises(OutputError, match="is the prediction itself"):
            write(kind, selection, path, OVER)
    with pytest.raises(OutputError, match=r"study\.zarr holds the prediction itself"):
        write(kind, selection, place.parent, OVER)
    for name in ("X", "new.csv", "new/p.html"):
        with pytest.raises(OutputError, match="lies in the prediction itself"):
            write(kind, selection, place / name, OVER)
    np.testing.assert_array_equal(Prediction.open(place).values("SCD"), expected)
    assert not list(place.glob("new*"))


@pytest.mark.parametrize("genes", [["SCD"], []])
def test_no_export_replaces_the_file_that_a_prediction_was_unpacked_from(
    prediction: Prediction, tmp_path: Path, genes: list[str]
) -> None:
    path = export(prediction, "h5ad", tmp_path / "P.h5ad", genes=["SCD", "GNAS"], progress=False)
    before = path.read_bytes()
    opened = Prediction.open(path)
    again = Prediction(opened.path)  # as the window opens it: by its folder in the cache
    for given in (path, opened, again):
        with pytest.raises(OutputError, match="is the prediction itself"):
            export(given, "h5ad", path, genes=genes, overwrite=True, progress=False)
    assert path.read_bytes() == before
    export(opened, "h5ad", tmp_path / "Q.h5ad", genes=genes, progress=False)


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights otherwise")
def test_what_is_unpacked_in_the_cache_is_read_by_nobody_who_may_not_read_the_file(
    prediction: Prediction, public_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = export(prediction, "h5ad", public_path / "P.h5ad", progress=False)
    values, found = prediction.values("SCD"), set()
    for rights, uid in ((0o644, 1), (0o640, 1), (0o640, 2)):
        path.chmod(rights)
        monkeypatch.setattr(os, "getuid", lambda uid=uid: uid)
        opened = Prediction.open(path)
        assert rights == 0o644 or opened.path.stat().st_mode & 0o777 == 0o700
        np.testing.assert_array_equal(opened.values("SCD"), values)
        found.add(opened.path)
    assert len(found) == 3  # whoever else may read the file has a copy of their own


def test_no_export_replaces_the_slide_or_the_file_of_regions(
    prediction: Prediction, tmp_path: Path
) -> None:
    regions, picture = tmp_path / "R.geojson", tmp_path / "S.tif"
    write_regions([Region(shapely.box(4400, 3400, 5561, 4561), "tumour")], regions)
    shutil.copy(sample_path(), picture)
    before = regions.read_bytes(), picture.read_bytes()
    how = {"genes": "SCD", "overwrite": True, "progress": False}
    with pytest.raises(OutputError, match="is the file of regions itself"):
        export(prediction, "geojson", regions, regions=regions, **how)
    png = ExportOptions(file_format="png")
    with open_slide(picture) as opened:
        for slide in (picture, str(picture), opened):
            with pytest.raises(OutputError, match="is the slide itself"):
                export(prediction, "figure", picture, slide=slide, options=png, **how)
        seen = replace(png, slide=opened, overwrite=True)  # as the window does
        with pytest.raises(OutputError, match="is the slide itself"):
            write("figure", Selection.of(prediction, ("SCD",)), picture, seen)
    assert (regions.read_bytes(), picture.read_bytes()) == before


@pytest.mark.parametrize("name", ["p.svg", "fig.zarr", "p.CSV", "p.geojson"])
def test_the_ending_of_a_figure_is_not_that_of_something_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=rf"{name} should end in \.png;"):
        require_place("figure", tmp_path / name, overwrite=False, file_format="png")
    for fine in ("p.png", "p.PNG", "p.dat", "p"):
        require_place("figure", tmp_path / fine, overwrite=False, file_format="png")


@pytest.mark.parametrize(("kind", "name"), [("h5ad", "P.H5AD"), ("zarr", "P.Zarr")])
def test_endings_may_be_in_capitals(
    prediction: Prediction, tmp_path: Path, kind: ExportKind, name: str
) -> None:
    path = export(prediction, kind, tmp_path / name, genes=["SCD"], progress=False)
    assert Prediction.open(path).genes == ("SCD",)


def test_a_single_gene_is_one(prediction: Prediction) -> None:
    assert select("csv", prediction, "SCD").genes == ("SCD",)
    assert select("figure", prediction, "all").genes == prediction.genes


def test_files_carry_the_whole_notice(altered) -> None:
    assert COMMON_PROVENANCE["notice"] == NOTICE
    old = altered(notice="Predicted.")  # begun before the sentence was what it is
    now = {**old.provenance, "notice": NOTICE}
    assert Prediction.resumed(old.path, old.spots, now, ()).done.all()
    path = old.path.with_suffix(".geojson")
    export(old, "geojson", path, genes="SCD", progress=False)
    assert json.loads(path.read_text(encoding="utf-8"))["napari_stem"]["notice"] == NOTICE
