"""What a TIFF's tags and compression say of its samples, and the way from these to RGB on white.

Specifications: TIFF 6.0, sections 18 (alpha), 21 (YCbCr) and 23 (CIE L*a*b*); Adobe's TIFF notes 2002
(ICC L*a*b*); https://openslide.org/formats/aperio/ (compressions 33003 and 33005).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.slide.colour import lab_to_srgb, over_white

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_stem.slide.colour import Convert

JPEG = frozenset({6, 7, 34892, 33007})  # compressions of TIFF
JPEG_2000 = frozenset({33003, 33004, 33005, 34712})
APERIO = {33003: "ycbcr", 33004: "rgb", 33005: "rgb"}  # Bio-Formats writes RGB in all of these
# What gives back samples as they were handed in: none, LZW, Deflate (two), PackBits, LZMA, Zstandard.
PLAIN = frozenset({1, 5, 8, 32946, 32773, 34925, 50000})
YCBCR_COEFFICIENTS, REFERENCE_BLACK_WHITE = 529, 532  # tags
PREMULTIPLIED = 1  # of ExtraSamples
ALPHA = frozenset({PREMULTIPLIED, 2})
WHITE_OF = {
    "minisblack": (255,),
    "miniswhite": (0,),
    "rgb": (255, 255, 255),
    "ycbcr": (255, 128, 128),
    "cielab": (255, 0, 0),
    "icclab": (255, 128, 128),
}
BAND_PX = 256
CONVERTED = frozenset({"ycbcr", "cielab", "icclab"})


def space_of(key: Any) -> str:
    """Name the colour space of a page's samples once they are decoded, as tifffile does."""
    name = getattr(key.photometric, "name", str(key.photometric)).lower()
    if key.is_svs and key.compression in APERIO:  # of JPEG 2000, whatever its other tag says
        return APERIO[key.compression]
    # decoders of JPEG do the conversion, but where there is alpha
    is_done = key.compression in JPEG and key.planarconfig == 1 and not key.extrasamples
    return "rgb" if is_done and name == "ycbcr" else name


def has_alpha(key: Any) -> bool:
    """Whether a page says that it has alpha, of either kind."""
    return not ALPHA.isdisjoint(key.extrasamples)


def unreadable(key: Any) -> str:
    """Say why a page's colours cannot be told, as what completes "it stores"; empty if they can."""
    space, how = space_of(key), getattr(key.compression, "name", key.compression)
    if space not in WHITE_OF:
        return f"{space} colours"
    if space in CONVERTED and key.compression not in PLAIN | JPEG_2000:
        return f"{space} colours in {how}"
    return ""


class Colours:
    """How the samples of a level become RGB.

    Parameters
    ----------
    key
        First page of the level.
    n_samples
        In all planes and pages together: colours, and alpha behind them.

    Attributes
    ----------
    white
        Samples of what is not stored, which is glass.
    """

    def __init__(self, key: Any, n_samples: int) -> None:
        space = space_of(key)
        white = WHITE_OF[space]
        if n_samples >= 3 and len(white) == 1:  # a page for each colour
            white = white * 3
        self.white = (*white, 255)[:n_samples]
        self._has_alpha = n_samples > len(white)
        self._is_rgb = space == "rgb" and not self._has_alpha
        self._is_premultiplied = PREMULTIPLIED in tuple(key.extrasamples)
        ways: dict[str, Convert] = {
            "minisblack": _grey,
            "miniswhite": lambda samples: _grey(255 - samples),
            "rgb": lambda samples: samples,
            "ycbcr": partial(_affine, *_ycbcr(key)),
            "cielab": lab_to_srgb,
            "icclab": lambda samples: lab_to_srgb(samples ^ np.array([0, 128, 128], np.uint8)),
        }
        self._convert = ways[space]

    def rgb(self, samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn (height, width, samples) to (height, width, 3) on white."""
        if self._is_rgb:
            return samples
        rgb = np.empty((*samples.shape[:2], 3), np.uint8)
        for top in range(0, len(rgb), BAND_PX):  # what is between takes eight times as much
            band = slice(top, top + BAND_PX)
            rgb[band] = self._on_white(samples[band])
        return rgb

    def _on_white(self, samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
        n_colours = len(self.white) - self._has_alpha
        rgb = self._convert(samples[..., :n_colours])
        if not self._has_alpha:
            return rgb
        return over_white(rgb, samples[..., n_colours:], is_premultiplied=self._is_premultiplied)


def _grey(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(samples, 3, axis=2) if samples.shape[2] == 1 else samples


def _affine(
    factors: NDArray[np.float32], offset: NDArray[np.float32], samples: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    rgb = samples.astype(np.float32) @ factors + offset
    return np.asarray(np.clip(np.rint(rgb), 0, 255), dtype=np.uint8)


def _ycbcr(key: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factors (3, 3) and offset (3,) from Y, Cb, Cr to R, G, B.

    Raises
    ------
    ValueError
        The tags give no such.
    """
    told = [None, None]
    if key.compression in PLAIN:
        told = [key.tags.valueof(tag) for tag in (YCBCR_COEFFICIENTS, REFERENCE_BLACK_WHITE)]
    red, green, blue = _ratios(told[0], [0.299, 0.587, 0.114])
    black, white = _ratios(told[1], [0, 255, 128, 255, 128, 255]).reshape(3, 2).T
    if not (red > 0 and green > 0 and blue > 0 and (white > black).all()):
        raise ValueError("its tags on YCbCr make no sense")
    to_rgb = np.array(
        [
            [1, 1, 1],
            [0, -2 * blue * (1 - blue) / green, 2 - 2 * blue],
            [2 - 2 * red, -2 * red * (1 - red) / green, 0],
        ]
    )
    factors = (np.array([255, 127, 127]) / (white - black))[:, np.newaxis] * to_rgb
    return factors.astype(np.float32), (-black @ factors).astype(np.float32)


def _ratios(value: Any, default: list[float]) -> NDArray[np.float64]:
    """Read a tag of as many rationals as the default has numbers, stored as pairs of integers."""
    if value is None:
        return np.array(default, dtype=np.float64)
    numbers = np.array(value, dtype=np.float64)
    if numbers.size != 2 * len(default) or not numbers[1::2].all():
        raise ValueError("its tags on YCbCr make no sense")
    return numbers[::2] / numbers[1::2]
