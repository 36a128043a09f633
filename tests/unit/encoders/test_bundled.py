"""The bundled encoder: its numbers, on real tissue, alone and in company."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from napari_stem.encoders import bundled
from napari_stem.encoders.base import Encoder
from napari_stem.encoders.bundled import STATISTICS_WIDTH, BundledEncoder, stain_statistics
from napari_stem.encoders.registry import encoder_width, list_encoders, load_encoder
from napari_stem.errors import EncoderError
from napari_stem.geometry import Mpp

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA = Path(__file__).parents[2] / "data"
MPP = Mpp.square(0.6907)
CROP = DATA / "slides" / "C5-crop.jpg"
PLACES_PX = ((750, 650), (500, 500), (900.5, 700.25), (450, 440))
GOLDEN = DATA / "encoder" / "bundled-C5-crop.npy"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("bundled")


@pytest.fixture(scope="module")
def patches() -> NDArray[np.uint8]:
    """Cut out by Pillow round four places of a real section: (4, 3, 224, 224, 3)."""
    return np.stack([pillow_patches(*xy_px) for xy_px in PLACES_PX])


def pillow_patches(x_px: float, y_px: float) -> NDArray[np.uint8]:
    """All fields of view of one spot, all within the image."""
    asked = BundledEncoder.patch
    with Image.open(CROP) as image:
        views = []
        for field_um in asked.fields_of_view_um:
            half_px = field_um / MPP.x_um / 2
            box = (x_px - half_px, y_px - half_px, x_px + half_px, y_px + half_px)
            size = (asked.side_px, asked.side_px)
            views.append(np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box)))
    return np.stack(views)


@pytest.fixture(scope="module")
def embedding(encoder: Encoder, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    return encoder.encode(patches)


@pytest.mark.skipif(os.name == "nt", reason="its home folder is no variable")
def test_nothing_is_told_to_microsoft_nor_kept_to_be_told(tmp_path: Path) -> None:
    # without the variables of a test machine, on which ONNX Runtime tells nothing by itself
    paths = {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    lines = "from napari_stem.encoders.registry import load_encoder; load_encoder('bundled')"
    subprocess.run([sys.executable, "-c", lines], env=paths, check=True)
    assert not list(tmp_path.rglob("*onnx*"))


def test_shape_and_type(encoder: Encoder, embedding: NDArray[np.float32]) -> None:
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.width) == ("bundled", 1053)
    assert embedding.shape == (4, 1053)
    assert embedding.dtype == np.float32
    assert np.isfinite(embedding).all()


def test_no_spots_give_no_embeddings(encoder: Encoder, patches: NDArray[np.uint8]) -> None:
    assert encoder.encode(patches[:0]).shape == (0, encoder.width)


def test_numbers_do_not_change_from_version_to_version(embedding: NDArray[np.float32]) -> None:
    """If they have to, give the encoder a new version and write the file anew (see its README)."""
    np.testing.assert_allclose(embedding[0], np.load(GOLDEN), rtol=1e-3, atol=1e-3)


def test_a_spot_alone_is_as_in_a_batch(
    encoder: Encoder, patches: NDArray[np.uint8], embedding: NDArray[np.float32]
) -> None:
    for spot in range(len(patches)):
        alone = encoder.encode(patches[spot : spot + 1])
        np.testing.assert_allclose(alone[0], embedding[spot], rtol=1e-4, atol=1e-4)


def test_order_of_spots_is_kept(
    encoder: Encoder, patches: NDArray[np.uint8], embedding: NDArray[np.float32]
) -> None:
    backwards = encoder.encode(patches[::-1].copy())
    np.testing.assert_allclose(backwards[::-1], embedding, rtol=1e-4, atol=1e-4)
    assert np.abs(embedding[0] - embedding[1]).max() > 0.1  # or any order would do


@pytest.fixture
def copied(tmp_path, monkeypatch) -> Path:
    """Folder of weights and graph, to be damaged."""
    for name in ("WEIGHTS_PATH", "GRAPH_PATH"):
        path = getattr(bundled, name)
        shutil.copy(path, tmp_path)
        monkeypatch.setattr(bundled, name, tmp_path / path.name)
    return tmp_path


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors"])
@pytest.mark.parametrize("n_bytes", [None, 0, 20_000])
def test_damaged_files_are_an_encoder_error(copied, suffix, n_bytes) -> None:
    path = copied / f"efficientnet_lite0{suffix}"
    whole = path.read_bytes()
    path.unlink()
    if n_bytes is not None:
        path.write_bytes(whole[:n_bytes])
    with pytest.raises(EncoderError, match="install napari-stem again") as caught:
        BundledEncoder()
    assert str(copied) in str(caught.value)
    if suffix == ".safetensors":
        with pytest.raises(EncoderError, match="install napari-stem again"):
            bundled.load_network()


def test_incomplete_weights_are_an_encoder_error(copied) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(bundled.WEIGHTS_PATH)
    del tensors["conv_stem.weight"]
    save_file(tensors, bundled.WEIGHTS_PATH)
    with pytest.raises(EncoderError, match=r"lack conv_stem\.weight"):
        bundled.load_network()


def test_a_gpu_would_see_the_same(patches, embedding) -> None:
    """The network in torch, as on a GPU, beside the one in ONNX Runtime: to a thousandth of a deviation."""
    flat = patches.reshape(-1, *patches.shape[2:])
    in_torch = bundled.features_in_torch("cpu")(flat)
    in_onnx = embedding.reshape(len(flat), -1)[:, : in_torch.shape[1]]
    assert (np.abs(in_torch - in_onnx) / in_torch.std(0)).max() < 1e-3


def test_other_fields_of_view_are_another_version(patches: NDArray[np.uint8]) -> None:
    one = load_encoder("bundled", fields_of_view_um=(300.0,))
    assert (one.version, one.width, one.patch.fields_of_view_um) == ("2-300um", 351, (300.0,))
    own = load_encoder("bundled", fields_of_view_um=(150.0, 300.0, 600.0))
    assert (own.version, own.width, BundledEncoder.width) == ("2", 1053, 1053)
    np.testing.assert_allclose(
        one.encode(patches[:, 1:2]), own.encode(patches)[:, 351:702], rtol=1e-4, atol=1e-4
    )


def test_registry_knows_its_width_without_loading_it() -> None:
    assert list_encoders()[0]["name"] == "bundled"
    assert list_encoders()[0]["ready"]
    assert encoder_width("bundled") == BundledEncoder.width
    assert encoder_width("bundled", 2) * 3 == BundledEncoder.width * 2


def test_stain_statistics_of_a_flat_patch() -> None:
    grey = np.full((1, 16, 16, 3), 128, np.uint8)
    colour, texture = np.split(stain_statistics(grey)[0], [35])
    per_channel = colour.reshape(5, 7)
    assert stain_statistics(grey).shape == (1, STATISTICS_WIDTH)
    np.testing.assert_allclose(per_channel[:3], np.tile([128, 0, *[128] * 5], (3, 1)), atol=1e-4)
    np.testing.assert_allclose(per_channel[3:, 1], 0, atol=1e-5)
    np.testing.assert_allclose(texture, 0, atol=1e-5)


def test_percentiles_are_those_of_numpy(patches: NDArray[np.uint8]) -> None:
    patch = patches[0, 0]
    colours = stain_statistics(patch[None])[0, :35].reshape(5, 7)[:3]
    expected = np.percentile(patch.reshape(-1, 3), (5, 25, 50, 75, 95), axis=0).T
    np.testing.assert_allclose(colours[:, 2:], expected, rtol=1e-6)
    np.testing.assert_allclose(colours[:, 0], patch.mean((0, 1)), rtol=1e-5)


def test_percentiles_of_stains_are_those_of_numpy(patches: NDArray[np.uint8]) -> None:
    """To a thousandth of how far pixels spread."""
    from skimage.color import hed_from_rgb

    patch = patches[0, 0]
    density = -np.log((patch.reshape(-1, 3).astype(np.float64) + 1) / 256)
    stains = density @ hed_from_rgb[:, :2]
    found = stain_statistics(patch[None])[0, :35].reshape(5, 7)[3:]
    expected = np.percentile(stains, (5, 25, 50, 75, 95), axis=0).T
    np.testing.assert_allclose(found[:, 2:], expected, atol=1e-3 * stains.std(0).min())
    np.testing.assert_allclose(
        found[:, :2], np.stack([stains.mean(0), stains.std(0)], 1), rtol=1e-4
    )


def test_stain_statistics_see_the_size_of_a_texture(patches: NDArray[np.uint8]) -> None:
    """Black and white squares of 4 px: steps at 4 px, none once 8 px are averaged."""
    board = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((4, 4)))
    image = np.repeat((255 * board).astype(np.uint8)[None, ..., None], 3, axis=-1)
    steps = stain_statistics(image)[0, 35:].reshape(4, 3)[:, 0]
    assert steps[2] == steps.max()
    assert steps[3] == pytest.approx(0, abs=1e-5)
