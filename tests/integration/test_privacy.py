"""Who the patient is stays in the slide: out of logs, provenance and exports, as does a name on request."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.cli.terminal import Manner, _place_in
from napari_stem.cohort.orders import Order
from napari_stem.cohort.outcomes import Outcome, rows_of
from napari_stem.errors import OutputError, SlideError
from napari_stem.exporting.kinds import KINDS
from napari_stem.settings import SamplingSettings
from napari_stem.slide.pseudonym import pseudonym, read_key
from napari_stem.texts import visible

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
WARD, SLIDE = "ward of Dr O'Roe", "ROE-1958"


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
            text = path.read_bytes().decode("latin-1")
            found.append(
                re.sub(r";base64,[\w+/=]+", "", text)
            )  # pictures: any three letters are in one
    for path in folder.rglob("*.zarr"):
        group = zarr.open_group(path, mode="r", use_consolidated=False)
        texts = (array for _, array in group.members(max_depth=None) if hasattr(array, "dtype"))
        found += [
            str(np.asarray(array[...]).tolist()) for array in texts if array.dtype.kind in "OUT"
        ]
    return "\n".join(found)


@pytest.mark.filterwarnings("ignore")  # what spatialdata, zarr and dask say of each other
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
        *("--log-file", log, "predict", slide, f"--out={out}", "--spots", tmp_path / "spots.csv"),
        *("--draws", "2", "--steps", "1", "--device", "cpu", "--yes", "--json", *asked),
    )  # fmt: skip
    name = pseudonym(SLIDE, key.read_bytes()) if is_asked else SLIDE
    prediction = out / f"{name}.zarr"
    for kind, about in KINDS.items():
        place = out / f"{kind}{about.suffixes[0]}"
        run("export", prediction, "--to", kind, "--out", place, "--genes", "SCD,CD74")
    text = written(out)
    assert text.count(name) > 5  # it is found where it should be
    told = log.read_text()
    assert (
        "napari-stem --log-file '<...>' predict '<...>' '--out=<...>' --spots '<...>' --draws 2"
        in told
    )
    assert SLIDE not in told
    for word in (*TAGS.values(), "DOE", WARD):
        assert word not in text
        assert word not in said.replace(str(slide), "")
    if is_asked:
        assert SLIDE not in text
        assert SLIDE not in predicted.splitlines()[-1]  # JSON; messages above name files
        assert key.stat().st_mode & 0o777 == 0o600


def test_a_log_holds_no_name_however_it_is_written(tmp_path: Path) -> None:
    slide = tmp_path / "ward 7" / "DOE  Jane, \udcfc\t1958.ome.tif"
    with_name = [
        f"{slide} is damaged",
        f"FileNotFoundError: {str(slide)!r}",
        f"{visible(slide.name)} was changed",
        f"The folder {slide.parent} cannot be written",
        f"{slide.parent}/other.tif is no slide",
        f"{slide.with_suffix('').stem}.zarr exists, and so does {slide.with_suffix('').stem}_README.txt",
        "<tifffile.TiffFile 'DOE  Jane, \u2026958.ome.tif'> is odd",
    ]
    manner = Manner()
    manner.keep_slides_private(slide)
    for text in with_name:
        told = manner.publishable(text)
        assert "<...>" in told
        assert not any(word in told for word in ("DOE", "Jane", "1958", "ward 7"))
    assert manner.publishable("At 0.5 um/px, 7 of 1958 spots") == "At 0.5 um/px, 7 of 1958 spots"
    manner.verbosity = 2  # asked for
    assert manner.publishable(with_name[0]) == with_name[0]


def test_a_log_of_a_command_line_keeps_what_is_no_file() -> None:
    words = ["--mpp", "0.5", "--device=cpu", "--genes", ",".join(["SCD"] * 100), "--yes"]
    assert [_place_in(word) for word in words] == [""] * 6
    assert [_place_in(word) for word in ("a/b", "--out=/Doe", "x.svs")] == ["a/b", "/Doe", "x.svs"]


@pytest.mark.parametrize("alias", ["", "slide-0123456789ab"])
def test_the_table_of_a_cohort_names_no_folder(tmp_path: Path, alias: str) -> None:
    slide, out = tmp_path / WARD / "ROE.svs", tmp_path / "results" / "a.zarr"
    order = Order(
        slide=slide, out=out, model=str(tmp_path), settings=SamplingSettings(), alias=alias
    )
    outcome = Outcome(order, notes=(f"{slide} is faint.", "ROE.svs has pen marks."))
    outcome.fail(SlideError(f"There is no file {slide} in {slide.parent}."))
    (row,) = rows_of([outcome])
    name = alias or "ROE.svs"
    assert (row["file"], row["out"], row["model"]) == (name, "a.zarr", tmp_path.name)
    assert row["error"] == f"There is no file {name} in its folder."
    assert row["notes"] == f"{name} is faint. {name} has pen marks."


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
