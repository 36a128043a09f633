"""Colour: pixels as stored, or turned to sRGB where the file brings an ICC profile.

Specification: ICC.1:2022 (https://www.color.org/icc_specs2.xalter); Little CMS through Pillow.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Convert = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]  # (h, w, 3) -> (h, w, 3)

AS_STORED = "as stored"
WHITE = 255
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Colour:
    """What is done to the pixels."""

    label: str = AS_STORED  # in words, for ``info`` and provenance
    # function of (h, w, 3) uint8 to the same in sRGB; None where pixels stay as stored
    convert: Convert | None = None


def colour_of(profile: bytes | None) -> Colour:
    """Plan the way to sRGB from an embedded profile (relative colorimetric, black point kept).

    A profile that is sRGB already, is not for RGB, or is damaged leaves pixels as stored, and the
    words say so.
    """
    if not profile:
        return Colour()
    from PIL import Image, ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(source).strip() or "unnamed"
        if source.profile.xcolor_space.strip() != "RGB":
            return Colour(f"{AS_STORED} (its ICC profile '{name}' is not for RGB)")
        if "srgb" in name.lower():
            return Colour(f"{AS_STORED} (its ICC profile is sRGB)")
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            "RGB",
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        logger.warning("An ICC profile is not used: %s", error)
        return Colour(f"{AS_STORED} (its ICC profile is damaged)")

    def convert(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(transform.apply(image), dtype=np.uint8)

    return Colour(f"ICC profile '{name}' applied, to sRGB", convert)


def over_white(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], *, is_premultiplied: bool = False
) -> NDArray[np.uint8]:
    """Lay (height, width, 3) colours on white, which glass is, by alpha (height, width, 1).

    ``is_premultiplied``: colours were multiplied by alpha already.
    """
    if (alpha == WHITE).all():
        return np.ascontiguousarray(rgb)
    weight = alpha.astype(np.uint16)
    own = rgb.astype(np.uint16) * (WHITE if is_premultiplied else weight)
    mixed = (own + WHITE * (WHITE - weight) + WHITE // 2) // WHITE
    return np.asarray(np.minimum(mixed, WHITE), dtype=np.uint8)


def lab_to_srgb(lab: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn CIE L*a*b* (L* of 100 as 255, a* and b* as signed bytes) to sRGB, white to white."""
    from PIL import Image

    size = (lab.shape[1], lab.shape[0])
    image = Image.frombytes("LAB", size, np.ascontiguousarray(lab).tobytes())
    return np.asarray(_lab_transform().apply(image), dtype=np.uint8)


@cache
def _lab_transform() -> Any:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
