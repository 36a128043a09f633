"""What is compiled is kept in the cache, in a folder of its own for each state of the source."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import napari_stem
from napari_stem.slide import compiled
from napari_stem.slide.compiled import folder_for


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("NAPARI_STEM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compiled"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "caller.py").write_text("from napari_stem.slide.compiled import compiled")
    (folder / "called.py").write_text("import numba")
    (folder / "other.py").write_text("x = 1")
    return folder


def test_a_change_of_what_is_called_is_a_change(source, place):
    before = folder_for(source)
    assert Path(before).parent == place
    (source / "other.py").write_text("x = 2")
    assert folder_for(source) == before
    (source / "called.py").write_text("import numba  # otherwise")
    assert folder_for(source) != before


def test_an_old_state_goes_where_there_is_too_much(source, place, monkeypatch):
    before = Path(folder_for(source))
    (before / "code").write_bytes(b"0" * 1000)
    os.utime(before, (time.time() - 7200,) * 2)
    monkeypatch.setenv("NAPARI_STEM_COMPILED_GB", "0")
    (source / "called.py").write_text("import numba  # otherwise")
    after = folder_for(source)
    assert [str(each) for each in place.iterdir()] == [after]


def test_nothing_is_kept_where_nothing_can_be_written(source, place):
    place.parent.write_text("")
    assert folder_for(source) == ""


def test_numbas_own_variable_is_another_place(source, place, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    assert folder_for(source).startswith(str(tmp_path / "numba"))
    assert not place.exists()


def test_nothing_but_bytecode_is_written_beside_the_code(place, tmp_path):
    """pip removes the bytecode of what it installed, and nothing else."""
    installed = tmp_path / "site-packages" / "napari_stem"
    shutil.copytree(
        Path(napari_stem.__file__).parent, installed, ignore=shutil.ignore_patterns("__pycache__")
    )
    before = set(installed.rglob("*"))
    code = """if True:
        import numpy as np
        from napari_stem import __file__
        from napari_stem.slide.resampling import triangle
        whole = np.zeros(9, np.int64)
        weights, numbers = np.zeros((9, 4), np.float32), np.zeros((9, 4), np.uint16)
        triangle(0.0, 2.0, 0, whole, whole.copy(), weights, numbers)
        print(__file__)
    """
    environment = {**os.environ, "PYTHONPATH": str(installed.parent), "PYTHONDONTWRITEBYTECODE": ""}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == str(installed / "__init__.py")
    new = set(installed.rglob("*")) - before
    assert {path.suffix for path in new if path.is_file()} == {".pyc"}
    assert {path.name for path in new if path.is_dir()} == {"__pycache__"}
    assert list(place.rglob("*.nbi"))


def test_what_is_compiled_here_is_kept_there():
    import numba

    from napari_stem.slide.resampling import triangle

    assert triangle._cache.cache_path.startswith(compiled._FOLDER)
    assert numba.config.CACHE_DIR != compiled._FOLDER
