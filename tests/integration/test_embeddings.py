"""Embeddings from files end to end: no encoder is loaded, and the numbers are those of the encoder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.encoders import registry
from napari_stem.encoders.embed import Embedder
from napari_stem.geometry import Mpp
from napari_stem.model.bundle import load_folder
from napari_stem.results import Prediction
from napari_stem.slide import open_slide
from napari_stem.spatial.dataset import Dataset
from napari_stem.spatial.table_files import read_spots

if TYPE_CHECKING:
    from click.testing import Result
    from numpy.typing import NDArray

    from napari_stem.geometry import Spots

CROP = Path(__file__).parents[1] / "data" / "slides" / "C5-crop.jpg"
MPP = Mpp.square(0.6907)
QUICK = ("--mpp", str(MPP.x_um), "--draws", "3", "--steps", "2", "--device", "cpu")
SPOTS = "x_px,y_px,name\n400,400,a\n700,400,b\n400,700,c\n700,700,d\n"
SIDE_PX = 40  # of the patches of our own encoder, level 0


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def ok(*arguments: str | Path) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, (result.stderr, result.exception)
    return json.loads(result.stdout), result.stderr


def refused(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, ""), (result.stderr, result.exception)
    return result.stderr.strip().splitlines()[-1]


@pytest.fixture
def no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no encoder is installed."""

    def load(*_arguments: Any, **_options: Any) -> Any:
        pytest.fail("an encoder was loaded")

    for room in ("napari_stem.model.serving", "napari_stem.training.fit"):
        monkeypatch.setattr(f"{room}.load_encoder", load)


def write_h5(
    path: Path, spots: Spots, features: NDArray[np.float32], side_px: float, **about: Any
) -> Path:
    """As TRIDENT writes patches that are centred on spots."""
    corners = np.column_stack([spots.x_px, spots.y_px]) - side_px / 2
    with h5py.File(path, "w") as file:
        file["features"], file["coords"] = features, corners
        file["coords"].attrs.update({"patch_size_level0": side_px, **about})
    return path


@pytest.fixture(scope="module")
def spots_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spots") / "spots.csv"
    path.write_text(SPOTS)
    return path


@pytest.fixture(scope="module")
def bundled_h5(spots_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled encoder's embeddings at the four spots, as a file."""
    slide = open_slide(CROP, MPP)
    spots = read_spots(spots_csv, slide.size, MPP, 200.0)
    features = Embedder(slide, registry.load_encoder("bundled")).embed(spots)
    slide.close()
    folder = tmp_path_factory.mktemp("bundled")
    return write_h5(folder / "C5.h5", spots, features, 150 / MPP.x_um, encoder="bundled")


@pytest.fixture(scope="module")
def looked(spots_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the packaged model predicts there when its encoder looks."""
    out = tmp_path_factory.mktemp("looked") / "p.zarr"
    ok("predict", CROP, "--spots", spots_csv, "--out", out, *QUICK)
    return out


@pytest.mark.usefixtures("no_encoder")
def test_a_file_gives_the_numbers_of_the_encoder(looked, bundled_h5, spots_csv, tmp_path) -> None:
    out = tmp_path / "p.zarr"
    command = ("predict", CROP, "--spots", spots_csv, "--embeddings", bundled_h5, "--out", out)
    told, said = ok(*command, *QUICK)
    assert told["embeddings"] == str(bundled_h5)
    assert "looks at 3 patches per spot" in said
    found, wanted = Prediction.open(out), Prediction.open(looked)
    for gene in ("SCD", "CD24"):
        for field in ("mean", "sd", "q95"):
            np.testing.assert_array_equal(found.values(gene, field), wanted.values(gene, field))
    assert found.provenance["embeddings"] == "from file"
    assert "C5.h5" not in str(found.provenance)  # a file's name may be a patient's
    assert len(found.provenance["embeddings_sha256"]) == 64
    ok(*command, *QUICK, "--resume")
    with h5py.File(bundled_h5) as file:
        features, corners = file["features"][:], file["coords"][:]
        about = dict(file["coords"].attrs)
    with h5py.File(tmp_path / "C5.h5", "w") as file:
        file["features"], file["coords"] = features * 2, corners
        file["coords"].attrs.update(about)
    other = [tmp_path / "C5.h5" if part == bundled_h5 else part for part in command]
    assert "begun with something else: embeddings;" in refused(*other, *QUICK, "--resume")


def test_a_run_from_a_file_does_not_go_on_with_the_encoder(bundled_h5, spots_csv, tmp_path) -> None:
    command = ("predict", CROP, "--spots", spots_csv, "--out", tmp_path / "p.zarr", *QUICK)
    ok(*command, "--embeddings", bundled_h5)
    assert "begun with something else: embeddings;" in refused(*command, "--resume")


def test_a_run_with_the_encoder_does_not_go_on_from_a_file(looked, bundled_h5, spots_csv) -> None:
    command = ("predict", CROP, "--spots", spots_csv, "--out", looked, *QUICK, "--resume")
    ok(*command)
    said = refused(*command, "--embeddings", bundled_h5)
    assert "begun with something else: embeddings," in said


@pytest.mark.usefixtures("no_encoder")
def test_the_patches_are_the_spots_where_none_are_given(looked, bundled_h5, tmp_path) -> None:
    ok("predict", CROP, "--embeddings", bundled_h5, "--out", tmp_path / "p.h5ad", *QUICK)
    table = anndata.read_h5ad(tmp_path / "p.h5ad")
    np.testing.assert_allclose(
        table.obsm["spatial"], [(400, 400), (700, 400), (400, 700), (700, 700)]
    )
    np.testing.assert_allclose(
        np.asarray(table[:, "SCD"].X)[:, 0], Prediction.open(looked).values("SCD"), atol=1e-5
    )
    square = [[[300, 300], [800, 300], [800, 500], [300, 500], [300, 300]]]
    region = {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": "Polygon", "coordinates": square},
    }
    (tmp_path / "r.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": [region]})
    )
    inside = ("--regions", tmp_path / "r.geojson", "--out", tmp_path / "r.zarr")
    assert ok("predict", CROP, "--embeddings", bundled_h5, *inside, *QUICK)[0]["n_spots"] == 2


@pytest.mark.usefixtures("no_encoder")
def test_what_does_not_fit_is_refused(bundled_h5, spots_csv, tmp_path) -> None:
    def predict(file: Path, *options: str | Path) -> tuple[str | Path, ...]:
        return (
            "predict",
            CROP,
            "--out",
            tmp_path / "p.zarr",
            "--embeddings",
            file,
            *QUICK,
            *options,
        )

    slide = open_slide(CROP, MPP)
    spots = read_spots(spots_csv, slide.size, MPP, 200.0)
    slide.close()
    narrow = write_h5(tmp_path / "n.h5", spots, np.ones((4, 7), np.float32), 217)
    assert "--encoder" in refused(*predict(narrow))
    assert "1053 wide, and those of" in refused(*predict(narrow, "--encoder", "bundled"))
    assert "embeddings of encoder 'bundled'" in refused(*predict(narrow, "--encoder", "uni"))
    elsewhere = tmp_path / "s.csv"
    elsewhere.write_text("x_px,y_px,name\n400,400,a\n900,900,e\n")
    text = refused(*predict(bundled_h5, "--spots", elsewhere))
    assert "1 of 2 spots have no patch in C5.h5 within 15.0 um: e (nearest 195 um away)" in text
    assert not (tmp_path / "p.zarr").exists()
    wrong = run("predict", CROP, "--out", tmp_path / "p.zarr", "--patch-px", "4")
    assert wrong.exit_code == 2
    assert "belong to --embeddings" in " ".join(wrong.stderr.replace("│", " ").split())


# training


def colours(dataset: Dataset, section_id: str) -> tuple[Spots, NDArray[np.float32]]:
    """An encoder of our own: mean and spread of each colour in a patch, in quarters."""
    section = dataset.section(section_id)
    with Image.open(section.slide_path) as image:
        pixels = np.asarray(image.convert("RGB"), np.float32)
    spots, half = section.spots(), SIDE_PX // 2
    rows = []
    for x, y in np.round(np.column_stack([spots.x_px, spots.y_px])).astype(int):
        patch = pixels[y - half : y + half, x - half : x + half]
        quarters = patch.reshape(2, half, 2, half, 3).swapaxes(1, 2).reshape(4, -1, 3)
        rows.append(np.concatenate([quarters.mean(1).ravel(), quarters.std(1).ravel()]))
    return spots, np.array(rows, np.float32)


@pytest.fixture(scope="module")
def own_files(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for each section; two spots of C2 have no patch."""
    folder, dataset = tmp_path_factory.mktemp("files"), Dataset(small_dataset)
    for section_id in dataset.sections:
        spots, features = colours(dataset, section_id)
        kept = np.arange(len(spots)) >= (2 if section_id == "C2" else 0)
        about = {"encoder": "my_colours", "encoder_version": "3"}
        write_h5(folder / f"{section_id}.h5", spots.take(kept), features[kept], SIDE_PX, **about)
    return folder


TRAIN = (
    "--genes",
    "hvg:6",
    "--steps",
    "2",
    "--hold-out",
    "C3",
    "--device",
    "cpu",
    "--log",
    "none",
)


def test_training_and_predicting_without_any_encoder(
    small_dataset, own_files, tmp_path, no_encoder, monkeypatch, caplog
) -> None:
    out = tmp_path / "model"
    ok("train", small_dataset, "--out", out, "--embeddings", own_files, *TRAIN)
    assert "Section C2: 2 of" in caplog.text
    model = load_folder(out)
    assert (model.encoder_name, model.config.encoder_version) == ("my-colours", "3")
    (side_um,) = model.config.fields_of_view_um
    section = Dataset(small_dataset).section("C3")
    assert side_um == pytest.approx(SIDE_PX * section.mpp.x_um, rel=0.05)
    assert len(model.head.centre) == 24
    assert "C3" in model.card["metrics"]
    card = (out / "README.md").read_text("utf-8")
    assert "embeddings from file" in card
    assert "2 spots of C2 had no patch" in card
    file = own_files / "C3.h5"
    slide = ("predict", section.slide_path, "--mpp", str(section.mpp.x_um), *QUICK[2:])
    told, said = ok(*slide, "--model", out, "--embeddings", file, "--out", tmp_path / "p.h5ad")
    assert told["n_spots"] == len(section.spots())
    assert said.count("Note") == 0
    monkeypatch.undo()
    without = refused(*slide, "--model", out, "--all", "--out", tmp_path / "q.zarr")
    assert "my-colours" in without
    assert "--embeddings" in without


@pytest.mark.usefixtures("no_encoder")
def test_a_store_of_lazyslide_gives_features_and_tissue(
    small_dataset, other_programs, tmp_path
) -> None:
    files, dataset = tmp_path / "files", Dataset(small_dataset)
    files.mkdir()
    for section_id in dataset.sections:
        spots, features = colours(dataset, section_id)
        means = features[:, :12].reshape(-1, 4, 3).swapaxes(1, 2).reshape(-1, 12) / 255
        write_h5(files / f"{section_id}.h5", spots, means, SIDE_PX, encoder="mean-colour")
    model = tmp_path / "model"
    ok("train", small_dataset, "--out", model, "--embeddings", files, *TRAIN)
    slide = CROP.parent / "CMU-1-Small-Region.svs"
    store = other_programs / "lazyslide" / f"{slide.stem}.zarr"
    table = store / "tables" / "mean-colour_tiles"
    predict = ("predict", slide, "--model", model, *QUICK[2:], "--regions", store)
    assert "several sets of features" in refused(
        *predict, "--embeddings", store, "--out", tmp_path / "q.zarr"
    )
    told, _ = ok(*predict, "--embeddings", table, "--out", tmp_path / "p.zarr")
    found = Prediction.open(tmp_path / "p.zarr")
    tiles = np.column_stack([found.spots.x_px, found.spots.y_px]) - 128
    assert len(tiles) == told["n_spots"] == 31
    assert not ((tiles - (51, 65)) % 256).any()
    assert found.spots.diameter_um == pytest.approx(256 * 0.499)
    assert found.values(found.genes[0]).std() > 0


def test_a_model_of_files_named_after_another_encoder_says_what_it_takes(
    small_dataset, own_files, spots_csv, tmp_path
) -> None:
    files = Path(shutil.copytree(own_files, tmp_path / "files"))
    for path in files.iterdir():
        with h5py.File(path, "r+") as file:
            del file["coords"].attrs["encoder"], file["coords"].attrs["encoder_version"]
    model = tmp_path / "model"
    ok(
        "train",
        small_dataset,
        "--out",
        model,
        "--embeddings",
        files,
        "--encoder",
        "bundled",
        *TRAIN,
    )
    asked = ("--model", model, "--spots", spots_csv, "--out", tmp_path / "p.zarr")
    text = refused("predict", CROP, *asked, *QUICK)
    assert "embeddings of 24 numbers, and encoder 'bundled' gives 351: give those" in text


@pytest.mark.usefixtures("no_encoder")
def test_training_says_what_files_lack(small_dataset, own_files, tmp_path) -> None:
    command = ("train", small_dataset, "--out", tmp_path / "m", *TRAIN, "--embeddings")
    some = shutil.copytree(own_files, tmp_path / "some")
    assert "--no-augment" in refused(*command, some, "--augment")
    (some / "C2.h5").unlink()
    assert "Section C2 needs one file of embeddings" in refused(*command, some)
    assert "no folder of embeddings" in refused(*command, tmp_path / "none")


# the user's own panel


def test_genes_that_the_model_lacks_are_nan_and_named(spots_csv, looked, tmp_path) -> None:
    predict = ("predict", CROP, "--spots", spots_csv, *QUICK, "--keep-draws")
    some = (*predict, "--genes", "ZZZ,SCD,FOO")
    out = tmp_path / "p.h5ad"
    assert "does not predict 'ZZZ', 'FOO'" in refused(*some, "--out", out)
    told, said = ok(*some, "--out", out, "--allow-missing-genes")
    assert told["genes_not_predicted"] == ["ZZZ", "FOO"]
    assert "does not predict 'ZZZ'" in said
    table = anndata.read_h5ad(out)
    assert list(table.var_names) == ["ZZZ", "SCD", "FOO"]
    assert table.var["predicted"].tolist() == [False, True, False]
    assert list(table.uns["napari_stem"]["genes_not_predicted"]) == ["ZZZ", "FOO"]
    lacking = table[:, ["ZZZ", "FOO"]]
    for values in (lacking.X, *(lacking.layers[name] for name in ("sd", "q05", "q95"))):
        assert np.isnan(np.asarray(values)).all()
    assert np.isnan(table.obsm["draws"][:, [0, 2]]).all()
    assert np.isfinite(table.obsm["draws"][:, 1]).all()
    np.testing.assert_array_equal(
        np.asarray(table[:, "SCD"].X)[:, 0], Prediction.open(looked).values("SCD")
    )
    counts = np.arange(12.0).reshape(4, 3)
    truth = anndata.AnnData(counts, obs=table.obs[[]], var=table.var[[]])
    truth.write_h5ad(tmp_path / "truth.h5ad")
    assert ok("evaluate", out, "--truth", tmp_path / "truth.h5ad")[0]["n_genes"] == 1
    ok(*some, "--out", tmp_path / "p.zarr", "--allow-missing-genes")
    again = Prediction.open(tmp_path / "p.zarr")
    assert again.provenance["genes_not_predicted"] == ["ZZZ", "FOO"]
    assert np.isnan(again.values("ZZZ")).all()
    of_nothing = (*predict, "--genes", "ZZZ", "--allow-missing-genes", "--out", tmp_path / "q.h5ad")
    assert "does not predict 'ZZZ'" in refused(*of_nothing)


def test_a_slide_that_the_model_cannot_serve(spots_csv, tmp_path) -> None:
    predict = ("predict", CROP, "--spots", spots_csv, "--out", tmp_path / "p.h5ad")
    quick = QUICK[2:]
    assert "slide is of mouse" in refused(*predict, *QUICK, "--species", "mouse")
    assert "upsampled" in refused(*predict, "--mpp", "2.5", *quick)
    assert not list(tmp_path.iterdir())
    _, said = ok(*predict, *QUICK, "--tissue-type", "kidney", "--species", "human")
    assert "trained on breast, and this slide is of kidney" in said
