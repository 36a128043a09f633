"""Slides that napari itself opens (File > Open, drag and drop, samples), shown before they are complete."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari import current_viewer
from napari.layers import Layer
from napari.utils.notifications import show_info
from qtpy.QtCore import QObject, QThread, QTimer
from qtpy.QtWidgets import QApplication

from napari_stem import reader, sample_data
from napari_stem.layers import METADATA_KEY
from napari_stem.widgets.region_layers import load_units
from napari_stem.widgets.slide_feed import SlideFeed, is_fed, view_of, wait_little
from napari_stem.widgets.slide_layers import agree_on_units
from napari_stem.widgets.telling import tell_error
from napari_stem.widgets.worker import Jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.viewer import Viewer

    from napari_stem.layers import LayerData
    from napari_stem.reader import NapariReader

TELL_AFTER_MS = 700  # shorter waits need no words


def get_reader(path: str | Sequence[str]) -> NapariReader | None:
    """Reader for a dragged file, or None where it cannot be a slide of ours; see ``reader``."""
    read = reader.get_reader(path)
    return None if read is None else partial(_read, read)


def open_sample() -> list[LayerData]:
    """Layer of the packaged section."""
    found = sample_data.her2st_c5()
    _feed_when_shown(found)
    return found


def _read(read: NapariReader, path: str) -> list[LayerData | tuple[None]]:
    """Read at once for a script; for a person at the window, in the background."""
    viewer = current_viewer()
    if viewer is not None and QThread.currentThread().loopLevel() > 0:
        Opening(viewer, read, path)
        return [(None,)]
    found = read(path)
    _feed_when_shown(found)
    for data in found:
        if viewer is not None and len(data) == 3:
            agree_on_units(viewer, data[1])
    return found


class Opening(QObject):
    """Opens a slide without stopping the window, and adds its layer when it is open.

    napari calls readers on the thread of the window, where a slow disk, a library that is not loaded yet,
    or the probing of a DICOM file would be felt.

    Parameters
    ----------
    viewer
        Gets the layer.
    read
        Opens the file; its warnings become notifications, in whichever thread.
    path
        The file.
    """

    def __init__(self, viewer: Viewer, read: NapariReader, path: str) -> None:
        super().__init__(QApplication.instance())
        self._viewer, self._path = viewer, path
        self._jobs = Jobs(self)
        self._jobs.failed.connect(partial(tell_error, viewer))
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.timeout.connect(self._tell)
        self._patience.start(TELL_AFTER_MS)
        load_units()  # before another thread asks for them
        self._jobs.start(read, path, done=self._add, failed=self._end)

    def _tell(self) -> None:
        show_info(f"Opening {Path(self._path).name}…")

    def _add(self, found: Sequence[Any]) -> None:
        self._end()
        for data in found:
            if len(data) < 3:  # not opened; why has been told
                continue
            slide = data[1]["metadata"][METADATA_KEY]["slide"]
            if current_viewer() is None:  # the window was closed meanwhile
                slide.close()
                continue
            _feed_when_shown([data])
            agree_on_units(self._viewer, data[1])
            self._viewer.add_layer(Layer.create(*data))

    def _end(self) -> None:
        self._patience.stop()
        self.deleteLater()


def _feed_when_shown(found: Sequence[Any]) -> None:
    """Complete and redraw slides once their layers are in the window, if there is one."""
    viewer = current_viewer()
    views = [data[1]["metadata"][METADATA_KEY]["view"] for data in found if len(data) == 3]
    if viewer is None or not views:  # then reading waits for all pixels
        return
    for view in views:
        wait_little(view)

    def on_inserted(event: Any) -> None:
        if view_of(event.value) not in views:
            return
        viewer.layers.events.inserted.disconnect(on_inserted)
        if not is_fed(event.value):  # our dock may have been faster
            SlideFeed(viewer, event.value)  # the layer's view keeps it

    viewer.layers.events.inserted.connect(on_inserted)
