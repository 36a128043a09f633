"""Encoders by name."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from napari_stem.errors import EncoderError

if TYPE_CHECKING:
    from napari_stem.encoders.base import Encoder


def load_encoder(name: str, device: str = "cpu") -> Encoder:
    """Load an encoder.

    Raises
    ------
    EncoderError
        There is none of that name, or it is not ready.
    """
    if name != "bundled":
        raise EncoderError(f"There is no encoder '{name}'; known: bundled.")
    from napari_stem.encoders.bundled import BundledEncoder

    return BundledEncoder(device)


def list_encoders() -> list[dict[str, Any]]:
    """Known encoders: name, ready, why_not, packaged, licence, description. Loads no torch."""
    ready = find_spec("timm") is not None
    return [
        {
            "name": "bundled",
            "ready": ready,
            "why_not": None if ready else "the package timm is not installed",
            "packaged": True,
            "licence": "Apache-2.0",
            "description": "ImageNet EfficientNet-Lite0 texture and stain statistics at 150, 300 and 600 um",
        }
    ]
