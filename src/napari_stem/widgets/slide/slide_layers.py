"""The slides among the viewer's layers: found, added, looked at, brought back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QPushButton

from napari_stem.layers import AXES, METADATA_KEY, UM, slide_layer, slide_placement
from napari_stem.widgets.common.parts import listening, one_shot
from napari_stem.widgets.common.units import keep_units, own_units, regions_of, settle_units
from napari_stem.widgets.slide.slide_feed import wait_little

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_stem.geometry import Mpp
    from napari_stem.slide.base import Slide

    View = tuple[tuple[float, ...], float]  # centre and zoom

FIT_AGAIN_MS = 60
SCALE_BAR_MS = 100
LOOKED_CLOSER = 1.5  # times the zoom that shows the whole slide: somebody had gone to a place


def slide_of(layer: Any) -> Slide | None:
    """Return the open slide that a layer shows, or None."""
    slide: Slide | None = layer.metadata.get(METADATA_KEY, {}).get("slide")
    return slide


def slides_among(layers: Iterable[Layer]) -> list[Layer]:
    """Layers that show a slide that was opened, in their order."""
    return [layer for layer in layers if slide_of(layer) is not None]


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


class SlideLayers(QObject):
    """Finds, adds and rescales slide layers, and turns the view from one to another."""

    def __init__(self, viewer: Viewer, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.active: Image | None = None  # shows the slide that is looked at
        keep_units(viewer)
        self._views: dict[Image, View] = {}
        self._fitted: View | None = None  # as ``fit`` left it
        # a first layer widens napari's own docks: fit once more
        self._fitting = one_shot(self, FIT_AGAIN_MS, self._fit_again)
        self._scale_bar = one_shot(self, SCALE_BAR_MS, self._show_scale_bar)
        self._let_go = listening((viewer.canvas.events.size, self._on_canvas_resized))

    def close(self) -> None:
        """Let go of the viewer."""
        self._fitting.stop()
        self._scale_bar.stop()
        self._let_go()
        self.active = None

    def layers(self) -> list[Image]:
        """Layers that show a slide of ours, in the order of the layer list."""
        return slides_among(self._viewer.layers)

    def add(self, slide: Slide, name: str | None = None) -> Image:
        """Add a slide to the viewer."""
        data, options, _ = slide_layer(slide)
        if name is not None:
            options["name"] = name
        wait_little(options["metadata"][METADATA_KEY]["pyramid"])
        return self._viewer.add_image(data, **options)

    def look_at(self, layer: Image) -> None:
        """Turn to a slide: each keeps the place at which it was last looked at, a new one is seen whole."""
        camera, before, self.active = self._viewer.scene.camera, self.active, layer
        if before is layer:
            return
        if before is not None:
            self._views[before] = self._looked_at()
        is_known = layer in self._views
        slide = slide_of(layer)
        # its first drawing compiles shaders and letters for half a second: the picture comes before
        if is_known or not hasattr(self._viewer, "window") or slide is None or slide.mpp is None:
            self._show_scale_bar()
        if is_known:
            camera.center, camera.zoom = self._views[layer]
            return
        self.fit()
        self._fitting.start()

    @contextmanager
    def place_kept(self) -> Iterator[None]:
        """Turn to a slide without leaving the place to which somebody had gone on it."""
        camera = self._viewer.scene.camera
        centre, zoom = self._looked_at()
        yield
        if zoom > LOOKED_CLOSER * camera.zoom:
            self._fitting.stop()
            camera.center, camera.zoom = centre, zoom

    def fit(self) -> None:
        """Show the whole of the active slide."""
        if self.active is not None:
            self._viewer.reset_view(layers=[self.active])
            self._fitted = self._looked_at()

    def _fit_again(self) -> None:
        if self.active in self._viewer.layers:
            self.fit()
            self._scale_bar.start()

    def _show_scale_bar(self) -> None:
        if self.active in self._viewer.layers:
            slide = slide_of(self.active)
            show_scale_bar(self._viewer, is_shown=slide is not None and slide.mpp is not None)

    def _on_canvas_resized(self, event: Any) -> None:
        if self.active is not None and self._fitted == self._looked_at():
            self._fitting.start()  # nobody has moved or zoomed since

    def _looked_at(self) -> View:
        camera = self._viewer.scene.camera
        return tuple(camera.center), float(camera.zoom)

    def set_pixel_size(self, layer: Image, slide: Slide, mpp: Mpp) -> None:
        """Give the active slide, and the layer that shows it, the pixel size that the user stated."""
        slide.mpp = mpp
        placement = slide_placement(mpp)
        layer.scale, layer.translate = placement.scale_um, placement.translate_um
        layer.units, layer.axis_labels = UM, AXES
        own_units(layer)
        settle_units(self._viewer)
        show_scale_bar(self._viewer)
        self.fit()

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


class BackButton(QPushButton):
    """Brings back the slide that was removed last, with its regions; its maps follow it."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.gone: list[Layer] = []  # the slide, and its regions
        self.setToolTip("Show it again, with its regions and maps")
        self.clicked.connect(self._bring_back)
        self._offer([])

    def put_by(self, layer: Layer, slide: Slide) -> None:
        """Take a slide's regions along with it, and keep both until another slide goes."""
        gone = [la for la in self._viewer.layers if regions_of(la) == slide.fingerprint]
        self._offer([layer, *gone] if slide.is_complete else [])  # a part of a slide is closed
        # napari has not yet told everybody of the first
        QTimer.singleShot(
            0, lambda: [self._viewer.layers.remove(la) for la in gone if la in self._viewer.layers]
        )

    def _bring_back(self) -> None:
        gone = self.gone
        self._offer([])
        for layer in gone:
            if layer not in self._viewer.layers:
                layer.visible = True
                self._viewer.layers.append(layer)

    def _offer(self, gone: list[Layer]) -> None:
        self.gone = gone
        self.setText(f"Bring back {gone[0].name}" if gone else "")
        self.setVisible(bool(gone))


def load_libraries() -> None:
    """Load what the first slide of a session needs, which takes seconds; call it off the GUI thread.

    ``load_units`` must have been called before, on the GUI thread.
    """
    import zarr.codecs  # noqa: F401

    from napari_stem.slide import display, ngff, pyramid, raster, tiff  # noqa: F401

    Image(np.zeros((2, 2, 3), np.uint8))  # napari's own share: xarray, pandas, scipy
