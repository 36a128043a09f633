"""Options of an export; ``napari_stem.exporting.kinds`` says which kind uses which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from napari_stem.exporting.drawing import DEFAULT_LOOK, Look, SeenMap
from napari_stem.progress import Progress, silent
from napari_stem.settings import Bounds, require_possible
from napari_stem.slide.base import Slide  # noqa: TC001 - a field's type

FigureFormat = Literal["png", "svg", "pdf"]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options; a kind of export ignores those that it does not use.

    Attributes
    ----------
    slide
        The slide that was predicted, for a sharper image than the overview that the prediction carries.
    file_format
        File type of a figure; default: the ending of the path.
    um_per_mm
        Scale of a figure: um of tissue per mm on paper; default: fits. A round one.
    look
        Colours of maps and their limits.
    seen
        What a window shows of the genes of a figure, drawn instead.
    image_max_px
        Longer side of SpatialData's image; default: 16384. It is the slide's finest level that is no longer.
    is_long
        CSV with one row per spot and gene.
    overwrite
        Replace what is there.
    progress
        Told how far it is; may raise to break off: nothing is left then.

    Raises
    ------
    SettingsError
        A number is out of its bounds, or a word is none of those to choose among.
    """

    slide: Slide | None = None
    file_format: FigureFormat | None = None
    um_per_mm: Annotated[float | None, Bounds(0.01)] = None
    look: Look = DEFAULT_LOOK
    seen: SeenMap | None = None
    image_max_px: Annotated[int | None, Bounds(1)] = None
    is_long: bool = False
    overwrite: bool = False
    progress: Progress = silent

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_possible(self)


DEFAULT_OPTIONS = ExportOptions()
