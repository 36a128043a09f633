"""Files that napari itself opens (command line, File > Open, drag and drop, samples), in the background."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari import current_viewer
from napari.layers import Layer
from napari.utils.notifications import show_info
from qtpy.QtCore import QThread, QTimer
from qtpy.QtWidgets import QApplication

from napari_stem import file_kinds, sample_data
from napari_stem.layers.placement import METADATA_KEY, LayerData
from napari_stem.widgets.common.memory import PLUGIN
from napari_stem.widgets.common.parts import one_shot
from napari_stem.widgets.common.worker import Jobs
from napari_stem.widgets.slide import slide_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.viewer import Viewer

    from napari_stem.file_kinds import Kind

    NapariReader = Callable[[Any], list[LayerData | tuple[None]]]

TELL_AFTER_MS = 700  # shorter waits need no words
DOCK_TITLE = "Predict gene expression"  # as the manifest has it


def get_reader(path: str | Sequence[str]) -> NapariReader | None:
    """Give napari the reader for what is ours by its content, else None; costs milliseconds.

    ``path`` is a file or a folder; of several none is ours: they open one by one.
    """
    kind = file_kinds.kind_of(Path(path)) if isinstance(path, str | Path) else None
    return None if kind is None else partial(_read, kind)


def open_sample() -> list[LayerData]:
    """Layer of the packaged section."""
    found = sample_data.her2st_c5()
    if (viewer := current_viewer()) is not None:
        _tend_when_shown(viewer, found)
    return found


def show_file(viewer: Viewer, path: Path) -> None:
    """Open a file as napari would, as layers, in the background."""
    if (kind := file_kinds.kind_of(path)) is not None:
        _read_later(viewer, kind, str(path))


def _read(kind: Kind, path: str) -> list[LayerData | tuple[None]]:
    """Read at once for a script; for a person at the window, in the background."""
    viewer = current_viewer()
    if viewer is not None and QThread.currentThread().loopLevel() > 0:
        _read_later(viewer, kind, path)
        return [(None,)]
    found = file_kinds.read(kind, path)
    if viewer is not None:
        _tend_when_shown(viewer, found)
    return found


def _read_later(viewer: Viewer, kind: Kind, path: str) -> None:
    """Open a file without stopping the window, and add its layers when it is open.

    napari calls readers on the thread of the window, where a slow disk, a library that is not loaded yet,
    or the probing of a DICOM file would be felt. Python's warnings say nothing of it: they are of all threads
    together.
    """
    jobs = Jobs(parent=QApplication.instance())
    one_shot(jobs, TELL_AFTER_MS, lambda: show_info(f"Opening {Path(path).name}…")).start()

    def end(found: Sequence[Any] = ()) -> None:
        jobs.close()
        jobs.deleteLater()
        _add(viewer, found)

    slide_layers.load_units()  # before another thread asks for them
    jobs.start(file_kinds.layers_of, kind, path, done=end, failed=end)


def _add(viewer: Viewer, found: Sequence[Any]) -> None:
    if hasattr(viewer, "window") and current_viewer() is None:  # closed meanwhile
        for _, options, _ in found:
            if (slide := options["metadata"][METADATA_KEY].get("slide")) is not None:
                slide.close()
        return
    _tend_when_shown(viewer, found)
    for data in found:
        slide = data[1]["metadata"][METADATA_KEY].get("slide")
        if slide is not None and (shown := slide_layers.twin_of(slide, viewer)) is not None:
            viewer.layers.selection.active = shown
        else:
            viewer.add_layer(Layer.create(*data))


def _tend_when_shown(viewer: Viewer, found: Sequence[Any]) -> None:
    """Do what needs a viewer for layers of ours, once each is in it."""
    slide_layers.keep_units(viewer)
    abouts = [data[1]["metadata"][METADATA_KEY] for data in found if len(data) == 3]
    waiting = {id(about): about for about in abouts}
    for about in abouts:
        if "pyramid" in about:
            slide_layers.wait_little(about["pyramid"])

    def on_inserted(event: Any) -> None:
        about = waiting.pop(id(slide_layers.ours(event.value)), None)
        if about is not None:
            _tend(viewer, event.value, about)
        if not waiting:
            viewer.layers.events.inserted.disconnect(on_inserted)

    if waiting:
        viewer.layers.events.inserted.connect(on_inserted)


def _tend(viewer: Viewer, layer: Layer, about: dict[str, Any]) -> None:
    if "slide" in about:
        if not slide_layers.is_fed(layer):  # our dock may have been faster
            slide_layers.SlideFeed(viewer, layer)  # the layer's view keeps it
        for other in viewer.layers:
            _lay_on_slide(other, layer)
        return
    for below in viewer.layers:
        _lay_on_slide(layer, below)
    if about["mpp"] is not None:
        slide_layers.show_scale_bar(viewer)
    slides = filter(None, map(slide_layers.slide_of, viewer.layers))
    if "overview" in about and about.get("slide_fingerprint") in {s.fingerprint for s in slides}:
        layer.visible = False
    if "field" in about and layer.visible:
        _show_legend(viewer, layer)
        if about["kind"] == "prediction" and "has_slide" not in about:  # the dock shows all genes
            QTimer.singleShot(0, partial(_open_dock, viewer))


def _show_legend(viewer: Viewer, layer: Layer) -> None:
    for legend in (layer.colorbar, layer.name_overlay):
        legend.position, legend.visible = "top_right", True
    viewer.canvas.overlay_tiling.top_right = "vertical"  # the name above its colours


def _lay_on_slide(layer: Layer, slide_layer: Layer) -> None:
    """Turn the places of a layer from px into um, which the file did not know and a slide does."""
    about, slide = slide_layers.ours(layer), slide_layers.slide_of(slide_layer)
    if "file" in about and about["mpp"] is None and slide is not None and slide.mpp is not None:
        about["mpp"] = slide.mpp
        per_px = (slide.mpp.y_um, slide.mpp.x_um)
        layer.scale, layer.translate = layer.scale * per_px, layer.translate * per_px
        layer.units = ("um", "um")
        slide_layers.own_units(layer)


def _open_dock(viewer: Viewer) -> None:
    if current_viewer() is not viewer or not hasattr(viewer, "window"):
        return
    if not any(name.startswith(DOCK_TITLE) for name in viewer.window.dock_widgets):
        viewer.window.add_plugin_dock_widget(PLUGIN, DOCK_TITLE)
