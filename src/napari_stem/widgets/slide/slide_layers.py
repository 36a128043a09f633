"""The slides among the viewer's layers: found, added, drawn as their pixels come, looked at, brought back.

Layers beside them get their units: napari shows none, and warns, where some are in um and some in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
from napari.layers import Image, Layer, Shapes
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QApplication, QPushButton
from superqt.utils import qthrottled

from napari_stem.geometry import Mpp
from napari_stem.layers.placement import AXES, METADATA_KEY, UM, slide_layer, slide_placement
from napari_stem.slide.pixel_size import BY_USER, STATED, MppSource
from napari_stem.widgets.common.garbage import wait_at_exit
from napari_stem.widgets.common.parts import one_shot
from napari_stem.widgets.common.worker import Jobs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide
    from napari_stem.slide.display import Pyramid

    View = tuple[tuple[float, ...], float]  # centre and zoom

PATIENCE_S = 0.04  # what most steps take; the rest is drawn when it comes
FIRST_PREVIEW_MS = 40  # until there is anything to be seen
LOOKED_CLOSER = 1.5  # times the zoom that shows the whole slide: somebody had gone to a place
PIXEL = "pixel"
_kept: WeakSet[Any] = WeakSet()  # layer lists that are looked after
_lent: WeakSet[Any] = WeakSet()  # layers in pixels that count as um for now
_gone_along: WeakSet[Any] = WeakSet()  # layers that went out of sight with their slide


def ours(layer: Any) -> dict[str, Any]:
    """Return what of ours a layer shows, as its metadata say; nothing for layers of others."""
    return cast("dict[str, Any]", layer.metadata.get(METADATA_KEY, {}))


def slide_of(layer: Any) -> Slide | None:
    """Return the open slide that a layer shows, or None."""
    return cast("Slide | None", ours(layer).get("slide")) if _is_whole(layer) else None


def pyramid_of(layer: Any) -> Pyramid | None:
    """Return what a slide's layer reads, or None for other layers."""
    return cast("Pyramid | None", ours(layer).get("pyramid")) if _is_whole(layer) else None


def _is_whole(layer: Any) -> bool:
    """Whether it is no channel and no level of a slide, made in napari: these take its metadata along."""
    return isinstance(layer, Image) and layer.rgb and layer.multiscale


def regions_owner(layer: Any) -> str | None:
    """Fingerprint of the slide whose regions a layer holds, or None."""
    # labels that napari made of regions take their metadata along
    return cast("str | None", ours(layer).get("regions_of")) if isinstance(layer, Shapes) else None


def follow_slide(layer: Layer, *, is_seen: bool) -> None:
    """Take a layer that lies on a slide out of sight with it; one that went so comes back with it."""
    if not is_seen and layer.visible:
        layer.visible = False
        come_back_with_slide(layer)
    elif is_seen and layer in _gone_along:
        layer.visible = True
        _gone_along.discard(layer)


def come_back_with_slide(layer: Layer) -> None:
    """Have a layer that is out of sight seen again with its slide, as `follow_slide` does."""
    _gone_along.add(layer)


def from_slide_um(layer: Image) -> NDArray[np.float64]:
    """(3, 3) affine matrix from (y, x) um on a slide to the world.

    The identity until its layer is moved, scaled or turned by napari's *Transform* or by a script.
    """
    slide = slide_of(layer)
    mpp = None if slide is None else slide.mpp
    place = slide_placement(mpp or Mpp.square(1))
    corners_px = np.subtract([(0, 0), (1, 0), (0, 1)], place.translate_um) / place.scale_um
    origin, y, x = (np.asarray(layer.data_to_world(at))[-2:] for at in corners_px)
    # of what has not moved no trace is left
    return np.round(np.vstack([np.stack([y - origin, x - origin, origin], axis=1), (0, 0, 1)]), 9)


def is_fed(layer: Any) -> bool:
    """Whether somebody redraws a slide's layer already."""
    pyramid = pyramid_of(layer)
    return pyramid is not None and pyramid.arrived is not None


def wait_little(pyramid: Pyramid) -> None:
    """Let the viewer's thread wait for pixels a moment only; a ``SlideFeed`` must follow."""
    pyramid.patience_s = PATIENCE_S


def slides_among(layers: Iterable[Layer]) -> list[Layer]:
    """Layers that show a slide that was opened, in their order."""
    return [layer for layer in layers if slide_of(layer) is not None]


def twin_of(slide: Slide, viewer: Viewer) -> Any:
    """Layer that shows the same slide, from a file that is still there; None where there is none.

    A slide that has a twin is closed: a copy would lie over its maps and regions.
    """
    for layer in viewer.layers:
        other = slide_of(layer)
        if other is not None and other.fingerprint == slide.fingerprint and other.path.exists():
            slide.close()
            return layer
    return None


def show_scale_bar(viewer: Viewer, *, is_shown: bool = True) -> None:
    """Show or hide the scale bar, away from the corner that napari's notifications lie over."""
    bar = viewer.canvas.overlays.scale_bar
    bar.position = "bottom_left"
    bar.visible = is_shown


def keep_units(viewer: Viewer) -> None:
    """From now on, give layers in pixels um while there are a layer of ours and one in a unit of length.

    Nothing moves: napari draws one pixel of theirs as 1 um beside ours whatever the units say.
    """
    if viewer.layers in _kept:
        return
    _kept.add(viewer.layers)

    def settle(event: Any) -> None:
        settle_units(viewer)

    inserted = viewer.layers.events.inserted
    # napari draws, and warns, while it is telling of a new layer: this must come before that, just behind
    # the layer list's own callback
    callbacks = inserted.callbacks
    inserted.connect(settle, after=list(callbacks[:1]), before=list(callbacks[1:2]))
    viewer.layers.events.removed.connect(settle)
    settle_units(viewer)


def settle_units(viewer: Viewer) -> None:
    """Make the units of all layers agree, as far as that is ours to do."""
    is_measured = any(not is_in_pixels(each) and each not in _lent for each in viewer.layers)
    is_lending = is_measured and any(METADATA_KEY in each.metadata for each in viewer.layers)
    for layer in viewer.layers:
        if is_lending and is_in_pixels(layer):
            _lent.add(layer)
            layer.units = (*layer.units[:-2], *UM)
        elif not is_lending and layer in _lent:
            _lent.discard(layer)
            layer.units = (*layer.units[:-2], PIXEL, PIXEL)


def own_units(layer: Layer) -> None:
    """Note that a layer's um are its own now."""
    _lent.discard(layer)


def is_in_pixels(layer: Layer) -> bool:
    """Whether a layer has no unit of length."""
    return any(str(unit) == PIXEL for unit in layer.units[-2:])


class SlideFeed(QObject):
    """Redraws one layer that shows a slide, and completes the slide in the background.

    Belongs to the layer, not to a dock, which may be closed before: ends when the layer is removed.
    """

    # layer, what is being done, done so far, in all; no text: the slide is whole, or has been given up
    progressed = Signal(object, str, int, int)
    grown = Signal(object)  # layer: more of the slide is to be seen

    def __init__(self, viewer: Viewer, layer: Image) -> None:
        super().__init__()
        pyramid: Pyramid = ours(layer)["pyramid"]
        self._viewer, self._layer, self._pyramid = viewer, layer, pyramid
        self._n_changes = 0
        self._has_told = False
        self._jobs = Jobs(parent=self)
        self._previewing = QTimer(self._jobs)
        self._previewing.timeout.connect(self._show_preview)
        wait_little(pyramid)
        keep_units(viewer)
        redraw_soon = qthrottled(self._redraw, 30, leading=False, parent=self._jobs)
        pyramid.arrived = self._jobs.in_window(redraw_soon)
        pyramid.failed = self._jobs.in_window(self._tell_damaged)
        self._jobs.listen(
            (viewer.layers.events.removed, self._on_removed),
            (QApplication.instance().aboutToQuit, self.stop),
        )
        if not pyramid.slide.is_complete:
            self._complete()
        elif pyramid.has_previewed:  # it has become so since the layer was made
            layer.data = list(pyramid.arrays)

    def stop(self) -> None:
        """Draw no more, and leave an incomplete slide as it is."""
        if self._pyramid.arrived is None:
            return
        self._pyramid.arrived = self._pyramid.failed = None
        self._pyramid.patience_s = None
        self._jobs.close()
        if not self._pyramid.slide.is_complete:
            self._pyramid.slide.close()
        self.deleteLater()  # here: the last reference may be dropped by another thread

    def _complete(self) -> None:
        self._previewing.start(FIRST_PREVIEW_MS)
        complete, report = self._pyramid.slide.complete, self._jobs.in_window(self._tell_progress)
        self._jobs.start(complete, report, done=self._on_complete, failed=self._give_up)

    def _on_complete(self, _: None) -> None:
        self._previewing.stop()
        self._layer.data = list(self._pyramid.arrays)
        self._tell_progress("", 0, 0)
        self.grown.emit(self._layer)

    def _tell_progress(self, text: str, done: int, total: int) -> None:
        self.progressed.emit(self._layer, text, done, total)

    def _give_up(self) -> None:
        """Take away what cannot be shown: half a slide would be taken for the whole."""
        self._previewing.stop()
        self._tell_progress("", 0, 0)
        if self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)

    def _show_preview(self) -> None:
        n_changes = self._pyramid.slide.n_changes
        if n_changes == self._n_changes:
            return
        self._n_changes = n_changes
        self._previewing.setInterval(400)
        self._layer.data = list(self._pyramid.arrays)  # a mere refresh keeps the coarsest level
        self.grown.emit(self._layer)

    def _redraw(self) -> None:
        if self._layer in self._viewer.layers:
            self._layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _tell_damaged(self, sentence: str) -> None:
        if not self._has_told:  # a damaged slide often is so in many places
            self._has_told = True
            self._jobs.fail(sentence)

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self.stop()


class SlideLayers:
    """Finds, adds and rescales slide layers, and turns the view from one to another."""

    def __init__(self, viewer: Viewer, jobs: Jobs) -> None:
        self._viewer = viewer
        self.active: Image | None = None  # shows the slide that is looked at
        keep_units(viewer)
        self._views: WeakKeyDictionary[Image, View] = WeakKeyDictionary()
        self._fitted: View | None = None  # as ``fit`` left it
        # a first layer widens napari's own docks, too
        self._fitting = one_shot(jobs, 60, self.fit)
        self._scale_bar = one_shot(jobs, 160, self._show_scale_bar)
        jobs.listen((viewer.canvas.events.size, self._on_canvas_resized))

    def all(self) -> list[Image]:
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
            self._views[before] = self.view()
        if layer in self._views:
            self._show_scale_bar()
            camera.center, camera.zoom = self._views[layer]
            return
        if hasattr(self._viewer, "window"):
            # its first drawing compiles shaders and letters for half a second: the picture comes before
            self._scale_bar.start()
        else:
            self._show_scale_bar()
        self.fit()

    def go_back(self, view: View) -> None:
        """Go back to the place to which somebody had gone on a slide before it was turned to."""
        camera = self._viewer.scene.camera
        if view[1] > LOOKED_CLOSER * camera.zoom:
            camera.center, camera.zoom = view

    def fit(self) -> None:
        """Show the whole of the active slide."""
        if self.active in self._viewer.layers:
            self._viewer.reset_view(layers=[self.active])
            self._fitted = self.view()

    def _show_scale_bar(self) -> None:
        if self.active in self._viewer.layers:
            slide = slide_of(self.active)
            show_scale_bar(self._viewer, is_shown=slide is not None and slide.mpp is not None)

    def _on_canvas_resized(self, event: Any) -> None:
        if self.active is not None and self._fitted == self.view():
            self._fitting.start()  # nobody has moved or zoomed since

    def view(self) -> View:
        """Return where one is."""
        camera = self._viewer.scene.camera
        return tuple(camera.center), float(camera.zoom)

    def set_pixel_size(self, layer: Image, slide: Slide, mpp: Mpp) -> None:
        """Give the active slide, and the layer that shows it, the pixel size that the user stated."""
        # in place of what they stated before, on earlier days too
        others = (each for each in slide.mpp_sources if each.source not in BY_USER)
        slide.mpp, slide.mpp_sources = mpp, (MppSource(STATED, mpp), *others)
        placement = slide_placement(mpp)
        layer.scale, layer.translate = placement.scale_um, placement.translate_um
        layer.units, layer.axis_labels = UM, AXES
        own_units(layer)
        settle_units(self._viewer)
        show_scale_bar(self._viewer)
        self.fit()


class BackButton(QPushButton):
    """Brings back the slide that was removed last, with its regions, or those alone; maps follow a slide."""

    doubled = Signal(object)  # regions that come back to a slide which has others by now

    def __init__(self, viewer: Viewer, jobs: Jobs) -> None:
        super().__init__()
        self._viewer = viewer
        self.gone: list[Layer] = []  # the slide, and its regions
        self._regions_gone: list[Shapes] = []  # in this turn of the event loop
        self._settling = one_shot(jobs, 0, self._offer_regions)
        self.setToolTip("Show it again, with its regions and maps")
        self.clicked.connect(self._bring_back)
        self._offer([])

    def note_regions(self, layer: Shapes) -> None:
        """Note regions that were removed: of layers that are deleted together, the slide may go later."""
        self._regions_gone.append(layer)
        self._settling.start()

    def _offer_regions(self) -> None:
        """Offer regions of which the slide has stayed, without any."""
        bare = self._open_slides() - set(map(regions_owner, self._viewer.layers))
        alone = [la for la in self._regions_gone if la.nshapes and regions_owner(la) in bare]
        self._regions_gone.clear()
        if alone:
            self._offer(list[Layer](alone))

    def put_by(self, layer: Layer, slide: Slide) -> None:
        """Take a slide's regions along with it, and keep both until another slide goes."""
        there_or_just_gone = [*self._regions_gone, *self._viewer.layers]
        gone = [la for la in there_or_just_gone if regions_owner(la) == slide.fingerprint]
        self._offer([layer, *gone] if slide.is_complete else [])  # a part of a slide is closed
        # napari has not yet told everybody of the first
        QTimer.singleShot(
            0, lambda: [self._viewer.layers.remove(la) for la in gone if la in self._viewer.layers]
        )

    def _bring_back(self) -> None:
        gone, there = self.gone, self._viewer.layers
        # a slide may have been opened again meanwhile, and others drawn on it
        opened, drawn_on = self._open_slides(), set(map(regions_owner, there)) - {None}
        self._offer([])
        for layer in gone:
            slide = slide_of(layer)
            if layer in there or (slide is not None and slide.fingerprint in opened):
                continue
            if regions_owner(layer) in drawn_on:
                self.doubled.emit(layer)
            else:
                layer.visible = True
                there.append(layer)

    def _open_slides(self) -> set[str | None]:
        return {slide.fingerprint for slide in map(slide_of, self._viewer.layers) if slide}

    def _offer(self, gone: list[Layer]) -> None:
        self.gone = gone
        self.setText(f"Bring back {gone[0].name}" if gone else "")
        self.setVisible(bool(gone))


def load_units() -> None:
    """Read napari's table of units (0.1 s); call it on the GUI thread, before `warm_up`.

    pint reads its table when first asked and does not guard that against a second thread, which would find
    it half read.
    """
    from napari.utils.transforms import Affine

    Affine(ndim=2)


def load_libraries() -> None:
    """Load what the first slide of a session needs, which takes seconds; call it off the GUI thread.

    ``load_units`` must have been called before, on the GUI thread.
    """
    import zarr.codecs  # noqa: F401

    wait_at_exit()
    from napari_stem.slide import display, ome_zarr_reader, pyramid, raster_reader, tiff_reader  # noqa: F401

    Image(np.zeros((2, 2, 3), np.uint8))  # napari's own share: xarray, pandas, scipy
