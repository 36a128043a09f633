"""Where images lie in the world of a viewer.

The world is in micrometres, with its origin at the outer corner of the slide's top-left pixel. napari
puts the *centre* of pixel (0, 0) at ``translate``, so every image lies half a pixel further in than
its corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_stem.slide.view import SlideView

if TYPE_CHECKING:
    from napari_stem.geometry import Mpp
    from napari_stem.slide.base import Slide

LayerData = tuple[Any, dict[str, Any], str]  # data, options, kind: as napari's readers return them
METADATA_KEY = "napari_stem"  # in a layer's metadata: what of ours the layer shows
UM = ("um", "um")
PIXELS = ("pixel", "pixel")
AXES = ("y", "x")


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
    the open slide under ``"slide"`` and what the layer reads under ``"view"``.
    """
    view = SlideView(slide)
    options: dict[str, Any] = {
        "name": slide.path.stem,
        "rgb": True,
        "multiscale": True,
        "metadata": {METADATA_KEY: {"slide": slide, "view": view}},
    }
    if slide.mpp is None:
        options |= {"units": PIXELS, "axis_labels": AXES, "translate": (0.5, 0.5)}
    else:
        options |= slide_placement(slide.mpp).as_layer_options()
    return list(view.levels), options, "image"
