"""Slides through OpenSlide: MRXS, DICOM, VMS, BIF and what else tifffile cannot read.

The extra ``openslide`` brings the library (openslide-python, openslide-bin).
Reference: https://openslide.org/api/python/
"""

from __future__ import annotations

import hashlib
import math
import re
import subprocess
import sys
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide.level import AS_STORED, Colour, Level, colour_of, over_white
from napari_stem.slide.location import Location
from napari_stem.slide.pixel_size import source_of
from napari_stem.slide.recognising import READERS, TIFF_MAGIC
from napari_stem.slide.stored import (
    MissingLibrary,
    OpenFile,
    StoredSlide,
    fingerprint,
    refusing_damage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.slide.level import ReadWindow
    from napari_stem.slide.pixel_size import MppSource

MISSING = MissingLibrary(
    "a file for OpenSlide, which is not installed (pip install 'napari-stem[openslide]')"
)
SEVERAL_FILES = frozenset({"mirax", "dicom", "hamamatsu"})  # but for Hamamatsu's NDPI, a TIFF
TILE_PX = 512  # OpenSlide's own cache holds decoded tiles, so that the extent matters little
MAX_DICOM_FILES = 4096
SERIES_UID = re.compile(rb"\x20\x00\x0e\x00UI(..)([0-9.]+)", re.DOTALL)  # (0020,000E), explicit VR


def why_not(location: Location) -> str | None:
    """Tell why this reader cannot open the file; None if it can try."""
    if location.url is not None:
        return "a URL; OpenSlide reads files"
    try:
        import openslide
    except ImportError:
        endings = READERS["openslide"]
        is_named_so = location.name.lower().endswith((*endings.shared, *endings.trusted))
        may_be = is_named_so or _dicom_files(location.path)
        return MISSING if may_be else "nothing that OpenSlide would be needed for (not installed)"
    path = location.path
    if location.is_folder:
        files = _dicom_files(path)
        if not files:
            return "a folder without DICOM files"
        path = files[0]
    if openslide.OpenSlide.detect_format(str(path)) is None:
        return "of no kind that OpenSlide knows, or damaged"
    return None


def read_header(location: Location) -> StoredSlide:
    """Open for reading; SlideError: damaged, or a folder with several DICOM slides."""
    import openslide

    path = _one_slide(location.path)
    if openslide.OpenSlide.detect_format(str(path)) == "dicom":
        refuse_fatal(path)
    with refusing_damage(f"{path.name} cannot be read by OpenSlide", openslide.OpenSlideError):
        return _stored_slide(location, path, openslide.OpenSlide(str(path)))


def _dicom_files(folder: Path) -> list[Path]:
    """List the DICOM files of a folder, by their mark at byte 128, in the order of their names."""
    if not folder.is_dir() or (folder / ".zattrs").exists() or (folder / "zarr.json").exists():
        return []
    found = []
    for file in sorted(folder.iterdir())[:MAX_DICOM_FILES]:
        with suppress(SlideError, OSError):  # not ours to read
            if Location(file).head(132)[128:] == b"DICM":
                found.append(file)
    return found


def _one_slide(path: Path) -> Path:
    """Name one file of the slide in a folder; SlideError where the folder holds several slides."""
    if not path.is_dir():
        return path
    series: dict[bytes, Path] = {}
    for file in _dicom_files(path):
        series.setdefault(_series_of(file), file)
    if len(series) > 1:
        told = ", ".join(file.name for file in list(series.values())[:5])
        raise SlideError(
            f"{path.name} holds {len(series)} slides; name a file of one of them, as {told}."
        )
    return next(iter(series.values()))


def _series_of(dicom_file: Path) -> bytes:
    """Read what all files of a DICOM slide have in common, empty where it is not found."""
    found = SERIES_UID.search(Location(dicom_file).head(65536))
    return found.group(2) if found else b""


def _stored_slide(location: Location, path: Path, osr: Any) -> StoredSlide:
    sizes = tuple(SizePx(height, width) for width, height in osr.level_dimensions)
    said = dict(osr.properties)
    colour = _colour(osr)
    file = OpenFile(osr)
    chunk = SizePx(TILE_PX, TILE_PX)
    levels = tuple(
        Level(_reader(file, number, osr.level_downsamples[number]), size, chunk, path.name, colour)
        for number, size in enumerate(sizes)
    )
    properties: dict[str, Any] = {
        "format": "openslide",
        "native_levels": len(sizes),
        "colour": colour.label,
    }
    if power := said.get("openslide.objective-power"):
        properties["objective_power"] = float(power)
    vendor = said.get("openslide.vendor", "generic")
    files = _files(path, vendor, said)
    return StoredSlide(
        location.path,
        levels,
        _fingerprint(path, files, vendor, said.get("openslide.quickhash-1", "")),
        vendor,
        properties,
        _mpp(said, vendor),
        _associated(osr, file, path.name),
        files,
        on_close=file.close,
    )


def _files(path: Path, vendor: str, said: dict[str, str]) -> set[Path]:
    """Find the files of a slide that is more than the one at ``path``; none where it is that one."""
    if vendor not in SEVERAL_FILES or Location(path).head(4) in TIFF_MAGIC:
        return set()
    if vendor == "dicom":
        own = _series_of(path)
        return {path, *(file for file in _dicom_files(path.parent) if _series_of(file) == own)}
    # of Hamamatsu's files beside the index, and of those in MIRAX's folder
    names = set(said.values())
    folders = (folder for folder in (path.parent, path.with_suffix("")) if folder.is_dir())
    return {path, *(file for folder in folders for file in folder.iterdir() if file.name in names)}


def _fingerprint(path: Path, files: set[Path], vendor: str, quickhash: str) -> str:
    """Digest of the file, and of its companions where the slide is more than one file.

    OpenSlide's quick hash covers the coarsest level and the metadata of all files.
    """
    if not files:
        return fingerprint(path)
    # which of a DICOM slide's files was named makes no difference
    own = "" if vendor == "dicom" and quickhash else fingerprint(path)
    return hashlib.blake2b(f"{own} {quickhash}".encode(), digest_size=16).hexdigest()


def _mpp(said: dict[str, str], vendor: str) -> tuple[MppSource, ...]:
    name = "DICOM PixelSpacing" if vendor == "dicom" else f"OpenSlide, from {vendor} metadata"
    y_um, x_um = (said.get(f"openslide.mpp-{axis}", "") for axis in "yx")
    return source_of(name, y_um, x_um)


def _colour(osr: Any) -> Colour:
    from PIL.ImageCms import PyCMSError

    try:
        profile = osr.color_profile
    except PyCMSError:
        return Colour(f"{AS_STORED} (its ICC profile is damaged)")
    return colour_of(None if profile is None else profile.tobytes())


@contextmanager
def _reading(file: OpenFile) -> Iterator[Any]:
    """Hand out the slide; what OpenSlide says of damage becomes a ValueError."""
    import openslide

    try:
        yield file.get()
    except openslide.OpenSlideError as error:
        raise ValueError(str(error)) from error


def _reader(file: OpenFile, level: int, downsample: float) -> ReadWindow:
    factor = float(downsample)
    nearest = round(factor)
    # whole factors come with the rounding of the last row; positions are those of whole pixels
    factor = float(nearest) if math.isclose(factor, nearest, rel_tol=2e-3) else factor

    def read(rows: slice, columns: slice) -> NDArray[np.uint8]:
        corner = (round(columns.start * factor), round(rows.start * factor))
        size = (columns.stop - columns.start, rows.stop - rows.start)
        with _reading(file) as osr:
            return _on_white(osr.read_region(corner, level, size))

    return read


def _on_white(image: Any) -> NDArray[np.uint8]:
    """RGBA to RGB; where nothing was scanned there is glass."""
    pixels = np.asarray(image)
    return over_white(pixels[..., :3], pixels[..., 3:])


def _associated(osr: Any, file: OpenFile, name: str) -> dict[str, Level]:
    found = {}
    for kind in osr.associated_images:
        try:
            height_px, width_px = (
                int(osr.properties[f"openslide.associated.{kind}.{side}"])
                for side in ("height", "width")
            )
        except (KeyError, ValueError):
            continue
        size = SizePx(height_px, width_px)
        read = partial(_read_associated, file, kind)
        found[kind] = Level(read, size, size, f"the {kind} image of {name}")
    return found


def _read_associated(file: OpenFile, kind: str, rows: slice, columns: slice) -> NDArray[np.uint8]:
    with _reading(file) as osr:
        return _on_white(osr.associated_images[kind])[rows, columns]


PROBE_TIME_S = 60
STOPPED_BY_SIGNAL = -1  # exit codes from here down, as POSIX tells them; Windows tells huge ones
LARGEST_EXIT = 255
PROBE_CODE = """
import sys, openslide
with openslide.OpenSlide(sys.argv[1]) as slide:
    for level, (width, height) in enumerate(slide.level_dimensions):
        factor = slide.level_downsamples[level]
        for y in (0.0, 0.3, 0.5, 0.7, 0.99):
            for x in (0.0, 0.3, 0.5, 0.7, 0.99):
                place = int(x * width * factor), int(y * height * factor)
                try:
                    slide.read_region(place, level, (64, 64))
                except openslide.OpenSlideError:
                    sys.exit(0)  # refused in words: here too
    for name in slide.associated_images:
        slide.associated_images[name]
"""


def refuse_fatal(path: Path) -> None:
    """Refuse a DICOM file, one of its slide's, that OpenSlide would crash on.

    SlideError where a child process that read places all over the slide crashed or hung.
    """
    try:
        code = subprocess.run(  # noqa: S603  (our own code, the path is an argument)
            [sys.executable, "-I", "-c", PROBE_CODE, str(path)],
            check=False,
            timeout=PROBE_TIME_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).returncode
    except subprocess.TimeoutExpired:
        code = STOPPED_BY_SIGNAL
    except OSError:  # no process can be started here: as without this check
        return
    if code <= STOPPED_BY_SIGNAL or code > LARGEST_EXIT:
        raise SlideError(
            f"{path.name} is damaged in a way that OpenSlide does not survive; copy or export it "
            f"again."
        )
