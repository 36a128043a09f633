"""The one place that decides which reader opens a file, and whose word on the pixel size counts."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from napari_stem.errors import SlideError

if TYPE_CHECKING:
    from napari_stem.geometry import Mpp
    from napari_stem.slide.array_slide import Facts
    from napari_stem.slide.base import Progress, Slide

# In order of preference. Loaded when a file is opened: tifffile, dask and zarr take a second.
READERS = ("tiff", "raster")
READABLE = "SVS, tiled or OME-TIFF, JPEG or PNG"


class Reader(Protocol):
    """What a reader module offers."""

    NAME: str

    def why_not(self, path: Path) -> str | None:
        """Tell why the file is not this reader's, judged by its first bytes; None if it may be."""

    def probe(self, path: Path) -> Facts:
        """Read what the file says of itself."""

    def open_file(self, path: Path, mpp: Mpp | None, progress: Progress | None = None) -> Slide:
        """Open for reading."""


def open_slide(
    path: str | Path,
    mpp: Mpp | None = None,
    *,
    reader: str | None = None,
    progress: Progress | None = None,
) -> Slide:
    """Open a whole-slide image.

    Parameters
    ----------
    path
        SVS, tiled or striped TIFF, OME-TIFF, JPEG or PNG; told apart by content, not by name.
    mpp
        Pixel size; wins over that in a HEST metadata file beside the slide, which wins over the
        slide's own.
    reader
        ``tiff`` or ``raster`` to insist on one; otherwise the first that can.
    progress
        Called with ``(text, done, total)`` while levels that the file lacks are made, once per
        slide. What it raises stops the opening and leaves nothing behind.

    Returns
    -------
    Slide, to be closed when done with. Its ``mpp`` is None if nobody knows it.

    Raises
    ------
    SlideError
        The file is missing, damaged or of a kind that cannot be read.
    """
    path = _checked(path)
    chosen, _ = _choose(path, reader)
    return chosen.open_file(path, mpp or _sidecar_mpp(path), progress)


def describe(path: str | Path, mpp: Mpp | None = None) -> dict[str, Any]:
    """Tell what ``info`` says of a slide, from its header: no pixel is decoded, no level made.

    Returns
    -------
    JSON-ready: ``width_px``, ``height_px``, ``mpp`` ([y, x] um per px or None), ``levels`` (as
    they are after opening), ``reader``, ``readers`` (name -> why it cannot open the file, or None),
    ``vendor``, ``fingerprint``, ``properties``.

    Raises
    ------
    SlideError
        As ``open_slide``.
    """
    from napari_stem.slide.array_slide import downsample
    from napari_stem.slide.fingerprint import fingerprint

    path = _checked(path)
    chosen, facts = _choose(path, None)
    known = mpp or _sidecar_mpp(path) or facts.mpp
    return {
        "width_px": facts.size.width_px,
        "height_px": facts.size.height_px,
        "mpp": None if known is None else [known.y_um, known.x_um],
        "levels": [
            {
                "height_px": size.height_px,
                "width_px": size.width_px,
                "downsample": downsample(facts.size, size),
            }
            for size in facts.levels
        ],
        "reader": chosen.NAME,
        "readers": {name: _why_not(_reader(name), path) for name in READERS},
        "vendor": facts.vendor,
        "fingerprint": fingerprint(path),
        "properties": facts.properties,
    }


def _checked(path: str | Path) -> Path:
    """Return the path, absolute, if there is a file with something in it."""
    path = Path(path).expanduser().absolute()
    if not path.exists():
        msg = f"There is no file {path}; check the path."
        raise SlideError(msg)
    if path.is_dir():
        msg = f"{path} is a folder, not a slide; name the image file in it."
        raise SlideError(msg)
    if not os.access(path, os.R_OK):
        msg = f"{path} may not be read by you; ask for read permission."
        raise SlideError(msg)
    if path.stat().st_size == 0:
        msg = f"{path.name} is empty (0 bytes); copy or export it again."
        raise SlideError(msg)
    return path


def _choose(path: Path, wanted: str | None) -> tuple[Reader, Facts]:
    """Find the first reader for this kind of file, and what the file's header says.

    Raises
    ------
    SlideError
        There is none, or it refuses the file.
    """
    if wanted is not None and wanted not in READERS:
        msg = f"There is no reader '{wanted}'; choose from {', '.join(READERS)}."
        raise SlideError(msg)
    for name in READERS if wanted is None else (wanted,):
        reader = _reader(name)
        reason = reader.why_not(path)
        if reason is None:
            # Its refusal is final: the next reader might show one channel of five, or half a file.
            return reader, reader.probe(path)
        if wanted is not None:
            msg = f"{path.name} cannot be opened by the reader '{wanted}': it is {reason}."
            raise SlideError(msg)
    msg = (
        f"{path.name} is not a slide image by its content, whatever its name says; export it as "
        f"{READABLE}."
    )
    raise SlideError(msg)


def _why_not(reader: Reader, path: Path) -> str | None:
    reason = reader.why_not(path)
    if reason is None:
        try:
            reader.probe(path)
        except SlideError as error:
            reason = str(error)
    return reason


def _reader(name: str) -> Reader:
    return cast("Reader", import_module(f"napari_stem.slide.{name}"))


def _sidecar_mpp(path: Path) -> Mpp | None:
    from napari_stem.slide.pixel_size import sidecar_mpp

    return sidecar_mpp(path)
