"""Flat images (JPEG, PNG, small TIFF): decoded once, then kept as a pyramid on disk."""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide.array_slide import (
    ArraySlide,
    Facts,
    LevelPixels,
    downsample,
    pixels_of_array,
)
from napari_stem.slide.fingerprint import fingerprint
from napari_stem.slide.pixel_size import UM_PER_INCH, plausible_mpp
from napari_stem.slide.pyramid import Plan, coarser_sizes, made_levels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL import Image

    from napari_stem.geometry import Mpp
    from napari_stem.slide.base import Progress

NAME = "raster"
FORMATS = ("JPEG", "PNG", "TIFF")
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*")
# 3 GB decoded. Pillow's own limit (0.18 gigapixels) guards web servers against hostile uploads.
LIMIT_PX = 2**30
MODES = ("RGB", "RGBA", "L", "LA", "P", "PA", "CMYK", "YCbCr", "1")
_limit_lock = threading.Lock()


def why_not(path: Path) -> str | None:
    """Tell why this reader cannot open the file, judged by its first bytes; None if it can try."""
    with path.open("rb") as file:
        return None if file.read(8).startswith(MAGIC) else "not a JPEG, PNG or TIFF by its content"


def probe(path: Path) -> Facts:
    """Read what the file says of itself, without decoding pixels.

    Raises
    ------
    SlideError
        Damaged, cut short, too large to decode at once, or not 8-bit.
    """
    with _opened(path) as image:
        size = SizePx(image.height, image.width)
        properties: dict[str, Any] = {"format": str(image.format).lower(), "mode": image.mode}
        mpp = _tagged_mpp(image)
    _refuse_cut_jpeg(path)
    return Facts(size, mpp, (size, *coarser_sizes(size)), "generic", properties)


def open_file(path: Path, mpp: Mpp | None, progress: Progress | None = None) -> ArraySlide:
    """Open through the pyramid kept on disk, which is made first if this image is new.

    Raises
    ------
    SlideError
        As ``probe``; or the pixels are damaged.
    """
    facts = probe(path)
    digest = fingerprint(path)
    if len(facts.levels) == 1:  # nothing to gain from a store
        sources = [_decoded(path)]
    else:
        factors = tuple(downsample(facts.size, s) for s in facts.levels)
        plan = Plan(path.name, digest, facts.levels, factors, copies_base=True)
        sources = made_levels(plan, lambda: _decoded(path, progress), progress)
    return ArraySlide.build(
        path, facts, sources, mpp=mpp or facts.mpp, reader=NAME, fingerprint=digest
    )


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open with Pillow, header only; what goes wrong within becomes a SlideError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with _limit_lock:
            usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, LIMIT_PX // 2
            try:  # Pillow warns above this number and refuses twice as many
                with warnings.catch_warnings():
                    warnings.simplefilter(
                        "ignore"
                    )  # of size, and of damaged tags that no one needs
                    image = Image.open(path, formats=FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = usual
        with image:
            if image.mode not in MODES:
                msg = (
                    f"{path.name} stores {image.mode} pixels, not 8-bit RGB; "
                    f"export it as 8-bit RGB."
                )
                raise SlideError(msg)
            yield image
    except Image.DecompressionBombError as error:
        msg = f"{path.name} is too large to decode at once ({error}); export it as a tiled TIFF."
        raise SlideError(msg) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        msg = f"{path.name} is damaged or incomplete ({error}); copy or export it again."
        raise SlideError(msg) from error


def _refuse_cut_jpeg(path: Path) -> None:
    """Refuse a JPEG cut short: its header is sound, but it lacks its end marker."""
    with path.open("rb") as file:
        if file.read(2) != b"\xff\xd8":
            return
        file.seek(max(0, path.stat().st_size - 2**16))
        if b"\xff\xd9" not in file.read():
            msg = f"{path.name} is cut short (no end-of-image mark); copy it again."
            raise SlideError(msg)


def _tagged_mpp(image: Image.Image) -> Mpp | None:
    """Take the pixel size from the resolution tag, where it cannot be a screen's or a printer's."""
    try:
        x_dpi, y_dpi = (float(value) for value in image.info["dpi"])
        return plausible_mpp(UM_PER_INCH / y_dpi, UM_PER_INCH / x_dpi)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def _decoded(path: Path, progress: Progress | None = None) -> LevelPixels:
    """Decode the whole image; alpha is dropped, grey and palettes become RGB."""
    if progress is not None:
        progress(f"Decoding {path.name}", 0, 1)
    with _opened(path) as image:
        image.load()
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        return pixels_of_array(np.asarray(rgb), path.name)
