"""Work off the GUI thread: any number of jobs, the latest asked for, or one that can be stopped.

What is said to developers meanwhile stays away from those who look at slides.
"""

from __future__ import annotations

import logging
import threading
import warnings
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from napari.utils.notifications import notification_manager, show_info, show_warning
from qtpy.QtCore import QObject, QThreadPool, Signal
from superqt.utils import create_worker

from napari_stem.errors import StemError
from napari_stem.progress import warnings_of_files
from napari_stem.widgets.common.garbage import collect_on_gui_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from superqt.utils import WorkerBase

logger = logging.getLogger(__name__)

# Qt would have as many as cores: a slide would not open while two others are measured
MOST_JOBS = 8
TO_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ResourceWarning)


@dataclass(frozen=True)
class Failure:
    """What went wrong, in the one sentence that the user reads; superqt would raise an error itself."""

    sentence: str


class Jobs(QObject):
    """The background jobs of one dock; after ``close`` none of them speaks any more."""

    failed = Signal(str)  # one sentence
    _told = Signal(object)  # what to call in the window's thread

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        collect_on_gui_thread()
        pool = QThreadPool.globalInstance()
        pool.setMaxThreadCount(max(pool.maxThreadCount(), MOST_JOBS))
        self._stops: WeakSet[threading.Event] = WeakSet()
        self._closed = False
        self._told.connect(self._hear)

    def start(
        self,
        function: Callable[..., Any],
        *args: Any,
        done: Callable[[Any], None],
        failed: Callable[[], None] | None = None,
    ) -> None:
        """Call a function in a thread.

        Parameters
        ----------
        function, args
            What to call. A StemError is told by the signal ``failed``; any other error by napari. What files
            are read with, as warnings, is shown at the end.
        done
            Called in the GUI's thread with the result.
        failed
            Called in the GUI's thread after any error, to put the panels in order.
        """
        # told at the end, in the GUI's thread: napari's notifications from another one can end the program
        told: list[str] = []

        def on_end(result: object) -> None:
            for warning in [] if self._closed else told:
                show_warning(warning)
            self._finish(result, done, failed)

        worker = create_worker(_guarded, told.append, function, *args, _start_thread=False)
        worker.returned.connect(on_end)
        worker.errored.connect(lambda error: self._broke(error, failed))
        _launch(worker)

    def save(self, write: Callable[..., Any], *args: Any) -> None:
        """Write a file in a thread, whose path is the last argument, and say so when it is there."""
        self.start(write, *args, done=lambda _: show_info(f"Saved {args[-1]}"))

    def in_window(self, act: Callable[..., None]) -> Callable[..., None]:
        """Make of a function of the window's one that any thread may call, such as to say how far it is."""

        def tell(*told: Any) -> None:
            with suppress(RuntimeError):  # the window was closed while a thread was at work
                self._told.emit(partial(act, *told))

        return tell

    def new_stop(self) -> threading.Event:
        """Make what tells a job to stop; it is set at the latest by ``close``."""
        stop = threading.Event()
        self._stops.add(stop)
        return stop

    def close(self) -> None:
        """Stop what runs; results on disk stay."""
        self._closed = True
        for stop in self._stops:
            stop.set()

    def _hear(self, act: Callable[[], None]) -> None:
        if not self._closed:
            act()

    def _finish(
        self, result: object, done: Callable[[Any], None], failed: Callable[[], None] | None
    ) -> None:
        if self._closed:
            return
        if not isinstance(result, Failure):
            done(result)
            return
        self.failed.emit(result.sentence)
        if failed is not None:
            failed()

    def _broke(self, error: Exception, failed: Callable[[], None] | None) -> None:
        """Log an error of ours, not the user's, which napari shows by itself."""
        logger.error("A background job broke", exc_info=error)
        if failed is not None and not self._closed:
            failed()


class LatestJob:
    """Runs one job at a time; of those asked for while it runs, only the last follows."""

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


class StoppableJob:
    """Runs one job at a time, which tells how far it is and can be stopped.

    Parameters
    ----------
    reported
        Called in the GUI's thread with what the job reports, until it is stopped.
    """

    def __init__(self, jobs: Jobs, reported: Callable[[str, int, int], None] | None = None) -> None:
        self._jobs, self.reported = jobs, reported
        self._stop: threading.Event | None = None

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
        self._stop = self._jobs.new_stop()

        def end(tell: Callable[..., None], *found: Any) -> None:
            self._stop = None
            tell(*found)

        self._jobs.start(
            function,
            *args,
            self._stop.is_set,
            self._jobs.in_window(self._hear),
            done=lambda found: end(done, found),
            failed=lambda: end(failed),
        )

    def stop(self) -> None:
        """Ask what is on its way to stop; it ends when it next looks."""
        if self._stop is not None:
            self._stop.set()

    def _hear(self, text: str, done: int, total: int) -> None:
        is_wanted = self._stop is not None and not self._stop.is_set()
        if self.reported is not None and is_wanted:
            self.reported(text, done, total)


class _CalmWarnings:
    """Keeps what Python does with warnings while workers run; used on the window's thread alone.

    Each of superqt's workers shows all warnings while it works, and gives back what it found: where two
    overlap, the last leaves what it found of the other.
    """

    def __init__(self) -> None:
        self._n_running = 0
        self._before = ExitStack()

    def begin(self) -> None:
        """Note that a worker is about to start."""
        if not self._n_running:
            self._before.enter_context(warnings.catch_warnings())
        self._n_running += 1

    def end(self) -> None:
        """Note that one has ended; after the last all is as before, but for news that would pop up."""
        self._n_running -= 1
        if self._n_running:
            return
        self._before.close()
        if warnings.showwarning == notification_manager.receive_warning:
            for category in TO_DEVELOPERS:
                warnings.simplefilter("ignore", category)


_calm_warnings = _CalmWarnings()


def _launch(worker: WorkerBase[Any]) -> None:
    _calm_warnings.begin()
    worker.finished.connect(_calm_warnings.end)
    worker.start()


def _guarded(warn: Callable[[str], None], function: Callable[..., Any], *args: Any) -> Any:
    try:
        with warnings_of_files(warn):
            return function(*args)
    except StemError as error:
        return Failure(str(error))
