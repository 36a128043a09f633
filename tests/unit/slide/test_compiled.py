"""What is compiled is kept in a folder of its own for each state of the source."""

from __future__ import annotations

import pytest

from napari_stem.slide import compiled
from napari_stem.slide.compiled import folder_for


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "caller.py").write_text("from napari_stem.slide.compiled import compiled")
    (folder / "called.py").write_text("import numba")
    (folder / "other.py").write_text("x = 1")
    return folder


def test_a_change_of_what_is_called_is_a_change(source, tmp_path):
    place = tmp_path / "place"
    before = folder_for(source, [place])
    assert folder_for(source, [place]) == before
    (source / "other.py").write_text("x = 2")
    assert folder_for(source, [place]) == before
    (source / "called.py").write_text("import numba  # otherwise")
    after = folder_for(source, [place])
    assert after != before
    assert [str(each) for each in place.iterdir()] == [after]  # the old one is deleted


def test_the_next_place_is_taken_where_one_cannot_be_written_to(source, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert folder_for(source, [blocked, tmp_path / "b"]).startswith(str(tmp_path / "b"))
    assert folder_for(source, [blocked]) == ""


def test_what_is_compiled_here_is_kept_there():
    import numba

    from napari_stem.slide.resampling import triangle

    assert triangle._cache.cache_path.startswith(compiled._FOLDER)
    assert numba.config.CACHE_DIR != compiled._FOLDER
