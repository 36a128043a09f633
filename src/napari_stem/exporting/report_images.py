"""Images for pages that carry their own titles: the tissue, and one gene's maps."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_stem.exporting.backdrop import cut, window_of
from napari_stem.exporting.drawing import draw_coverage, draw_regions, draw_scale_bar, draw_tissue
from napari_stem.exporting.figure import drawn, frame
from napari_stem.exporting.limits import Limits
from napari_stem.exporting.page import SMALL_PANEL_MM
from napari_stem.progress import silent

if TYPE_CHECKING:
    from napari_stem.exporting.selection import Selection
    from napari_stem.slide.base import Slide

TISSUE_WIDTH_PX, PAIR_DPI, INCHES = 1100, 170, 5.0
JPEG: dict[str, Any] = {"format": "jpeg", "pil_kwargs": {"quality": 88}}


def map_image(
    selection: Selection, gene: str, slide: Slide | None, *, limits: Limits | None = None
) -> bytes:
    """JPEG of mean and uncertainty of one gene over all finished spots, regions outlined."""
    single = replace(selection, genes=(gene,))
    window = window_of(single)
    um_per_mm = max(window.width_um, window.height_um) / SMALL_PANEL_MM
    figure = drawn(
        single, slide, um_per_mm, limits or Limits(), silent, window=window, titled=False
    )
    return _jpeg(figure, PAIR_DPI, bbox_inches="tight", pad_inches=0.05)


def tissue_image(selection: Selection, slide: Slide | None) -> bytes:
    """JPEG of the tissue with outlines of the regions and of the predicted spots."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    window = window_of(selection)
    figure = Figure(figsize=(INCHES, INCHES * window.height_um / window.width_um))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    draw_tissue(axes, *cut(selection, slide, window, TISSUE_WIDTH_PX))
    draw_coverage(axes, selection)
    draw_regions(axes, selection, named=True)
    frame(axes, window)
    draw_scale_bar(axes)
    return _jpeg(figure, TISSUE_WIDTH_PX / INCHES)


def _jpeg(figure: Any, dpi: float, **cropping: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, **JPEG, **cropping)
    return buffer.getvalue()
