"""The encoder that works at once: no network, no account, no terms to accept.

ImageNet EfficientNet-Lite0 (Apache-2.0), tapped where its features are still local texture, beside plain
statistics of stain and texture, at three fields of view. Deeper layers speak of cats and cars: on HER2ST
sections C2 to C4, left out in turn, the tapped stages raise the PCC of ridge from .50 to .56 over the
pooled last layer, the statistics to .57 (docs/bundled-encoder.md).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.device import in_threads
from napari_stem.encoders.base import ByPatch, fields_text
from napari_stem.errors import EncoderError
from napari_stem.geometry import PatchSpec
from napari_stem.texts import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_PERCENTILES = (5, 25, 50, 75, 95)
_N_SCALES = 4  # 1, 2, 4, 8 px
_CHANNELS = 5
STATISTICS_WIDTH = _CHANNELS * (2 + len(_PERCENTILES)) + 3 * _N_SCALES


def stain_statistics(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Distribution of colour and stain, and contrast of haematoxylin at four scales: (n, 47) float32.

    ``patches`` are (n, side, side, 3) uint8 RGB; the side a multiple of 8. Haematoxylin and eosin are unmixed
    from optical density with the stain vectors of Ruifrok and Johnston (2001), as scikit-image gives them.

    Per channel (R, G, B, haematoxylin, eosin) mean, standard deviation and five percentiles; then per scale
    of 1, 2, 4, 8 px the mean vertical and horizontal step and the standard deviation of haematoxylin.
    """
    return np.stack([_of_one(patch) for patch in patches])


def _one_by_one(
    function: Callable[[NDArray[np.uint8]], NDArray[np.float32]], patches: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Apply to one patch at a time, which fits the caches of a core, on as many as there are."""
    return np.concatenate(in_threads(function, patches[:, None]))


def _of_one(patch: NDArray[np.uint8]) -> NDArray[np.float32]:
    stains = _stains(patch)
    texture = _texture(stains[0].reshape(patch.shape[:2]))
    moments = np.stack([stains.mean(1), [_deviation(stain) for stain in stains]], axis=1)
    rank, part = _ranks(stains.shape[1])
    stains.sort(axis=1)
    percentiles = stains[:, rank] * (1 - part) + stains[:, rank + 1] * part
    parts = (_spread_of_bytes(patch), np.hstack([moments, percentiles]), texture)
    return np.concatenate([np.ravel(each) for each in parts]).astype(np.float32)


def _stains(patch: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(2, n) haematoxylin and eosin of n pixels, unmixed from optical density, -log((byte + 1) / 256)."""
    from skimage.color import hed_from_rgb

    unmixing = hed_from_rgb[:, :2].T.astype(np.float32)
    light = patch.reshape(-1, 3).T.astype(np.float32, order="C")
    light += 1
    white = unmixing.sum(axis=1, keepdims=True) * np.float32(np.log(256))
    return np.asarray(white - unmixing @ np.log(light, out=light))


def _texture(coarse: NDArray[np.float32]) -> list[float]:
    """Mean vertical and horizontal step and standard deviation, at each scale."""
    from scipy.linalg.blas import sasum

    texture: list[float] = []
    for _ in range(_N_SCALES):
        for finer, next_to_it in ((coarse[1:], coarse[:-1]), (coarse[:, 1:], coarse[:, :-1])):
            steps = (finer - next_to_it).ravel()
            texture.append(sasum(steps) / steps.size)
        texture.append(_deviation(coarse.ravel()))
        rows: NDArray[np.float32] = coarse[::2] + coarse[1::2]
        coarse = (rows[:, ::2] + rows[:, 1::2]) / np.float32(4)
    return texture


def _spread_of_bytes(patch: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(3, 7) mean, standard deviation and percentiles of R, G and B, from their histograms."""
    from PIL import Image

    counts, byte = np.reshape(Image.fromarray(patch).histogram(), (3, 256)), np.arange(256.0)
    n = patch.shape[0] * patch.shape[1]
    mean = counts @ byte / n
    deviation = np.sqrt(np.maximum(counts @ byte**2 / n - mean**2, 0))
    rank, part = _ranks(n)
    below = counts.cumsum(axis=1)[:, None]
    lower, upper = ((below <= r[:, None]).sum(axis=2) for r in (rank, rank + 1))
    return np.column_stack([mean, deviation, lower * (1 - part) + upper * part])


def _deviation(values: NDArray[np.float32]) -> float:
    """Give the standard deviation, in half of the time that numpy's takes."""
    away = values - values.mean()
    return float(np.sqrt(away @ away / values.size))


def _ranks(n: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Where percentiles lie among n sorted values, and how far towards the next, as numpy has them."""
    at = np.asarray(_PERCENTILES) / 100 * (n - 1)
    return at.astype(np.intp), (at % 1).astype(np.float32)


WEIGHTS_PATH = Path(__file__).parents[1] / "data" / "encoder" / "efficientnet_lite0.safetensors"
GRAPH_PATH = WEIGHTS_PATH.with_suffix(".onnx")
TAPPED_STAGES = {2: 40, 4: 112}  # stage -> channels; strides of 8 and 16 px
# of one field of view: of the network mean and standard deviation over the patch
FIELD_WIDTH = 2 * sum(TAPPED_STAGES.values()) + STATISTICS_WIDTH
_BATCH = 96  # patches


class BundledEncoder(ByPatch):
    """EfficientNet-Lite0 stages 2 and 4 (mean and standard deviation each), then stain statistics.

    The network runs on the torch ``device``. Fields of view are 150, 300 and 600 um unless others are given.
    EncoderError: the packaged weights are missing or damaged.
    """

    name = "bundled"
    version = "2"
    patch = PatchSpec((150.0, 300.0, 600.0), side_px=224, steps_um=(0.0, 75.0, 150.0))
    width = len(patch.fields_of_view_um) * FIELD_WIDTH
    spots_at_once = 16

    def __init__(
        self, device: str = "cpu", fields_of_view_um: tuple[float, ...] | None = None
    ) -> None:
        if fields_of_view_um is not None and fields_of_view_um != self.patch.fields_of_view_um:
            self.patch = PatchSpec(fields_of_view_um, self.patch.side_px)
            self.width = len(fields_of_view_um) * FIELD_WIDTH
            self.version = f"{self.version}-{fields_text(fields_of_view_um)}um"
        self._at_once = _BATCH
        self._is_on_cpu = device == "cpu"
        self._features = features_in_onnx() if self._is_on_cpu else features_in_torch(device)

    def encode_flat(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed patches: see `ByPatch.encode_flat`."""
        if not self._is_on_cpu:
            statistics = _one_by_one(stain_statistics, patches)
            return np.concatenate([self._features(patches), statistics], 1)
        # one thread's network runs beside another's statistics
        return _one_by_one(
            lambda patch: np.concatenate([self._features(patch), stain_statistics(patch)], 1),
            patches,
        )


def features_in_onnx() -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Run the network in ONNX Runtime: on a CPU more than twice as fast as in torch."""
    # From 1.29 on it keeps an identifier of its user in the home folder, and tells Microsoft of every session.
    # https://github.com/microsoft/onnxruntime/pull/27379
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as raised

    onnxruntime.disable_telemetry_events()  # Windows looks at no variable
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # threads take patches of their own, see `_one_by_one`
    options.log_severity_level = 4  # what breaks is raised
    try:
        session = onnxruntime.InferenceSession(
            GRAPH_PATH, options, providers=["CPUExecutionProvider"]
        )
    except (
        raised.Fail,
        raised.InvalidArgument,
        raised.InvalidProtobuf,
        raised.NoSuchFile,
    ) as error:
        raise EncoderError(
            f"The bundled encoder ({GRAPH_PATH}) cannot be read ({reason_of(error)}); "
            f"install napari-stem again."
        ) from error
    return lambda batch: session.run(None, {"patches": batch})[0]


def features_in_torch(device: str) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Run the network on a torch device; the same features to rounding."""
    import torch

    network = load_network().to(device)

    def features(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            x = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
            x = network.bn1(network.conv_stem(x.contiguous(memory_format=torch.channels_last)))
            pooled = []
            for stage, block in enumerate(network.blocks):
                x = block(x)
                if stage in TAPPED_STAGES:
                    pooled += [x.mean((2, 3)), x.std((2, 3))]
            return torch.cat(pooled, 1).cpu().numpy()

    return features


def load_network() -> Any:
    """EfficientNet-Lite0 up to the last tapped stage, with ImageNet weights, in evaluation mode."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from napari_stem.encoders.networks import import_timm

    network = import_timm().create_model("tf_efficientnet_lite0", num_classes=0)
    network.blocks = network.blocks[: max(TAPPED_STAGES) + 1]
    try:
        weights = load_file(WEIGHTS_PATH)
    except (SafetensorError, OSError, ValueError) as error:
        raise EncoderError(
            f"The bundled encoder's weights ({WEIGHTS_PATH}) cannot be read ({error}); "
            f"install napari-stem again."
        ) from error
    incomplete = network.load_state_dict(weights, strict=False)
    needed: list[str] = [
        key
        for key in incomplete.missing_keys
        if key.startswith(("conv_stem", "bn1", "blocks"))
        and not key.endswith("num_batches_tracked")
    ]
    if needed:
        raise EncoderError(
            f"The bundled encoder's weights ({WEIGHTS_PATH}) lack {needed[0]}; install napari-stem again."
        )
    return network.eval().to(memory_format=torch.channels_last)
