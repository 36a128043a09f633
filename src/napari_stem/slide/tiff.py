"""TIFF-based slides through tifffile: Aperio SVS, tiled and striped TIFF, OME-TIFF.

Specifications: TIFF 6.0; OME-TIFF 6 (https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/).
Levels that the file lacks, and files stored in strips, go through ``pyramid``.
"""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import SlideError
from napari_stem.geometry import Mpp, SizePx
from napari_stem.slide.array_slide import (
    READ_ERRORS,
    ArraySlide,
    Facts,
    LevelPixels,
    downsample,
    pixels_of_array,
)
from napari_stem.slide.fingerprint import fingerprint
from napari_stem.slide.pixel_size import UM_PER_INCH, plausible_mpp
from napari_stem.slide.pyramid import WIDE_PX, Plan, coarser_sizes, made_levels

if TYPE_CHECKING:
    from pathlib import Path

    import tifffile
    from numpy.typing import NDArray

    from napari_stem.slide.base import Progress

NAME = "tiff"
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # classic and BigTIFF, either byte order
DECODERS = 4
WHOLE_LIMIT_BYTES = 4 * 2**30
UM_PER_UNIT = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
UM_PER_RESOLUTION_UNIT = {2: UM_PER_INCH, 3: 1e4}  # TIFF tag 296: inch, centimetre
VENDORS = {
    "aperio": "is_svs",
    "hamamatsu": "is_ndpi",
    "leica": "is_scn",
    "philips": "is_philips",
    "ventana": "is_bif",
    "akoya": "is_qpi",
}


def why_not(path: Path) -> str | None:
    """Tell why this reader cannot open the file, judged by its first bytes; None if it can try."""
    with path.open("rb") as file:
        return None if file.read(4) in MAGIC else "not a TIFF by its content"


def probe(path: Path) -> Facts:
    """Read what the file says of itself, without decoding pixels or making levels.

    Raises
    ------
    SlideError
        Damaged, cut short, or not 8-bit RGB or grey.
    """
    tiff = _open(path)
    try:
        return _facts(path, tiff, _baseline(path, tiff))
    finally:
        tiff.close()


def open_file(path: Path, mpp: Mpp | None, progress: Progress | None = None) -> ArraySlide:
    """Open for reading; the file stays open until ``close``.

    Parameters
    ----------
    path
        The file.
    mpp
        Pixel size to use, or None for the file's own.
    progress
        Told how far the making of missing levels is.

    Raises
    ------
    SlideError
        As ``probe``; or the pixels are damaged.
    """
    tiff = _open(path)
    try:
        series = _baseline(path, tiff)
        facts = _facts(path, tiff, series)
        digest = fingerprint(path)
        sources = _sources(tiff, series, facts, digest, progress)
    except BaseException:
        tiff.close()
        raise
    return ArraySlide.build(
        path,
        facts,
        sources,
        mpp=mpp or facts.mpp,
        reader=NAME,
        fingerprint=digest,
        on_close=tiff.close,
    )


def _open(path: Path) -> tifffile.TiffFile:
    import tifffile

    # tifffile logs what it mends by itself; users are told only of what it cannot mend
    if (log := logging.getLogger("tifffile")).level == logging.NOTSET:
        log.setLevel(logging.CRITICAL)
    try:
        tiff = tifffile.TiffFile(path)
    except (tifffile.TiffFileError, *READ_ERRORS) as error:
        raise SlideError(_damaged(path, error)) from error
    # A viewer may hold the levels longer than the slide: the file closes with its last user.
    weakref.finalize(tiff, tiff.filehandle.close)
    return tiff


def _damaged(path: Path, error: object) -> str:
    return f"{path.name} is a damaged or incomplete TIFF ({error}); copy or export it again."


def _baseline(path: Path, tiff: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """Find the largest image of the file, and check that it is 8-bit RGB or grey."""
    try:
        candidates = [s for s in tiff.series if {"Y", "X"} <= set(s.axes)]
        series = max(candidates, key=lambda s: _size(s).height_px * _size(s).width_px)
        _refuse_unsuitable(path, series)
        _refuse_truncated(path, series)
    except READ_ERRORS as error:
        raise SlideError(_damaged(path, error)) from error
    return series


def _size(level: tifffile.TiffPageSeries) -> SizePx:
    axes, shape = level.axes, level.shape
    return SizePx(int(shape[axes.index("Y")]), int(shape[axes.index("X")]))


def _refuse_unsuitable(path: Path, series: tifffile.TiffPageSeries) -> None:
    import tifffile

    if series.dtype != np.uint8:
        msg = (
            f"{path.name} stores {series.dtype} pixels, but H&E slides are read as 8-bit RGB; "
            f"export it as 8-bit RGB."
        )
        raise SlideError(msg)
    extra = {a: n for a, n in zip(series.axes, series.shape, strict=True) if a not in "YX"}
    photometric = series.keyframe.photometric
    if photometric in {tifffile.PHOTOMETRIC.PALETTE, tifffile.PHOTOMETRIC.SEPARATED}:
        msg = f"{path.name} stores {photometric.name.lower()} colours; export it as 8-bit RGB."
        raise SlideError(msg)
    if (
        len(extra) > 1
        or not set(extra) <= {"S", "C"}
        or any(n not in (3, 4) for n in extra.values())
    ):
        msg = (
            f"{path.name} is not one RGB image (its axes are {series.axes}, {series.shape}); "
            f"export the brightfield plane as 8-bit RGB."
        )
        raise SlideError(msg)


def _refuse_truncated(path: Path, series: tifffile.TiffPageSeries) -> None:
    """Refuse a file cut short: it still opens, but its missing tiles would read as glass."""
    n_bytes = path.stat().st_size
    for page in (p for level in series.levels for p in level.pages if p is not None):
        ends = np.add(page.dataoffsets, page.databytecounts)
        if ends.size and ends.max() > n_bytes:
            msg = (
                f"{path.name} is cut short: {n_bytes} bytes where its tiles reach to "
                f"{ends.max()}; copy it again."
            )
            raise SlideError(msg)


def _facts(path: Path, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Facts:
    vendor = next((v for v, flag in VENDORS.items() if getattr(tiff, flag)), "generic")
    n_native = 1 if _stored_in_strips(series) else len(series.levels)
    sizes = [_size(level) for level in series.levels[:n_native]]
    properties: dict[str, Any] = {
        "format": "ome-tiff" if tiff.is_ome else series.kind,
        "compression": series.keyframe.compression.name,
        "native_levels": len(series.levels),
        "tile_px": [int(n) for n in series.keyframe.chunks[:2]],
    }
    mpp = None
    if vendor == "aperio":
        written = _aperio_description(series)
        properties["aperio"] = {
            k: v if isinstance(v, int | float) else str(v) for k, v in written.items()
        }
        if "AppMag" in written:
            properties["objective_power"] = written["AppMag"]
        mpp = _aperio_mpp(written)
    elif tiff.is_ome:
        mpp = _ome_mpp(tiff, series)
    sizes += coarser_sizes(sizes[-1])
    return Facts(sizes[0], mpp or _tagged_mpp(series), tuple(sizes), vendor, properties)


def _aperio_description(series: tifffile.TiffPageSeries) -> dict[str, Any]:
    import tifffile

    try:
        return dict(tifffile.tifffile.svs_description_metadata(series.keyframe.description))
    except ValueError:
        return {}


def _aperio_mpp(written: dict[str, Any]) -> Mpp | None:
    try:
        return Mpp.square(float(str(written["MPP"]).replace(",", ".")))
    except (KeyError, ValueError):
        return None


def _ome_mpp(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Mpp | None:
    """Read ``PhysicalSizeX`` and ``Y`` of the OME image that the series is; um by default."""
    import tifffile

    try:
        images = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
        images = images if isinstance(images, list) else [images]
        number = next(n for n, each in enumerate(tiff.series) if each is series)
        pixels = images[number]["Pixels"]
        y_um, x_um = (
            float(pixels[f"PhysicalSize{axis}"])
            * UM_PER_UNIT[pixels.get(f"PhysicalSize{axis}Unit", "µm")]
            for axis in "YX"
        )
        return Mpp(y_um=y_um, x_um=x_um)
    except (KeyError, ValueError, TypeError, IndexError):  # absent, in "pixel" units, or nonsense
        return None


def _tagged_mpp(series: tifffile.TiffPageSeries) -> Mpp | None:
    """Take the pixel size from the resolution tags, where they say a unit and are believable."""
    tags = series.keyframe.tags
    unit_um = UM_PER_RESOLUTION_UNIT.get(tags.valueof("ResolutionUnit", 2))
    try:
        per_unit = [n / d for n, d in (tags.valueof("YResolution"), tags.valueof("XResolution"))]
        if unit_um is None:
            return None
        y_um, x_um = (unit_um / value for value in per_unit)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return plausible_mpp(y_um, x_um)


def _sources(
    tiff: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    facts: Facts,
    digest: str,
    progress: Progress | None,
) -> list[LevelPixels]:
    """List the levels of the file, then those that it lacks."""
    copies = _stored_in_strips(series)
    n_native = 1 if copies else len(series.levels)
    native = [_level_pixels(tiff, series, number) for number in range(n_native)]
    sizes = facts.levels[0 if copies else n_native :]
    if not sizes:
        return native
    factors = tuple(downsample(facts.size, size) for size in sizes)
    plan = Plan(tiff.filename, digest, sizes, factors, copies_base=copies)
    made = made_levels(plan, lambda: _decoded_if_one_piece(tiff.filename, native[-1]), progress)
    return made if copies else [*native, *made]


def _stored_in_strips(series: tifffile.TiffPageSeries) -> bool:
    """Tell whether windows cost whole rows of the slide, so that level 0 is better stored anew."""
    size = _size(series)
    if max(size.height_px, size.width_px) <= WIDE_PX:
        return False  # so small that its strips are no burden
    chunks = series.keyframe.chunks  # of the page, so without a planes' axis if it has one
    return not series.keyframe.is_tiled or max(chunks) > 2 * WIDE_PX


def _level_pixels(
    tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, number: int
) -> LevelPixels:
    """Read one level through tifffile's zarr store, turned to RGB."""
    import zarr

    # tifffile decodes in the caller's thread unless it is told to use more than one worker
    store = series.aszarr(level=number, maxworkers=DECODERS, fillvalue=255)
    array: Any = zarr.open_array(store, mode="r")
    level = series.levels[number]
    axes = level.axes
    inverted = level.keyframe.photometric == 0  # MINISWHITE
    native = SizePx(array.chunks[axes.index("Y")], array.chunks[axes.index("X")])

    def read(rows: slice, columns: slice) -> NDArray[np.uint8]:
        if tiff.filehandle.closed:
            msg = "the file is closed"
            raise ValueError(msg)
        where = {"Y": rows, "X": columns}
        pixels = array[tuple(where.get(axis, slice(3)) for axis in axes)]
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
        elif axes.index("Y") > 0:  # planes one after the other
            pixels = np.ascontiguousarray(np.moveaxis(pixels, 0, 2))
        return np.asarray(255 - pixels if inverted else pixels, dtype=np.uint8)

    return LevelPixels(read, _size(level), native, tiff.filename)


def _decoded_if_one_piece(name: str, base: LevelPixels) -> LevelPixels:
    """Decode an image stored as a single strip once, instead of once per window."""
    n_bytes = base.native.height_px * base.native.width_px * 3
    if n_bytes <= 3 * WIDE_PX * WIDE_PX:
        return base
    if n_bytes > WHOLE_LIMIT_BYTES:
        msg = (
            f"{name} stores {n_bytes / 2**30:.0f} GB of pixels in one piece, too much to "
            f"decode at once; export it as a tiled TIFF."
        )
        raise SlideError(msg)
    whole = base.window(slice(0, base.size.height_px), slice(0, base.size.width_px))
    return pixels_of_array(whole, name)
