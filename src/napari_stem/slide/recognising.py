"""Which kinds of slides are read, by what and under which endings; whether a file or folder is such a slide."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_stem.errors import SlideError
from napari_stem.foreign import read_json
from napari_stem.slide.location import Location

if TYPE_CHECKING:
    from pathlib import Path


class Endings(NamedTuple):
    """The endings of files that a reader is made for; what reads a file is decided by its content."""

    # pictures: napari opens these too, and would ask which reader to take if the manifest named them
    pictures: tuple[str, ...] = ()
    # of slides and of other things: looked into
    shared: tuple[str, ...] = ()
    # written by slide scanners alone: taken for slides whatever is in them, so that the user is told what is
    # wrong with one that cannot be read
    trusted: tuple[str, ...] = ()


# In order of preference, which `opening` keeps to: the first that can opens a file; what a reader found
# unsuited is offered to none after "openslide". The module of each is ``NAME_reader``, with a hyphen as _;
# ``stored.SlideReader`` says what is in it.
READERS = {
    "tiff": Endings(
        (".tif", ".tiff"), (".btf", ".tf8"), trusted=(".svs", ".ndpi", ".scn", ".qptiff")
    ),
    "czi": Endings(trusted=(".czi",)),
    "openslide": Endings(shared=(".dcm",), trusted=(".mrxs", ".bif", ".vms", ".vmu", ".svslide")),
    "ome-zarr": Endings(shared=(".zarr.zip",)),
    "raster": Endings((".jpg", ".jpeg", ".png", ".jp2", ".bmp", ".webp")),
}
TRUSTED_ENDINGS = tuple(each for endings in READERS.values() for each in endings.trusted)
# what the manifest names for slides: napari asks its plugins by name alone
MANIFEST_ENDINGS = (
    *(each for endings in READERS.values() for each in endings.shared),
    *TRUSTED_ENDINGS,
)
SLIDE_ENDINGS = tuple(each for endings in READERS.values() for kind in endings for each in kind)
# Cameras take 12 megapixels and screens show 8; the smallest sections of spatial transcriptomics, a capture
# area of 6.5 mm at 1 um per pixel, have 42. Tiled TIFFs are made for what is larger than a screen.
LEAST_PX = 4096**2
# classic and BigTIFF, either byte order
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
DICOM_SLIDE = b"1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
HEAD_BYTES = 4096
RGB_COLOURS = ["FF0000", "00FF00", "0000FF"]  # as OME-Zarr writes the channels of a colour image


def looks_like_slide(path: Path) -> bool:
    """Whether a path is a brightfield slide by the look of it; no pixel is decoded.

    Declined: 16-bit, grey, palette and label images, ordinary pictures (fewer than 4096 x 4096 px and not
    tiled), fluorescence channels, folders and Zarrs without an RGB image. `TRUSTED_ENDINGS` are taken at their
    word.
    """
    if path.is_dir():
        return _is_zarr_slide(path)
    if not path.is_file():
        return False
    if path.name.lower().endswith(TRUSTED_ENDINGS):
        return True
    try:
        head = Location(path).head(HEAD_BYTES)
    except SlideError:
        return False
    if head[128:132] == b"DICM":
        return DICOM_SLIDE in head
    if head.startswith(TIFF_MAGIC):
        return _is_tiff_slide(path)
    if head.startswith(b"PK\x03\x04"):
        return path.name.lower().endswith(".zarr.zip")
    return _is_large_picture(path)


def _is_tiff_slide(path: Path) -> bool:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            page: Any = tiff.pages.first
            is_rgb = page.bitspersample == 8 and page.samplesperpixel in {3, 4}
            return is_rgb and (page.is_tiled or page.imagewidth * page.imagelength >= LEAST_PX)
    except (tifffile.TiffFileError, OSError, ValueError, LookupError, struct.error):
        return False


def _is_large_picture(path: Path) -> bool:
    from napari_stem.slide.raster_reader import image_file

    try:
        with image_file(path) as image:
            is_rgb = image.mode in {"RGB", "RGBA", "YCbCr"}
            return is_rgb and image.width * image.height >= LEAST_PX
    except SlideError:
        return False


def _is_zarr_slide(folder: Path) -> bool:
    """Look into the folder itself, then where SpatialData and bioformats2raw keep images."""
    images = folder / "images"
    beneath = sorted(images.iterdir()) if images.is_dir() else [folder / "0"]
    return any(_is_rgb_image(place) for place in (folder, *beneath))


def _is_rgb_image(group: Path) -> bool:
    about = _read(group / "zarr.json").get("attributes") or _read(group / ".zattrs")
    about = about.get("ome", about)
    try:
        multiscale: dict[str, Any] = about["multiscales"][0]
        finest = group / multiscale["datasets"][0]["path"]
        axes = [axis if isinstance(axis, str) else axis["name"] for axis in multiscale["axes"]]
        colours = [
            channel.get("color", "").upper()
            for channel in about.get("omero", {}).get("channels", ())
        ]
    except (LookupError, TypeError, AttributeError):
        return False
    array = _read(finest / "zarr.json") or _read(finest / ".zarray")
    size = dict(zip(axes, array.get("shape", ()), strict=False))
    return (
        "image-label" not in about
        and str(array.get("data_type", array.get("dtype", ""))).endswith(("uint8", "u1"))
        and size.get("c") in {3, 4}
        and all(size.get(axis, 1) == 1 for axis in "tz")
        and not (any(colours) and colours[:3] != RGB_COLOURS)
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
