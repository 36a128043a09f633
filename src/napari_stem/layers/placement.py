"""Where images and shapes lie in the world of a viewer.

The world is in micrometres, with its origin at the outer corner of the slide's top-left pixel. napari
puts the *centre* of pixel (0, 0) at ``translate``, so every image lies half a pixel further in than
its corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import shapely
    from numpy.typing import ArrayLike, NDArray

    from napari_stem.geometry import Mpp
    from napari_stem.slide.base import Slide

LayerData = tuple[Any, dict[str, Any], str]  # data, options, kind: as napari's readers return them
METADATA_KEY = "napari_stem"  # in a layer's metadata: what of ours the layer shows
UM = ("um", "um")
PIXELS = ("pixel", "pixel")
AXES = ("y", "x")
ELLIPSE_CORNERS = 64


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
