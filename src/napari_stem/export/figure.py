"""A gene's predicted map with its uncertainty as a PNG, drawn without a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import OutputError, PredictionError
from napari_stem.geometry import SizePx

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp, Spots
    from napari_stem.results import Field, Prediction
    from napari_stem.slide.base import Slide

BACKGROUND_PX = 1400  # longer side of the tissue behind the map
SCALE_BARS_UM = (50, 100, 200, 500, 1000, 2000, 5000, 10_000)
PANELS: tuple[tuple[Field, str, str], ...] = (
    ("mean", "predicted mean", "magma"),
    ("sd", "uncertainty (standard deviation)", "viridis"),
)
MARGIN = 0.04  # of the map's longer side


def gene_figure(slide: Slide, prediction: Prediction, gene: str, path: Path) -> None:
    """Write mean and uncertainty of one gene on the slide, side by side.

    Parameters
    ----------
    slide
        The slide that was predicted; its pixel size gives the scale bar.
    prediction
        Spots that are not done stay empty.
    gene
        One of the prediction's.
    path
        PNG file, replaced if it exists.

    Raises
    ------
    UnknownGeneError
        The prediction has no such gene.
    PredictionError
        No spot is done.
    OutputError
        The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not prediction.done.any():
        msg = f"No spot of {prediction.path} is predicted yet, so there is nothing to draw."
        raise PredictionError(msg)
    mpp, window = slide.require_mpp(), _window_px(prediction.spots, slide)
    tissue = _tissue(slide, window)
    left, top, right, bottom = window
    height_in = float(np.clip(6.2 * (bottom - top) / (right - left), 3.2, 9.0))
    figure = Figure(figsize=(14, height_in + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (field, title, colours) in zip(figure.subplots(1, 2), PANELS, strict=True):
        axes.imshow(tissue, extent=(left, right, bottom, top), interpolation="bilinear")
        drawn = axes.add_collection(_squares(prediction, gene, field, mpp, colours))
        figure.colorbar(drawn, ax=axes, label=prediction.unit, shrink=0.85)
        axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[], title=title)
        _scale_bar(axes, window, mpp)
    where = f"{slide.path.name}, model {prediction.provenance.get('model', 'unknown')}"
    figure.suptitle(f"{gene} — {where}", fontsize=14)
    figure.supxlabel("Predicted from the H&E image, not measured. Research use only.", fontsize=11)
    try:
        figure.savefig(path, format="png", dpi=110)
    except OSError as error:
        msg = f"{path} cannot be written ({error.strerror or error}); choose another place."
        raise OutputError(msg) from error


def _window_px(spots: Spots, slide: Slide) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in level-0 px: all spots with a margin, within the slide."""
    radius_px = spots.diameter_um / 2 / slide.require_mpp().x_um
    longer_px = max(np.ptp(spots.x_px), np.ptp(spots.y_px))
    around_px = radius_px + max(MARGIN * longer_px, radius_px)
    left, top = (max(0, int(c.min() - around_px)) for c in (spots.x_px, spots.y_px))
    right = min(slide.size.width_px, int(np.ceil(spots.x_px.max() + around_px)))
    bottom = min(slide.size.height_px, int(np.ceil(spots.y_px.max() + around_px)))
    return left, top, right, bottom


def _tissue(slide: Slide, window: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Slide behind the map, from the coarsest level that is still sharp enough."""
    left, top, right, bottom = window
    longer_px = max(right - left, bottom - top)
    sharp = [i for i, v in enumerate(slide.levels) if longer_px / v.downsample >= BACKGROUND_PX]
    index = max(sharp, default=0)
    scale = slide.levels[index].downsample
    width, height = (max(1, round(side / scale)) for side in (right - left, bottom - top))
    return slide.read_region(
        round(left / scale), round(top / scale), index, SizePx(height_px=height, width_px=width)
    )


def _squares(prediction: Prediction, gene: str, field: Field, mpp: Mpp, colours: str) -> Any:
    """Return one square per finished spot, coloured by its value, the tissue shining through."""
    from matplotlib.collections import PolyCollection

    values = prediction.values(gene, field)
    spots = prediction.spots.take(prediction.done)
    half = np.array([spots.diameter_um / 2 / mpp.x_um, spots.diameter_um / 2 / mpp.y_um])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half  # (4, 2)
    centres = np.column_stack([spots.x_px, spots.y_px])  # (n, 2)
    squares = PolyCollection(
        centres[:, None] + corners, array=values[prediction.done], cmap=colours, alpha=0.7
    )
    squares.set_edgecolor("none")
    low, high = np.percentile(values[prediction.done], (1, 99))
    squares.set_clim(float(low), float(high) if high > low else float(low) + 1e-6)
    return squares


def _scale_bar(axes: Any, window: tuple[int, int, int, int], mpp: Mpp) -> None:
    """Draw a bar of a round length, at most a quarter of the width, bottom left."""
    left, top, right, bottom = window
    width_um = (right - left) * mpp.x_um
    length_um = max((b for b in SCALE_BARS_UM if b <= width_um / 4), default=SCALE_BARS_UM[0])
    x, y = left + 0.03 * (right - left), bottom - 0.04 * (bottom - top)
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um} µm"
    axes.plot(
        [x, x + length_um / mpp.x_um], [y, y], color="black", linewidth=4, solid_capstyle="butt"
    )
    label = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1.5}
    axes.text(x, y - 0.02 * (bottom - top), text, va="bottom", ha="left", bbox=label)
