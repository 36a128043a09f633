"""What maps are drawn of, on matplotlib axes in um: tissue, spots, outlines, scale bar, limits of colours.

The tissue behind a map is read from the slide's file, or from the overview that every prediction carries.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import shapely

from napari_stem.errors import PredictionError
from napari_stem.geometry import Mpp, Region, SizePx, Spots
from napari_stem.spatial.region_files import ClassedRegion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_stem.exporting.selection import Selection, Shown
    from napari_stem.slide.base import Slide

MARGIN = 0.04  # of a window's longer side


@dataclass(frozen=True)
class WindowUm:
    """A part of a slide, in um from its top-left corner."""

    left_um: float
    top_um: float
    right_um: float
    bottom_um: float

    @property
    def width_um(self) -> float:
        """From left to right."""
        return self.right_um - self.left_um

    @property
    def height_um(self) -> float:
        """From top to bottom."""
        return self.bottom_um - self.top_um

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """(left, right, bottom, top) in um, as matplotlib wants it."""
        return self.left_um, self.right_um, self.bottom_um, self.top_um


@dataclass(frozen=True)
class Limits:
    """Values that get the first and the last colour of a map."""

    # low, high: percentiles of the finished spots, or values in the prediction's unit
    low: float = 1.0
    high: float = 99.0
    are_percentiles: bool = True  # which of the two

    @classmethod
    def parse(cls, text: str) -> Limits:
        """Read ``p2,p98`` (percentiles) or ``0,4.5`` (values); ValueError where it is neither, or falls."""
        words = [word.strip() for word in text.split(",")]
        marked = [word[:1].lower() == "p" for word in words]
        if len(words) != 2 or marked[0] != marked[1]:
            raise ValueError(
                f"'{text}' is no pair of limits; write p2,p98 or two values such as 0,4.5."
            )
        low, high = (float(word[1:] if marked[0] else word) for word in words)
        if not -np.inf < low < high < np.inf or (marked[0] and not (low >= 0 and high <= 100)):
            raise ValueError(
                f"The limits '{text}' must be numbers that rise, and percentiles lie between p0 and p100."
            )
        return cls(low, high, marked[0])

    def of(self, values: NDArray[np.float32]) -> tuple[float, float]:
        """(low, high) for some values, with low < high."""
        if not self.are_percentiles:
            return self.low, self.high
        low, high = (float(v) for v in np.percentile(values, (self.low, self.high)))
        return (low, high) if high > low else (low, low + 1e-6)


MAP_OPACITY = 0.75


@dataclass(frozen=True)
class Look:
    """How maps look; by itself as the window shows them at first."""

    # limits, sd_limits: of the colours of expression and of uncertainty
    limits: Limits = Limits()
    sd_limits: Limits = Limits()
    # colours, sd_colours: matplotlib's names of these, or (n, 4) float from low to high
    colours: str | NDArray[np.float64] = "viridis"
    sd_colours: str | NDArray[np.float64] = "magma"
    # gamma, sd_gamma: of these colours, as in napari: below 1 low values are told apart better
    gamma: float = 1.0
    sd_gamma: float = 1.0
    opacity: float = MAP_OPACITY  # 0 to 1; the tissue shines through
    # [low, high] in place of these limits, by field and gene
    own_limits: Mapping[tuple[str, str], Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Legend:
    """Colours of values."""

    title: str  # what they stand for
    colours: NDArray[np.float64]  # (n, 4) from low to high
    limits: tuple[float, float]  # values of the first and the last
    gamma: float = 1.0  # as in `Look`


@dataclass(frozen=True, eq=False)
class SeenMap:
    """What lies on the slide in the window, to be drawn as it is: a mixture, a score, what is sure."""

    title: str
    pixels: NDArray[np.float64]  # (rows, cols, 4), 0 to 1, the last the opacity
    where: WindowUm  # its outer edges
    legends: tuple[Legend, ...] = ()  # of its values
    # texts and colours, where it shows kinds instead of values
    names: tuple[tuple[str, str], ...] = ()
    shown: Shown = "predicted"  # what its values are


DEFAULT_LOOK = Look()
CIRCLE_CORNERS = 24
FILLED = 0.99  # of the pitch


def are_squares(spots: Spots) -> bool:
    """Whether spots touch, so that squares show them without gaps; measured spots are circles."""
    return spots.diameter_um >= FILLED * spots.pitch_um


def area_mm2(spots: Spots) -> float:
    """Area of all spots together, as they are drawn: squares may overlap, circles do not."""
    if not are_squares(spots):
        return float(1e-6 * len(spots) * np.pi / 4 * spots.diameter_um**2)
    # seams add no area; to close them takes four times as long
    return float(1e-6 * shapely.union_all(shapely.polygons(_corners(spots))).area)


def outlines_um(spots: Spots) -> NDArray[np.float64]:
    """Corners of one spot about its centre: (corners, 2) float64, (x, y) in um, not closed."""
    radius_um = spots.diameter_um / 2
    if are_squares(spots):
        return np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * radius_um
    angle = np.linspace(0, 2 * np.pi, CIRCLE_CORNERS, endpoint=False)
    return radius_um * np.column_stack([np.cos(angle), np.sin(angle)])


REGION_COLOUR = "#ffd400"  # yellow: absent from H&E, and told apart from it by every eye
COVERAGE_COLOUR = "#4477aa"
BAR_OF_WIDTH = 0.25  # the longest scale bar
SEAM_UM = 0.1  # neighbouring spots that miss each other by less touch
NAME_WIDTH = 20  # letters of a region's name in one line
RASTER_ABOVE_SPOTS = 20_000  # more squares than that make a vector file that nothing opens


def draw_tissue(axes: Any, image: NDArray[np.uint8], where: WindowUm) -> None:
    """Draw the slide beneath everything else."""
    axes.imshow(image, extent=where.extent, interpolation="bilinear")


def frame(axes: Any, window: WindowUm) -> None:
    """Show exactly a window, without ticks."""
    axes.set(
        xlim=(window.left_um, window.right_um),
        ylim=(window.bottom_um, window.top_um),
        xticks=[],
        yticks=[],
        aspect="auto",  # the page gives both sides the same scale
    )


def draw_map(
    axes: Any,
    spots: Spots,
    values: NDArray[np.float32],
    look: Look,
    *,
    limits: Sequence[float] | None = None,
    is_sd: bool = False,
) -> Any:
    """Draw every spot, on axes in um, in the colour of its value, the tissue shining through.

    ``values`` are (n_spots,), of uncertainty where ``is_sd``; ``limits`` hold instead of those of the look.
    Gives what a colour legend is made from.
    """
    from matplotlib.colors import ListedColormap, PowerNorm

    colours = look.sd_colours if is_sd else look.colours
    low, high = limits or (look.sd_limits if is_sd else look.limits).of(values)
    return _draw_shapes(
        axes,
        _corners(spots),
        array=values,
        cmap=colours if isinstance(colours, str) else ListedColormap(colours),
        norm=PowerNorm(look.sd_gamma if is_sd else look.gamma, low, high),
        alpha=look.opacity,
        edgecolors="none",
    )


def draw_unlike(axes: Any, selection: Selection) -> None:
    """Hatch the spots that are unlike the training data."""
    if selection.ood.any():
        how = {"facecolors": "none", "edgecolors": "white", "linewidths": 0.0, "hatch": "////"}
        _draw_shapes(axes, _corners(selection.spots)[selection.ood], **how)


def draw_coverage(axes: Any, selection: Selection) -> None:
    """Outline the area that is predicted."""
    area = shapely.union_all(shapely.polygons(_corners(selection.spots)), grid_size=SEAM_UM)
    _draw_rings(axes, area, (1.0, 1.0), COVERAGE_COLOUR, 1.2)


def draw_regions(axes: Any, selection: Selection) -> None:
    """Outline the regions in the colours of their classes, holes too."""
    from matplotlib.colors import to_hex

    scale = (selection.mpp.x_um, selection.mpp.y_um)
    for region in selection.regions:
        colour = REGION_COLOUR
        if isinstance(region, ClassedRegion) and region.classification:
            colour = to_hex(np.array(region.colour) / 255)
        _draw_rings(axes, region.polygon, scale, colour, 1.6)


def name_regions(axes: Any, selection: Selection) -> None:
    """Write the regions' names in them, legible on any map."""
    from matplotlib.patheffects import withStroke

    for region in selection.regions:
        middle = region.polygon.representative_point()
        axes.text(
            middle.x * selection.mpp.x_um,
            middle.y * selection.mpp.y_um,
            textwrap.fill(region.name, NAME_WIDTH),
            parse_math=False,
            color="white",
            fontsize=8,
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=2, foreground="black")],
            clip_on=True,
        )


def _draw_shapes(axes: Any, corners: Any, **how: Any) -> Any:
    from matplotlib.collections import PolyCollection

    shapes = PolyCollection(corners, **how)
    shapes.set_rasterized(len(corners) > RASTER_ABOVE_SPOTS)
    return axes.add_collection(shapes, autolim=False)


def _draw_rings(
    axes: Any, area: shapely.Geometry, scale: tuple[float, float], colour: str, width: float
) -> None:
    """Draw all borders of an area, outer and inner, its (x, y) multiplied by ``scale``."""
    from matplotlib.collections import LineCollection

    parts = shapely.get_parts(area)
    rings = [ring for part in parts for ring in (part.exterior, *part.interiors)]
    lines = [np.asarray(ring.coords) * scale for ring in rings]
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=width), autolim=False)


def draw_scale_bar(axes: Any, font_size: float = 7.0) -> None:
    """Draw a bar of a round length with its length, bottom left of axes in um whose limits are set."""
    from matplotlib_scalebar.scalebar import ScaleBar

    axes.add_artist(
        ScaleBar(
            1.0,
            "um",
            length_fraction=BAR_OF_WIDTH,
            location="lower left",
            pad=0.3,
            border_pad=0.5,
            sep=2,
            box_alpha=0.7,
            font_properties={"size": font_size},
            rotation="horizontal-only",  # the page gives both sides the same scale
        )
    )


def _corners(spots: Spots) -> Any:
    """(n, corners, 2) outlines of spots, in um."""
    return spots.xy_um[:, None] + outlines_um(spots)


def require_same_slide(selection: Selection, slide: Slide) -> None:
    """Check that a slide is the one that was predicted; PredictionError where it is another."""
    provenance = selection.prediction.provenance
    if provenance.get("slide_fingerprint", slide.fingerprint) != slide.fingerprint:
        raise PredictionError(
            f"{slide.path.name} is not the slide that was predicted ({provenance.get('slide')}); "
            f"name that one, or leave the slide out."
        )


def window_of(spots: Spots, regions: Sequence[Region] = ()) -> WindowUm:
    """Part of the slide that holds the given regions, else all spots, with a margin."""
    points_um = spots.xy_um
    if regions:
        mpp = cast("Mpp", spots.mpp)
        corners_px = shapely.total_bounds([region.polygon for region in regions]).reshape(2, 2)
        points_um = corners_px * (mpp.x_um, mpp.y_um)
    low_um, high_um = points_um.min(0), points_um.max(0)
    around_um = spots.diameter_um / 2 + MARGIN * float((high_um - low_um).max())
    left_um, top_um = np.maximum(0, low_um - around_um).tolist()
    return WindowUm(left_um, top_um, *(high_um + around_um).tolist())


def cut(
    selection: Selection, slide: Slide | None, window: WindowUm, longer_px: int
) -> tuple[NDArray[np.uint8], WindowUm]:
    """Image of a window, about ``longer_px`` on its longer side, and where exactly it lies.

    The coarsest level that is sharp enough is read; without the slide the prediction's overview serves. Where
    the window leaves the slide it is white.
    """
    if slide is not None:
        require_same_slide(selection, slide)
        return cut_slide(slide, selection.mpp, window, longer_px)
    pixels, downsample = selection.prediction.overview()
    (left, top, right, bottom), where = _in_pixels(window, selection.mpp, downsample)
    found = pixels[top:bottom, left:right]
    image = np.full((bottom - top, right - left, 3), 255, np.uint8)
    image[: found.shape[0], : found.shape[1]] = found
    return image, where


def cut_slide(
    slide: Slide, mpp: Mpp, window: WindowUm, longer_px: int
) -> tuple[NDArray[np.uint8], WindowUm]:
    """Image of a window of an open slide, at a pixel size; see `cut`."""
    longer_um = max(window.width_um / mpp.x_um, window.height_um / mpp.y_um)
    sharp = [i for i, v in enumerate(slide.levels) if longer_um / v.downsample >= longer_px]
    index = max(sharp, default=0)
    (left, top, right, bottom), where = _in_pixels(window, mpp, slide.levels[index].downsample)
    size = SizePx(height_px=bottom - top, width_px=right - left)
    return slide.read_region(left, top, index, size), where


def _in_pixels(
    window: WindowUm, mpp: Mpp, downsample: float
) -> tuple[tuple[int, int, int, int], WindowUm]:
    """Left, top, right and bottom of the pixels that hold a window, and where they lie."""
    x_um, y_um = downsample * mpp.x_um, downsample * mpp.y_um
    left, top = int(window.left_um / x_um), int(window.top_um / y_um)
    right, bottom = int(np.ceil(window.right_um / x_um)), int(np.ceil(window.bottom_um / y_um))
    where = WindowUm(left * x_um, top * y_um, right * x_um, bottom * y_um)
    return (left, top, right, bottom), where
