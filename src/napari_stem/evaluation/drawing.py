"""Figures of a benchmark on matplotlib's own canvas, and their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.io import written_whole

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

DPI = 130


def new_figure(width_in: float, height_in: float) -> Figure:
    """Figure that draws itself without a window or any state of pyplot's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    with written_whole(path, overwrite=True) as fresh:
        figure.savefig(fresh, format="png", dpi=DPI)
    return path
