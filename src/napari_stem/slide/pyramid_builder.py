"""Levels that a file lacks, made when they are first needed, by the thread that needs them first."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide.level_pixels import READ_ERRORS, LevelPixels, halve_often
from napari_stem.slide.preview import Preview
from napari_stem.slide.pyramid import CHUNK_PX, made_levels, open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.progress import Progress
    from napari_stem.slide.pyramid import Plan

logger = logging.getLogger(__name__)


class PyramidBuilder:
    """The missing levels of one slide.

    Parameters
    ----------
    plan
        Which levels.
    base
        Gives the level that they are made from, told how far its decoding is.
    quick
        Gives a rough picture of the whole slide within a moment, (h, w, 3); None where nothing does.

    first_level
        Place of the first of them among all levels of the slide.

    Attributes
    ----------
    preview
        What is known of the slide until the levels are there.
    progress
        Told ``(text, done, total)`` by whichever thread makes the levels.
    """

    def __init__(
        self,
        plan: Plan,
        base: Callable[[Progress | None], LevelPixels],
        quick: Callable[[], NDArray[np.uint8]] | None,
        first_level: int,
    ) -> None:
        self.first_level = first_level
        self.preview = Preview(plan.sizes[-1])
        self.progress: Progress | None = None
        self._plan, self._base, self._quick = plan, base, quick
        self._made: list[LevelPixels] | None = None
        self._lock = threading.Lock()
        self._base_lock = threading.Lock()
        self._decoded: LevelPixels | None = None
        self._is_stopped = False
        self._has_looked = threading.Event()

    @property
    def is_done(self) -> bool:
        """Whether the levels are there."""
        return self._made is not None

    def look(self) -> None:
        """Begin to take the levels from an earlier opening's store, or to make light ones, in a thread."""
        threading.Thread(target=self._look, name="slide-levels", daemon=True).start()

    def await_look(self, at_most_s: float) -> bool:
        """Wait for what ``look`` has begun, but not for the making of levels; tell whether all are there."""
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

    def levels(self) -> list[LevelPixels]:
        """Give the levels; makes them if nobody has, and waits if somebody does.

        Raises
        ------
        SlideError
            The file is damaged, the levels can be kept nowhere, or ``stop`` was called.
        """
        with self._lock:
            if self._made is None:
                preview = None if self._draw_first() else self.preview
                try:
                    self._made = made_levels(self._plan, self._begun, self._tell, preview)
                finally:
                    self._decoded = None
            return self._made

    def _begun(self) -> LevelPixels:
        """Give the base, decoded once for the thread that makes the levels and for those that wait."""
        with self._base_lock:
            if self._decoded is None:
                self._decoded = self._base(self._tell)
            return self._decoded

    def _window(self, number: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Read from a level; while it is being made from a base in memory, from that, to the same pixels."""
        self._has_looked.wait()
        if self._made is None and self._lock.locked():
            pixels, times = self._begun().held, number + (not self._plan.copies_base)
            if self.is_done:  # meanwhile: nobody needs it any more
                self._decoded = None
            if pixels is not None:
                rows, columns = (slice(s.start << times, s.stop << times) for s in (rows, columns))
                return halve_often(pixels[rows, columns], times)
        return self.levels()[number].window(rows, columns)

    def pending(self) -> list[LevelPixels]:
        """Give the same levels at once; reading from one waits for it, or makes all if nobody does."""
        chunk = SizePx(CHUNK_PX, CHUNK_PX)
        return [
            LevelPixels(partial(self._window, number), size, chunk, self._plan.title)
            for number, size in enumerate(self._plan.sizes)
        ]

    def stop(self) -> None:
        """Make no more; what is half made is removed."""
        self._is_stopped = True

    def _draw_first(self) -> bool:
        """Preview the whole at once if that can be; tell whether it is as fine as the preview can show."""
        if self._quick is None:
            return False
        try:
            picture = self._quick()
        except (SlideError, *READ_ERRORS) as error:  # what is wrong with the file is told later
            logger.debug("No quick picture of %s: %s", self._plan.title, error)
            return False
        self.preview.paint_whole(picture)
        return bool(picture.shape[0] >= self.preview.pixels.shape[0])

    def _tell(self, text: str, done: int, total: int) -> None:
        if self._is_stopped:
            raise SlideError(f"{self._plan.title} was closed before it was ready; open it again.")
        if self.progress is not None:
            self.progress(text, done, total)
