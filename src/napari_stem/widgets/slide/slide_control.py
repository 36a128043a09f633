"""Slides: opened, chosen, given a pixel size. The active one follows the viewer's layer list."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_stem.geometry import Mpp
from napari_stem.layers import METADATA_KEY
from napari_stem.widgets.common.units import load_units, regions_of
from napari_stem.widgets.common.worker import Reporter
from napari_stem.widgets.slide.known_length import KnownLength
from napari_stem.widgets.slide.slide_display import SlideDisplay
from napari_stem.widgets.slide.slide_layers import SlideLayers, load_libraries, slide_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.slide.slide_panel import SlidePanel

FIT_AGAIN_MS = 60
SCALE_BAR_MS = 100
LOOKED_CLOSER = 1.5  # times the zoom that shows the whole slide: somebody had gone to a place


class SlideControl(QObject):
    """Does what the slide panel asks for; knows which slide everything else is about."""

    activated = Signal(object)  # the active slide, or None
    opened = Signal(object)  # a slide that has come into the viewer
    not_opened = Signal()
    resized = Signal(object)  # a slide whose pixel size was stated

    def __init__(
        self, viewer: Viewer, jobs: Jobs, panel: SlidePanel, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer, self._jobs, self._panel = viewer, jobs, panel
        self._layers = SlideLayers(viewer)
        self._owners: dict[str, str] = {}  # fingerprints of slides by path of their predictions
        self._is_following = True
        self.layer: Image | None = None
        self._length = KnownLength(viewer, panel.show_measured)
        self._display = SlideDisplay(viewer, jobs, panel, self.fit, parent=self)
        for layer in self._layers.layers():
            self._take_in(layer)
        self._told = QTimer(self)  # napari selects and unselects several times within one change
        self._told.setSingleShot(True)
        self._told.timeout.connect(self._follow)
        self._fitting = QTimer(self)  # a first layer widens napari's own docks: fit once more
        self._fitting.setSingleShot(True)
        self._fitting.setInterval(FIT_AGAIN_MS)
        self._fitting.timeout.connect(self._fit_again)
        self._scale_bar = QTimer(self)
        self._scale_bar.setSingleShot(True)
        self._scale_bar.setInterval(SCALE_BAR_MS)
        self._scale_bar.timeout.connect(self._show_scale_bar)
        viewer.canvas.events.size.connect(self._on_canvas_resized)
        panel.open_requested.connect(self.open)
        panel.sample_requested.connect(self.open_sample)
        panel.slide_chosen.connect(self._choose_place)
        panel.pixel_size_requested.connect(self.set_pixel_size)
        panel.measure_requested.connect(self._measure)
        panel.measured.connect(self._use_measured)
        layers = viewer.layers
        layers.events.inserted.connect(self._on_inserted)
        layers.events.removed.connect(self._on_removed)
        layers.events.reordered.connect(self._list)
        layers.selection.events.active.connect(self._on_selected)
        load_units()
        jobs.start(load_libraries, done=lambda _: None)

    @property
    def slide(self) -> Slide | None:
        """The active slide."""
        return None if self.layer is None else slide_of(self.layer)

    def slides(self) -> list[Slide]:
        """Return all open slides, in the order of the layer list."""
        return [slide for layer in self._layers.layers() if (slide := slide_of(layer)) is not None]

    def layer_of(self, slide: Slide) -> Image | None:
        """Layer that shows a slide; the active one where several do."""
        if slide is self.slide:
            return self.layer
        return next((la for la in self._layers.layers() if slide_of(la) is slide), None)

    def adopt(self) -> None:
        """Take over what is in the viewer already: the selected slide, else the topmost."""
        layers = self._layers.layers()
        if not layers:
            self.announce()
            return
        camera, selected = self._viewer.scene.camera, self._viewer.layers.selection.active
        before = camera.center, camera.zoom
        self._choose(selected if selected in layers else layers[-1])
        if before[1] > LOOKED_CLOSER * camera.zoom:
            self._fitting.stop()
            camera.center, camera.zoom = before
        for slide in self.slides():
            self.opened.emit(slide)

    def close(self) -> None:
        """Let go of the viewer."""
        self._told.stop()
        self._fitting.stop()
        self._scale_bar.stop()
        self._length.stop()
        self._display.close()
        self._viewer.canvas.events.size.disconnect(self._on_canvas_resized)
        layers = self._viewer.layers
        layers.events.inserted.disconnect(self._on_inserted)
        layers.events.removed.disconnect(self._on_removed)
        layers.events.reordered.disconnect(self._list)
        layers.selection.events.active.disconnect(self._on_selected)

    def open(self, path: str, name: str | None = None, mpp: Mpp | None = None) -> None:
        """Open a slide in the background and show it."""
        self._panel.show_busy(f"Opening {Path(path).name}")
        report = Reporter(self)
        report.reported.connect(self._panel.show_busy)
        self._jobs.start(
            _open_slide, path, mpp, report, done=partial(self._add, name), failed=self._failed
        )

    def open_sample(self) -> None:
        """Open the section that comes with Stem."""
        from napari_stem.sample_data import SAMPLE_NAME, sample_path

        self.open(str(sample_path()), SAMPLE_NAME)

    def activate(self, slide: Slide) -> None:
        """Make a slide the active one."""
        layer = self.layer_of(slide)
        if layer is not None:
            self._choose(layer)

    def owns(self, slide: Slide, prediction: Path) -> None:
        """Note whose a prediction is, so that choosing its map chooses its slide."""
        self._owners[str(prediction)] = slide.fingerprint

    @contextmanager
    def selection_kept(self) -> Iterator[None]:
        """Change layers of a slide in the background without changing what the user looks at."""
        selection = self._viewer.layers.selection
        before = selection.active
        self._is_following = False
        try:
            yield
        finally:
            if before in self._viewer.layers:
                selection.active = before
            self._is_following = True

    def set_pixel_size(self, mpp_um: float) -> None:
        """Take the user's word for the pixel size of the active slide, and remember it."""
        slide, layer = self.slide, self.layer
        if slide is None or layer is None:
            return
        mpp = Mpp.square(mpp_um)
        self._layers.set_pixel_size(layer, mpp)
        self._jobs.start(_remember_pixel_size, slide.fingerprint, mpp, done=lambda _: None)
        self.announce()
        self.resized.emit(slide)

    def _take_in(self, layer: Image) -> None:
        self._display.feed(layer)
        layer.events.name.connect(self._list)

    def show(self, slide: Slide, name: str) -> Image:
        """Show a slide that was opened elsewhere."""
        return self._layers.add(slide, name)

    def _add(self, name: str | None, slide: Slide) -> None:
        self._panel.show_busy("")
        self._layers.add(slide, name)

    def _failed(self) -> None:
        self._panel.show_busy("")
        self.not_opened.emit()

    def _choose_place(self, place: int) -> None:
        self._choose(self._layers.layers()[place])

    def _choose(self, chosen: Image) -> None:
        before, self.layer = self.layer, chosen
        if self._layers.look_at(chosen, before):
            self._fitting.start()
        fingerprints: dict[str, bool] = {}
        for layer in self._layers.layers():
            # slides share one origin: the chosen one would lie under another
            layer.visible = layer is chosen
            slide = slide_of(layer)
            if slide is not None:
                visible = layer.visible or fingerprints.get(slide.fingerprint, False)
                fingerprints[slide.fingerprint] = visible
        for layer in self._viewer.layers:
            owner = regions_of(layer)
            if owner in fingerprints:
                layer.visible = fingerprints[owner]
        self.announce()

    def fit(self) -> None:
        """Show the whole of the active slide."""
        if self.layer is not None:
            self._layers.fit(self.layer)

    def _fit_again(self) -> None:
        if self.layer is not None and self.layer in self._viewer.layers:
            self._layers.fit(self.layer)
            self._scale_bar.start()

    def _show_scale_bar(self) -> None:
        if self.layer is not None and self.layer in self._viewer.layers:
            self._layers.show_scale_bar(self.layer)

    def _on_canvas_resized(self, event: Any) -> None:
        if self.layer is not None and self._layers.is_as_fitted():
            self._fitting.start()

    def _measure(self) -> None:
        if self.layer is not None:
            self._length.start(self.layer)

    def _use_measured(self, length_um: float) -> None:
        length_px = self._length.length_px
        self._length.stop()
        if length_px:
            self.set_pixel_size(min(100.0, max(0.01, length_um / length_px)))

    def _on_inserted(self, event: Any) -> None:
        slide = slide_of(event.value)
        if slide is None:
            self._panel.show_unusable(self._layers.why_unusable())
            return
        self._take_in(event.value)
        self._choose(event.value)
        self.opened.emit(slide)

    def _on_removed(self, event: Any) -> None:
        self._is_following = False  # what napari selects instead was not chosen by anybody
        QTimer.singleShot(0, self._follow_again)
        if event.value is self.layer:
            layers = self._layers.layers()
            if layers:
                self._choose(layers[-1])
            else:
                self.layer = None
                self.announce()
        elif METADATA_KEY not in event.value.metadata or slide_of(event.value) is not None:
            self.announce()

    def _follow_again(self) -> None:
        self._is_following = True

    def _on_selected(self, event: Any) -> None:
        if self._is_following:
            self._told.start(0)

    def _follow(self) -> None:
        """Make the slide of the selected layer the active one."""
        selected = self._viewer.layers.selection.active
        if selected is None or selected is self.layer:
            return
        if slide_of(selected) is not None:
            self._choose(selected)
            return
        about = selected.metadata.get(METADATA_KEY, {})
        owner = regions_of(selected) or self._owners.get(str(about.get("prediction")))
        active = self.slide
        if owner is None or (active is not None and active.fingerprint == owner):
            return
        for layer in self._layers.layers():
            slide = slide_of(layer)
            if slide is not None and slide.fingerprint == owner:
                self._choose(layer)

    def announce(self) -> None:
        """Let everybody know which slides there are and which is active."""
        self._list()
        self._panel.show_unusable(self._layers.why_unusable())
        self._panel.show_details(self.slide)
        self._display.show(self.layer)
        self.activated.emit(self.slide)

    def _list(self, event: Any = None) -> None:
        layers = self._layers.layers()
        chosen = layers.index(self.layer) if self.layer in layers else -1
        self._panel.show_slides([layer.name for layer in layers], chosen)


def _open_slide(path: str, mpp: Mpp | None, report: Callable[[str, int, int], None]) -> Slide:
    from napari_stem.slide import open_slide

    return open_slide(path, mpp, progress=report, early=True)


def _remember_pixel_size(fingerprint: str, mpp: Mpp) -> None:
    from napari_stem.slide.pixel_size import remember

    remember(fingerprint, mpp)
