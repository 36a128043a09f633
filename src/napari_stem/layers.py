"""From slides and predictions to what a viewer draws: arrays, where they lie, names and colour limits.

Imports no viewer. The world is in micrometres, with its origin at the outer corner of the slide's
top-left pixel. napari puts the *centre* of pixel (0, 0) at ``translate``, so every image lies half
a pixel further in than its corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_stem.errors import SpotError

if TYPE_CHECKING:
    import shapely
    from numpy.typing import ArrayLike, NDArray

    from napari_stem.geometry import Mpp, Spots
    from napari_stem.slide.base import Slide

    LayerData = tuple[Any, dict[str, Any], str]

METADATA_KEY = "napari_stem"  # in a layer's metadata: what of ours the layer shows
UM = ("um", "um")
PIXELS = ("pixel", "pixel")
AXES = ("y", "x")

Field = Literal["mean", "sd"]
FIELD_TITLES: dict[str, str] = {"mean": "predicted", "sd": "predicted, uncertainty (SD)"}
PERCENTILES = (1.0, 99.0)
OFF_LATTICE_PIXELS = 8  # raster pixels across one spot where spots do not lie on a square lattice
LATTICE_TOLERANCE = 0.01  # of a pitch
ELLIPSE_CORNERS = 64
MAX_RASTER_PIXELS = 25_000_000


@dataclass(frozen=True)
class Placement:
    """Where an image lies, in um per pixel and um, as napari's ``scale`` and ``translate`` (y, x)."""

    scale_um: tuple[float, float]
    translate_um: tuple[float, float]

    def as_layer_options(self) -> dict[str, Any]:
        """Options of a layer placed so."""
        return {
            "scale": self.scale_um,
            "translate": self.translate_um,
            "units": UM,
            "axis_labels": AXES,
        }


def slide_placement(mpp: Mpp) -> Placement:
    """Placement that puts the slide's outer corner, not the centre of its first pixel, at the origin."""
    return Placement((mpp.y_um, mpp.x_um), (mpp.y_um / 2, mpp.x_um / 2))


def slide_layer(slide: Slide) -> LayerData:
    """Multiscale image layer of a slide, in um where its pixel size is known, else in pixels.

    Returns
    -------
    (data, options, "image") as napari's readers return; ``options["metadata"]["napari_stem"]`` holds
    the open slide under ``"slide"``.
    """
    options: dict[str, Any] = {
        "name": slide.path.stem,
        "rgb": True,
        "multiscale": True,
        "metadata": {METADATA_KEY: {"slide": slide}},
    }
    if slide.mpp is None:
        options |= {"units": PIXELS, "axis_labels": AXES, "translate": (0.5, 0.5)}
    else:
        options |= slide_placement(slide.mpp).as_layer_options()
    return [level.pixels for level in slide.levels], options, "image"


@dataclass(frozen=True)
class SpotGrid:
    """A raster in which every spot fills its own square.

    Attributes
    ----------
    spot_at
        (rows, cols) int64: index of the spot that fills the pixel, -1 where there is none.
    placement
        Where the raster lies: pixel centres on spot centres where spots lie on a square lattice.
    """

    spot_at: NDArray[np.int64]
    placement: Placement

    @classmethod
    def of(cls, spots: Spots, mpp: Mpp) -> SpotGrid:
        """Grid of the given spots.

        Spots off a square lattice (a measured array, a list of the user's) are drawn as squares of
        their diameter on a finer raster; where two overlap, the nearer centre has the pixel.

        Parameters
        ----------
        spots, mpp
            The spots, and the pixel size of the slide they lie on.

        Raises
        ------
        SpotError
            There are no spots, or they lie too far apart to be drawn.
        """
        if not len(spots):
            raise SpotError("There are no spots to draw; choose a larger region.")
        y_um, x_um = spots.y_px * mpp.y_um, spots.x_px * mpp.x_um
        if _on_lattice(spots, y_um, x_um):
            return _lattice_grid(spots, y_um, x_um)
        return _nearest_grid(y_um, x_um, spots.diameter_um)

    def raster(self, values: ArrayLike) -> NDArray[np.float32]:
        """Image of one value per spot.

        Parameters
        ----------
        values
            (n_spots,) float; NaN where nothing is predicted yet.

        Returns
        -------
        (rows, cols) float32, NaN where there is no spot.
        """
        per_spot = np.append(np.asarray(values, dtype=np.float32), np.float32(np.nan))
        return per_spot[self.spot_at]

    def spot_under(self, row: float, col: float) -> int | None:
        """Index of the spot at a position in the raster's pixels, or None."""
        if not (np.isfinite(row) and np.isfinite(col)):
            return None
        row_index, col_index = int(np.floor(row + 0.5)), int(np.floor(col + 0.5))
        n_rows, n_cols = self.spot_at.shape
        if not (0 <= row_index < n_rows and 0 <= col_index < n_cols):
            return None
        spot = int(self.spot_at[row_index, col_index])
        return None if spot < 0 else spot


def _on_lattice(spots: Spots, y_um: NDArray[np.float64], x_um: NDArray[np.float64]) -> bool:
    """Whether ``array_row`` and ``array_col`` say exactly where every spot lies."""
    tolerance_um = LATTICE_TOLERANCE * spots.pitch_um
    off_y = y_um - spots.array_row * spots.pitch_um
    off_x = x_um - spots.array_col * spots.pitch_um
    return bool(np.ptp(off_y) < tolerance_um and np.ptp(off_x) < tolerance_um)


def _lattice_grid(spots: Spots, y_um: NDArray[np.float64], x_um: NDArray[np.float64]) -> SpotGrid:
    row = spots.array_row - spots.array_row.min()
    col = spots.array_col - spots.array_col.min()
    spot_at = np.full((int(row.max()) + 1, int(col.max()) + 1), -1, dtype=np.int64)
    spot_at[row, col] = np.arange(len(spots))
    pitch_um = spots.pitch_um
    return SpotGrid(
        spot_at, Placement((pitch_um, pitch_um), (float(y_um.min()), float(x_um.min())))
    )


def _nearest_grid(
    y_um: NDArray[np.float64], x_um: NDArray[np.float64], diameter_um: float
) -> SpotGrid:
    from scipy.spatial import cKDTree

    step_um = diameter_um / OFF_LATTICE_PIXELS
    half_um = diameter_um / 2
    # first pixel's centre lies half a step inside the outermost squares' edge
    y0_um, x0_um = (float(c.min()) - half_um + step_um / 2 for c in (y_um, x_um))
    n_rows, n_cols = (
        int(np.ceil((np.ptp(c) + diameter_um) / step_um - 1e-6)) for c in (y_um, x_um)
    )
    if n_rows * n_cols > MAX_RASTER_PIXELS:
        raise SpotError(
            f"The spots lie too far apart for their size of {diameter_um:g} um to be drawn as one "
            f"map; predict smaller regions one by one."
        )
    rows, cols = np.mgrid[:n_rows, :n_cols]
    centres = np.column_stack([y0_um + rows.ravel() * step_um, x0_um + cols.ravel() * step_um])
    tree = cKDTree(np.column_stack([y_um, x_um]))
    _, nearest = tree.query(centres, p=np.inf, distance_upper_bound=half_um)
    spot_at = np.where(nearest == len(y_um), -1, nearest).astype(np.int64)
    return SpotGrid(spot_at.reshape(n_rows, n_cols), Placement((step_um, step_um), (y0_um, x0_um)))


def colour_limits(values: ArrayLike) -> tuple[float, float]:
    """1st to 99th percentile of what is predicted so far; (0, 1) where nothing is.

    Parameters
    ----------
    values
        Any shape, float; NaN is left out.

    Returns
    -------
    (low, high) with low < high, as a viewer wants them.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if known.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(known, PERCENTILES))
    if high - low < 1e-6:  # a gene without any spread still needs two different limits
        return low - 0.5, low + 0.5
    return low, high


def map_title(gene: str, field: Field, unit: str) -> str:
    """Name of a map as the layer list and the legend show it: always says that it is predicted."""
    return f"{gene} {FIELD_TITLES[field]}, {unit}"


def outline(vertices: ArrayLike, shape_type: str) -> NDArray[np.float64] | None:
    """Corners of a drawn shape, in the order in which they are joined.

    Parameters
    ----------
    vertices
        (n, 2) float, as a shapes layer stores them: four corners of the box for an ellipse.
    shape_type
        napari's name of the kind of shape.

    Returns
    -------
    (m, 2) float64 in the same coordinates, or None for lines and paths, which enclose nothing.
    """
    corners = np.asarray(vertices, dtype=np.float64)
    if shape_type in {"polygon", "rectangle"}:
        return corners
    if shape_type != "ellipse":
        return None
    centre = corners.mean(axis=0)
    first, second = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)[:, np.newaxis]
    return np.asarray(centre + np.cos(angle) * first + np.sin(angle) * second)


def without_holes(area: shapely.Polygon | shapely.MultiPolygon) -> list[shapely.Polygon]:
    """Cut an area into polygons without holes, which is all that a shapes layer can show.

    Every polygon with a hole is cut in two along a line through that hole; together the pieces cover
    exactly the area.
    """
    import shapely

    pieces: list[shapely.Polygon] = []
    waiting = [p for p in shapely.get_parts(area) if p.geom_type == "Polygon"]
    while waiting:
        polygon = waiting.pop()
        if not polygon.interiors:
            pieces.append(polygon)
            continue
        left, low, right, high = polygon.bounds
        cut_x = shapely.Polygon(polygon.interiors[0]).representative_point().x
        for half in (shapely.box(left, low, cut_x, high), shapely.box(cut_x, low, right, high)):
            parts = shapely.get_parts(shapely.intersection(polygon, half))
            waiting += [p for p in parts if p.geom_type == "Polygon" and p.area > 0]
    return pieces
