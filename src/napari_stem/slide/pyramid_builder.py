"""Levels that a file lacks, made when they are first needed, by the thread that needs them first."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide.pyramid import CHUNK_PX, Preview, made_levels, open_store
from napari_stem.slide.source import READ_ERRORS, Level, halve_often

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.progress import Progress
    from napari_stem.slide.pyramid import Plan
    from napari_stem.slide.source import SlideSource

logger = logging.getLogger(__name__)

SAME_SHAPE = 0.02  # how far a thumbnail's sides may be out of the slide's proportion


class PyramidBuilder:
    """The missing levels of one slide, the first of which is its ``first_level``.

    ``preview`` is what is known of the slide until the levels are there. ``progress`` is told ``(text, done,
    total)`` by whichever thread makes them.
    """

    def __init__(self, plan: Plan) -> None:
        self.first_level = 0 if plan.source.copies_base else len(plan.source.sources)
        self.preview = Preview(plan.sizes[-1])
        self.progress: Progress | None = None
        self._plan = plan
        self._made: list[Level] | None = None
        self._lock = threading.Lock()
        self._base_lock = threading.Lock()
        self._decoded: Level | None = None
        self._is_stopped = self._is_seen = False
        self._has_looked = threading.Event()

    @property
    def is_done(self) -> bool:
        """Whether the levels are there."""
        return self._made is not None

    def look(self) -> None:
        """Begin to take the levels from an earlier opening's store, or to make light ones, in a thread.

        Whoever asks for this sees the preview meanwhile.
        """
        self._is_seen = True
        threading.Thread(target=self._look, name="slide-levels", daemon=True).start()

    def await_look(self, at_most_s: float) -> bool:
        """Wait for what ``look`` has begun, but not for the making of levels; tell whether all are there."""
        if not self.is_done:
            self._has_looked.wait(at_most_s)
        return self.is_done

    def _look(self) -> None:
        try:
            with self._lock:
                if self._made is None and self._plan.is_light:
                    self._made = made_levels(self._plan, lambda: self._base(None))
                elif self._made is None:
                    self._made = open_store(self._plan)
        except (SlideError, *READ_ERRORS) as error:  # whoever needs the levels is told
            logger.debug("%s: %s", self._plan.title, error)
        finally:
            self._has_looked.set()

    def levels(self) -> list[Level]:
        """Give the levels; makes them if nobody has, and waits if somebody does.

        SlideError: the file is damaged, the levels can be kept nowhere, or ``stop`` was called.
        """
        with self._lock:
            if self._made is None:
                preview = None if self._draw_first() else self.preview
                try:
                    self._made = made_levels(self._plan, self._begun, self._tell, preview)
                finally:
                    self._decoded = None
            return self._made

    def _base(self, progress: Progress | None) -> Level:
        """Give the level that the others are made from."""
        source = self._plan.source
        return source.sources[-1] if source.base is None else source.base(progress)

    def _begun(self) -> Level:
        """Give the base, decoded once for the thread that makes the levels and for those that wait."""
        with self._base_lock:
            if self._decoded is None:
                self._decoded = self._base(self._tell)
            return self._decoded

    def _window(self, number: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Read from a level; while it is being made from a base in memory, from that, to the same pixels."""
        if self._made is None and self._is_seen:
            self._has_looked.wait()
        if self._made is None and self._lock.locked():
            pixels, times = self._begun().held, number + (not self._plan.source.copies_base)
            if self.is_done:  # meanwhile: nobody needs it any more
                self._decoded = None
            if pixels is not None:
                rows, columns = (slice(s.start << times, s.stop << times) for s in (rows, columns))
                return halve_often(pixels[rows, columns], times)
        return (self._made or self.levels())[number].read(rows, columns)

    def pending(self) -> list[Level]:
        """Give the same levels at once; reading from one waits for it, or makes all if nobody does."""
        chunk = SizePx(CHUNK_PX, CHUNK_PX)
        return [
            Level(partial(self._window, number), size, chunk, self._plan.label)
            for number, size in enumerate(self._plan.sizes)
        ]

    def stop(self) -> None:
        """Make no more; what is half made is removed."""
        self._is_stopped = True

    def _draw_first(self) -> bool:
        """Preview the whole at once if that can be; tell whether it is as fine as the preview can show."""
        quick = self._plan.source.quick or _thumbnail(self._plan.source)
        if quick is None or not self._is_seen:
            return False
        try:
            picture = quick()
        except (SlideError, *READ_ERRORS) as error:  # what is wrong with the file is told later
            logger.debug("No quick picture of %s: %s", self._plan.title, error)
            return False
        size = SizePx(*picture.shape[:2])
        self.preview.paint(picture, slice(0, size.height_px), slice(0, size.width_px), size)
        return bool(picture.shape[0] >= self.preview.pixels.shape[0])

    def _tell(self, text: str, done: int, total: int) -> None:
        if self._is_stopped:
            raise SlideError(f"{self._plan.title} was closed before it was ready; open it again.")
        if self.progress is not None:
            self.progress(text, done, total)


def _thumbnail(source: SlideSource) -> Callable[[], NDArray[np.uint8]] | None:
    """Take the scanner's own thumbnail for a quick picture, if it shows all of the slide."""
    found, size = source.associated.get("thumbnail"), source.sources[0].size
    if found is None:
        return None
    own = found.size.width_px / found.size.height_px
    if abs(own * size.height_px / size.width_px - 1) > SAME_SHAPE:
        return None
    return found.whole
