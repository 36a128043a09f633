"""A published encoder: its network, used as its card says."""

from __future__ import annotations

import hashlib
from functools import partial
from math import isqrt
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_stem.device import in_threads, n_threads
from napari_stem.encoders.base import PRECISION_MARK, ByPatch, Encoder, fields_text
from napari_stem.errors import EncoderError
from napari_stem.geometry import PatchSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.encoders.catalogue import Colour, EncoderFacts, Pooling
    from napari_stem.encoders.networks import Network

_CODE_VERSION = "1"  # of what happens here: count up when the numbers change
_PATCHES_PER_BATCH = {"cpu": 4 * n_threads(), "cuda": 64}
_VALUES_PER_TENSOR = 64
_CENTRE_SHARE = 1 / 8  # of the patch's side
_SHORT = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


class PublishedEncoder(ByPatch):
    """One published network, at one or more fields of view; of each, its poolings one after the other.

    The ``network``, loaded and in evaluation mode, is the encoder's own from now on: its matrices are cast to
    the precision. ``name`` is as users wrote it. Without others, pooling is what the card recommends, and the
    field of view is the one that it was trained for (input px times um per pixel).

    ``precision`` is ``auto``: half precision (autocast: sums and norms stay in float32) on CUDA, bf16 on a
    processor that multiplies in it, float32 elsewhere; or ``float32``, ``float16``, ``bfloat16``.
    """

    def __init__(
        self,
        facts: EncoderFacts,
        network: Network,
        *,
        name: str | None = None,
        pooling: tuple[Pooling, ...] | None = None,
        fields_of_view_um: tuple[float, ...] | None = None,
        device: str = "cpu",
        precision: str = "auto",
    ) -> None:
        kind = torch.device(device).type
        self._facts = facts
        self._pooling = pooling or facts.pooling
        self._device = device
        self._precision = chosen_precision(facts, kind, precision)
        self._at_once = _PATCHES_PER_BATCH.get(kind, 16)
        self._network = network
        network.module.to(device)
        fields_um = fields_of_view_um or facts.fields_of_view_um
        self.name = name or facts.name
        self.patch = PatchSpec(fields_um, facts.side_px)
        self.width = len(fields_um) * facts.width(self._pooling)
        self.spots_at_once = max(1, self._at_once // len(fields_um))
        self.version = (
            f"{_CODE_VERSION}-{'+'.join(self._pooling)}-{fields_text(fields_um)}um-"
            f"{weights_digest(network.module)}{PRECISION_MARK}{_SHORT[self._precision]}"
        )
        if self._precision != "float32":
            _cast_once(network.module, getattr(torch, self._precision))

    def encode_flat(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed patches: see `ByPatch.encode_flat`; EncoderError where half precision gives infinities."""
        if torch.device(self._device).type != "cpu":
            return self._encode_together(patches)
        # each thread its own patches: a sixth faster than all threads at the same ones
        n_before = torch.get_num_threads()
        shares = np.array_split(patches, min(len(patches), n_threads()))
        try:
            return np.concatenate(
                in_threads(self._encode_together, shares, partial(torch.set_num_threads, 1))
            )
        finally:
            torch.set_num_threads(n_before)

    def _encode_together(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        facts = self._facts
        x = normalised(resized(batch, facts.side_px), facts.normalisation, self._device)
        dtype = getattr(torch, self._precision)
        kind = torch.device(self._device).type
        with (
            torch.inference_mode(),
            torch.autocast(kind, dtype=dtype, enabled=dtype != torch.float32),
        ):
            tokens = self._network.tokens(x)
            pooled = [self._pool(tokens, pooling).float() for pooling in self._pooling]
        embedding = torch.cat(pooled, 1).cpu().numpy()
        if not np.isfinite(embedding).all():
            raise EncoderError(
                f"Encoder '{self.name}' gives infinite numbers in {self._precision} on {self._device}; "
                f"use float32."
            )
        return embedding

    def _pool(self, tokens: torch.Tensor, pooling: str) -> torch.Tensor:
        if pooling == "pooled" and self._network.pooled is not None:
            return self._network.pooled(tokens)
        return pool_tokens(tokens, pooling, self._facts.prefix_tokens)


def chosen_precision(facts: EncoderFacts, device_kind: str, precision: str) -> str:
    """Return the precision that ``auto`` means, or the one asked for; EncoderError where there is none such."""
    if precision == "auto":
        if device_kind == "cuda":
            return facts.half
        return "bfloat16" if device_kind == "cpu" and _multiplies_in_bf16() else "float32"
    if precision not in _SHORT:
        raise EncoderError(
            f"There is no precision '{precision}'; choose auto, {', '.join(_SHORT)}."
        )
    return precision


def _cast_once(module: torch.nn.Module, dtype: torch.dtype) -> None:
    """Cast the matrices that autocast would cast anew for every batch: a tenth of a ViT-L's time on a CPU."""
    for layer in module.modules():
        if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
            layer.to(dtype)


def _multiplies_in_bf16() -> bool:
    """Whether the processor has instructions for it (AVX-512 BF16, AMX), and torch says so."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


class CombinedEncoder:
    """Two or more encoders that look at the same spots.

    Patches are read once, at the largest side that any part takes, and resampled (bicubic, antialiased) for
    the others. Each part sees its own fields of view. Published Stem crops 224 px and enlarges them to 256
    for CONCH, which enlarges them to 448; here the slide is resampled to 448 px of the same tissue directly.
    """

    def __init__(self, parts: Sequence[Encoder]) -> None:
        self._parts = tuple(parts)
        fields_um = sorted({f for part in parts for f in part.patch.fields_of_view_um})
        self.name = "+".join(part.name for part in parts)
        self.patch = PatchSpec(tuple(fields_um), max(part.patch.side_px for part in parts))
        self.width = sum(part.width for part in parts)
        self.spots_at_once = min(part.spots_at_once for part in parts)
        # one out of several; precision stays readable behind its mark
        versions = [part.version.partition(PRECISION_MARK) for part in parts]
        names = "\n".join(f"{p.name}={v[0]}" for p, v in zip(parts, versions, strict=True))
        digest = hashlib.sha256(names.encode()).hexdigest()[:16]
        precisions = "+".join(version[2] or "fp32" for version in versions)
        self.version = f"{digest}{PRECISION_MARK}{precisions}"
        self._fields = [
            [fields_um.index(f) for f in part.patch.fields_of_view_um] for part in parts
        ]

    def encode(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed spots: see ``Encoder.encode``; per encoder, in the order of the name, what it gives alone."""
        return np.concatenate(
            [
                part.encode(resized(patches[:, fields], part.patch.side_px))
                for part, fields in zip(self._parts, self._fields, strict=True)
            ],
            axis=1,
        )


def resized(patches: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Resample patches to another side: Pillow, bicubic and antialiased, as the cards' transforms do.

    (..., side, side, 3) uint8 RGB becomes (..., side_px, side_px, 3); the patches themselves where nothing is
    to be done.
    """
    side = patches.shape[-2]
    if side == side_px:
        return patches
    from PIL import Image

    size = (side_px, side_px)
    flat = np.ascontiguousarray(patches).reshape(-1, side, side, 3)
    new = np.empty((len(flat), *size, 3), np.uint8)
    for patch, out in zip(flat, new, strict=True):
        out[...] = np.asarray(Image.fromarray(patch).resize(size, Image.Resampling.BICUBIC))
    return new.reshape(*patches.shape[:-3], *size, 3)


def normalised(
    patches: NDArray[np.uint8], normalisation: tuple[Colour, Colour], device: str = "cpu"
) -> torch.Tensor:
    """(n, side, side, 3) uint8 -> (n, 3, side, side) float32: 0 to 1, less the mean, over the deviation."""
    x = torch.from_numpy(np.ascontiguousarray(patches)).to(device).permute(0, 3, 1, 2).float() / 255
    centre, scale = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in normalisation)
    return ((x - centre) / scale).contiguous()


def pool_tokens(tokens: torch.Tensor, pooling: str, prefix_tokens: int) -> torch.Tensor:
    """Pool tokens, (n, prefix + patches, width), to one vector each, (n, width).

    The class token comes first, then registers, then patches by row. ``pooling`` is ``cls``, ``mean`` or
    ``centre``: see `napari_stem.encoders.catalogue.Pooling`. The ``prefix_tokens``, class token and registers,
    belong to no place, and are left out of ``mean`` and ``centre``.
    """
    if pooling == "cls":
        return tokens[:, 0]
    patches = tokens[:, prefix_tokens:]
    if pooling == "mean":
        return patches.mean(1)
    side = isqrt(patches.shape[1])
    if side * side != patches.shape[1]:
        raise ValueError(
            f"{patches.shape[1]} patch tokens are no square: {prefix_tokens} is not their beginning"
        )
    first, last = centre_tokens(side)
    grid = patches.reshape(len(patches), side, side, -1)
    return grid[:, first:last, first:last].mean((1, 2))


def centre_tokens(side: int) -> tuple[int, int]:
    """First and last+1 row (and column) of the tokens in the middle eighth of a grid's side.

    As many as lie evenly about the centre: 2 of 14 or 16, 4 of 28, 5 of 37; at least 1 or 2.
    """
    odd = side % 2
    n = max(2 * round((side * _CENTRE_SHARE - odd) / 2) + odd, 2 - odd)
    first = (side - n) // 2
    return first, first + n


def weights_digest(module: torch.nn.Module) -> str:
    """Eight hexadecimal digits that change with a network's weights, whatever file they came from.

    Hashes some values of every tensor: a network of a billion parameters takes milliseconds.
    """
    digests = []
    for tensor in module.state_dict().values():
        if tensor.is_floating_point() and tensor.numel():
            flat = tensor.detach().flatten()
            some = flat[:: max(1, flat.numel() // _VALUES_PER_TENSOR)][:_VALUES_PER_TENSOR]
            values = some.float().cpu().contiguous().numpy()
            digests.append(hashlib.sha256(values.tobytes()).digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()[:8]
