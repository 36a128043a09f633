"""The slides among the viewer's layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_stem.layers import AXES, METADATA_KEY, UM, slide_layer, slide_placement
from napari_stem.widgets.common.units import keep_units, own_units, settle_units
from napari_stem.widgets.slide.slide_feed import wait_little

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_stem.geometry import Mpp
    from napari_stem.slide.base import Slide


def slide_of(layer: Any) -> Slide | None:
    """Return the open slide that a layer shows, or None."""
    slide: Slide | None = layer.metadata.get(METADATA_KEY, {}).get("slide")
    return slide


def twin_of(slide: Slide, viewer: Viewer) -> Any:
    """Layer that shows the same slide, from a file that is still there; None where there is none."""
    for layer in viewer.layers:
        other = slide_of(layer)
        if other is not None and other.fingerprint == slide.fingerprint and other.path.exists():
            return layer
    return None


def show_scale_bar(viewer: Viewer, *, is_shown: bool = True) -> None:
    """Show or hide the scale bar, away from the corner that napari's notifications lie over."""
    bar = viewer.canvas.overlays.scale_bar
    bar.position = "bottom_left"
    bar.visible = is_shown


class SlideLayers:
    """Finds, adds and rescales slide layers."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        keep_units(viewer)
        self._views: dict[Image, tuple[tuple[float, ...], float]] = {}  # centre and zoom
        self._fitted: tuple[tuple[float, ...], float] | None = (
            None  # the same, as ``fit`` left them
        )

    def layers(self) -> list[Image]:
        """Layers that show a slide of ours, in the order of the layer list."""
        return [layer for layer in self._viewer.layers if slide_of(layer) is not None]

    def add(self, slide: Slide, name: str | None = None) -> Image:
        """Add a slide to the viewer."""
        data, options, _ = slide_layer(slide)
        if name is not None:
            options["name"] = name
        wait_little(options["metadata"][METADATA_KEY]["pyramid"])
        return self._viewer.add_image(data, **options)

    def look_at(self, layer: Image, before: Image | None) -> bool:
        """Turn from one slide to another: each keeps the place at which it was last looked at.

        Returns
        -------
        Whether the slide is shown as a whole, having not been looked at before; in a window,
        ``show_scale_bar`` is due when its picture has been drawn.
        """
        camera = self._viewer.scene.camera
        if before is layer:
            return False
        if before is not None:
            self._views[before] = self._looked_at()
        is_known = layer in self._views
        slide = slide_of(layer)
        # its first drawing compiles shaders and letters for half a second: the picture comes before
        if is_known or not hasattr(self._viewer, "window") or slide is None or slide.mpp is None:
            self.show_scale_bar(layer)
        if is_known:
            camera.center, camera.zoom = self._views[layer]
            return False
        self.fit(layer)
        return True

    def show_scale_bar(self, layer: Image) -> None:
        """Show the scale bar if the slide's pixel size is known."""
        slide = slide_of(layer)
        show_scale_bar(self._viewer, is_shown=slide is not None and slide.mpp is not None)

    def fit(self, layer: Image) -> None:
        """Show the whole of a slide."""
        self._viewer.reset_view(layers=[layer])
        self._fitted = self._looked_at()

    def is_as_fitted(self) -> bool:
        """Whether nobody has moved or zoomed since the whole of a slide was shown."""
        return self._fitted == self._looked_at()

    def _looked_at(self) -> tuple[tuple[float, ...], float]:
        camera = self._viewer.scene.camera
        return tuple(camera.center), float(camera.zoom)

    def set_pixel_size(self, layer: Image, mpp: Mpp) -> None:
        """Give a slide, and the layer that shows it, the pixel size that the user stated."""
        slide = slide_of(layer)
        if slide is None:
            return
        slide.mpp = mpp
        placement = slide_placement(mpp)
        layer.scale, layer.translate = placement.scale_um, placement.translate_um
        layer.units, layer.axis_labels = UM, AXES
        own_units(layer)
        settle_units(self._viewer)
        show_scale_bar(self._viewer)
        self.fit(layer)

    def why_unusable(self) -> list[str]:
        """One sentence for every image that is not a slide of ours."""
        sentences = []
        for layer in self._viewer.layers:
            if not isinstance(layer, Image) or METADATA_KEY in layer.metadata:
                continue
            path = layer.source.path
            remedy = (
                f"use “Open slide…” on {path}"
                if path
                else "save it as a file and use “Open slide…”"
            )
            sentences.append(
                f"“{layer.name}” was not opened as a slide; to predict on it, {remedy}."
            )
        return sentences


def load_libraries() -> None:
    """Load what the first slide of a session needs, which takes seconds; call it off the GUI thread.

    ``load_units`` must have been called before, on the GUI thread.
    """
    import zarr.codecs  # noqa: F401

    from napari_stem.slide import display, ngff, pyramid, raster, tiff  # noqa: F401

    Image(np.zeros((2, 2, 3), np.uint8))  # napari's own share: xarray, pandas, scipy
