"""A real prediction, whole, half done and as of measured spots; its slide; regions on it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapely
import zarr

from napari_stem.geometry import Region
from napari_stem.results import PROVENANCE_KEY, Prediction
from napari_stem.sample_data import sample_path
from napari_stem.slide import open_slide

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_stem.slide import Slide

NAME = "<b>tumour</b> & $x_1$"


@pytest.fixture(scope="session")
def prediction(c5_prediction: Path) -> Prediction:
    return Prediction.open(c5_prediction)


@pytest.fixture
def half_done(c5_prediction: Path, tmp_path: Path) -> Prediction:
    """The same while it grows: all but the first ten spots are still missing."""
    path = tmp_path / "growing" / "half.zarr"
    shutil.copytree(c5_prediction, path)
    group = zarr.open_group(path, use_consolidated=False)
    group["obs"]["done"][10:] = False
    for stored in (group["X"], *(group["layers"][name] for name in ("sd", "q05", "q95"))):
        stored[10:] = np.nan
    return Prediction.open(path)


@pytest.fixture
def altered(c5_prediction: Path, tmp_path: Path):
    """The same with other provenance."""

    def alter(**changes) -> Prediction:
        path = tmp_path / "altered" / "C5.zarr"
        shutil.copytree(c5_prediction, path)
        stored = zarr.open_group(path, use_consolidated=False)["uns"][PROVENANCE_KEY]["json"]
        stored[()] = json.dumps(json.loads(str(stored[()])) | changes)
        return Prediction.open(path)

    return alter


@pytest.fixture
def unlike(c5_prediction: Path, tmp_path: Path) -> Prediction:
    """The same with three spots that are unlike the training data."""
    path = tmp_path / "unlike" / "C5.zarr"
    shutil.copytree(c5_prediction, path)
    codes = zarr.open_group(path, use_consolidated=False)["obs"]["ood"]["codes"]
    codes[:] = (np.arange(len(codes[:])) < 3).astype(np.int8)
    return Prediction.open(path)


@pytest.fixture(scope="session")
def slide() -> Iterator[Slide]:
    opened = open_slide(sample_path())
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def regions() -> list[Region]:
    """One with a hole, and one off all spots; the name is as others may write it."""
    ring = shapely.box(4400, 3400, 5561, 4561) - shapely.box(4950, 3950, 5000, 4000)
    return [Region(ring, NAME), Region(shapely.box(100, 100, 500, 500), "glass")]
