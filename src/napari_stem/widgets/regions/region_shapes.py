"""Regions as the shapes of a layer, and shapes as regions: outlines, names, classes, colours, undo, spots."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import shapely

from napari_stem.errors import RegionError
from napari_stem.geometry import Mpp, Region, SizePx
from napari_stem.layers.from_files import CLASS, CLICKED, NAME, NEW, NUMBER
from napari_stem.layers.placement import outline
from napari_stem.spatial.region_files import ClassedRegion, Colour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd
    from napari.layers import Image, Shapes
    from numpy.typing import NDArray


UNDER_WAY = "new region"
ESTIMATE_ABOVE = 100_000  # spots round a region: beyond, its area alone says how many
CORNERS = 20_000  # of an outline: beyond, its area alone says how many
STEPS = 50  # that can be taken back


@dataclass(frozen=True)
class DrawnRegion:
    """A region as it is on the canvas."""

    # in the layer's features; kept while it is edited; the highest, once removed, goes to the next region
    number: int
    region: ClassedRegion  # in level-0 px, with its name and class
    is_clicked: bool = False  # one click made it


def read_shapes(
    layer: Shapes, slide_layer: Image, colour_of: Callable[[str], Colour]
) -> list[DrawnRegion]:
    """Regions of a shapes layer, in the order of drawing; what encloses nothing yet is left out.

    The regions and the slide under them may have been moved; ``colour_of`` gives the colour of a class.
    """
    to_slide = affine(lambda point: slide_layer.world_to_data(layer.data_to_world(point)))
    rows = layer.features.to_dict("records")
    # by the number of a region, where it is in the layer's list, and its parts
    pieces: dict[int, tuple[int, list[shapely.Geometry]]] = {}
    for place, (vertices, kind) in enumerate(zip(layer.data, layer.shape_type, strict=True)):
        corners = outline(vertices, kind)
        if corners is None:
            continue
        try:
            yx_px = to_slide(corners) + 0.5
            area = Region.from_vertices_um(yx_px, Mpp.square(1)).polygon  # in px
        except RegionError:  # still being drawn: no area yet
            continue
        number = int(rows[place][NUMBER])
        key = number if number != NEW else -2 - place  # each new shape is a region of its own
        pieces.setdefault(key, (place, []))[1].append(area)
    found = []
    for key, (place, areas) in pieces.items():
        first = rows[place]
        classification = str(first[CLASS])
        region = ClassedRegion(
            shapely.union_all(areas),
            str(first[NAME]) or UNDER_WAY,
            classification,
            colour_of(classification),
        )
        found.append(DrawnRegion(max(key, NEW), region, bool(first[CLICKED])))
    return found


def number_shapes(layer: Shapes) -> None:
    """Give what was newly drawn a number and a name."""
    table = layer.features.copy()
    new = table.index[table[NUMBER] == NEW]
    for row in new:
        table.loc[row, NUMBER] = max(0, int(table[NUMBER].max())) + 1
        if not str(table.loc[row, NAME]):
            table.loc[row, NAME] = free_name("region", table[NAME])
    layer.features = table


def free_name(stem: str, taken: Iterable[object]) -> str:
    """Return the first of ``stem 1``, ``stem 2`` … that is not taken."""
    names = {str(name) for name in taken}
    return next(name for n in count(1) if (name := f"{stem} {n}") not in names)


def affine(
    transform: Callable[[NDArray[np.float64]], Any],
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Apply a layer's point-by-point transform, which is affine, to (n, 2) points at once."""
    origin, y, x = (
        np.asarray(transform(np.array(point)), dtype=np.float64)[-2:]
        for point in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    )
    matrix = np.stack([y - origin, x - origin])
    return lambda points: np.asarray(points @ matrix + origin, dtype=np.float64)


class Snapshot(NamedTuple):
    """All shapes of a layer at one moment."""

    vertices: list[NDArray[np.float64]]
    kinds: list[str]
    features: pd.DataFrame

    @classmethod
    def of(cls, layer: Shapes) -> Snapshot:
        """Copy what a layer holds now."""
        vertices = [np.array(each) for each in layer.data]
        return cls(vertices, list(layer.shape_type), layer.features.reset_index(drop=True))

    def is_same(self, other: Snapshot) -> bool:
        """Whether nothing differs."""
        return (
            self.kinds == other.kinds
            and all(map(np.array_equal, self.vertices, other.vertices))
            and self.features.to_dict("list") == other.features.to_dict("list")
        )


class History:
    """What the regions of a layer were after each settled change; holds no layer that nobody else does."""

    def __init__(self, layer: Shapes) -> None:
        # of them, the one that is on the canvas
        self._snapshots, self._place = [Snapshot.of(layer)], 0
        self._step = ""  # what kind of step led to it

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return self._place > 0

    @property
    def n_shapes(self) -> int:
        """Number of shapes when last noted."""
        return len(self._snapshots[self._place].kinds)

    def note(self, layer: Shapes, step: str = "") -> None:
        """Remember a change; nothing happens where there was none.

        Steps of one kind that follow one another are taken back together.
        """
        now = Snapshot.of(layer)
        if now.is_same(self._snapshots[self._place]):
            return
        is_same_step = bool(step) and step == self._step
        before = self._snapshots[: self._place + (not is_same_step)]
        self._snapshots = [*before, now][-1 - STEPS :]
        self._place, self._step = len(self._snapshots) - 1, step

    def go(self, layer: Shapes, by: int) -> None:
        """Show what was before the last change (-1), or before that was taken back (1), if anything was."""
        if 0 <= self._place + by < len(self._snapshots):
            self._place, self._step = self._place + by, ""
            shown = self._snapshots[self._place]
            layer.selected_data = set()
            layer.remove(list(range(layer.nshapes)))  # `data = []` would leave their features
            if shown.vertices:
                layer.add(shown.vertices, shape_type=shown.kinds)
                layer.features = shown.features.copy()


def count_spots(
    regions: Sequence[Region], size: SizePx, mpp: Mpp, pitch_um: float
) -> tuple[int, list[int]]:
    """Count the spots of a run without making their list; near enough where there are very many.

    Gives (in all, in each region); spots in several regions are counted once in all.
    """
    each = [_count(region.polygon, size, mpp, pitch_um) for region in regions]
    if len(regions) < 2:
        return sum(each), each
    return _count(shapely.union_all([r.polygon for r in regions]), size, mpp, pitch_um), each


def _count(area: shapely.Geometry, size: SizePx, mpp: Mpp, pitch_um: float) -> int:
    step_x_px, step_y_px = pitch_um / mpp.x_um, pitch_um / mpp.y_um
    left, top, right, bottom = area.bounds
    x_px = _between(left, right, step_x_px, size.width_px)
    y_px = _between(top, bottom, step_y_px, size.height_px)
    if len(x_px) * len(y_px) > ESTIMATE_ABOVE or shapely.get_num_coordinates(area) > CORNERS:
        slide = shapely.box(0, 0, size.width_px, size.height_px)
        area_px2 = float(shapely.intersection(area, slide).area)
        return round(area_px2 / (step_x_px * step_y_px))
    shapely.prepare(area)
    return int(np.count_nonzero(shapely.contains_xy(area, *np.meshgrid(x_px, y_px))))


def _between(low_px: float, high_px: float, step_px: float, side_px: int) -> NDArray[np.float64]:
    """Centres of rows or columns of `geometry.lattice` that lie between two bounds."""
    centres_px = (np.arange(int(side_px / step_px + 0.5), dtype=np.float64) + 0.5) * step_px
    return np.asarray(centres_px[(centres_px >= low_px) & (centres_px <= high_px)], np.float64)


def square_of_spots(
    centre_px: tuple[float, float], n_spots: int, pitch_um: float, mpp: Mpp
) -> shapely.Polygon:
    """Square of ``n_spots`` x ``n_spots`` whole spots of the lattice round a point, (x, y) in level-0 px."""
    steps_px = np.divide(pitch_um, (mpp.x_um, mpp.y_um))
    first = np.maximum(np.rint(np.divide(centre_px, steps_px) - n_spots / 2), 0)
    return shapely.box(*(first * steps_px), *((first + n_spots) * steps_px))
