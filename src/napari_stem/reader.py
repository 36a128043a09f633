"""Opens slides that are dragged into napari (npe2 reader). Imports no viewer."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stem.errors import StemError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_stem.layers import LayerData

    NapariReader = Callable[[Any], list[LayerData | tuple[None]]]

TIFFS = (".svs", ".tif", ".tiff", ".btf", ".tf8", ".ndpi", ".scn", ".bif", ".qptiff")
OTHERS = (".mrxs", ".dcm", ".vms", ".vmu", ".svslide", ".czi", ".zarr")
FLAT = (".jpg", ".jpeg", ".png", ".jp2", ".j2k", ".webp", ".bmp")
SUFFIXES = frozenset(TIFFS + OTHERS + FLAT)
ZIPPED = ".zarr.zip"
_told = itertools.count(1)


class SlideWarning(UserWarning):
    """Something about a slide that the user should read; napari shows it as a notification."""


def get_reader(path: str | Sequence[str]) -> NapariReader | None:
    """Reader for a dragged file, or None where it cannot be a slide of ours.

    Judges by name alone, so that it costs nothing for files of others. A file that is named like a
    slide but is none still gets our reader, which says so in one sentence.

    Parameters
    ----------
    path
        A file, an OME-Zarr folder, or several (which are no slide of ours: slides open one by one).
    """
    if not isinstance(path, str | Path):
        return None
    file = Path(path)
    name = file.name.lower()
    if not (name.endswith(ZIPPED) or file.suffix.lower() in SUFFIXES) or not file.exists():
        return None
    if file.is_dir() and file.suffix.lower() != ".zarr":
        return None
    return read_slide


def read_slide(path: str) -> list[LayerData | tuple[None]]:
    """Open one slide as a multiscale image in um.

    Levels that the file lacks are made when they are first read, unless somebody completes the slide
    before (``Slide.complete``).

    Returns
    -------
    One napari layer tuple; the tuple that means "nothing" for a slide that cannot be opened, with one
    warning that says why.
    """
    from napari_stem.layers import slide_layer
    from napari_stem.slide import open_slide
    from napari_stem.slide.pixel_size import conflict

    try:
        slide = open_slide(path, early=True)
    except StemError as error:
        _tell(str(error), path)
        return [(None,)]
    if (disagreement := conflict(slide.mpp_sources)) is not None:
        _tell(disagreement, path)
    if slide.mpp is None:
        _tell(
            f"{slide.path.name} does not say how large its pixels are; it is shown in pixels. Before "
            f"predicting, state its pixel size in the Slide part of Stem's panel (Plugins menu).",
            path,
        )
    return [slide_layer(slide)]


def _tell(sentence: str, path: str) -> None:
    # A viewer shows a warning from the same place only once per session; a count in place of the
    # line number lets it be seen again when the same file is tried again.
    warnings.warn_explicit(sentence, SlideWarning, filename=str(path), lineno=next(_told))
