"""The regions that users draw: one shapes layer per slide, in um."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import RegionError
from napari_stem.geometry import Region
from napari_stem.layers import AXES, METADATA_KEY, UM, outline, without_holes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Image, Shapes
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide

EDGE_PIXELS = 3  # width of outlines on a screen that shows the whole slide
SCREEN_PIXELS = 800
COLOUR = "#ffd400"  # yellow: absent from H&E, and told apart from it by every eye


class RegionLayers:
    """Makes and reads the shapes layers of slides."""

    def __init__(self, viewer: Viewer, changed: Callable[[], None]) -> None:
        self._viewer = viewer
        self._changed = changed

    def find(self, slide: Slide) -> Shapes | None:
        """Return the slide's shapes layer, or None where nothing has been drawn."""
        for layer in self._viewer.layers:
            if layer.metadata.get(METADATA_KEY, {}).get("regions_of") == slide.fingerprint:
                return layer
        return None

    def of(self, slide: Slide) -> Shapes:
        """Return the slide's shapes layer, made if there is none."""
        found = self.find(slide)
        if found is not None:
            return found
        mpp = slide.require_mpp()
        side_um = max(slide.size.height_px * mpp.y_um, slide.size.width_px * mpp.x_um)
        layer = self._viewer.add_shapes(
            ndim=2,
            name=f"Regions on {slide.path.stem}",
            edge_color=COLOUR,
            face_color="transparent",
            edge_width=EDGE_PIXELS * side_um / SCREEN_PIXELS,
            scale=(1, 1),
            units=UM,
            axis_labels=AXES,
            metadata={METADATA_KEY: {"regions_of": slide.fingerprint}},
        )
        layer.events.data.connect(self._on_data)
        return layer

    def start_drawing(self, slide: Slide) -> None:
        """Hand the user a polygon pen."""
        layer = self.of(slide)
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = "add_polygon"

    def stop_drawing(self, slide: Slide) -> None:
        """Take the pen away, so that clicks move the view again."""
        layer = self.find(slide)
        if layer is not None:
            layer.mode = "pan_zoom"

    def put(self, slide: Slide, regions: Sequence[Region], slide_layer: Image) -> None:
        """Show regions in place of those that were there."""
        layer = self.of(slide)
        pieces = [piece for region in regions for piece in without_holes(region.polygon)]
        outlines = []
        for piece in pieces:
            xy_px = np.asarray(piece.exterior.coords)[:-1]
            yx_pixel = xy_px[:, ::-1] - 0.5  # napari's indices name the centres of pixels
            outlines.append(_mapped(yx_pixel, slide_layer.data_to_world))
        if outlines:
            layer.data = []
            layer.add_polygons(outlines)

    def clear(self, slide: Slide) -> None:
        """Remove all regions of a slide."""
        layer = self.find(slide)
        if layer is not None:
            layer.data = []
            self._changed()

    def regions(self, slide: Slide, slide_layer: Image) -> list[Region]:
        """Regions drawn on a slide; outlines that are not finished yet are left out.

        Parameters
        ----------
        slide, slide_layer
            The slide, and the layer that shows it, wherever the user has moved it.
        """
        layer = self.find(slide)
        if layer is None:
            return []
        mpp = slide.require_mpp()
        regions: list[Region] = []
        for vertices, kind in zip(layer.data, layer.shape_type, strict=True):
            corners = outline(vertices, kind)
            if corners is None:
                continue
            world = _mapped(corners, layer.data_to_world)
            yx_px = _mapped(world, slide_layer.world_to_data) + 0.5
            name = f"region {len(regions) + 1}"
            try:
                regions.append(Region.from_vertices_um(yx_px * (mpp.y_um, mpp.x_um), mpp, name))
            except RegionError:  # still being drawn: no area yet
                continue
        return regions

    def raise_outlines(self, slide: Slide) -> None:
        """Move a slide's outlines above its maps."""
        layer = self.find(slide)
        if layer is not None:
            layers = self._viewer.layers
            layers.move(layers.index(layer), len(layers))

    def _on_data(self, event: Any) -> None:
        self._changed()


def _mapped(
    points: NDArray[np.float64], transform: Callable[[NDArray[np.float64]], Any]
) -> NDArray[np.float64]:
    """Transform points one by one, as a layer's public transforms take them: (n, 2) -> (n, 2)."""
    return np.array([transform(point) for point in points], dtype=np.float64).reshape(-1, 2)
