"""Finds the tissue of the active slide, and again as its settings change."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_stem.errors import RegionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_stem.geometry import Region
    from napari_stem.slide.base import Slide
    from napari_stem.slide.tissue import FoundTissue, TissueSettings, TissueView
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.slide.slide_control import SlideControl
    from napari_stem.widgets.slide.tissue_box import TissueBox

LOOK_AFTER_MS = 100  # after the slider has moved, and again so long as it moves
MOST_VIEWS = 4  # slides whose thumbnails are kept, about 13 MB each


class TissueControl(QObject):
    """Does what the tissue box asks for; one search at a time, the latest wish last.

    Parameters
    ----------
    jobs, box, slides
        What it works with.
    outlined
        Takes a slide and its tissue, in place of what was found on it before.
    """

    def __init__(
        self,
        jobs: Jobs,
        box: TissueBox,
        slides: SlideControl,
        outlined: Callable[[Slide, Sequence[Region]], None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._jobs, self._box, self._slides, self._outlined = jobs, box, slides, outlined
        self._views: dict[str, TissueView] = {}  # by fingerprint, the latest used last
        self._notes: dict[str, str] = {}
        self._is_busy = False
        self._is_wanted_again = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(LOOK_AFTER_MS)
        self._timer.timeout.connect(self._look_again)
        box.requested.connect(self.find)
        box.settings_changed.connect(self._on_settings)
        slides.activated.connect(self._on_activated)
        slides.resized.connect(self._on_resized)

    @property
    def is_busy(self) -> bool:
        """Whether tissue is being looked for, or about to be."""
        return self._is_busy or self._timer.isActive()

    def close(self) -> None:
        """Look for nothing any more."""
        self._timer.stop()

    def find(self) -> None:
        """Outline the tissue, in place of outlines found before; they can then be edited."""
        slide = self._slides.slide
        if slide is None or self._is_busy:
            return
        self._box.show_busy(is_busy=True)
        self._box.tell("")
        self._start(slide)

    def _on_settings(self) -> None:
        slide = self._slides.slide
        is_found = slide is not None and slide.fingerprint in self._notes
        if is_found and not self._timer.isActive():  # not put off by each further move
            self._timer.start()

    def _look_again(self) -> None:
        if self._is_busy:
            self._is_wanted_again = True
            return
        slide = self._slides.slide
        if slide is not None:
            self._start(slide)

    def _start(self, slide: Slide) -> None:
        self._is_busy, self._is_wanted_again = True, False
        view = self._views.get(slide.fingerprint)
        self._jobs.start(
            _find,
            slide,
            self._box.settings(),
            view,
            done=partial(self._take, slide),
            failed=self._end,
        )

    def _take(self, slide: Slide, found: tuple[TissueView, FoundTissue | str]) -> None:
        view, tissue = found
        self._views.pop(slide.fingerprint, None)
        self._views[slide.fingerprint] = view
        while len(self._views) > MOST_VIEWS:
            del self._views[next(iter(self._views))]
        if isinstance(tissue, str):
            told, regions = tissue, []
        else:
            told, regions = tissue.note, tissue.regions
        self._notes[slide.fingerprint] = told
        self._outlined(slide, regions)
        self._end()

    def _end(self) -> None:
        self._is_busy = False
        self._box.show_busy(is_busy=False)
        self._on_activated(self._slides.slide)
        if self._is_wanted_again:
            self._timer.start()

    def _on_resized(self, slide: Slide) -> None:
        """Forget what was told in mm2: another pixel size makes it other areas."""
        self._notes.pop(slide.fingerprint, None)
        self._on_activated(self._slides.slide)

    def _on_activated(self, slide: Slide | None) -> None:
        was_found = slide is not None and slide.fingerprint in self._notes
        self._box.show_settings(is_shown=was_found)
        told = self._notes.get(slide.fingerprint, "") if slide is not None else ""
        self._box.tell(told.replace("mm2", "mm²"))


def _find(
    slide: Slide, settings: TissueSettings, view: TissueView | None
) -> tuple[TissueView, FoundTissue | str]:
    """Look at the slide if that was not done yet; the tissue, or why there is none."""
    from napari_stem.slide.tissue import TissueView, find_tissue

    view = view or TissueView.of_slide(slide)
    try:
        return view, find_tissue(slide, settings, view)
    except RegionError as error:
        return view, str(error)
