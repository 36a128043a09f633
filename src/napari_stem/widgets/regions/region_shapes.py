"""Regions as the shapes of a layer, and shapes as regions: outlines, names, classes, colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from napari_stem.errors import RegionError
from napari_stem.geometry import Region
from napari_stem.layers import one_ring, outline
from napari_stem.spatial.region_files import ClassedRegion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari.layers import Image, Shapes
    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp
    from napari_stem.spatial.region_files import Colour

UNDER_WAY = "new region"
NEW = -1  # number of a region that has just been drawn
# columns of the layer's features table
NUMBER, NAME, CLASS, CLICKED = "number", "name", "classification", "clicked"
BLANK: dict[str, Any] = {NUMBER: NEW, NAME: "", CLASS: "", CLICKED: False}


@dataclass(frozen=True)
class Drawn:
    """A region as it is on the canvas.

    Attributes
    ----------
    number
        Its number in the layer's features; kept while it is edited, never used twice.
    region
        What it covers, in level-0 px, with its name and class.
    shapes
        Places of its parts in the layer's list of shapes.
    is_clicked
        Whether one click made it.
    """

    number: int
    region: ClassedRegion
    shapes: tuple[int, ...]
    is_clicked: bool = False


def read_shapes(
    layer: Shapes, slide_layer: Image, mpp: Mpp, colour_of: Callable[[str], Colour]
) -> list[Drawn]:
    """Regions of a shapes layer, in the order of drawing; what encloses nothing yet is left out.

    Parameters
    ----------
    layer, slide_layer
        The regions, and the slide under them, wherever the user has moved either.
    mpp
        The slide's pixel size.
    colour_of
        Colour of a class.
    """
    features = layer.features
    found = []
    for key, pieces in _areas(layer, slide_layer, mpp).items():
        first = features.iloc[pieces[0][0]]
        classification = str(first[CLASS])
        region = ClassedRegion(
            shapely.union_all([area for _, area in pieces]),
            str(first[NAME]) or UNDER_WAY,
            classification,
            colour_of(classification),
        )
        places = tuple(place for place, _ in pieces)
        found.append(Drawn(max(key, NEW), region, places, bool(first[CLICKED])))
    return found


def _areas(
    layer: Shapes, slide_layer: Image, mpp: Mpp
) -> dict[int, list[tuple[int, shapely.Geometry]]]:
    """Places in the layer's list and areas in level-0 px, by the number of their region."""
    to_slide = affine(lambda point: slide_layer.world_to_data(layer.data_to_world(point)))
    numbers = layer.features[NUMBER]
    areas: dict[int, list[tuple[int, shapely.Geometry]]] = {}
    for place, (vertices, kind) in enumerate(zip(layer.data, layer.shape_type, strict=True)):
        corners = outline(vertices, kind)
        if corners is None:
            continue
        yx_um = (to_slide(corners) + 0.5) * (mpp.y_um, mpp.x_um)
        try:
            area = Region.from_vertices_um(yx_um, mpp).polygon
        except RegionError:  # still being drawn: no area yet
            continue
        number = int(numbers.iloc[place])
        key = number if number != NEW else -2 - place  # each new shape is a region of its own
        areas.setdefault(key, []).append((place, area))
    return areas


def outlines_yx(
    regions: Iterable[Region], layer: Shapes, slide_layer: Image
) -> list[list[NDArray[np.float64]]]:
    """Outlines of regions in a shapes layer's coordinates: one (n, 2) array per part of each region."""
    to_layer = affine(lambda point: layer.world_to_data(slide_layer.data_to_world(point)))
    # napari's indices name the centres of pixels
    return [
        [
            to_layer(one_ring(part)[:, ::-1] - 0.5)
            for part in shapely.get_parts(region.polygon)
            if part.geom_type == "Polygon"
        ]
        for region in regions
    ]


def number_shapes(layer: Shapes) -> bool:
    """Give what was newly drawn a number and a name; tell whether there was any."""
    features = layer.features
    new = np.flatnonzero(features[NUMBER].to_numpy() == NEW) if len(features) else ()
    if not len(new):
        return False
    table = features.copy()
    for place in new:
        row = table.index[place]
        table.loc[row, NUMBER] = max(0, int(table[NUMBER].max())) + 1
        if not str(table.loc[row, NAME]):
            table.loc[row, NAME] = free_name("region", table[NAME])
    layer.features = table
    return True


def free_name(stem: str, taken: Iterable[object]) -> str:
    """Return the first of ``stem 1``, ``stem 2`` … that is not taken."""
    names, number = {str(name) for name in taken}, 1
    while f"{stem} {number}" in names:
        number += 1
    return f"{stem} {number}"


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


def squares_um(
    centre_um: Sequence[float], n_spots: int, pitch_um: float
) -> tuple[float, float, float, float]:
    """Square of ``n_spots`` x ``n_spots`` whole spots round a point: (top, left, bottom, right) in um.

    Parameters
    ----------
    centre_um
        (y, x) on the slide, from its corner.
    n_spots
        Along a side.
    pitch_um
        Distance between spots; the lattice starts at the slide's corner.
    """
    top, left = (
        max(0, round(value / pitch_um - n_spots / 2)) * pitch_um for value in centre_um[-2:]
    )
    side_um = n_spots * pitch_um
    return top, left, top + side_um, left + side_um
