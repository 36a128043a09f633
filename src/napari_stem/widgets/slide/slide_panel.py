"""Slide: which one, how large its pixels are, opening another. The active one follows the layer list."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_stem.geometry import Mpp
from napari_stem.layers.placement import METADATA_KEY
from napari_stem.sample_data import SAMPLE_NAME, sample_path
from napari_stem.slide import open_slide
from napari_stem.slide.pixel_size import remember
from napari_stem.slide.recognising import SLIDE_ENDINGS
from napari_stem.widgets.common import parts
from napari_stem.widgets.common.keys import WHOLE_SLIDE
from napari_stem.widgets.slide.overview import AssociatedBox, Overview, associated_pixels
from napari_stem.widgets.slide.pixel_size import PixelSizeBox, is_said
from napari_stem.widgets.slide.slide_layers import (
    BackButton,
    SlideFeed,
    SlideLayers,
    follow_slide,
    from_slide_um,
    is_fed,
    load_libraries,
    load_units,
    ours,
    regions_owner,
    slide_of,
    twin_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.layers import Layer
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs

FILE_FILTER = f"Slides ({' '.join(f'*{each}' for each in SLIDE_ENDINGS)});;All files (*)"


class SlidePanel(QWidget):
    """Opens slides and lists them; knows which one everything else is about."""

    activated = Signal(object)  # the active slide, or None
    resized = Signal(object)  # a slide whose pixel size was stated
    # a slide whose layer was moved, scaled or turned, and by what: (3, 3), from before to now, in the world
    moved = Signal(object, object)

    def __init__(self, viewer: Viewer, jobs: Jobs, folder: str = "") -> None:
        super().__init__()
        self.viewer, self.jobs, self.folder = viewer, jobs, folder
        self.layers = SlideLayers(viewer, jobs)
        self._owners: dict[str, str] = {}  # fingerprints of slides by path of their predictions
        # of each slide's layer, as `from_slide_um`
        self._lay_at: WeakKeyDictionary[Layer, NDArray[np.float64]] = WeakKeyDictionary()
        self._sizes: dict[str, set[Mpp]] = {}  # that slides were predicted with, by fingerprint
        self._lay_out()
        for layer in self.layers.all():
            self._take_in(layer)
        # napari selects and unselects several times within one change
        self._selected = parts.one_shot(jobs, 0, self._follow)
        self._not_selected = parts.one_shot(jobs, 0, self._selected.stop)
        layers = viewer.layers
        jobs.listen(
            (layers.events.inserted, self._on_inserted),
            (layers.events.removed, self._on_removed),
            (layers.events.reordered, self._list),
            (layers.selection.events.active, lambda _: self._selected.start()),
        )
        jobs.at_end(self._let_go)
        load_units()
        jobs.start(load_libraries)

    def _lay_out(self) -> None:
        self.open_button = parts.button(
            "Open slide…",
            "Open a whole-slide image, or drag one onto this panel",
            self._ask_for_file,
        )
        self.sample_button = parts.button(
            "Open sample",
            "A breast cancer section (HER2ST, C5) that comes with Stem",
            self.open_sample,
        )
        tip = "The slide that regions, maps and export belong to"
        self.choice = parts.choice({}, tip, is_narrow=True)
        self.back_button = BackButton(self.viewer, self.jobs)
        self.overview = Overview(self.viewer, self.jobs)
        self.fit_button = parts.button(
            "Whole slide", f"Show all of the slide ({WHOLE_SLIDE.sequence})", self.layers.fit
        )
        self.associated_button = parts.button(
            "Label and macro…",
            "The images that the scanner took beside the slide; the label may name the patient",
            self._show_associated,
        )
        self.pixel_size = PixelSizeBox(self.viewer, self.set_pixel_size)
        self.details, self.preparing = parts.Note(), parts.Note()
        self.unusable, self.progress_text = parts.Note(), parts.Note()
        self.progress = parts.ProgressBar()
        parts.stack(
            self,
            parts.row(self.open_button, self.sample_button),
            self.back_button,
            self.choice,
            self.overview,
            parts.row(self.fit_button, self.associated_button),
            self.preparing,
            self.details,
            self.pixel_size.change_button,
            self.pixel_size,
            self.unusable,
            self.progress_text,
            self.progress,
        )
        self._show_busy("")  # what else there is to see, `announce` shows
        self.choice.activated.connect(lambda place: self._go_to(self.layers.all()[place]))

    @property
    def layer(self) -> Image | None:
        """Layer that shows the active slide."""
        return self.layers.active

    @property
    def slide(self) -> Slide | None:
        """The active slide."""
        return None if self.layer is None else slide_of(self.layer)

    def slides(self) -> list[Slide]:
        """Return all open slides, in the order of the layer list."""
        return [slide for layer in self.layers.all() if (slide := slide_of(layer)) is not None]

    def find_open(self, fingerprint: str) -> Slide | None:
        """Open slide with this content; None where there is none."""
        return next((each for each in self.slides() if each.fingerprint == fingerprint), None)

    def layer_of(self, slide: Slide) -> Image | None:
        """Layer that shows a slide; the active one where several do."""
        if slide is self.slide:
            return self.layer
        return next((la for la in self.layers.all() if slide_of(la) is slide), None)

    def centre_um(self) -> tuple[float, float]:
        """(x, y) on the active slide of the middle of the view."""
        y, x = self.viewer.scene.camera.center[-2:]
        y_um, x_um, _ = np.linalg.solve(self.from_slide_um(), (y, x, 1))
        return float(x_um), float(y_um)

    def from_slide_um(self) -> NDArray[np.float64]:
        """(3, 3) affine matrix from (y, x) um on the active slide to the world."""
        return np.eye(3) if self.layer is None else from_slide_um(self.layer)

    def adopt(self) -> None:
        """Take over what is in the viewer already: the selected slide, else the topmost."""
        layers = self.layers.all()
        if not layers:
            self.announce()
            return
        selected, view = self.viewer.layers.selection.active, self.layers.view()
        self._choose(selected if selected in layers else layers[-1])
        self.layers.go_back(view)

    def _let_go(self) -> None:
        """Let go of the viewer; slides go on being completed."""
        for layer in self.layers.all():
            layer.events.name.disconnect(self._list)
            for event in _of_place(layer):
                event.disconnect(self._on_moved)
        self.pixel_size.put_ruler_away()
        self.layers.active = None
        self.back_button.gone = []

    # opening

    def open(
        self,
        path: str | Path,
        name: str | None = None,
        mpp: Mpp | None = None,
        then: Callable[[Slide | None], object] = lambda _: None,
    ) -> None:
        """Open a slide in the background and show it, under a name and with a pixel size of its own where None.

        ``then`` is called once it is shown, or with None where it cannot be opened.
        """
        self._show_busy(f"Opening {Path(path).name}")
        report = self.jobs.in_window(self._show_busy)
        self.jobs.start(
            partial(open_slide, progress=report, early=True),
            path,
            mpp,
            done=partial(self._add, name, then),
            failed=partial(self._add, name, then, None),
        )

    def open_sample(self) -> None:
        """Open the section that comes with Stem."""
        self.open(str(sample_path()), SAMPLE_NAME)

    def _ask_for_file(self) -> None:
        if path := parts.ask_for_file(self, "Open slide", FILE_FILTER):
            self.open(path)

    def _add(
        self, name: str | None, then: Callable[[Slide | None], object], slide: Slide | None
    ) -> None:
        self._show_busy("")
        if slide is not None:
            if (shown := twin_of(slide, self.viewer)) is None:
                shown = self.layers.add(slide, name)
            else:
                self._go_to(shown)
            slide = slide_of(shown)
        then(slide)

    # choosing

    def activate(self, slide: Slide) -> None:
        """Make a slide the active one."""
        if (layer := self.layer_of(slide)) is not None:
            self._go_to(layer)

    @contextmanager
    def kept_unless_active(self, slide: Slide) -> Iterator[None]:
        """Change layers of a slide without changing what the user looks at, where that is another one."""
        selection, is_other = self.viewer.layers.selection, slide is not self.slide
        before = selection.active
        yield
        if is_other:
            if before in self.viewer.layers:
                selection.active = before
            self._selected.stop()  # by nobody

    def announce(self) -> None:
        """Let everybody know which slides there are and which is active."""
        slide = self.slide
        self._list()
        self._tell_unusable()
        self.pixel_size.ask(None if slide is None else slide.mpp, self.layer)
        self.fit_button.setVisible(slide is not None)
        self.associated_button.setVisible(slide is not None and bool(slide.associated))
        self.details.say("" if slide is None else _size_of(slide))
        if slide is None:
            self._show_preparing("")
        self.overview.show_slide(self.layer)
        self.activated.emit(slide)

    def _go_to(self, layer: Image) -> None:
        self.viewer.layers.selection.active = layer  # else what is selected would lead back
        self._choose(layer)

    def _choose(self, chosen: Image) -> None:
        is_other = self.layer is not chosen
        if is_other:
            self._show_preparing("")
        self.layers.look_at(chosen)
        for layer in self.layers.all():
            # slides share one origin: the chosen one would lie under another
            layer.visible = layer is chosen
        known = {slide.fingerprint for slide in self.slides()}
        for layer in self.viewer.layers:
            owner, of_regions = self._owner(layer), regions_owner(layer)
            is_seen = self.slide is not None and owner == self.slide.fingerprint
            if of_regions in known:
                layer.visible = is_seen
            elif owner is not None and of_regions is None and is_other and not slide_of(layer):
                # a map, or what was made in napari of that, of regions or of a slide
                follow_slide(layer, is_seen=is_seen)
        self.announce()

    def _owner(self, layer: Layer) -> str | None:
        """Fingerprint of the slide to which what a layer shows belongs; None for layers of others."""
        about = ours(layer)
        if "slide" in about:
            return str(about["slide"].fingerprint)
        return about.get("regions_of") or self._owners.get(str(about.get("prediction")))

    def _take_in(self, layer: Image) -> None:
        layer.events.name.connect(self._list)
        self._lay_at[layer] = from_slide_um(layer)
        for event in _of_place(layer):
            event.connect(self._on_moved)
        if is_fed(layer):
            return
        feed = SlideFeed(self.viewer, layer)
        feed.progressed.connect(self._tell_progress)
        feed.grown.connect(self._on_grown)

    def _on_moved(self, event: Any) -> None:
        layer, now = event.source, from_slide_um(event.source)
        by, self._lay_at[layer] = now @ np.linalg.inv(self._lay_at[layer]), now
        if not np.allclose(by, np.eye(3), rtol=0, atol=1e-9):
            self.moved.emit(slide_of(layer), by)

    def _on_inserted(self, event: Any) -> None:
        if slide_of(event.value) is None:
            self._tell_unusable()
        else:
            self._take_in(event.value)
            self._choose(event.value)

    def _on_removed(self, event: Any) -> None:
        self._not_selected.start()  # what napari selects instead was not chosen by anybody
        if regions_owner(event.value) is not None:
            self.back_button.note_regions(event.value)
        slide = slide_of(event.value)
        if slide is not None and self.find_open(slide.fingerprint) is None:
            self.back_button.put_by(event.value, slide)
        if event.value is self.layer:
            layers = self.layers.all()
            if layers:
                self._choose(layers[-1])
            else:
                self.layers.active = None
                self.announce()
        elif METADATA_KEY not in event.value.metadata or slide is not None:
            self.announce()

    def _follow(self) -> None:
        """Make the slide of the selected layer the active one."""
        selected = self.viewer.layers.selection.active
        if selected is None or selected is self.layer:
            return
        if slide_of(selected) is not None:
            self._choose(selected)
            return
        owner, active = self._owner(selected), self.slide
        slide = None if owner is None else self.find_open(owner)
        if slide is None or (active is not None and active.fingerprint == owner):
            return
        if (layer := self.layer_of(slide)) is not None:
            self._choose(layer)

    def _list(self, event: Any = None) -> None:
        layers = self.layers.all()
        chosen = layers.index(self.layer) if self.layer in layers else -1
        self.choice.clear()
        self.choice.addItems([layer.name for layer in layers])
        self.choice.setCurrentIndex(chosen)
        self.choice.setVisible(bool(layers))

    # looking

    def _tell_progress(self, layer: Image, text: str, done: int, total: int) -> None:
        if layer is self.layer:
            self._show_preparing(text, done, total)

    def _on_grown(self, layer: Image) -> None:
        if layer is self.layer:
            self.overview.show_slide(layer)

    def _show_associated(self) -> None:
        if (slide := self.slide) is not None and self.layer is not None:
            shown = partial(AssociatedBox, str(self.layer.name), parent=self)
            self.jobs.start(associated_pixels, slide, done=lambda images: shown(images).show())

    # the pixel size

    def note_prediction(self, slide: Slide, prediction: Prediction) -> None:
        """Note a prediction of a slide: choosing its map chooses the slide.

        Its pixel size, too: whoever states that as it is said means all its digits.
        """
        self._owners[str(prediction.path)] = slide.fingerprint
        if prediction.mpp is not None:
            self._sizes.setdefault(slide.fingerprint, set()).add(prediction.mpp)

    def set_pixel_size(self, mpp_um: float) -> None:
        """Take the user's word for the pixel size of the active slide, and remember it."""
        slide, layer = self.slide, self.layer
        if slide is None or layer is None:
            return
        known = (slide.mpp, *self._sizes.get(slide.fingerprint, ()))
        meant = [each for each in known if each is not None and is_said(each, mpp_um)]
        mpp = min(meant, key=lambda each: abs(each.x_um - mpp_um), default=Mpp.square(mpp_um))
        self.layers.set_pixel_size(layer, slide, mpp)
        self.jobs.start(remember, slide.fingerprint, mpp)
        self.announce()
        self.resized.emit(slide)

    # panel

    def _tell_unusable(self) -> None:
        """Say one sentence for every image that is not a slide of ours."""
        sentences = []
        for layer in self.viewer.layers:
            if isinstance(layer, Image) and METADATA_KEY not in layer.metadata:
                path, how = layer.source.path, "use “Open slide…”"
                what = f"{how} on {path}" if path else f"save it as a file and {how}"
                sentences.append(
                    f"“{layer.name}” was not opened as a slide; to predict on it, {what}."
                )
        self.unusable.say("\n".join(sentences))

    def _show_busy(self, text: str, done: int = 0, total: int = 0) -> None:
        self.progress.show_share(done, total)
        self.progress.setVisible(bool(text))
        self.progress_text.say(text)
        self.open_button.setEnabled(not text)
        self.sample_button.setEnabled(not text)

    def _show_preparing(self, text: str, done: int = 0, total: int = 0) -> None:
        """Say how far a slide is that is seen already; no text: it is ready."""
        share = f" ({done / total:.0%})" if total > 1 else ""
        self.preparing.say(f"{text}{share}" if text else "")


def _of_place(layer: Image) -> list[Any]:
    """Return the events by which a layer tells that it lies elsewhere."""
    events = layer.events
    return [events.affine, events.scale, events.translate, events.rotate, events.shear]


def _size_of(slide: Slide) -> str:
    pixels = f"{slide.size.width_px:,} × {slide.size.height_px:,} pixels"
    if slide.mpp is None:
        return f"{pixels}. The file does not say how large a pixel is."
    width_mm = slide.size.width_px * slide.mpp.x_um / 1000
    height_mm = slide.size.height_px * slide.mpp.y_um / 1000
    return f"{width_mm:.1f} × {height_mm:.1f} mm, {pixels}, {slide.mpp.x_um:.3f} µm per pixel"
