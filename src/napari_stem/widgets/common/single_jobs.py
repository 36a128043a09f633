"""Work in the background, one piece at a time: the latest asked for, or one that can be stopped."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_stem.widgets.common.worker import Reporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_stem.widgets.common.worker import Jobs


class LatestJob:
    """Runs one job at a time; of those asked for while it runs, only the last follows.

    Parameters
    ----------
    jobs
        Where the work is done.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._next: Callable[[], None] | None = None
        self.is_running = False

    def start(
        self,
        function: Callable[..., Any],
        *args: Any,
        done: Callable[[Any], None],
        failed: Callable[[], None] | None = None,
    ) -> None:
        """Call a function in a thread, as `Jobs.start` does, now or after what runs."""

        def end(tell: Callable[[], None] | None) -> None:
            self.is_running = False
            if tell is not None:
                tell()
            following, self._next = self._next, None
            if following is not None:
                following()

        def begin() -> None:
            self.is_running = True
            self._jobs.start(
                function,
                *args,
                done=lambda found: end(lambda: done(found)),
                failed=lambda: end(failed),
            )

        if self.is_running:
            self._next = begin
        else:
            begin()


class StoppableJob(QObject):
    """Runs one job at a time, which tells how far it is and can be stopped.

    Parameters
    ----------
    jobs
        Where the work is done.
    """

    progressed = Signal(str, int, int)  # what is being done, done so far, in all

    def __init__(self, jobs: Jobs, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._jobs = jobs
        self._stop: threading.Event | None = None
        self._report = Reporter(self)
        self._report.reported.connect(self._on_reported)

    @property
    def is_running(self) -> bool:
        """Whether a job is on its way, stopped or not."""
        return self._stop is not None

    def start(
        self,
        function: Callable[..., Any],
        *args: Any,
        done: Callable[[Any], None],
        failed: Callable[[], None],
    ) -> None:
        """Call a function in a thread, with what tells it to stop and what it reports to as last arguments."""
        self._stop = threading.Event()

        def end(tell: Callable[..., None], *found: Any) -> None:
            self._stop = None
            tell(*found)

        self._jobs.start(
            function,
            *args,
            self._stop.is_set,
            self._report,
            done=lambda found: end(done, found),
            failed=lambda: end(failed),
        )

    def stop(self) -> None:
        """Ask what is on its way to stop; it ends when it next looks."""
        if self._stop is not None:
            self._stop.set()

    def _on_reported(self, text: str, done: int, total: int) -> None:
        if self._stop is not None and not self._stop.is_set():
            self.progressed.emit(text, done, total)
