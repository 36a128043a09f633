"""Flat images (JPEG, PNG, JPEG 2000, WebP, BMP): decoded once, then kept as a pyramid on disk."""

from __future__ import annotations

import struct
import threading
import warnings
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import SlideError
from napari_stem.foreign import require_held
from napari_stem.geometry import SizePx
from napari_stem.slide.level import DISPLAY_CHUNK_PX, Colour, Level, colour_of, over_white
from napari_stem.slide.pixel_size import RESOLUTION_TAG, UM_PER_INCH, source_of
from napari_stem.slide.stored import StoredSlide, fingerprint, refusing_damage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

    from napari_stem.progress import Progress
    from napari_stem.slide.location import Location
    from napari_stem.slide.pixel_size import MppSource

FORMATS = ("JPEG", "PNG", "TIFF", "JPEG2000", "WEBP", "BMP")
MAGIC = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
    b"BM",
)
# 3 GB decoded. Pillow's own limit (0.18 gigapixels) guards web servers against hostile uploads.
LIMIT_PX = 2**30
MODES = ("RGB", "RGBA", "L", "LA", "P", "PA", "YCbCr", "1")
JP2_SPACES = frozenset({0, 15, 16, 17, 18})  # bilevel (two), sRGB, grey, sYCC
JP2_HEADER_BYTES = 2**22  # of which the ICC profile is the most
_limit_lock = threading.Lock()


def why_not(location: Location) -> str | None:
    """Tell why this reader cannot open the file, judged by its first bytes; None if it can try."""
    head = location.head(16)
    if head.startswith(MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return None
    if location.is_folder:
        return "a folder, not an image file"
    return "not a JPEG, PNG, TIFF, JPEG 2000, WebP or BMP by its content"


def read_header(location: Location) -> StoredSlide:
    """Open; the whole image is decoded when its pixels are first asked for.

    SlideError: damaged, cut short, too large to decode at once, or not 8-bit.
    """
    path = location.path
    with image_file(path) as image:
        size = SizePx(image.height, image.width)
        require_held(3 * image.height * image.width, path.stat().st_size, "its pixels")
        properties = {"format": str(image.format).lower(), "mode": image.mode}
        mpp_sources = _mpp_sources(image)
        is_jp2 = image.format == "JPEG2000"  # of which Pillow reads no profile
        colour = colour_of(_jp2_profile(location) if is_jp2 else image.info.get("icc_profile"))
    _refuse_cut_jpeg(path)
    properties["colour"] = colour.label
    is_jpeg = properties["format"] == "jpeg"
    whole = partial(_decoded, path, size, colour)
    return StoredSlide(
        path,
        (Level(lambda *window: whole().window(*window), size, size, path.name),),
        fingerprint(path),
        properties=properties,
        mpp_sources=mpp_sources,
        needs_tiled_copy=True,
        decode_coarsest=whole,
        rough_picture=partial(_reduced, path, size, colour) if is_jpeg else None,
    )


def _decoded(path: Path, size: SizePx, colour: Colour, progress: Progress | None = None) -> Level:
    """Decode the whole image; grey and palettes become RGB, transparency white.

    It stays as Pillow keeps it, 4 bytes a pixel, and windows are cut from that: an array of all would be
    3 bytes more, and all other threads would stand still while it is copied.
    """
    if progress is not None:
        progress(f"Decoding {path.name}", 0, 1)
    with image_file(path) as image:
        image.load()
        if getattr(image, "map", None) is not None:
            # uncompressed grey stays in the file: another that is written over it would be shown, or kill us
            image = image.copy()  # noqa: PLW2901 - the file is closed all the same
    if (image.height, image.width) != (size.height_px, size.width_px):
        raise SlideError(f"{path.name} was replaced while it was open; open it again.")

    def read(rows: slice, columns: slice) -> NDArray[np.uint8]:
        return _rgb(image.crop((columns.start, rows.start, columns.stop, rows.stop)), colour)

    chunk = SizePx(DISPLAY_CHUNK_PX, DISPLAY_CHUNK_PX)
    return Level(read, size, chunk, path.name, is_in_memory=True)


def _reduced(path: Path, size: SizePx, colour: Colour) -> NDArray[np.uint8]:
    """Decode a JPEG at an eighth of its size, which takes a tenth of the time."""
    with image_file(path) as image:
        image.draft("RGB", (size.width_px // 8, size.height_px // 8))
        return _rgb(image, colour)


def _rgb(image: Image.Image, colour: Colour) -> NDArray[np.uint8]:
    """Give sRGB on white; a palette and a colour key may hide pixels too."""
    if image.has_transparency_data:
        pixels = np.asarray(image.convert("RGBA"))
        rgb = over_white(pixels[..., :3], pixels[..., 3:])
    else:
        rgb = np.asarray(image.convert("RGB"))
    return rgb if colour.convert is None else colour.convert(rgb)


@contextmanager
def image_file(path: Path) -> Iterator[Image.Image]:
    """Open with Pillow, header only; what goes wrong within becomes a SlideError."""
    from PIL import Image

    try:
        with refusing_damage(f"{path.name} is damaged or incomplete"):
            with _limit_lock:
                usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, LIMIT_PX // 2
                try:  # Pillow warns above this number and refuses twice as many
                    with warnings.catch_warnings():
                        # of size, and of damaged tags that no one needs
                        warnings.simplefilter("ignore")
                        image = Image.open(path, formats=FORMATS)
                finally:
                    Image.MAX_IMAGE_PIXELS = usual
            with image:
                if image.mode not in MODES:
                    raise SlideError(
                        f"{path.name} stores {image.mode} pixels, not 8-bit RGB; "
                        f"export it as 8-bit RGB."
                    )
                yield image
    # of a TIFF when it is decoded, by Pillow's own limit
    except Image.DecompressionBombError as error:
        raise SlideError(
            f"{path.name} is too large to decode at once ({error}); export it as a tiled TIFF."
        ) from error


def _jp2_profile(location: Location) -> bytes | None:
    """Read the ICC profile of a JPEG 2000 file from its first colour specification box.

    SlideError where that names a colour space that Pillow takes for RGB.
    """
    header = location.head(JP2_HEADER_BYTES).partition(b"jp2c")[0]
    at = header.find(b"colr")
    if at < 4:
        return None
    n_bytes, method, space = struct.unpack_from(">I4xB2xI", header, at - 4)
    if method == 1 and space not in JP2_SPACES:
        raise SlideError(
            f"{location.name} stores colours of JPEG 2000's space {space}; export it as 8-bit RGB."
        )
    return header[at + 7 : at - 4 + n_bytes] if method == 2 else None


def _refuse_cut_jpeg(path: Path) -> None:
    """Refuse a JPEG cut short: its header is sound, but it lacks its end marker."""
    with path.open("rb") as file:
        if file.read(2) != b"\xff\xd8":
            return
        file.seek(max(0, path.stat().st_size - 2**16))
        if b"\xff\xd9" not in file.read():
            raise SlideError(f"{path.name} is cut short (no end-of-image mark); copy it again.")


def _mpp_sources(image: Image.Image) -> tuple[MppSource, ...]:
    """Take the pixel size from the resolution tag."""
    try:
        x_dpi, y_dpi = (float(value) for value in image.info["dpi"])
        return source_of(RESOLUTION_TAG, UM_PER_INCH / y_dpi, UM_PER_INCH / x_dpi)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return ()
