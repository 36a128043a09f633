"""Where images, shapes and spots lie in the world of a viewer, and the rasters that spots make.

The world is in micrometres, with its origin at the outer corner of the slide's top-left pixel. napari
puts the *centre* of pixel (0, 0) at ``translate``, so every image lies half a pixel further in than
its corner.
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

LayerData = tuple[Any, dict[str, Any], str]  # data, options, kind: as napari's readers return them
METADATA_KEY = "napari_stem"  # in a layer's metadata: what of ours the layer shows
UM = ("um", "um")
PIXELS = ("pixel", "pixel")
AXES = ("y", "x")
ELLIPSE_CORNERS = 64
SpotShape = Literal["square", "circle", "smooth"]
OFF_LATTICE_PIXELS = 8  # raster pixels across one spot where spots do not lie on a square lattice
LATTICE_TOLERANCE = 0.01  # of a pitch
MAX_RASTER_PIXELS = 25_000_000
CIRCLE_PIXELS = (24, 16, 12, 8, 6)  # raster pixels across a circle, the finest that may be had
SMOOTH_PIXELS = 12  # across a spot of a smooth surface, or fewer as of circles
MAX_CIRCLE_PIXELS = 3_000_000  # more would not be swapped within the blink of an eye


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

    ``options["metadata"]["napari_stem"]`` holds the open slide under ``"slide"`` and what the layer reads under
    ``"pyramid"``.
    """
    from napari_stem.slide.display import Pyramid  # here: brings dask and zarr

    pyramid = Pyramid(slide)
    options: dict[str, Any] = {
        "name": slide.path.stem,
        "rgb": True,
        "multiscale": True,
        "cache": False,  # the pyramid keeps what was decoded
        "metadata": {METADATA_KEY: {"slide": slide, "pyramid": pyramid}},
    }
    if slide.mpp is None:
        options |= {"units": PIXELS, "axis_labels": AXES, "translate": (0.5, 0.5)}
    else:
        options |= slide_placement(slide.mpp).as_layer_options()
    return list(pyramid.arrays), options, "image"


def outline(vertices: ArrayLike, shape_type: str) -> NDArray[np.float64] | None:
    """Corners of a drawn shape, (m, 2) float64, in the order in which they are joined.

    ``vertices`` are (n, 2) as a shapes layer stores them, four corners of the box for an ellipse;
    ``shape_type`` is napari's name of the kind of shape. None for lines and paths, which enclose nothing.
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


def one_ring(polygon: shapely.Polygon) -> NDArray[np.float64]:
    """Outline with holes as one ring, which is all that a shape can hold: (n, 2), not closed.

    A bridge of no width leads to each hole and back. By the even-odd rule, which `shapely.make_valid`
    and napari follow, the ring encloses exactly the polygon.
    """
    ring = np.asarray(polygon.exterior.coords)[:-1, :2]
    for interior in polygon.interiors:
        hole = np.asarray(interior.coords)[:-1, :2]
        distance = np.linalg.norm(ring[:, np.newaxis] - hole[np.newaxis], axis=-1)
        here, there = np.unravel_index(int(np.argmin(distance)), distance.shape)
        loop = np.roll(hole, -int(there), axis=0)
        ring = np.concatenate([ring[: here + 1], loop, loop[:1], ring[here:]])
    return ring


@dataclass(frozen=True)
class SpotGrid:
    """A raster in which every spot fills its own square."""

    # (rows, cols) index of the spot that fills the pixel, -1 where there is none
    spot_at: NDArray[np.int64]
    placement: Placement  # pixel centres on spot centres where spots lie on a square lattice
    # pixels across a spot between which values go over into those of its neighbours; 1: none do
    n_smooth: int = 1

    @classmethod
    def of(cls, spots: Spots, mpp: Mpp, shape: SpotShape = "square") -> SpotGrid:
        """Grid of the given spots, on a slide of this pixel size.

        Spots off a square lattice (a measured array, a list of the user's) are drawn on a finer raster as
        squares of their diameter, spots as circles always are; where two overlap, the nearer centre has the
        pixel. Where there are too many spots for circles that look round, or they lie off a lattice and would
        be smooth, squares remain. SpotError where there are no spots, or they lie too far apart to be drawn.
        """
        if not len(spots):
            raise SpotError("There are no spots to draw; choose a larger region.")
        y_um, x_um = spots.y_px * mpp.y_um, spots.x_px * mpp.x_um
        n_across = None if shape == "square" else _pixels_across(y_um, x_um, spots.diameter_um)
        if n_across is not None and shape == "circle":
            return _nearest_grid(y_um, x_um, spots.diameter_um, n_across, is_round=True)
        if _on_lattice(spots, y_um, x_um):
            return _lattice_grid(spots, y_um, x_um, min(n_across or 1, SMOOTH_PIXELS))
        return _nearest_grid(y_um, x_um, spots.diameter_um, OFF_LATTICE_PIXELS, is_round=False)

    def raster(self, values: ArrayLike) -> NDArray[np.float32]:
        """Image of one value per spot: (n_spots,), NaN where nothing is predicted yet -> (rows, cols) float32.

        NaN where there is no spot; what is smooth lies between the values of a spot and its neighbours, and
        only where the spot itself has one.
        """
        n = self.n_smooth
        per_spot = np.append(np.asarray(values, dtype=np.float32), np.float32(np.nan))
        raster = np.asarray(per_spot.take(self.spot_at[n // 2 :: n, n // 2 :: n]))
        if n == 1:
            return raster
        known = np.isfinite(raster)
        weight = _between(known.astype(np.float32), n)
        total = _between(np.where(known, raster, 0), n)
        is_own = np.isfinite(per_spot).take(self.spot_at)
        return np.divide(total, weight, out=np.full_like(total, np.nan), where=is_own)

    def colours(self, colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Image of one colour per spot: (n_spots, 4) -> (rows, cols, 4); transparent off the spots."""
        clear = np.zeros((1, 4), np.uint8)
        return np.asarray(np.concatenate([colours, clear]).take(self.spot_at, axis=0))

    def labels(self, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Image of labels from 1, 0 where there is none; (n,) which spots have one, and theirs, from 0.

        Small numbers: for wider ones napari compiles a look-up when they are first shown.
        """
        per_spot = np.zeros(self.spot_at.max() + 2, dtype=np.uint16)  # the last: no spot, at -1
        per_spot[rows] = labels + 1
        return np.asarray(per_spot[self.spot_at])

    def spot_under(self, row: float, col: float) -> int | None:
        """Index of the spot at a position in the raster's pixels, or None."""
        n_rows, n_cols = self.spot_at.shape
        if not (-0.5 <= row < n_rows - 0.5 and -0.5 <= col < n_cols - 0.5):  # or NaN
            return None
        spot = int(self.spot_at[int(row + 0.5), int(col + 0.5)])
        return None if spot < 0 else spot


def _between(squares: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Interpolate linearly between the centres of squares, of which each becomes n x n."""
    from PIL import Image

    height, width = squares.shape
    image = Image.fromarray(squares)
    return np.asarray(image.resize((width * n, height * n), Image.Resampling.BILINEAR))


def _on_lattice(spots: Spots, y_um: NDArray[np.float64], x_um: NDArray[np.float64]) -> bool:
    """Whether ``array_row`` and ``array_col`` say exactly where every spot lies."""
    tolerance_um = LATTICE_TOLERANCE * spots.pitch_um
    off_y = y_um - spots.array_row * spots.pitch_um
    off_x = x_um - spots.array_col * spots.pitch_um
    return bool(np.ptp(off_y) < tolerance_um and np.ptp(off_x) < tolerance_um)


def _lattice_grid(
    spots: Spots, y_um: NDArray[np.float64], x_um: NDArray[np.float64], n: int
) -> SpotGrid:
    """One square for each place of the lattice, divided into n x n pixels."""
    row = spots.array_row - spots.array_row.min()
    col = spots.array_col - spots.array_col.min()
    spot_at = np.full((int(row.max()) + 1, int(col.max()) + 1), -1, dtype=np.int64)
    spot_at[row, col] = np.arange(len(spots))
    step_um = spots.pitch_um / n
    y0_um, x0_um = (float(c.min()) - (n - 1) / 2 * step_um for c in (y_um, x_um))
    fine = spot_at.repeat(n, axis=0).repeat(n, axis=1)
    return SpotGrid(fine, Placement((step_um, step_um), (y0_um, x0_um)), n)


def _pixels_across(
    y_um: NDArray[np.float64], x_um: NDArray[np.float64], diameter_um: float
) -> int | None:
    """Finest number of pixels across a circle that is still swapped quickly; None: circles are too many."""
    for n_across in CIRCLE_PIXELS:
        n_rows, n_cols = (np.ptp(c) / diameter_um * n_across + n_across for c in (y_um, x_um))
        if n_rows * n_cols <= MAX_CIRCLE_PIXELS:
            return n_across
    return None


def _nearest_grid(
    y_um: NDArray[np.float64],
    x_um: NDArray[np.float64],
    diameter_um: float,
    n_across: int,
    *,
    is_round: bool,
) -> SpotGrid:
    from scipy.spatial import cKDTree

    step_um = diameter_um / n_across
    half_um = diameter_um / 2
    # first pixel's centre lies half a step inside the outermost spots' edge
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
    order = 2 if is_round else np.inf  # circles and squares are the balls of these two norms
    _, nearest = tree.query(centres, p=order, distance_upper_bound=half_um)
    spot_at = np.where(nearest == len(y_um), -1, nearest).astype(np.int64)
    return SpotGrid(spot_at.reshape(n_rows, n_cols), Placement((step_um, step_um), (y0_um, x0_um)))
