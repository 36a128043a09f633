"""What came into the viewer without the dock is taken over by it: slides of other readers, files of ours."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from napari.layers import Image, Layer
from napari.utils.notifications import show_info

from napari_stem.errors import StemError
from napari_stem.layers.placement import METADATA_KEY
from napari_stem.sample_data import sample_path
from napari_stem.slide import open_slide
from napari_stem.slide.recognising import looks_like_slide
from napari_stem.widgets.common.memory import recall
from napari_stem.widgets.common.parts import one_shot
from napari_stem.widgets.slide.reading import show_file
from napari_stem.widgets.slide.slide_layers import ours
from napari_stem.widgets.writing import regions_of_layer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.slide.base import Slide
    from napari_stem.widgets.panels import Panels


class Adopting:
    """Looks at what comes into the viewer, and at what was there before."""

    def __init__(self, panels: Panels) -> None:
        slides, measured = panels.slide, panels.measured
        predictions = panels.model.predictions
        self._viewer, self._jobs = slides.viewer, slides.jobs
        self._slides, self._regions = slides, panels.region
        self._predictions, self._measured = predictions, measured
        self.seen: WeakSet[Any] = WeakSet()  # layers of others that were looked at
        self._tried: set[tuple[str, str]] = set()  # file, and the slide on which it was tried
        # not while napari is still telling of a layer
        self._soon = one_shot(self._jobs, 0, self._look)
        self._jobs.listen((self._viewer.layers.events.inserted, self._look_soon))
        slides.activated.connect(self._look_soon)
        predictions.shown.connect(self._remove_taken)
        predictions.homeless.connect(self.show_layers)
        measured.changed.connect(self._remove_taken)
        self._soon.start()

    def show_layers(self, path: Path) -> None:
        """Show a file as layers of its own, which are taken over once their slide is there."""
        show_file(self._viewer, path)

    def _look_soon(self, _: Any) -> None:
        self._soon.start()

    def _look(self) -> None:
        for layer in list(self._viewer.layers):
            about = layer.metadata.get(METADATA_KEY)
            if about is None:
                self._look_at_other(layer)
            elif about.get("kind") == "prediction":
                self._take_prediction(about)
            elif about.get("kind") == "regions":
                self._take_regions(layer)
            elif about.get("kind") == "measured":
                self._take_measured(about)

    # slides of other readers

    def _look_at_other(self, layer: Layer) -> None:
        path = layer.source.path
        if layer in self.seen or path is None or not isinstance(layer, Image) or not layer.rgb:
            return
        self.seen.add(layer)
        shape = (layer.data[0] if layer.multiscale else layer.data).shape[-3:-1]
        self._jobs.start(
            _opened_slide, Path(path), shape, done=partial(self._replace, layer, str(path))
        )

    def _replace(self, layer: Layer, path: str, slide: Slide | None) -> None:
        if slide is None:
            return
        is_known = self._slides.find_open(slide.fingerprint) is not None
        if layer not in self._viewer.layers or is_known:
            slide.close()
            return
        name, place = layer.name, self._viewer.layers.index(layer)
        self._viewer.layers.remove(layer)
        ours = self._slides.layers.add(slide, name)
        self._viewer.layers.move(self._viewer.layers.index(ours), place)
        unit = "pixels, as its pixel size is not known" if slide.mpp is None else "micrometres"
        show_info(
            f"“{name}” is shown anew as a slide of Stem, in {unit}; what other programs drew on it keeps "
            f"its own scale."
        )

    # files of ours

    def _take_prediction(self, about: dict[str, Any]) -> None:
        wanted = about["slide_fingerprint"]
        if self._slides.find_open(wanted) is not None:
            if self._is_new(about, wanted):
                self._predictions.open(Path(about["prediction"]))
        elif "has_slide" not in about and self._is_new(about, "look for it"):
            file, name = Path(about["file"]), about["slide_name"]
            self._jobs.start(
                find_slide, file, name, wanted, done=partial(self._open_slide, file, about)
            )

    def _open_slide(self, file: Path, about: dict[str, Any], found: Path | None) -> None:
        if found is not None:
            self._slides.open(str(found), mpp=about["mpp"])  # with which it was predicted
            return
        name = about["slide_name"]
        show_info(
            f"{file.name} belongs to {name}, which is not beside it: it is shown on its small overview. "
            f"Open {name} to see all of its genes."
        )

    def _take_regions(self, layer: Layer) -> None:
        slide = self._slides.slide
        if slide is None or slide.mpp is None:
            return
        self._viewer.layers.remove(layer)
        self._regions.add(slide, regions_of_layer(layer, self._viewer))

    def _take_measured(self, about: dict[str, Any]) -> None:
        slide = self._slides.slide
        if slide is not None and self._is_new(about, slide.fingerprint):
            self._measured.load_for(slide, about["file"])

    def _is_new(self, about: dict[str, Any], slide: str) -> bool:
        """Whether this was not tried before; what failed was told once."""
        key = (about["file"], slide)
        is_new = key not in self._tried
        self._tried.add(key)
        return is_new

    def _remove_taken(self, _: object = None) -> None:
        """Take away layers of files that the dock shows by now."""
        taken = set[str]()
        for slide in self._slides.slides():
            paths = *self._predictions.paths(slide), self._measured.path_of(slide)
            taken.update(map(str, paths))
        for layer in list(self._viewer.layers):
            about = ours(layer)
            if "kind" in about and about.get("prediction", about["file"]) in taken:
                self._tried = {key for key in self._tried if key[0] != about["file"]}
                self._viewer.layers.remove(layer)


def _opened_slide(path: Path, shape: Sequence[int]) -> Slide | None:
    """Open what another reader has opened, if it is a slide and the layer shows the whole of it."""
    if not looks_like_slide(path):
        return None
    try:
        slide = open_slide(path, early=True)
    except StemError:
        return None  # the slide panel says that the layer cannot be predicted on
    if (slide.size.height_px, slide.size.width_px) == tuple(shape):
        return slide
    slide.close()
    return None


def find_slide(file: Path, name: str, fingerprint: str) -> Path | None:
    """Look for the slide of a prediction: beside it, in the folder above, where slides were last opened."""
    last = recall().folder
    folders = [
        file.parent,
        file.parent.parent,
        *([Path(last)] if last else []),
        sample_path().parent,
    ]
    for path in dict.fromkeys(folder / Path(name).name for folder in folders):
        try:
            slide = open_slide(path, early=True)
        except StemError:
            continue
        is_it = slide.fingerprint == fingerprint
        slide.close()
        if is_it:
            return path
    return None
