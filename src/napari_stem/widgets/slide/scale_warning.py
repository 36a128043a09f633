"""Measures the nuclei of the active slide in the background and warns where its pixel size is odd."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari.utils.notifications import show_warning

from napari_stem.slide.scale_check import known_check
from napari_stem.widgets.common.parts import Note, in_window_words, one_shot

if TYPE_CHECKING:
    from napari_stem.geometry import Mpp
    from napari_stem.slide.base import Slide
    from napari_stem.slide.scale_check import ScaleCheck
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.slide.slide_panel import SlidePanel

    Key = tuple[str, Mpp]  # fingerprint of the slide, pixel size

MEASURE_AFTER_MS = 4000  # the slide's first pictures come before, and its tissue


class ScaleWarning(Note):
    """Warns once of each slide and pixel size, and goes on saying it as long as it holds."""

    def __init__(self, jobs: Jobs, slides: SlidePanel) -> None:
        super().__init__()
        self.setObjectName("warning")
        self.setVisible(False)
        self._jobs, self._slides = jobs, slides
        self._found: dict[Key, str] = {}  # the warning; empty while measured, or where all is well
        self._timer = one_shot(self, MEASURE_AFTER_MS, self._measure)
        slides.activated.connect(self._on_activated)

    def let_go(self) -> None:
        """Measure nothing any more."""
        self._timer.stop()

    def _on_activated(self, slide: Slide | None) -> None:
        key = _key(slide)
        self.say("" if key is None else self._found.get(key, ""))
        if key is not None and key not in self._found:
            self._timer.start()

    def _measure(self) -> None:
        slide, key = self._slides.slide, _key(self._slides.slide)
        if slide is None or key is None or key in self._found:
            return
        self._found[key] = ""
        done, failed = partial(self._tell, key), partial(self._forget, key)
        self._jobs.start(known_check, slide, done=done, failed=failed)

    def _forget(self, key: Key) -> None:
        self._found.pop(key, None)

    def _tell(self, key: Key, found: ScaleCheck) -> None:
        if found.warning is None:
            return
        warning = in_window_words(found.warning)
        self._found[key] = warning
        if key == _key(self._slides.slide):
            self.say(warning)
        show_warning(warning)


def _key(slide: Slide | None) -> Key | None:
    return None if slide is None or slide.mpp is None else (slide.fingerprint, slide.mpp)
