"""Slides: opened, chosen, given a pixel size. The active one follows the viewer's layer list."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_stem.geometry import Mpp
from napari_stem.layers import METADATA_KEY
from napari_stem.sample_data import SAMPLE_NAME, sample_path
from napari_stem.slide import open_slide
from napari_stem.slide.pixel_size import remember
from napari_stem.widgets.common.keys import WHOLE_SLIDE
from napari_stem.widgets.common.parts import ask_for_file, one_shot
from napari_stem.widgets.common.units import load_units, regions_of
from napari_stem.widgets.slide.overview import OverviewControl
from napari_stem.widgets.slide.pixel_size import HOW_TO_MEASURE, Ruler
from napari_stem.widgets.slide.slide_feed import SlideFeed, is_fed
from napari_stem.widgets.slide.slide_layers import SlideLayers, load_libraries, slide_of, twin_of
from napari_stem.widgets.slide.slide_panel import AssociatedBox, associated_pixels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from napari.layers import Image, Layer
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.slide.slide_panel import SlidePanel

FILE_FILTER = (
    "Slides (*.svs *.tif *.tiff *.btf *.ndpi *.scn *.bif *.qptiff *.mrxs *.dcm *.vms *.czi *.jpg *.jpeg *.png "
    "*.jp2 *.bmp *.webp);;All files (*)"
)
FIT_AGAIN_MS = 60
SCALE_BAR_MS = 100
LOOKED_CLOSER = 1.5  # times the zoom that shows the whole slide: somebody had gone to a place
LEAST_UM, MOST_UM = 0.01, 100.0  # of a pixel, as measured along a line


class SlideControl(QObject):
    """Does what the slide panel asks for; knows which slide everything else is about."""

    activated = Signal(object)  # the active slide, or None
    opened = Signal(object)  # a slide that has come into the viewer
    not_opened = Signal()
    resized = Signal(object)  # a slide whose pixel size was stated

    def __init__(self, viewer: Viewer, jobs: Jobs, panel: SlidePanel) -> None:
        super().__init__(panel)
        self.viewer, self.jobs, self._panel = viewer, jobs, panel
        self._layers = SlideLayers(viewer)
        self._owners: dict[str, str] = {}  # fingerprints of slides by path of their predictions
        self._is_following = True
        self._gone: list[Layer] = []  # the slide that was removed last, and its regions
        self.layer: Image | None = None
        self.associated: AssociatedBox | None = None  # the window with label and macro
        self._ruler = Ruler(viewer, panel.pixel_size.show_measured)
        self._overview = OverviewControl(viewer, jobs, panel.overview)
        for layer in self._layers.layers():
            self._take_in(layer)
        # napari selects and unselects several times within one change
        self._selected = one_shot(self, 0, self._follow)
        # a first layer widens napari's own docks: fit once more
        self._fitting = one_shot(self, FIT_AGAIN_MS, self._fit_again)
        self._scale_bar = one_shot(self, SCALE_BAR_MS, self._show_scale_bar)
        layers = viewer.layers
        self._events = (
            (viewer.canvas.events.size, self._on_canvas_resized),
            (layers.events.inserted, self._on_inserted),
            (layers.events.removed, self._on_removed),
            (layers.events.reordered, self._list),
            (layers.selection.events.active, self._on_selected),
        )
        for event, act in self._events:
            event.connect(act)
        viewer.bind_key(WHOLE_SLIDE.sequence, lambda _: self.fit(), overwrite=True)
        self._connect_panel()
        load_units()
        jobs.start(load_libraries, done=lambda _: None)

    def _connect_panel(self) -> None:
        panel, asked = self._panel, self._panel.pixel_size
        panel.open_button.clicked.connect(self._ask_for_file)
        panel.sample_button.clicked.connect(self.open_sample)
        panel.back_button.clicked.connect(self.bring_back)
        panel.choice.activated.connect(lambda place: self._go_to(self._layers.layers()[place]))
        panel.fit_button.clicked.connect(self.fit)
        panel.associated_button.clicked.connect(self._read_associated)
        asked.stated.connect(self.set_pixel_size)
        asked.measure_button.clicked.connect(self._measure)
        asked.length_button.clicked.connect(self._use_measured)

    @property
    def slide(self) -> Slide | None:
        """The active slide."""
        return None if self.layer is None else slide_of(self.layer)

    def slides(self) -> list[Slide]:
        """Return all open slides, in the order of the layer list."""
        return [slide for layer in self._layers.layers() if (slide := slide_of(layer)) is not None]

    def find(self, fingerprint: str) -> Slide | None:
        """Open slide with this content; None where there is none."""
        return next((each for each in self.slides() if each.fingerprint == fingerprint), None)

    def layer_of(self, slide: Slide) -> Image | None:
        """Layer that shows a slide; the active one where several do."""
        if slide is self.slide:
            return self.layer
        return next((la for la in self._layers.layers() if slide_of(la) is slide), None)

    def centre_um(self) -> tuple[float, float]:
        """(x, y) of the middle of the view."""
        y_um, x_um = self.viewer.scene.camera.center[-2:]
        return float(x_um), float(y_um)

    def adopt(self) -> None:
        """Take over what is in the viewer already: the selected slide, else the topmost."""
        layers = self._layers.layers()
        if not layers:
            self.announce()
            return
        camera, selected = self.viewer.scene.camera, self.viewer.layers.selection.active
        before = camera.center, camera.zoom
        self._choose(selected if selected in layers else layers[-1])
        if before[1] > LOOKED_CLOSER * camera.zoom:
            self._fitting.stop()
            camera.center, camera.zoom = before
        for slide in self.slides():
            self.opened.emit(slide)

    def close(self) -> None:
        """Let go of the viewer; slides go on being completed."""
        for timer in (self._selected, self._fitting, self._scale_bar):
            timer.stop()
        self._ruler.stop()
        self._overview.close()
        self.viewer.bind_key(WHOLE_SLIDE.sequence, None)
        for event, act in self._events:
            event.disconnect(act)
        self.layer, self._gone = None, []

    # opening

    def open(self, path: str | Path, name: str | None = None, mpp: Mpp | None = None) -> None:
        """Open a slide in the background and show it."""
        self._panel.show_busy(f"Opening {Path(path).name}")
        report = self.jobs.in_window(self._panel.show_busy)
        self.jobs.start(
            partial(open_slide, progress=report, early=True),
            path,
            mpp,
            done=partial(self._add, name),
            failed=self._failed,
        )

    def open_sample(self) -> None:
        """Open the section that comes with Stem."""
        self.open(str(sample_path()), SAMPLE_NAME)

    def show(self, slide: Slide, name: str) -> Image:
        """Show a slide that was opened elsewhere."""
        return self._layers.add(slide, name)

    def _ask_for_file(self) -> None:
        if path := ask_for_file(self._panel, "Open slide", FILE_FILTER):
            self.open(path)

    def _add(self, name: str | None, slide: Slide) -> None:
        self._panel.show_busy("")
        shown = twin_of(slide, self.viewer)
        if shown is None:
            self._layers.add(slide, name)
            return
        slide.close()  # a copy would lie over its maps and regions
        self._go_to(shown)
        self.opened.emit(slide_of(shown))

    def _failed(self) -> None:
        self._panel.show_busy("")
        self.not_opened.emit()

    # choosing

    def activate(self, slide: Slide) -> None:
        """Make a slide the active one."""
        layer = self.layer_of(slide)
        if layer is not None:
            self._go_to(layer)

    def owns(self, slide: Slide, prediction: Path) -> None:
        """Note whose a prediction is, so that choosing its map chooses its slide."""
        self._owners[str(prediction)] = slide.fingerprint

    @contextmanager
    def selection_kept(self) -> Iterator[None]:
        """Change layers of a slide in the background without changing what the user looks at."""
        selection = self.viewer.layers.selection
        before = selection.active
        self._is_following = False
        try:
            yield
        finally:
            if before in self.viewer.layers:
                selection.active = before
            self._is_following = True

    def announce(self) -> None:
        """Let everybody know which slides there are and which is active."""
        self._list()
        self._panel.show_unusable(self._layers.why_unusable())
        self._panel.show_details(self.slide)
        if self.layer is None:
            self._panel.show_preparing("")
        self._overview.show(self.layer)
        self.activated.emit(self.slide)

    def _go_to(self, layer: Image) -> None:
        self.viewer.layers.selection.active = layer  # else what is selected would lead back
        self._choose(layer)

    def _choose(self, chosen: Image) -> None:
        before, self.layer = self.layer, chosen
        if before is not chosen:
            self._panel.show_preparing("")
        if self._layers.look_at(chosen, before):
            self._fitting.start()
        visible: dict[str, bool] = {}  # by the slide's fingerprint
        for layer in self._layers.layers():
            # slides share one origin: the chosen one would lie under another
            layer.visible = layer is chosen
            slide = slide_of(layer)
            if slide is not None:
                visible[slide.fingerprint] = layer.visible or visible.get(slide.fingerprint, False)
        for layer in self.viewer.layers:
            owner = regions_of(layer)
            if owner in visible:
                layer.visible = visible[owner]
        self.announce()

    def _take_in(self, layer: Image) -> None:
        layer.events.name.connect(self._list)
        if is_fed(layer):
            return
        feed = SlideFeed(self.viewer, layer)
        feed.progressed.connect(self._tell_progress)
        feed.previewed.connect(self._show_preview)
        feed.completed.connect(self._on_completed)

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
        slide = slide_of(event.value)
        if slide is not None and self.find(slide.fingerprint) is None:
            self._put_by(event.value, slide)
        if event.value is self.layer:
            layers = self._layers.layers()
            if layers:
                self._choose(layers[-1])
            else:
                self.layer = None
                self.announce()
        elif METADATA_KEY not in event.value.metadata or slide is not None:
            self.announce()

    def _put_by(self, layer: Image, slide: Slide) -> None:
        """Take a slide's regions along with it, and keep both until another slide goes."""
        gone = [la for la in self.viewer.layers if regions_of(la) == slide.fingerprint]
        self._gone = [layer, *gone] if slide.is_complete else []  # a part of a slide is closed
        self._panel.offer_back(str(layer.name) if self._gone else "")
        # napari has not yet told everybody of the first
        QTimer.singleShot(
            0, lambda: [self.viewer.layers.remove(la) for la in gone if la in self.viewer.layers]
        )

    def bring_back(self) -> None:
        """Show the slide again that was removed last, with its regions; its maps follow it."""
        gone, self._gone = self._gone, []
        self._panel.offer_back("")
        for layer in gone:
            if layer not in self.viewer.layers:
                layer.visible = True
                self.viewer.layers.append(layer)

    def _follow_again(self) -> None:
        self._is_following = True

    def _on_selected(self, event: Any) -> None:
        if self._is_following:
            self._selected.start()

    def _follow(self) -> None:
        """Make the slide of the selected layer the active one."""
        selected = self.viewer.layers.selection.active
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
        slide = self.find(owner)
        layer = None if slide is None else self.layer_of(slide)
        if layer is not None:
            self._choose(layer)

    def _list(self, event: Any = None) -> None:
        layers = self._layers.layers()
        chosen = layers.index(self.layer) if self.layer in layers else -1
        self._panel.show_slides([layer.name for layer in layers], chosen)

    # looking

    def fit(self) -> None:
        """Show the whole of the active slide."""
        if self.layer is not None:
            self._layers.fit(self.layer)

    def _fit_again(self) -> None:
        if self.layer is not None and self.layer in self.viewer.layers:
            self._layers.fit(self.layer)
            self._scale_bar.start()

    def _show_scale_bar(self) -> None:
        if self.layer is not None and self.layer in self.viewer.layers:
            self._layers.show_scale_bar(self.layer)

    def _on_canvas_resized(self, event: Any) -> None:
        if self.layer is not None and self._layers.is_as_fitted():
            self._fitting.start()

    def _tell_progress(self, layer: Image, text: str, done: int, total: int) -> None:
        if layer is self.layer:
            self._panel.show_preparing(text, done, total)

    def _show_preview(self, layer: Image) -> None:
        if layer is self.layer:
            self._overview.show_preview()

    def _on_completed(self, layer: Image) -> None:
        if layer is self.layer:
            self._panel.show_preparing("")
            self._overview.show(layer)

    def _read_associated(self) -> None:
        slide, layer = self.slide, self.layer
        if slide is not None and layer is not None:
            done = partial(self._show_associated, str(layer.name))
            self.jobs.start(associated_pixels, slide, done=done)

    def _show_associated(self, title: str, images: Mapping[str, NDArray[np.uint8]]) -> None:
        self.associated = AssociatedBox(title, images, parent=self._panel)
        self.associated.destroyed.connect(self._forget_associated)
        self.associated.show()

    def _forget_associated(self) -> None:
        self.associated = None

    # the pixel size

    def set_pixel_size(self, mpp_um: float) -> None:
        """Take the user's word for the pixel size of the active slide, and remember it."""
        slide, layer = self.slide, self.layer
        if slide is None or layer is None:
            return
        mpp = Mpp.square(mpp_um)
        self._layers.set_pixel_size(layer, mpp)
        self.jobs.start(remember, slide.fingerprint, mpp, done=lambda _: None)
        self.announce()
        self.resized.emit(slide)

    def _measure(self) -> None:
        self._panel.pixel_size.explanation.setText(HOW_TO_MEASURE)
        if self.layer is not None:
            self._ruler.start(self.layer)

    def _use_measured(self) -> None:
        length_px, length_um = self._ruler.length_px, self._panel.pixel_size.length.value()
        self._ruler.stop()
        if length_px:
            self.set_pixel_size(min(MOST_UM, max(LEAST_UM, length_um / length_px)))
