"""Whole tissue: found on the active slide, more or less of it, and again as the settings change."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QWidget

from napari_stem.errors import RegionError
from napari_stem.settings import TissueSettings, attribute_helps
from napari_stem.slide.tissue import find_tissue
from napari_stem.widgets.common.form import number, slider
from napari_stem.widgets.common.parts import Note, button, labelled, one_shot, row, stack
from napari_stem.widgets.common.worker import Jobs, LatestJob

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_stem.geometry import Region
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.memory import Remembered
    from napari_stem.widgets.slide.slide_panel import SlidePanel

LOOK_AFTER_MS = 100  # after the slider has moved, and again so long as it moves


class TissueBox(QWidget):
    """Outlines the tissue as is asked for; one search at a time, the latest wish last.

    ``outlined`` takes a slide and its tissue, in place of what was found on it before.
    """

    def __init__(
        self,
        jobs: Jobs,
        slides: SlidePanel,
        outlined: Callable[[Slide, Sequence[Region]], None],
        remembered: Remembered,
    ) -> None:
        super().__init__()
        self._slides, self.outlined = slides, outlined
        self._notes: dict[str, str] = {}  # what was left out, by the slide's fingerprint
        self._looking = LatestJob(jobs)
        self._timer = one_shot(jobs, LOOK_AFTER_MS, self._look)
        self.button = button(
            "Whole tissue", "Find the tissue on the slide and take all of it", self._find
        )
        tips, settings = attribute_helps(TissueSettings), TissueSettings()
        with suppress(RegionError):  # a file edited by hand
            before = remembered.tissue_sensitivity, remembered.tissue_min_area_mm2
            settings = TissueSettings(*before)
        self.sensitivity = slider((0, 100), settings.sensitivity, tips["sensitivity"])
        least_mm2, tip = settings.min_area_mm2, tips["min_area_mm2"]
        self.min_area = number((0, 100), least_mm2, tip, decimals=2, suffix=" mm²", step=0.05)
        self.min_area.setKeyboardTracking(False)
        self.message = Note()  # what was left out, or that nothing was found
        self.details = QWidget()  # shown once there are outlines that they can change
        more = row(QLabel("Less"), self.sensitivity, QLabel("More tissue"), stretched=1)
        least = labelled({"Leave out pieces under": self.min_area})
        stack(self.details, more, least).setSpacing(4)
        stack(self, self.button, self.details, self.message).setSpacing(4)
        self.details.setVisible(False)
        self.message.say("")
        for field in (self.sensitivity, self.min_area):
            field.valueChanged.connect(self._on_settings)
        slides.activated.connect(self._on_activated)
        slides.resized.connect(self._on_resized)

    def settings(self) -> TissueSettings:
        """Return the settings as chosen."""
        return TissueSettings(self.sensitivity.value(), self.min_area.value())

    @property
    def is_busy(self) -> bool:
        """Whether tissue is being looked for, or about to be."""
        return self._looking.is_running or self._timer.isActive()

    def _find(self) -> None:
        """Outline the tissue, in place of outlines found before; they can then be edited."""
        if self._slides.slide is not None and not self._looking.is_running:
            self._show_busy(is_busy=True)
            self.message.say("")
            self._look()

    def _on_settings(self) -> None:
        slide = self._slides.slide
        is_found = slide is not None and slide.fingerprint in self._notes
        if is_found and not self._timer.isActive():  # not put off by each further move
            self._timer.start()

    def _look(self) -> None:
        slide = self._slides.slide
        if slide is not None:
            settings, done = self.settings(), partial(self._take, slide)
            self._looking.start(_find, slide, settings, done=done, failed=self._end)

    def _take(self, slide: Slide, found: tuple[Sequence[Region], str]) -> None:
        regions, self._notes[slide.fingerprint] = found
        self.outlined(slide, regions)
        self._end()

    def _end(self) -> None:
        self._show_busy(is_busy=False)
        self._on_activated(self._slides.slide)

    def _on_resized(self, slide: Slide) -> None:
        """Forget what was said in mm2: another pixel size makes it other areas."""
        self._notes.pop(slide.fingerprint, None)
        self._on_activated(self._slides.slide)

    def _on_activated(self, slide: Slide | None) -> None:
        note = None if slide is None else self._notes.get(slide.fingerprint)
        self.details.setVisible(note is not None)
        self.message.say((note or "").replace("mm2", "mm²"))

    def _show_busy(self, *, is_busy: bool) -> None:
        self.button.setEnabled(not is_busy)
        self.button.setText("Looking for tissue …" if is_busy else "Whole tissue")


def _find(slide: Slide, settings: TissueSettings) -> tuple[Sequence[Region], str]:
    """Look at the slide if that was not done yet; the tissue, and what was left out or why there is none."""
    try:
        found = find_tissue(slide, settings)
    except RegionError as error:
        return [], str(error)
    return found.regions, found.note
