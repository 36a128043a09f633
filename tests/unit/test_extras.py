"""What an extra of pip's would bring is named when it is missed, before any work."""

from __future__ import annotations

import pytest

from napari_stem import errors
from napari_stem.cli.train import run_together
from napari_stem.errors import OutputError, StemError, require_extra
from napari_stem.exporting.spatial_data import write_spatialdata
from napari_stem.training.team import Team


@pytest.fixture
def nothing_installed(monkeypatch) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda _name: None)


def test_what_is_installed_is_not_mentioned():
    require_extra("numpy", "arrays", "Counting", OutputError)


@pytest.mark.usefixtures("nothing_installed")
def test_several_processes_need_accelerate(monkeypatch):
    sentence = r"several processes needs .* accelerate: run pip install 'napari-stem\[accelerate\]'"
    with pytest.raises(StemError, match=sentence):
        run_together(2, print)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(StemError, match=sentence):
        Team.gathered("cpu")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert Team.gathered("cpu").size == 1


@pytest.mark.usefixtures("nothing_installed")
def test_spatialdata_is_an_extra(tmp_path):
    with pytest.raises(OutputError, match=r"napari-stem\[spatialdata\]"):
        write_spatialdata(None, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()
