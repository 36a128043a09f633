"""Options of an export; ``napari_stem.exporting.kinds`` says which kind uses which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_stem.exporting.drawing import DEFAULT_LOOK, Look, SeenMap
from napari_stem.progress import Progress, silent

if TYPE_CHECKING:
    from napari_stem.slide.base import Slide

FigureFormat = Literal["png", "svg", "pdf"]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options; a kind of export ignores those that it does not use.

    Attributes
    ----------
    slide
        The slide that was predicted, for a sharper image than the overview that the prediction carries.
    file_format
        Of a figure; else the path's ending says it.
    um_per_mm
        Scale of a figure: um of tissue per mm of it; a round one that fits the page if not given.
    look
        Colours of maps and their limits.
    seen
        What a window shows of the genes of a figure, drawn instead.
    image_max_px
        The finest level of SpatialData's image is the finest of the slide whose longer side is at most this.
    is_long
        Whether a CSV has one row per spot and gene.
    overwrite
        Replace what is there.
    progress
        Told how far it is; may raise to break off: nothing is left then.
    """

    slide: Slide | None = None
    file_format: FigureFormat | None = None
    um_per_mm: float | None = None
    look: Look = DEFAULT_LOOK
    seen: SeenMap | None = None
    image_max_px: int | None = None
    is_long: bool = False
    overwrite: bool = False
    progress: Progress = silent


DEFAULT_OPTIONS = ExportOptions()
