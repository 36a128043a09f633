"""What maps are drawn of, on matplotlib axes in um: tissue, spots, outlines, scale bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from napari_stem.exporting.outlines import outlines_um

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_stem.exporting.backdrop import WindowUm
    from napari_stem.exporting.selection import Selection

MAP_OPACITY = 0.75
REGION_COLOUR = "#ffd400"  # yellow: absent from H&E, and told apart from it by every eye
COVERAGE_COLOUR = "#4477aa"
SCALE_BARS_UM = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
RASTER_ABOVE_SPOTS = 20_000  # more squares than that make a vector file that nothing opens


def draw_tissue(axes: Any, image: NDArray[np.uint8], where: WindowUm) -> None:
    """Draw the slide beneath everything else."""
    extent = (where.left_um, where.right_um, where.bottom_um, where.top_um)
    axes.imshow(image, extent=extent, interpolation="bilinear")


def draw_map(
    axes: Any,
    selection: Selection,
    values: NDArray[np.float32],
    colours: str,
    limits: tuple[float, float],
) -> Any:
    """Draw every spot in the colour of its value, the tissue shining through.

    Returns
    -------
    What a colour legend is made from.
    """
    from matplotlib.collections import PolyCollection

    shapes = PolyCollection(
        _corners(selection), array=values, cmap=colours, alpha=MAP_OPACITY, edgecolors="none"
    )
    shapes.set_clim(*limits)
    shapes.set_rasterized(len(values) > RASTER_ABOVE_SPOTS)
    return axes.add_collection(shapes, autolim=False)


def draw_unlike(axes: Any, selection: Selection) -> None:
    """Hatch the spots that are unlike the training data."""
    from matplotlib.collections import PolyCollection

    if not selection.ood.any():
        return
    shapes = PolyCollection(
        _corners(selection)[selection.ood],
        facecolors="none",
        edgecolors="white",
        linewidths=0.0,
        hatch="////",
    )
    shapes.set_rasterized(int(selection.ood.sum()) > RASTER_ABOVE_SPOTS)
    axes.add_collection(shapes, autolim=False)


def draw_coverage(axes: Any, selection: Selection) -> None:
    """Outline the area that is predicted."""
    area = shapely.union_all(shapely.polygons(_corners(selection)))
    _draw_rings(axes, area, (1.0, 1.0), COVERAGE_COLOUR, 1.2)


def draw_regions(axes: Any, selection: Selection, *, named: bool = False) -> None:
    """Outline the regions, holes too, and write their names beside them."""
    scale = (selection.mpp.x_um, selection.mpp.y_um)
    for region in selection.regions:
        _draw_rings(axes, region.polygon, scale, REGION_COLOUR, 1.6)
        if not named:
            continue
        left, top, _, _ = region.polygon.bounds
        axes.text(
            left * scale[0],
            top * scale[1],
            region.name,
            parse_math=False,
            color=REGION_COLOUR,
            fontsize=8,
            va="bottom",
            bbox={"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1.5},
            clip_on=True,
        )


def _draw_rings(
    axes: Any, area: shapely.Geometry, scale: tuple[float, float], colour: str, width: float
) -> None:
    """Draw all borders of an area, outer and inner, its (x, y) multiplied by ``scale``."""
    from matplotlib.collections import LineCollection

    parts = shapely.get_parts(area)
    rings = [ring for part in parts for ring in (part.exterior, *part.interiors)]
    lines = [np.asarray(ring.coords) * scale for ring in rings]
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=width), autolim=False)


def scale_bar_um(width_um: float) -> int:
    """Length of a bar for a map of some width: round, at most a quarter of it."""
    return max((b for b in SCALE_BARS_UM if b <= width_um / 4), default=SCALE_BARS_UM[0])


def draw_scale_bar(axes: Any, window: WindowUm) -> None:
    """Draw a bar of a round length with its length, bottom left."""
    length_um = scale_bar_um(window.width_um)
    x = window.left_um + 0.03 * window.width_um
    y = window.bottom_um - 0.04 * window.height_um
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um} µm"
    axes.plot(
        [x, x + length_um],
        [y, y],
        color="black",
        linewidth=3,
        solid_capstyle="butt",
        gid="scale-bar",
    )
    label = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1.5}
    above = {"xytext": (0, 4), "textcoords": "offset points"}
    axes.annotate(text, (x, y), **above, va="bottom", ha="left", fontsize=7, bbox=label)


def _corners(selection: Selection) -> Any:
    """(n, corners, 2) outlines of the finished spots, in um."""
    spots, mpp = selection.spots, selection.mpp
    centres = np.column_stack([spots.x_px * mpp.x_um, spots.y_px * mpp.y_um])
    return centres[:, None] + outlines_um(spots)
