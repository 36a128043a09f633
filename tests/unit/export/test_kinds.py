"""What holds for every kind of export: where it may be written, and what it needs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_stem.errors import OutputError
from napari_stem.exporting.kinds import KINDS, export, write
from napari_stem.exporting.options import ExportOptions
from napari_stem.exporting.selection import Selection
from napari_stem.results import Prediction

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
