"""Slides that napari itself opens (File > Open, drag and drop, samples), shown before they are complete."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_stem import reader, sample_data
from napari_stem.layers import METADATA_KEY
from napari_stem.widgets.slide_feed import SlideFeed, is_fed, view_of, wait_little

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.layers import LayerData
    from napari_stem.reader import NapariReader


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
    found = read(path)
    _feed_when_shown(found)
    return found


def _feed_when_shown(found: Sequence[Any]) -> None:
    """Complete and redraw slides once their layers are in the window, if there is one."""
    from napari import current_viewer

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
