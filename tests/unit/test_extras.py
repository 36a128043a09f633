"""What an extra of pip's would bring is named when it is missed, before any work."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from napari_stem import errors
from napari_stem.cli.train import run_together
from napari_stem.errors import OutputError, StemError, require_extra
from napari_stem.exporting.kinds import KINDS, export, write
from napari_stem.exporting.options import ExportOptions
from napari_stem.training.team import ACCELERATE, Team

ROOT = Path(__file__).parents[2]


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
    out = tmp_path / "out.zarr"
    sentence = r"Export as SpatialData needs .* 'napari-stem\[spatialdata\]'"
    with pytest.raises(OutputError, match=sentence):  # before prediction and slide are opened
        export(tmp_path / "none.zarr", "spatialdata", out, slide=tmp_path / "none.svs")
    with pytest.raises(OutputError, match=sentence):
        write("spatialdata", None, out, ExportOptions())
    assert not out.exists()


def test_every_extra_that_is_named_is_there_and_in_the_readme():
    """Of each call of `require_extra` in the package, as of whatever it is given from a table."""
    stated = {kind.needs for kind in KINDS.values() if kind.needs} | {ACCELERATE}
    named, tables = {needed[1] for needed in stated}, set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "require_extra":
                continue
            if isinstance(node.args[0], ast.Starred):
                tables.add(ast.unparse(node.args[0].value))
            else:
                named.add(ast.literal_eval(node.args[1]))
    assert tables == {"ACCELERATE", "about.needs"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert named <= project["optional-dependencies"].keys()
    rows = (ROOT / "README.md").read_text(encoding="utf-8").split("| extra | for |")[1]
    table = rows.split("\n\n")[0]
    assert [extra for extra in sorted(named) if f"`{extra}`" not in table] == []
