"""Who the patient is stays in the slide: out of logs, provenance and exports, as does a name on request."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.errors import OutputError
from napari_stem.slide.pseudonym import pseudonym, read_key

if TYPE_CHECKING:
    from collections.abc import Callable

DICOM = Path(__file__).parents[1] / "data" / "slides" / "CMU-1-Small-Region-dicom"
# (group, element), as it is written in explicit little endian: DICOM PS3.5, 7.1.2
TAGS = {
    b"\x10\x00\x10\x00PN": "DOE^JANE",
    b"\x10\x00\x20\x00LO": "MRN-4711",
    b"\x10\x00\x30\x00DA": "19580427",
    b"\x08\x00\x50\x00SH": "ACC-0815",
}
WARD, SLIDE = "ward of Dr Roe", "ROE-1958"


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """A DICOM slide that says whose it is, in a folder that does, too."""
    folder = shutil.copytree(DICOM, tmp_path / WARD / SLIDE)
    for path in folder.iterdir():
        content = path.read_bytes()
        for tag, value in TAGS.items():
            empty = tag + b"\x00\x00"
            assert content.count(empty) == 1
            content = content.replace(
                empty, tag + len(value).to_bytes(2, "little") + value.encode()
            )
        path.write_bytes(content)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a command says on stdout and stderr."""

    def say(*arguments: str | Path) -> str:
        words = [str(each) for each in arguments]
        monkeypatch.setattr(sys, "argv", ["napari-stem", *words])
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.stderr
        return result.output

    return say


def written(folder: Path) -> str:
    """Whatever is written below a folder, chunks of text in Zarr decoded, and all names."""
    found = []
    for path in folder.rglob("*"):
        found.append(str(path.relative_to(folder)))
        if path.is_file():
            found.append(path.read_bytes().decode("latin-1"))
    for path in folder.rglob("*.zarr"):
        group = zarr.open_group(path, mode="r", use_consolidated=False)
        texts = (array for _, array in group.members(max_depth=None) if hasattr(array, "dtype"))
        found += [
            str(np.asarray(array[...]).tolist()) for array in texts if array.dtype.kind in "OUT"
        ]
    return "\n".join(found)


@pytest.mark.parametrize("is_asked", [False, True])
def test_nothing_that_is_written_names_the_patient(
    slide: Path, tmp_path: Path, run: Callable[..., str], is_asked: bool
) -> None:
    said = run("info", slide, "--json")
    assert json.loads(said)["reader"] == "openslide"
    out, key = tmp_path / "out", tmp_path / "key"
    out.mkdir()
    (tmp_path / "spots.csv").write_text("x_px,y_px\n900,900\n1300,1500\n")
    asked = ("--pseudonym", key) if is_asked else ()
    log = out / "log.txt"
    predicted = run(
        *("--log-file", log, "predict", slide, "--out", out, "--spots", tmp_path / "spots.csv"),
        *("--draws", "2", "--steps", "1", "--device", "cpu", "--yes", "--json", *asked),
    )  # fmt: skip
    name = pseudonym(SLIDE, key.read_bytes()) if is_asked else SLIDE
    prediction = out / f"{name}.zarr"
    for kind, ending in {
        "report": "html",
        "csv": "csv",
        "geojson": "geojson",
        "h5ad": "h5ad",
    }.items():
        run("export", prediction, "--to", kind, "--out", out / f"p.{ending}", "--genes", "SCD,CD74")
    text = written(out)
    assert text.count(name) > 5  # it is found where it should be
    told = log.read_text()
    assert "predict '<...>' --out <...> --spots <...> --draws 2" in told
    assert SLIDE not in told
    for word in (*TAGS.values(), "DOE", WARD):
        assert word not in text
        assert word not in said.replace(str(slide), "")
    if is_asked:
        assert SLIDE not in text
        assert SLIDE not in predicted
        assert key.stat().st_mode & 0o777 == 0o600


def test_the_same_key_gives_the_same_names(tmp_path: Path) -> None:
    key, is_new = read_key(tmp_path / "key")
    assert is_new
    assert read_key(tmp_path / "key") == (key, False)
    other, _ = read_key(tmp_path / "other")
    names = [pseudonym("a.svs", key), pseudonym("a.svs", other), pseudonym("b.svs", key)]
    assert len(set(names)) == 3
    assert pseudonym("a.svs", key) == names[0]
    (tmp_path / "short").write_text("secret")
    with pytest.raises(OutputError, match="no key"):
        read_key(tmp_path / "short")
